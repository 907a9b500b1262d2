/* zstd.c - packets of pages as one zstd frame per channel (migration-stream 4.4) */
#include <errno.h>
#include <sys/uio.h>
#include <zstd.h>

#include "migration/ram/multifd/multifd.h"
#include "vmm/base/error.h"

/* The window of level 20; a larger one would only make the receiver allocate more. */
#define MAX_WINDOW_LOG 25

/* ---- sender ---- */

static void *zstd_deflate_new(unsigned level, struct err *err)
{
	ZSTD_CStream *zs = ZSTD_createCStream();
	size_t ret;

	if (!zs) {
		(void)err_set(err, ENOMEM, "no memory for zstd");
		return NULL;
	}
	ret = ZSTD_CCtx_setParameter(zs, ZSTD_c_compressionLevel, (int)level);
	if (!ZSTD_isError(ret))
		return zs;
	(void)err_set(err, EINVAL, "zstd does not know level %u: %s", level,
		      ZSTD_getErrorName(ret));
	(void)ZSTD_freeCStream(zs);
	return NULL;
}

static void zstd_deflate_free(void *state)
{
	(void)ZSTD_freeCStream(state);
}

/* NOLINTNEXTLINE(readability-non-const-parameter): zstd writes there */
static int zstd_deflate_page(void *state, const uint8_t *page, bool last, uint8_t *out, size_t room,
			     size_t *n, struct err *err)
{
	ZSTD_inBuffer from = {.src = page, .size = PAGE_BYTES};
	ZSTD_outBuffer to = {.dst = out, .size = room, .pos = *n};
	size_t ret;

	do {
		ret =
		    ZSTD_compressStream2(state, &to, &from, last ? ZSTD_e_flush : ZSTD_e_continue);
	} while (!ZSTD_isError(ret) && to.pos < room && (from.pos < from.size || (last && ret)));
	if (ZSTD_isError(ret))
		return err_set(err, EIO, "zstd cannot compress a page: %s", ZSTD_getErrorName(ret));
	if (from.pos < from.size || (last && ret))
		return err_set(err, EIO, "zstd makes a packet larger than %zu bytes", room);
	*n = to.pos;
	return 0;
}

/* ---- receiver ---- */

static void *zstd_inflate_new(struct err *err)
{
	ZSTD_DStream *zs = ZSTD_createDStream();

	if (!zs || ZSTD_isError(ZSTD_DCtx_setParameter(zs, ZSTD_d_windowLogMax, MAX_WINDOW_LOG))) {
		(void)ZSTD_freeDStream(zs);
		(void)err_set(err, ENOMEM, "no memory for zstd");
		return NULL;
	}
	return zs;
}

static void zstd_inflate_free(void *state)
{
	(void)ZSTD_freeDStream(state);
}

/* Into to[0..n) until it is full or the input used up; *got: how much came. */
static int inflate_some(ZSTD_DStream *zs, ZSTD_inBuffer *from, void *to, size_t n, size_t *got,
			struct err *err)
{
	ZSTD_outBuffer out = {.dst = to, .size = n};
	size_t before, ret;

	do {
		before = from->pos + out.pos;
		ret = ZSTD_decompressStream(zs, &out, from);
		if (ZSTD_isError(ret))
			return err_set(err, EINVAL, "a packet is no zstd data: %s",
				       ZSTD_getErrorName(ret));
	} while (out.pos < n && from->pos + out.pos > before);
	*got = out.pos;
	return 0;
}

static int zstd_inflate(void *state, const uint8_t *in, size_t n, const struct iovec *to, int n_to,
			struct err *err)
{
	ZSTD_inBuffer from = {.src = in, .size = n};
	uint8_t beyond;
	size_t got = 0;
	int ret;

	for (int i = 0; i < n_to; i++) {
		ret = inflate_some(state, &from, to[i].iov_base, to[i].iov_len, &got, err);
		if (ret < 0)
			return ret;
		if (got < to[i].iov_len)
			return err_set(err, EINVAL, "a packet holds less than its pages");
	}
	ret = inflate_some(state, &from, &beyond, sizeof(beyond), &got, err);
	if (ret == 0 && (got || from.pos < n))
		return err_set(err, EINVAL, "a packet holds more than its pages");
	return ret;
}

const struct multifd_method multifd_zstd = {
    .name = "zstd",
    .flag = 2,
    .deflate_new = zstd_deflate_new,
    .deflate_free = zstd_deflate_free,
    .deflate_page = zstd_deflate_page,
    .inflate_new = zstd_inflate_new,
    .inflate_free = zstd_inflate_free,
    .inflate = zstd_inflate,
};
