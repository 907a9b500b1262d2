/*
 * compress.c - deflate and inflate, a page a job
 *
 * Sending: a worker copies the page first, for the guest may be writing it,
 * and what it deflates must not change.  Results go out in the order of the
 * pages.  All that is under way goes out before a record ends, so that a page
 * which becomes dirty again is never overtaken by its older content, and
 * before another block is named, so that every COMPRESS record belongs to the
 * block named last.  The first page of a block goes to the encoders behind.
 * A page that does not get smaller is sent as it is.
 *
 * Receiving: workers inflate into the guest's memory.  Records of one section
 * may name the same page again: the reader then waits for the first one to be done.
 */
#include "migration/ram/encode/compress.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "migration/ram/encode/page-pool.h"
#include "migration/ram/encode/xbzrle.h"
#include "vmm/base/alloc.h"
#include "vmm/base/bytes.h"
#include "vmm/base/error.h"

#define WORD_BYTES 8 /* not counted in the compressed bytes, as the interface has it */

/* ---- deflate ---- */

static void *deflate_open(int level, struct err *err)
{
	z_stream *z = NEW(z_stream);

	if (deflateInit(z, level) == Z_OK)
		return z;
	free(z);
	(void)err_set(err, ENOMEM, "zlib cannot start to compress at level %d", level);
	return NULL;
}

static void deflate_close(void *state)
{
	(void)deflateEnd(state);
	free(state);
}

static void deflate_run(void *state, struct page_job *job)
{
	z_stream *z = state;

	memcpy(job->plain, job->page.block->hva + job->page.off, PAGE_BYTES);
	z->next_in = job->plain;
	z->avail_in = PAGE_BYTES;
	z->next_out = job->packed;
	z->avail_out = sizeof(job->packed);
	job->failed = deflateReset(z) != Z_OK || deflate(z, Z_FINISH) != Z_STREAM_END;
	job->packed_bytes = (uint32_t)(sizeof(job->packed) - z->avail_out);
}

static const struct page_work deflate_work = {
    .name = "mig-pack",
    .open = deflate_open,
    .close = deflate_close,
    .run = deflate_run,
};

/* ---- sending ---- */

struct compress_save {
	struct page_pool *pool; /* owned */
	bool wait;              /* for a free thread, rather than send a page as it is */
};

int compress_save_start(struct ram_stream *s, unsigned threads, int level, bool wait,
			struct err *err)
{
	struct page_pool *pool = page_pool_new(&deflate_work, threads, level, err);

	if (!pool)
		return -ENOMEM;
	s->compress = NEW(struct compress_save);
	s->compress->pool = pool;
	s->compress->wait = wait;
	return 0;
}

static void compress_fini(struct ram_stream *s)
{
	if (s->compress)
		page_pool_free(s->compress->pool);
	free(s->compress);
	s->compress = NULL;
}

static int put_plain_copy(struct ram_stream *s, const struct page_job *job)
{
	int ret = ram_put_page_header(s, &job->page, RAM_FLAG_PAGE);

	s->count.normal++;
	return ret < 0 ? ret : writer_put(s->w, job->plain, PAGE_BYTES);
}

static int put_compressed(struct ram_stream *s, const struct page_job *job)
{
	int ret = ram_put_run(s);
	uint64_t before = s->w->bytes;
	uint8_t head[4];

	if (ret == 0)
		ret = ram_put_page_header(s, &job->page, RAM_FLAG_COMPRESS);
	put_be32(head, job->packed_bytes);
	if (ret == 0)
		ret = writer_put(s->w, head, sizeof(head));
	if (ret == 0)
		ret = writer_put(s->w, job->packed, job->packed_bytes);
	s->count.compress_pages++;
	s->count.compress_bytes += s->w->bytes - before - WORD_BYTES;
	return ret;
}

/* Send what is done, oldest first; 'wait': until nothing is under way. */
static int send_done(struct ram_stream *s, bool wait)
{
	struct page_pool *pool = s->compress->pool;
	const struct page_job *job;
	int ret = 0;

	while (ret == 0 && (job = page_pool_oldest(pool, wait))) {
		bool smaller = !job->failed && job->packed_bytes + 4 < PAGE_BYTES;

		ret = smaller ? put_compressed(s, job) : put_plain_copy(s, job);
		page_pool_release(pool);
	}
	return ret;
}

static int compress_drain(struct ram_stream *s)
{
	return send_done(s, true);
}

static int order_blocks(struct ram_stream *s, const struct page *p)
{
	return p->block == s->last_block ? 0 : send_done(s, true);
}

const struct page_encoder encode_block_order = {.name = "block-order", .encode = order_blocks};

/* A job for the next page; NULL: all threads are busy.  *ret: -errno of what had to be sent. */
static struct page_job *free_job(struct ram_stream *s, int *ret)
{
	struct page_pool *pool = s->compress->pool;
	struct page_job *job = page_pool_next(pool);

	if (job)
		return job;
	if (s->compress->wait)
		(void)page_pool_oldest(pool, true);
	*ret = send_done(s, false);
	return *ret < 0 ? NULL : page_pool_next(pool);
}

static int compress_page(struct ram_stream *s, const struct page *p)
{
	struct page_job *job;
	int ret = 0;

	if (p->block != s->last_block || xbzrle_active(s))
		return 0;
	job = free_job(s, &ret);
	if (!job) {
		s->count.compress_busy++;
		return ret;
	}
	job->page = *p;
	page_pool_submit(s->compress->pool);
	return 1;
}

const struct page_encoder encode_compress = {
    .name = "compress",
    .encode = compress_page,
    .drain = compress_drain,
    .fini = compress_fini,
};

/* ---- inflate ---- */

static void *inflate_open(int level, struct err *err)
{
	z_stream *z = NEW(z_stream);

	(void)level;
	if (inflateInit(z) == Z_OK)
		return z;
	free(z);
	(void)err_set(err, ENOMEM, "zlib cannot start to decompress");
	return NULL;
}

static void inflate_close(void *state)
{
	(void)inflateEnd(state);
	free(state);
}

/* One whole stream, of just a page, and nothing behind it. */
static void inflate_run(void *state, struct page_job *job)
{
	z_stream *z = state;

	z->next_in = job->packed;
	z->avail_in = job->packed_bytes;
	z->next_out = job->page.block->hva + job->page.off;
	z->avail_out = PAGE_BYTES;
	job->failed = inflateReset(z) != Z_OK || inflate(z, Z_FINISH) != Z_STREAM_END ||
		      z->avail_out || z->avail_in;
}

static const struct page_work inflate_work = {
    .name = "mig-unpack",
    .open = inflate_open,
    .close = inflate_close,
    .run = inflate_run,
};

/* ---- receiving ---- */

size_t decompress_max_bytes(void)
{
	size_t max = compressBound(PAGE_BYTES);

	return MIN(max, PAGE_PACKED_MAX);
}

struct page_pool *decompress_new(unsigned threads, struct err *err)
{
	return page_pool_new(&inflate_work, threads, 0, err);
}

/* Look at the oldest result.  1: there was one. */
static int take_result(struct page_pool *pool, struct err *err)
{
	const struct page_job *job = page_pool_oldest(pool, true);
	int ret = 1;

	if (!job)
		return 0;
	if (job->failed)
		ret = err_set(err, EINVAL,
			      "the compressed page at offset 0x%" PRIx64
			      " of RAM block '%s' does not unpack to a page",
			      job->page.off, job->page.block->name);
	page_pool_release(pool);
	return ret;
}

int decompress_page(struct page_pool *pool, const struct page *p, const uint8_t *packed, size_t n,
		    struct err *err)
{
	struct page_job *job = page_pool_next(pool);

	assert(n <= sizeof(job->packed)); /* our caller has looked at decompress_max_bytes() */
	if (!job) {
		int ret = take_result(pool, err);

		if (ret < 0)
			return ret;
		job = page_pool_next(pool);
	}
	job->page = *p;
	memcpy(job->packed, packed, n);
	job->packed_bytes = (uint32_t)n;
	page_pool_submit(pool);
	return 0;
}

int decompress_sync(struct page_pool *pool, const struct page *p, struct err *err)
{
	int ret = 1;

	while (ret > 0 && (!p || page_pool_has(pool, p)))
		ret = take_result(pool, err);
	return ret;
}
