/*
 * ram.h - the way of a page: tracker -> picker -> encoder -> sink
 *
 * The tracker (vmm/dirty.h) says which pages have to go, a picker which go
 * next, the first encoder that wants a page turns it into a record, and the
 * writer is the sink.  A new mode is another picker or another row in the
 * table of encoders.
 *
 * On the way in, struct ram_load places pages by record (migration-stream 3).
 */
#ifndef MINIVMM_MIGRATION_RAM_H
#define MINIVMM_MIGRATION_RAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "migration/settings/capabilities.h"
#include "migration/stream/stream.h"
#include "vmm/memory/memory.h"

struct err;
struct compress_save;
struct machine;
struct migration_params;
struct multifd_recv;
struct multifd_send;
struct src;
struct xbzrle_save;

#define RAM_SECTION         "ram"
#define RAM_SECTION_VERSION 4U
#define RAM_RUN_PAGES       256U /* at most, between two looks at the limits */

/* Low bits of a record's first word */
enum ram_flag {
	RAM_FLAG_FULL = 0x001,
	RAM_FLAG_ZERO = 0x002,
	RAM_FLAG_MEM_SIZE = 0x004,
	RAM_FLAG_PAGE = 0x008,
	RAM_FLAG_EOS = 0x010,
	RAM_FLAG_CONTINUE = 0x020,
	RAM_FLAG_XBZRLE = 0x040,
	RAM_FLAG_HOOK = 0x080,
	RAM_FLAG_COMPRESS = 0x100,
	RAM_FLAG_MULTIFD_FLUSH = 0x200,
	/* Between two minivmms, else no word: be32 n follows, then n consecutive pages */
	RAM_FLAG_RUN = RAM_FLAG_FULL | RAM_FLAG_PAGE,
};

struct ram_save;

/* Consecutive pages of one block that are about to go. */
struct page_run {
	size_t block;
	uint64_t first, n;
};

/* Which of the dirty pages go next; there is at least one. */
typedef void page_picker(struct ram_save *s, struct page_run *run);

struct page {
	struct ram_block *block;
	uint64_t off;   /* bytes, in the block */
	bool untouched; /* known to be zero; must not be read, that would populate it */
};

struct page_encoder {
	const char *name;
	/* 1: the page is on its way, 0: not for me, or -errno */
	int (*encode)(struct ram_save *s, const struct page *p);
	/* The record ends: what is still being worked on goes out now.  May be NULL. */
	int (*drain)(struct ram_save *s);
	/* Give up what the encoder holds.  May be NULL. */
	void (*fini)(struct ram_save *s);
};

/* Pages, bytes and events since the migration began. */
struct ram_counters {
	uint64_t duplicate, normal; /* ZERO and PAGE records */
	uint64_t skipped;           /* pages left out, for they were never touched */
	/* xbzrle: pages found in the cache; bytes behind the words of their records */
	uint64_t xbzrle_pages, xbzrle_bytes, xbzrle_miss, xbzrle_overflow;
	/* compress: COMPRESS records; pages that found all threads busy */
	uint64_t compress_pages, compress_bytes, compress_busy;
};

struct ram_save {
	/* set by ram_save_init and then constant */
	struct machine *m;
	struct writer *w; /* borrowed */
	uint32_t section_id;
	page_picker *pick;
	const struct page_encoder *const *encoders; /* NULL-terminated; the last takes any page */
	bool ignore_shared;                         /* x-ignore-shared; set before ram_save_start */
	bool sparse; /* the other end takes what is not sent for zero; set before ram_save_begin */
	/* the migration thread's */
	uint64_t *dirty[MEMORY_MAX_BLOCKS];    /* owned; pages that have to go; NULL: left out */
	uint64_t *touched[MEMORY_MAX_BLOCKS];  /* owned; a clear bit: never touched, zero */
	uint64_t *reported[MEMORY_MAX_BLOCKS]; /* owned; of one sync, else zero */
	uint64_t dirty_pages;                  /* bits set in 'dirty' */
	uint64_t passes;                       /* syncs done */
	size_t at_block;                       /* the sweep's place */
	uint64_t at_page;
	const struct ram_block *last_block; /* named in the stream last */
	bool runs;                          /* the peer understands RUN */
	struct page run;                    /* plain pages that are not in the stream yet: ... */
	uint64_t run_pages;                 /* ... this one and those behind it */
	uint64_t run_limit;                 /* 1 to RAM_RUN_PAGES, what pick may give */
	struct multifd_send *multifd;       /* borrowed; NULL: all goes into the stream */
	struct ram_counters count;
	bool tracking;
	bool final; /* the record being written is the last one: the guest stands still */
	struct xbzrle_save *xbzrle;     /* owned; NULL: off */
	struct compress_save *compress; /* owned; NULL: off */
};

extern const struct page_encoder encode_zero, encode_plain;
extern const struct page_encoder *const precopy_encoders[];
page_picker pick_linear;

/*
 * Put the encoders to work that the capabilities ask for (encoders.c); after
 * ram_save_init.  *cache_bytes (borrowed) is the xbzrle cache's size, read
 * atomically again and again.  No lock.
 */
int ram_save_encoders(struct ram_save *s, const bool caps[CAP_COUNT],
		      const struct migration_params *p, const uint64_t *cache_bytes,
		      struct err *err);
/*
 * A PAGE record.  'content' is read at the next flush; until then only the
 * guest may change it.  1, or -errno.
 */
int ram_put_plain(struct ram_save *s, const struct page *p, const void *content);

/* The plain pages that are waiting for one that follows them go into the stream.  0 or -errno. */
int ram_put_run(struct ram_save *s);

/*
 * Append the word, and the block's name unless it is the one named last;
 * behind the plain pages that are waiting.
 */
int ram_put_page_header(struct ram_save *s, const struct page *p, uint64_t flags);

void ram_save_init(struct ram_save *s, struct machine *m, struct writer *w, uint32_t section_id);
/* Pages with content go over these channels; before ram_save_begin. */
void ram_save_use(struct ram_save *s, struct multifd_send *multifd);
/* Begin tracking.  Machine lock held. */
int ram_save_start(struct ram_save *s, struct err *err);
/* All pages are dirty, or all that were touched; and the START record.  No lock. */
int ram_save_begin(struct ram_save *s, struct err *err);
/* Another pass: ask the tracker.  *added: pages that have become dirty since. */
int ram_save_sync(struct ram_save *s, uint64_t *added, struct err *err);
/*
 * One record (PART or END) with dirty pages, as long as there are any and
 * more(opaque) agrees (asked before every run; NULL: always).
 */
int ram_save_record(struct ram_save *s, enum stream_tag tag, bool (*more)(void *opaque),
		    void *opaque);
/* Stop tracking.  Machine lock held. */
void ram_save_stop(struct ram_save *s);
void ram_save_fini(struct ram_save *s); /* after ram_save_stop */

/* ---- load ---- */

struct ram_load;

struct ram_load *ram_load_new(struct machine *m);
void ram_load_free(struct ram_load *l); /* NULL is fine */
/* Blocks whose backing is shared come without pages (x-ignore-shared). */
void ram_load_ignore_shared(struct ram_load *l);
/*
 * Pages of the block that do not come are zero: clear what it holds when the
 * list of blocks is loaded.  -EBUSY after that.
 */
int ram_load_sparse(struct ram_load *l, const struct ram_block *b, struct err *err);
/* Take COMPRESS records, which are refused otherwise, with that many threads. */
int ram_load_compressed(struct ram_load *l, unsigned threads, struct err *err);
/* The source is minivmm: RUN records may come. */
void ram_load_take_runs(struct ram_load *l);
/* One section body, up to and with its EOS word. */
int ram_load_body(struct ram_load *l, struct src *in, struct err *err);

/* Pages come over these channels too: every body ends with a sync round.  Borrowed. */
void ram_load_use(struct ram_load *l, struct multifd_recv *multifd);
/* For those channels' threads, once the list of blocks has been loaded; 'off' is a page's. */
struct load_block;
struct load_block *ram_load_find(struct ram_load *l, const char *name); /* NULL: unknown */
/*
 * Where the page goes (NULL: its content is dropped), from now on touched: 1
 * when it had never been before, 0, or -EINVAL beyond the block.
 */
int ram_load_place(struct load_block *lb, uint64_t off, uint8_t **to);
/* Have the pages of a piece there that has fresh ones in it; 'to' is inside the block. */
int ram_load_populate(const struct load_block *lb, const uint8_t *to, size_t bytes,
		      struct err *err);
int ram_load_zero(struct load_block *lb, uint64_t off, struct err *err);

#endif
