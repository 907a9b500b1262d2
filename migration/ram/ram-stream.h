/*
 * ram-stream.h - one channel's way for pages: encoders, sink, writer
 *
 * A page is offered to the encoders in turn; the first that wants it turns it
 * into a record, and the last one gives it whole to the sink.  A sink is where
 * whole pages go: into this stream, or over channels beside it.  One
 * thread's; a migration may have several of them over one page-set.
 */
#ifndef MINIVMM_MIGRATION_RAM_STREAM_H
#define MINIVMM_MIGRATION_RAM_STREAM_H

#include <stdbool.h>
#include <stdint.h>

#include "migration/stream/device-state.h"
#include "migration/stream/wire.h"
#include "migration/stream/writer.h"
#include "vmm/memory/memory.h"

struct compress_save;
struct mapped_save;
struct multifd_send;
struct page_index;
struct ram_stream;
struct xbzrle_save;

struct page {
	struct ram_block *block;
	uint64_t off; /* bytes, in the block */
	uint8_t
	    *copy; /* its content, which the guest may have changed since; NULL: read it there */
	bool untouched; /* known to be zero; must not be read, that would populate it */
};

static inline uint8_t *page_content(const struct page *p)
{
	return p->copy ? p->copy : p->block->hva + p->off;
}

struct page_encoder {
	const char *name;
	/* 1: the page is on its way, 0: not for me, or -errno */
	int (*encode)(struct ram_stream *rs, const struct page *p);
	/* The record ends: what is still being worked on goes out now.  May be NULL. */
	int (*drain)(struct ram_stream *rs);
	/* Give up what the encoder holds.  May be NULL. */
	void (*fini)(struct ram_stream *rs);
};

/* All functions: 0, or -errno with the writer's or the channel's words. */
struct page_sink {
	const char *name;
	/*
	 * The block has been listed: what else stands in its entry.  'left_out': none of its
	 * pages will come.  NULL: nothing.
	 */
	int (*list_block)(struct ram_stream *rs, struct ram_block *b, bool left_out);
	/* A page as page_content() has it, to be read at the next flush or sync at the latest. */
	int (*put_page)(struct ram_stream *rs, const struct page *p);
	/* A run of pages ends: they need not wait for one that follows.  May be NULL. */
	int (*put_run)(struct ram_stream *rs);
	/* A record ends; 'flush': as in ram_stream_end().  May be NULL. */
	int (*end)(struct ram_stream *rs, bool flush);
};

extern const struct page_encoder encode_zero, encode_plain;
extern const struct page_encoder *const precopy_encoders[];
extern const struct page_sink sink_stream;

/* Pages, bytes and events since the migration began. */
struct ram_counters {
	uint64_t duplicate, normal; /* ZERO and PAGE records */
	uint64_t skipped;           /* pages left out, for they were never touched */
	/* xbzrle: pages found in the cache; bytes behind the words of their records */
	uint64_t xbzrle_pages, xbzrle_bytes, xbzrle_miss, xbzrle_overflow;
	/* compress: COMPRESS records; pages that found all threads busy */
	uint64_t compress_pages, compress_bytes, compress_busy;
};

/* Who looks for zero pages. */
enum zero_pages {
	ZERO_IN_STREAM,   /* the encoders */
	ZERO_UNTOUCHED,   /* nobody: only those that were never touched are known */
	ZERO_IN_CHANNELS, /* the sink */
};

/* Pages that have gone over multifd's channels. */
struct multifd_pages {
	uint64_t normal, zero;
};

struct ram_stream {
	struct writer *w; /* borrowed */
	uint32_t section_id;
	const struct page_encoder *const *encoders; /* NULL-terminated; the last takes any page */
	const struct page_sink *sink;
	struct multifd_send *multifd; /* borrowed; that sink's */
	struct mapped_save *mapped;   /* likewise */
	bool flush_pass; /* that sink flushes at the end of each pass, and not of each record ... */
	bool exact; /* ... but is done with each record's pages at its end, and has counted them */
	bool held;  /* the START record's sync round waits for ram_save_release() */
	bool unflushed;               /* pages have been put since the last flush */
	struct multifd_pages counted; /* of the sink's, in 'count' */
	enum zero_pages zero_pages;
	bool runs;                          /* the peer understands RUN */
	const struct ram_block *last_block; /* named in the stream last */
	struct page_index *index; /* borrowed; learns where pages are; NULL: nobody does */
	const struct memory *mem; /* borrowed; then: whose blocks these are */
	struct page run;          /* plain pages that are not in the stream yet: ... */
	uint64_t run_pages;       /* ... this one and those behind it */
	uint64_t passes;          /* begun, for encoders that go by them */
	bool final; /* the record being written is the last one: the guest stands still */
	struct ram_counters count;
	struct xbzrle_save *xbzrle;     /* owned; NULL: off */
	struct compress_save *compress; /* owned; NULL: off */
};

/* Plain pages into the stream, with the encoders of plain precopy. */
void ram_stream_init(struct ram_stream *rs, struct writer *w, uint32_t section_id,
		     const struct page_encoder *const *encoders);
/* Ends the encoders. */
void ram_stream_fini(struct ram_stream *rs);

/*
 * From here on whole pages and zero pages into this stream, whatever it was before: postcopy.
 * Between two records.
 */
void ram_stream_plain(struct ram_stream *rs);

/* A page to the encoders.  1, or -errno. */
int ram_stream_put(struct ram_stream *rs, const struct page *p);
/* The pages put since the last call are consecutive ones no longer.  0 or -errno. */
int ram_stream_put_run(struct ram_stream *rs);
/*
 * A record (TAG_PART, TAG_END) begins; it ends when all that was put is on its way.  'flush': a
 * pass over RAM ends with it, and no page of a later one may overtake those of this one.
 */
int ram_stream_begin(struct ram_stream *rs, enum stream_tag tag);
int ram_stream_end(struct ram_stream *rs, bool flush);

/* ---- for encoders ---- */

/*
 * A PAGE record.  'content' is read at the next flush; until then only the
 * guest may change it.  1, or -errno.
 */
int ram_put_plain(struct ram_stream *rs, const struct page *p, const void *content);
/* The plain pages that are waiting for one that follows them go into the stream.  0 or -errno. */
int ram_put_run(struct ram_stream *rs);
/*
 * Append the word, and the block's name unless it is the one named last;
 * behind the plain pages that are waiting.
 */
int ram_put_page_header(struct ram_stream *rs, const struct page *p, uint64_t flags);
/* The page went as a zero page: the index, if there is one, learns it. */
void ram_note_zero(const struct ram_stream *rs, const struct page *p);

#endif
