/* zlib.c - packets of pages as one zlib stream per channel (migration-stream 4.4) */
#include <errno.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <zlib.h>

#include "migration/ram/multifd/multifd.h"
#include "vmm/base/alloc.h"
#include "vmm/base/error.h"

static const char *why(const z_stream *zs, int ret)
{
	return zs->msg ? zs->msg : zError(ret);
}

/* ---- sender ---- */

static void *zlib_deflate_new(unsigned level, struct err *err)
{
	z_stream *zs = NEW(z_stream);
	int ret = deflateInit(zs, (int)level);

	if (ret == Z_OK)
		return zs;
	(void)err_set(err, ENOMEM, "cannot start zlib: %s", why(zs, ret));
	free(zs);
	return NULL;
}

static void zlib_deflate_free(void *state)
{
	if (state)
		(void)deflateEnd(state);
	free(state);
}

static int zlib_deflate_page(void *state, const uint8_t *page, bool last, uint8_t *out, size_t room,
			     size_t *n, struct err *err)
{
	z_stream *zs = state;
	int ret;

	zs->next_in = (z_const Bytef *)page;
	zs->avail_in = PAGE_BYTES;
	zs->next_out = out + *n;
	zs->avail_out = (uInt)(room - *n);
	ret = deflate(zs, last ? Z_SYNC_FLUSH : Z_NO_FLUSH);
	if (ret != Z_OK || zs->avail_in || !zs->avail_out)
		return err_set(err, EIO, "zlib cannot compress a page: %s", why(zs, ret));
	*n = room - zs->avail_out;
	return 0;
}

/* ---- receiver ---- */

static void *zlib_inflate_new(struct err *err)
{
	z_stream *zs = NEW(z_stream);
	int ret = inflateInit(zs);

	if (ret == Z_OK)
		return zs;
	(void)err_set(err, ENOMEM, "cannot start zlib: %s", why(zs, ret));
	free(zs);
	return NULL;
}

static void zlib_inflate_free(void *state)
{
	if (state)
		(void)inflateEnd(state);
	free(state);
}

/* Into to[0..n) until it is full or the input used up. */
static int inflate_some(z_stream *zs, void *to, size_t n, struct err *err)
{
	zs->next_out = to;
	zs->avail_out = (uInt)n;
	while (zs->avail_in && zs->avail_out) {
		int ret = inflate(zs, Z_SYNC_FLUSH);

		if (ret != Z_OK)
			return err_set(err, EINVAL, "a packet is no zlib data: %s", why(zs, ret));
	}
	return 0;
}

static int zlib_inflate(void *state, const uint8_t *in, size_t n, const struct iovec *to, int n_to,
			struct err *err)
{
	z_stream *zs = state;
	uint8_t beyond;
	int ret;

	zs->next_in = (z_const Bytef *)in;
	zs->avail_in = (uInt)n;
	for (int i = 0; i < n_to; i++) {
		ret = inflate_some(zs, to[i].iov_base, to[i].iov_len, err);
		if (ret < 0)
			return ret;
		if (zs->avail_out)
			return err_set(err, EINVAL, "a packet holds less than its pages");
	}
	ret = inflate_some(zs, &beyond, sizeof(beyond), err); /* the flush, perhaps */
	if (ret == 0 && !zs->avail_out)
		return err_set(err, EINVAL, "a packet holds more than its pages");
	return ret;
}

const struct multifd_method multifd_zlib = {
    .name = "zlib",
    .flag = 1,
    .deflate_new = zlib_deflate_new,
    .deflate_free = zlib_deflate_free,
    .deflate_page = zlib_deflate_page,
    .inflate_new = zlib_inflate_new,
    .inflate_free = zlib_inflate_free,
    .inflate = zlib_inflate,
};
