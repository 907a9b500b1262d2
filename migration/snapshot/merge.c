/*
 * merge.c - of several streams one is made: the pages of the newest first, then what older ones
 * have of those that are missing yet
 *
 * Each stream is read once, from front to back, and nothing is held but a bit for each page.  The
 * header and the list of blocks are those of the newest, and so is all behind the pages, copied as
 * it is; the index of the pages is made anew (lazy/page-index.h), and keeps the identity, for it is
 * the same guest.
 */
#include "migration/snapshot/merge.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "devices/block/qcow2/qcow2.h"
#include "migration/ram/lazy/page-index.h"
#include "migration/ram/ram.h"
#include "migration/snapshot/chain.h"
#include "migration/snapshot/scan.h"
#include "migration/stream/wire.h"
#include "vmm/base/alloc.h"
#include "vmm/base/bitmap.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"

#define PIECE_BYTES  (1 * MiB) /* read and written at a time */
#define RECORD_PAGES 1024U

struct merge {
	struct qcow2 *q;
	const struct merge_progress *progress;
	struct qcow2_restate *to;
	/* writing */
	struct buf out;   /* not written yet */
	uint64_t written; /* bytes in front of it */
	uint32_t ram_id;
	uint32_t in_record; /* pages of the record that is open; 0: none is */
	int last;           /* block named last in it */
	/* pages */
	struct memory mem; /* the blocks' names and sizes, and nothing else */
	struct page_index *index;
	uint64_t *have[MEMORY_MAX_BLOCKS]; /* owned: pages that have been written */
	uint64_t *here[MEMORY_MAX_BLOCKS]; /* owned: pages that the present stream has had */
	size_t map[MEMORY_MAX_BLOCKS];     /* its blocks, as numbers of the newest's */
	uint64_t pages, left;
};

/* ---- a snapshot's stream as a src ---- */

struct merge_source {
	struct src src;
	struct merge *m;
	const struct snapshot_link *link;
	uint8_t *buf; /* owned */
	uint64_t at;  /* of the next byte that is read from the image */
	uint64_t end; /* of the stream: the index is behind it */
	struct err err;
};

static int source_fill(struct src *s, size_t n)
{
	struct merge_source *f = s->opaque;

	memmove(f->buf, f->buf + s->at, s->len - s->at);
	s->base += s->at;
	s->len -= s->at;
	s->at = 0;
	while (s->len < n && f->at < f->end) {
		size_t piece = (size_t)MIN(PIECE_BYTES, f->end - f->at);
		int ret = qcow2_snapshot_read(f->m->q, f->link->id, f->buf + s->len, piece,
					      f->link->off + f->at, &f->err);

		if (ret < 0)
			return ret;
		s->len += piece;
		f->at += piece;
		if (f->m->progress)
			f->m->progress->fn(f->m->progress->opaque, piece);
	}
	return 0;
}

static int link_read(void *opaque, void *buf, size_t n, uint64_t pos, struct err *err)
{
	const struct merge_source *f = opaque;

	return qcow2_snapshot_read(f->m->q, f->link->id, buf, n, f->link->off + pos, err);
}

/* 'identity' gets that of its index; zeroes: it has none. */
static int source_open(struct merge_source *f, struct merge *m, const struct snapshot_link *link,
		       uint8_t identity[PAGE_INDEX_IDENTITY], struct err *err)
{
	const struct page_index_file file = {.read = link_read, .opaque = f, .bytes = link->bytes};
	struct page_index *ix = NULL;
	int ret;

	*f = (struct merge_source){.m = m, .link = link, .end = link->bytes};
	f->buf = malloc(2 * PIECE_BYTES);
	f->src = (struct src){.data = f->buf, .fill = source_fill, .opaque = f};
	if (!f->buf)
		return err_set(err, ENOMEM, "no memory to read a snapshot");
	ret = page_index_read(&ix, &file, err);
	if (ret == 0) {
		f->end = ix->stream_bytes;
		memcpy(identity, ix->identity, PAGE_INDEX_IDENTITY);
	}
	page_index_free(ix);
	if (ret == -ENOENT)
		return 0;
	return ret < 0 ? err_prefix(err, ret, "the index of its pages") : 0;
}

/* ---- what is written ---- */

static int flush(struct merge *m, struct err *err)
{
	struct iovec iov = {m->out.data, m->out.len};
	int ret = m->out.len ? qcow2_restate_write(m->to, &iov, 1, m->written, err) : 0;

	m->written += m->out.len;
	buf_clear(&m->out);
	return ret;
}

static int flush_much(struct merge *m, struct err *err)
{
	return m->out.len >= PIECE_BYTES ? flush(m, err) : 0;
}

static uint64_t position(const struct merge *m)
{
	return m->written + m->out.len;
}

static void end_record(struct merge *m)
{
	if (!m->in_record)
		return;
	buf_be64(&m->out, RAM_FLAG_EOS);
	buf_u8(&m->out, TAG_FOOTER);
	buf_be32(&m->out, m->ram_id);
	page_index_end_record(m->index, position(m));
	m->in_record = 0;
}

static void begin_record(struct merge *m)
{
	if (m->in_record)
		return;
	page_index_begin_record(m->index, position(m));
	buf_u8(&m->out, TAG_PART);
	buf_be32(&m->out, m->ram_id);
	m->last = -1;
}

static int put_page(struct merge *m, size_t block, uint64_t page, const uint8_t *content,
		    struct err *err)
{
	uint64_t word = page * PAGE_BYTES | (content ? RAM_FLAG_PAGE : RAM_FLAG_ZERO);
	bool again;

	begin_record(m);
	again = m->last == (int)block;
	m->last = (int)block;
	buf_be64(&m->out, word | (again ? RAM_FLAG_CONTINUE : 0));
	if (!again)
		buf_str8(&m->out, m->mem.blocks[block]->name);
	if (content) {
		page_index_add(m->index, block, page, 1, position(m));
		buf_put(&m->out, content, PAGE_BYTES);
	} else {
		page_index_add_zero(m->index, block, page);
		buf_u8(&m->out, 0);
	}
	if (++m->in_record == RECORD_PAGES)
		end_record(m);
	return flush_much(m, err);
}

/* ---- pages ---- */

static int merge_page(void *opaque, size_t block, uint64_t page, const uint8_t *content,
		      struct err *err)
{
	struct merge *m = opaque;
	size_t b = m->map[block];

	if (bitmap_test(m->here[b], page))
		return err_set(err, EINVAL, "page %llu of RAM block '%s' is in it twice",
			       (unsigned long long)page, m->mem.blocks[b]->name);
	bitmap_set(m->here[b], page);
	if (bitmap_test(m->have[b], page))
		return 0; /* a newer stream has it */
	bitmap_set(m->have[b], page);
	m->left--;
	return put_page(m, b, page, content, err);
}

/* Its blocks are those of the newest, in whatever order. */
static int map_blocks(struct merge *m, const struct stream_scan *s, struct err *err)
{
	for (size_t i = 0; i < s->n; i++) {
		size_t k = 0;

		while (k < m->mem.n_blocks &&
		       strcmp(m->mem.blocks[k]->name, s->blocks[i].name) != 0)
			k++;
		if (k == m->mem.n_blocks ||
		    m->mem.blocks[k]->bytes / PAGE_BYTES != s->blocks[i].pages)
			return err_set(err, EINVAL,
				       "RAM block '%s' is of another size, or not there, in the "
				       "snapshot that stands on it",
				       s->blocks[i].name);
		m->map[i] = k;
		bitmap_reset(m->here[k], s->blocks[i].pages);
	}
	return 0;
}

/* The newest says which blocks there are. */
static int take_blocks(struct merge *m, const struct stream_scan *s, struct err *err)
{
	for (size_t i = 0; i < s->n; i++) {
		struct ram_block *b = NEW(struct ram_block);

		memcpy(b->name, s->blocks[i].name, sizeof(b->name));
		b->bytes = s->blocks[i].pages * PAGE_BYTES;
		m->mem.blocks[m->mem.n_blocks++] = b;
		m->have[i] = bitmap_new(s->blocks[i].pages);
		m->here[i] = bitmap_new(s->blocks[i].pages);
		if (!m->have[i] || !m->here[i])
			return err_set(err, ENOMEM, "no memory for a bit for each page");
		m->left += s->blocks[i].pages;
	}
	m->ram_id = s->ram_id;
	m->index = page_index_new(&m->mem);
	buf_put(&m->out, s->head.data, s->head.len);
	buf_put(&m->out, s->list.data, s->list.len);
	return 0;
}

/* Pages of one stream; what is behind them in the newest is copied to 'rest'. */
static int merge_pages(struct merge *m, struct merge_source *f, bool newest, uint64_t *devices,
		       struct err *err)
{
	struct stream_scan s = {.in = &f->src};
	int ret = stream_scan_begin(&s, err);

	if (ret == 0 && newest)
		ret = take_blocks(m, &s, err);
	if (ret == 0)
		ret = map_blocks(m, &s, err);
	if (ret == 0)
		ret = stream_scan_pages(&s, merge_page, m, err);
	if (newest)
		*devices = src_offset(&f->src);
	stream_scan_fini(&s);
	if (ret < 0 && f->err.errnum) /* the image's own words */
		ret = err_set(err, f->err.errnum, "%s", f->err.msg);
	return ret;
}

static int merge_stream(struct merge *m, const struct snapshot_link *link, bool newest,
			uint64_t *devices, uint64_t *end, uint8_t identity[PAGE_INDEX_IDENTITY],
			struct err *err)
{
	struct merge_source f;
	int ret = source_open(&f, m, link, identity, err);

	if (ret == 0)
		ret = merge_pages(m, &f, newest, devices, err);
	if (newest)
		*end = f.end;
	free(f.buf);
	return ret < 0 ? err_prefix(err, ret, "snapshot '%.100s'", link->name) : 0;
}

/* ---- the end ---- */

static int copy_rest(struct merge *m, const struct snapshot_link *link, uint64_t from, uint64_t end,
		     struct err *err)
{
	while (from < end) {
		size_t n = (size_t)MIN(PIECE_BYTES, end - from);
		int ret = qcow2_snapshot_read(m->q, link->id, buf_room(&m->out, n), n,
					      link->off + from, err);

		if (ret < 0)
			return ret;
		m->out.len += n;
		from += n;
		ret = flush_much(m, err);
		if (ret < 0)
			return ret;
	}
	return 0;
}

static int put_index(void *opaque, const void *p, size_t n)
{
	buf_put(opaque, p, n);
	return 0;
}

static int finish(struct merge *m, struct err *err)
{
	if (page_index_complete(m->index, position(m)) == 0)
		(void)page_index_write(m->index, put_index, &m->out);
	return flush(m, err);
}

static int merge_all(struct merge *m, const struct snapshot_chain *chain, struct err *err)
{
	uint8_t identity[PAGE_INDEX_IDENTITY] = {0}, other[PAGE_INDEX_IDENTITY] = {0};
	static const uint8_t none[PAGE_INDEX_IDENTITY];
	uint64_t devices = 0, end = 0;
	int ret = 0;

	for (size_t i = 0; ret == 0 && i < chain->n; i++)
		ret = merge_stream(m, &chain->v[i], i == 0, &devices, &end, i ? other : identity,
				   err);
	if (ret < 0)
		return ret;
	if (m->left)
		return err_set(err, EINVAL,
			       "%llu pages are in none of the snapshots: '%.100s' is not whole",
			       (unsigned long long)m->left, chain->v[chain->n - 1].name);
	end_record(m);
	if (memcmp(identity, none, sizeof(none)) != 0)
		memcpy(m->index->identity, identity, sizeof(identity));
	ret = copy_rest(m, &chain->v[0], devices, end, err);
	return ret == 0 ? finish(m, err) : ret;
}

static void merge_fini(struct merge *m)
{
	for (size_t i = 0; i < m->mem.n_blocks; i++) {
		free(m->mem.blocks[i]);
		free(m->have[i]);
		free(m->here[i]);
	}
	page_index_free(m->index);
	buf_free(&m->out);
}

int snapshot_merge(struct qcow2 *q, const struct snapshot_chain *chain,
		   const struct merge_progress *progress, struct err *err)
{
	struct merge m = {.q = q, .progress = progress};
	int ret = qcow2_restate_begin(q, chain->v[0].id, &m.to, err);

	if (ret < 0)
		return ret;
	ret = merge_all(&m, chain, err);
	if (ret < 0)
		qcow2_restate_abort(m.to);
	else
		ret = qcow2_restate_commit(m.to, m.written, err);
	merge_fini(&m);
	return ret;
}
