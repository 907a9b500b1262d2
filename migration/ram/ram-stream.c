/*
 * ram-stream.c - a page's way into one channel: the encoders in turn, then the sink
 *
 * Each encoder is asked in the order of the row; the first that wants the page
 * writes its record.  A page that no encoder wants goes to the sink whole.  The
 * block's name is written only when it is another one than in the record before
 * (RAM_FLAG_CONTINUE).
 *
 * The sink of this file is the stream itself.  When the peer takes runs, a whole
 * page waits for the one behind it in memory, and neighbours go out as one run
 * with one header; any other record writes the waiting run first.
 */
#include "migration/ram/ram-stream.h"

#include <string.h>

#include "migration/ram/lazy/page-index.h"
#include "vmm/base/bytes.h"
#include "vmm/base/units.h"

void ram_stream_init(struct ram_stream *rs, struct writer *w, uint32_t section_id,
		     const struct page_encoder *const *encoders)
{
	*rs = (struct ram_stream){
	    .w = w,
	    .section_id = section_id,
	    .encoders = encoders,
	    .sink = &sink_stream,
	};
}

void ram_stream_fini(struct ram_stream *rs)
{
	for (const struct page_encoder *const *e = rs->encoders; e && *e; e++)
		if ((*e)->fini)
			(*e)->fini(rs);
}

void ram_stream_plain(struct ram_stream *rs)
{
	ram_stream_fini(rs);
	rs->encoders = precopy_encoders;
	rs->sink = &sink_stream;
	rs->zero_pages = ZERO_IN_STREAM;
	rs->last_block = NULL;
}

int ram_stream_put(struct ram_stream *rs, const struct page *p)
{
	rs->unflushed = true;
	for (const struct page_encoder *const *e = rs->encoders; *e; e++) {
		int ret = (*e)->encode(rs, p);

		if (ret)
			return ret;
	}
	return 0;
}

int ram_stream_put_run(struct ram_stream *rs)
{
	return rs->sink->put_run ? rs->sink->put_run(rs) : 0;
}

int ram_stream_begin(struct ram_stream *rs, enum stream_tag tag)
{
	uint8_t head[5];

	rs->final = tag == TAG_END;
	if (rs->index)
		page_index_begin_record(rs->index, rs->w->bytes);
	head[0] = (uint8_t)tag;
	put_be32(head + 1, rs->section_id);
	return writer_put(rs->w, head, sizeof(head));
}

int ram_stream_end(struct ram_stream *rs, bool flush)
{
	uint8_t tail[8 + 5];
	int ret = 0;

	for (const struct page_encoder *const *e = rs->encoders; ret == 0 && *e; e++)
		if ((*e)->drain)
			ret = (*e)->drain(rs);
	if (ret == 0 && rs->sink->end)
		ret = rs->sink->end(rs, flush);
	if (ret < 0)
		return ret;
	if (flush)
		rs->unflushed = false;
	put_be64(tail, RAM_FLAG_EOS);
	tail[8] = TAG_FOOTER;
	put_be32(tail + 9, rs->section_id);
	ret = writer_put(rs->w, tail, sizeof(tail));
	if (rs->index)
		page_index_end_record(rs->index, rs->w->bytes);
	return ret < 0 ? ret : writer_flush(rs->w);
}

/* ---- records ---- */

/* The word, and the block's name unless it is the one named last. */
static int put_header(struct ram_stream *rs, const struct page *p, uint64_t flags)
{
	uint8_t head[8 + 1 + RAM_NAME_BYTES];
	size_t n = 8;

	if (p->block == rs->last_block) {
		flags |= RAM_FLAG_CONTINUE;
	} else {
		size_t len = strlen(p->block->name);

		head[n++] = (uint8_t)len;
		memcpy(head + n, p->block->name, len);
		n += len;
		rs->last_block = p->block;
	}
	put_be64(head, p->off | flags);
	return writer_put(rs->w, head, n);
}

/* The next byte of the stream is the first of these pages' content. */
static void note_pages(const struct ram_stream *rs, const struct page *p, uint64_t n)
{
	if (rs->index)
		page_index_add(rs->index, memory_block_index(rs->mem, p->block),
			       p->off / PAGE_BYTES, n, rs->w->bytes);
}

static int put_plain(struct ram_stream *rs, const struct page *p, const void *content)
{
	int ret = put_header(rs, p, RAM_FLAG_PAGE);

	note_pages(rs, p, 1);
	rs->count.normal++;
	return ret < 0 ? ret : writer_ref(rs->w, content, PAGE_BYTES);
}

void ram_note_zero(const struct ram_stream *rs, const struct page *p)
{
	if (rs->index)
		page_index_add_zero(rs->index, memory_block_index(rs->mem, p->block),
				    p->off / PAGE_BYTES);
}

int ram_put_run(struct ram_stream *rs)
{
	uint64_t pages = rs->run_pages;
	const uint8_t *content;
	uint8_t n[4];
	int ret;

	if (!pages)
		return 0;
	rs->run_pages = 0;
	content = page_content(&rs->run);
	if (pages == 1)
		return put_plain(rs, &rs->run, content);
	put_be32(n, (uint32_t)pages);
	ret = put_header(rs, &rs->run, RAM_FLAG_RUN);
	if (ret == 0)
		ret = writer_put(rs->w, n, sizeof(n));
	note_pages(rs, &rs->run, pages);
	rs->count.normal += pages;
	return ret < 0 ? ret : writer_pages(rs->w, content, pages * PAGE_BYTES);
}

int ram_put_page_header(struct ram_stream *rs, const struct page *p, uint64_t flags)
{
	int ret = ram_put_run(rs);

	return ret < 0 ? ret : put_header(rs, p, flags);
}

int ram_put_plain(struct ram_stream *rs, const struct page *p, const void *content)
{
	int ret = ram_put_run(rs);

	if (ret == 0)
		ret = put_plain(rs, p, content);
	return ret < 0 ? ret : 1;
}

/* ---- the sink that is this stream ---- */

/* With a peer that takes runs, wait for the page behind this one. */
static int stream_put_page(struct ram_stream *rs, const struct page *p)
{
	int ret;

	if (!rs->runs)
		return put_plain(rs, p, page_content(p));
	if (rs->run_pages && p->block == rs->run.block &&
	    p->off == rs->run.off + rs->run_pages * PAGE_BYTES &&
	    page_content(p) == page_content(&rs->run) + rs->run_pages * PAGE_BYTES) {
		rs->run_pages++;
		return 0;
	}
	ret = ram_put_run(rs);
	rs->run = *p;
	rs->run_pages = 1;
	return ret;
}

const struct page_sink sink_stream = {
    .name = "stream",
    .put_page = stream_put_page,
    .put_run = ram_put_run,
};
