/*
 * packer.c - compressing cluster after cluster
 *
 * To set up deflate's or zstd's memory takes as long as to compress a cluster that is easy, so
 * whoever compresses many keeps it: one packer a thread.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "devices/block/qcow2/internal.h"
#include "vmm/base/alloc.h"
#include "vmm/base/units.h"

#define WINDOW_BITS  (-12) /* as compress.c */
#define MEMORY_LEVEL 9

struct qcow2_packer {
	size_t cluster_bytes;
	uint8_t *whole;  /* for a cluster that is short; owned */
	ZSTD_CCtx *zstd; /* owned; NULL: deflate */
	z_stream z;
	bool z_ready;
};

struct qcow2_packer *qcow2_packer_new(const struct qcow2 *q)
{
	struct qcow2_packer *k = NEW(struct qcow2_packer);

	k->cluster_bytes = q->cluster_bytes;
	k->whole = malloc(k->cluster_bytes);
	if (q->h.compression)
		k->zstd = ZSTD_createCCtx();
	else
		k->z_ready = deflateInit2(&k->z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, WINDOW_BITS,
					  MEMORY_LEVEL, Z_DEFAULT_STRATEGY) == Z_OK;
	if (k->whole && (k->zstd || k->z_ready))
		return k;
	qcow2_packer_free(k);
	return NULL;
}

void qcow2_packer_free(struct qcow2_packer *k)
{
	if (!k)
		return;
	if (k->z_ready)
		(void)deflateEnd(&k->z);
	(void)ZSTD_freeCCtx(k->zstd);
	free(k->whole);
	free(k);
}

static int pack_zstd(struct qcow2_packer *k, const void *p, void *out, size_t *n)
{
	size_t ret = ZSTD_compressCCtx(k->zstd, out, k->cluster_bytes - 1, p, k->cluster_bytes,
				       ZSTD_CLEVEL_DEFAULT);

	if (ZSTD_isError(ret))
		return -ENOSPC;
	*n = ret;
	return 0;
}

static int pack_zlib(struct qcow2_packer *k, const void *p, void *out, size_t *n)
{
	uInt room = (uInt)k->cluster_bytes - 1;

	(void)deflateReset(&k->z);
	k->z.next_in = (void *)(uintptr_t)p;
	k->z.avail_in = (uInt)k->cluster_bytes;
	k->z.next_out = out;
	k->z.avail_out = room;
	if (deflate(&k->z, Z_FINISH) != Z_STREAM_END)
		return -ENOSPC;
	*n = room - k->z.avail_out;
	return 0;
}

int qcow2_pack(struct qcow2_packer *k, const void *p, size_t bytes, void *out, size_t *n)
{
	if (bytes < k->cluster_bytes) {
		memcpy(k->whole, p, bytes);
		memset(k->whole + bytes, 0, k->cluster_bytes - bytes);
		p = k->whole;
	}
	return k->zstd ? pack_zstd(k, p, out, n) : pack_zlib(k, p, out, n);
}
