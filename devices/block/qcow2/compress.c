/*
 * compress.c - compressed clusters: deflate and zstd
 *
 * A compressed cluster begins at any byte, directly behind the one before, and its entry says in
 * which sector it ends: behind it are bytes of the next.  So as much is unpacked as makes a
 * cluster, and the rest is not looked at.  A frame that says it needs more memory than a few
 * clusters is refused.  What does not become smaller is stored plainly.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "devices/block/qcow2/internal.h"
#include "vmm/base/alloc.h"
#include "vmm/base/iov.h"
#include "vmm/base/units.h"

#define WINDOW_BITS  (-12) /* raw deflate, as the format has it */
#define MEMORY_LEVEL 9
#define ZSTD_WINDOW  23

/* ---- one cluster in memory ---- */

static int inflate_zlib(const void *p, size_t bytes, void *out, size_t n)
{
	z_stream z = {
	    .next_in = (void *)p, .avail_in = (uInt)bytes, .next_out = out, .avail_out = (uInt)n};
	int ret;

	if (inflateInit2(&z, WINDOW_BITS) != Z_OK)
		return -ENOMEM;
	ret = inflate(&z, Z_FINISH);
	(void)inflateEnd(&z);
	return (ret == Z_STREAM_END || ret == Z_BUF_ERROR) && z.avail_out == 0 ? 0 : -EIO;
}

static int inflate_zstd(const void *p, size_t bytes, void *out, size_t n)
{
	ZSTD_inBuffer in = {p, bytes, 0};
	ZSTD_outBuffer to = {out, n, 0};
	ZSTD_DCtx *ctx = ZSTD_createDCtx();
	size_t left = 1;

	if (!ctx)
		return -ENOMEM;
	(void)ZSTD_DCtx_setParameter(ctx, ZSTD_d_windowLogMax, ZSTD_WINDOW);
	while (to.pos < n && left != 0 && !ZSTD_isError(left)) {
		size_t in_before = in.pos, out_before = to.pos;

		left = ZSTD_decompressStream(ctx, &to, &in);
		if (in.pos == in_before && to.pos == out_before)
			break;
	}
	(void)ZSTD_freeDCtx(ctx);
	return to.pos == n && !ZSTD_isError(left) ? 0 : -EIO;
}

int qcow2_inflate(const struct qcow2 *q, const void *p, size_t bytes, void *out)
{
	size_t n = 1UL << q->h.cluster_bits;

	return q->h.compression ? inflate_zstd(p, bytes, out, n) : inflate_zlib(p, bytes, out, n);
}

static int deflate_zlib(const void *p, size_t n, void *out, size_t *bytes)
{
	z_stream z = {
	    .next_in = (void *)p, .avail_in = (uInt)n, .next_out = out, .avail_out = (uInt)n - 1};
	int ret;

	if (deflateInit2(&z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, WINDOW_BITS, MEMORY_LEVEL,
			 Z_DEFAULT_STRATEGY) != Z_OK)
		return -ENOMEM;
	ret = deflate(&z, Z_FINISH);
	*bytes = n - 1 - z.avail_out;
	(void)deflateEnd(&z);
	return ret == Z_STREAM_END ? 0 : -ENOSPC;
}

static int deflate_zstd(const void *p, size_t n, void *out, size_t *bytes)
{
	size_t ret = ZSTD_compress(out, n - 1, p, n, ZSTD_CLEVEL_DEFAULT);

	if (ZSTD_isError(ret))
		return -ENOSPC;
	*bytes = ret;
	return 0;
}

int qcow2_deflate(const struct qcow2 *q, const void *p, void *out, size_t *bytes)
{
	size_t n = 1UL << q->h.cluster_bits;

	return q->h.compression ? deflate_zstd(p, n, out, bytes) : deflate_zlib(p, n, out, bytes);
}

/* ---- reading ---- */

int qcow2_read_compressed(struct qcow2 *q, const struct qcow2_entry *e, void *out)
{
	CLEANUP(cleanup_free) uint8_t *p = NULL;
	uint64_t host, bytes;
	int ret;

	qcow2_entry_compressed(q, e, &host, &bytes);
	p = qcow2_buffer(bytes);
	if (!p)
		return -ENOMEM;
	ret = qcow2_pread(q, p, bytes, host);
	return ret < 0 ? ret : qcow2_inflate(q, p, bytes, out);
}

/* ---- writing ---- */

/* Behind the last one, in its cluster; -ENOSPC: not there. */
static int room_behind(struct qcow2 *q, size_t bytes, uint64_t *host)
{
	uint64_t left = q->cluster_bytes - (q->compress_at & (q->cluster_bytes - 1));

	if (!q->compress_at || bytes > left || qcow2_ref(q, q->compress_at, 1) < 0)
		return -ENOSPC;
	*host = q->compress_at;
	return 0;
}

/* A new cluster; where it happens to follow the last one, from behind that on. */
static int room_new(struct qcow2 *q, size_t bytes, uint64_t *host)
{
	uint64_t at = q->compress_at, fresh;
	int ret = qcow2_alloc(q, 1, &fresh);

	if (ret < 0)
		return ret;
	*host = fresh;
	if (at && ALIGN_UP(at, q->cluster_bytes) == fresh && at != fresh &&
	    qcow2_ref(q, at, 1) == 0)
		*host = at;
	(void)bytes;
	return 0;
}

static int room(struct qcow2 *q, size_t bytes, uint64_t *host)
{
	int ret = room_behind(q, bytes, host);

	if (ret < 0)
		ret = room_new(q, bytes, host);
	if (ret < 0)
		return ret;
	q->compress_at = *host + bytes;
	if (!(q->compress_at & (q->cluster_bytes - 1)))
		q->compress_at = 0;
	return 0;
}

static int link_compressed(struct qcow2 *q, uint64_t off, uint64_t host, size_t bytes)
{
	unsigned x = 62 - (q->cluster_bits - 8);
	uint64_t sectors = (host + bytes - 1) / 512 - host / 512, old_host, old_bytes;
	struct qcow2_l2_pos pos = {0};
	struct qcow2_entry old;
	int ret = q->broken ? -EIO : qcow2_l2_get_own(q, off, &pos);

	if (ret < 0)
		return ret;
	old = qcow2_entry_get(q, &pos, 0);
	qcow2_entry_set(q, &pos, 0,
			(struct qcow2_entry){QCOW2_COMPRESSED_FLAG | sectors << x | host, 0});
	if (qcow2_entry_range(q, &old, &old_host, &old_bytes))
		qcow2_release(q, old_host, old_bytes);
	qcow2_l2_put(&pos);
	qcow2_bitmaps_mark(q, off, MIN(q->cluster_bytes, q->info.bytes - off));
	return 0;
}

static int store(struct qcow2 *q, uint64_t off, const void *packed, size_t n)
{
	struct qcow2_claim claim;
	uint64_t host;
	int ret;

	(void)pthread_mutex_lock(&q->lock);
	qcow2_claim(q, &claim, off, q->cluster_bytes);
	ret = qcow2_may_change(q);
	if (ret == 0)
		ret = room(q, n, &host);
	if (ret == 0) {
		(void)pthread_mutex_unlock(&q->lock);
		ret = qcow2_pwrite(q, packed, n, host);
		(void)pthread_mutex_lock(&q->lock);
		if (ret == 0)
			ret = link_compressed(q, off, host, n);
		if (ret < 0)
			qcow2_unalloc(q, host, n);
	}
	qcow2_unclaim(q, &claim);
	(void)pthread_mutex_unlock(&q->lock);
	return ret;
}

int qcow2_write_compressed(struct qcow2 *q, const void *p, size_t bytes, uint64_t off)
{
	CLEANUP(cleanup_free) uint8_t *packed = qcow2_buffer(q->cluster_bytes);
	CLEANUP(cleanup_free) uint8_t *whole = NULL;
	uint64_t size = q->info.bytes;
	size_t n;
	int ret;

	if (off & (q->cluster_bytes - 1) || off >= size || bytes == 0 ||
	    bytes != MIN(q->cluster_bytes, size - off))
		return -EINVAL;
	if (!packed)
		return -ENOMEM;
	if (bytes < q->cluster_bytes) {
		whole = qcow2_buffer(q->cluster_bytes);
		if (!whole)
			return -ENOMEM;
		memcpy(whole, p, bytes);
		memset(whole + bytes, 0, q->cluster_bytes - bytes);
	}
	ret = qcow2_deflate(q, whole ? whole : p, packed, &n);
	if (ret == -ENOSPC) {
		const struct iovec v = {(void *)p, bytes};

		return qcow2_writev(q, &v, 1, off);
	}
	return ret < 0 ? ret : store(q, off, packed, n);
}

int qcow2_write_packed(struct qcow2 *q, const void *packed, size_t n, uint64_t off)
{
	if (off & (q->cluster_bytes - 1) || off >= q->info.bytes || n == 0 || n > q->cluster_bytes)
		return -EINVAL;
	return store(q, off, packed, n);
}
