/*
 * ram.h - the guest's memory, out of a machine and into one
 *
 * Out: a tracker says which pages have to go, a page-queue which go next, a
 * ram-stream turns them into records.  What has to go is one page-set.  A
 * mode of moving is a choice of these.
 *
 * In: struct ram_load reads records (migration-stream 3), and a placer puts
 * the pages into guest memory.
 */
#ifndef MINIVMM_MIGRATION_RAM_H
#define MINIVMM_MIGRATION_RAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "migration/ram/page-queue.h"
#include "migration/ram/page-set.h"
#include "migration/ram/ram-stream.h"
#include "migration/ram/trackers.h"
#include "migration/settings/capabilities.h"

struct err;
struct lazy;
struct machine;
struct migration_params;
struct mapped_load;
struct multifd_recv;
struct multifd_send;
struct page_index;
struct page_source;
struct src;
struct write_protect;

#define RAM_SECTION         "ram"
#define RAM_SECTION_VERSION 4U
#define RAM_RUN_PAGES       256U /* at most, between two looks at the limits */

struct ram_save {
	/* set by ram_save_init and then constant */
	struct machine *m;
	const struct ram_tracker *tracker; /* dirty; another one: set before ram_save_start */
	int wake_fd;        /* borrowed; set when a thread of the guest begins to wait; -1: none */
	bool ignore_shared; /* x-ignore-shared; set before ram_save_start */
	bool partial;       /* what goes is told by ram_save_choose(); set before ram_save_start */
	bool sparse; /* the other end takes what is not sent for zero; set before ram_save_begin */
	/* the migration thread's */
	struct page_set pages; /* that have to go */
	struct page_queue queue;
	struct ram_stream stream;
	uint64_t *touched[MEMORY_MAX_BLOCKS];  /* owned; a clear bit: never touched, zero */
	uint64_t *reported[MEMORY_MAX_BLOCKS]; /* owned; of one sync, else zero */
	uint64_t *chosen[MEMORY_MAX_BLOCKS];   /* owned; partial: a clear bit: does not go */
	uint64_t run_limit;                    /* 1 to RAM_RUN_PAGES: pages taken at a time */
	bool tracking;
	struct write_protect *wp; /* that tracker's; NULL: another one tracks */
	/* atomic: pages that are in no set any more, and have not been given by next() */
	uint64_t copied;
};

/*
 * Put the encoders to work that the capabilities ask for (encoders.c); after
 * ram_save_init.  *cache_bytes (borrowed) is the xbzrle cache's size, read
 * atomically again and again.  No lock.
 */
int ram_save_encoders(struct ram_save *s, const bool caps[CAP_COUNT],
		      const struct migration_params *p, const uint64_t *cache_bytes,
		      struct err *err);

void ram_save_init(struct ram_save *s, struct machine *m, struct writer *w, uint32_t section_id);
/*
 * Pages with content go over these channels, and with 'zero_pages' zero pages too; before
 * ram_save_begin.  'flush_pass': the destination is told of the end of each pass, and not of
 * each record's (multifd.h).
 */
void ram_save_use(struct ram_save *s, struct multifd_send *multifd, bool flush_pass,
		  bool zero_pages);
/* The index (borrowed) learns where in the stream each page is; before ram_save_begin. */
void ram_save_note(struct ram_save *s, struct page_index *index);
/* Pages go to their places in a file; likewise. */
void ram_save_map(struct ram_save *s, struct mapped_save *mapped);
/* Begin tracking.  Machine lock held. */
int ram_save_start(struct ram_save *s, struct err *err);
/* All pages are dirty, or all that were touched; and the START record.  No lock. */
int ram_save_begin(struct ram_save *s, struct err *err);
/*
 * With s->partial: these pages (a bitmap a block) go, in whole pages of the host, and no others.
 * After ram_save_begin(), before the first record, as often as there are more.
 */
int ram_save_choose(struct ram_save *s, uint64_t *const *maps, struct err *err);
/* That was all; of a background snapshot at the instant.  Returns how many pages go. */
uint64_t ram_save_chosen(struct ram_save *s);
/* Another pass: ask the tracker.  *added: pages that have become dirty since. */
int ram_save_sync(struct ram_save *s, uint64_t *added, struct err *err);
/*
 * One record (PART or END) with dirty pages, as long as there are any and
 * more(opaque) agrees (asked before every run; NULL: always).
 */
int ram_save_record(struct ram_save *s, enum stream_tag tag, bool (*more)(void *opaque),
		    void *opaque);
/*
 * A pass over RAM ends, before ram_save_sync(): where the destination is not told so by each
 * record's end, a record says it.  0 or -errno.
 */
int ram_save_flush(struct ram_save *s);
/* After ram_save_begin with ram_stream.held: the sync round that belongs to it.  0 or -errno. */
int ram_save_release(struct ram_save *s);
/* The last record: what the sink has to say at the end of all pages, where there is no END. */
int ram_save_last(struct ram_save *s);
/* Stop tracking.  Machine lock held, unless the tracker needs none for that. */
void ram_save_stop(struct ram_save *s);
void ram_save_fini(struct ram_save *s); /* after ram_save_stop; a zeroed one is fine */

/* Pages that have to go. */
static inline uint64_t ram_save_left_pages(const struct ram_save *s)
{
	return page_set_pages(&s->pages) + __atomic_load_n(&s->copied, __ATOMIC_SEQ_CST);
}

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
/* Read and check everything, and change nothing; before the first body. */
void ram_load_check_only(struct ram_load *l);
/* The source is minivmm: RUN records may come. */
void ram_load_take_runs(struct ram_load *l);
/* Pages are at their places in a file, and none comes as a record.  Borrowed. */
void ram_load_map(struct ram_load *l, struct mapped_load *mapped);
/*
 * Pages stay where they are in the stream, which is read by position later: 'index' (borrowed;
 * lazy/stream-source.h) learns where.  Before the list of blocks.
 */
void ram_load_index(struct ram_load *l, struct page_source *index);
/*
 * A stream with an index, which it had or which was made of it before; that is the source of 'lazy'
 * (borrowed): blocks that can be taken come later, and their pages are passed over.
 */
void ram_load_lazily(struct ram_load *l, struct lazy *lazy);
/* With the list loaded: are all pages left where they are, or only checked? */
bool ram_load_passes(const struct ram_load *l);
/* Whole records up to that offset of the stream are not needed. */
int ram_load_pass(struct src *in, uint64_t end, struct err *err);
/* One section body, up to and with its EOS word. */
int ram_load_body(struct ram_load *l, struct src *in, struct err *err);

/* What threads are still doing belongs to the body that has just ended. */
int ram_load_sync(struct ram_load *l, struct err *err);

/* Pages come over these channels too: every body ends with a sync round.  Borrowed. */
void ram_load_use(struct ram_load *l, struct multifd_recv *multifd);
/* For those channels' threads, once the list of blocks has been loaded; 'off' is a page's. */
struct load_block;
struct load_block *ram_load_find(struct ram_load *l, const char *name); /* NULL: unknown */
/* The guest runs from now on, and pages come in another way: none over these channels. */
void ram_load_end(struct ram_load *l);
bool ram_load_is_over(const struct ram_load *l);
/*
 * Where the page goes (NULL: its content is dropped), from now on touched: 1
 * when it had never been before, 0, or -EINVAL beyond the block.
 */
int ram_load_place(const struct ram_load *l, struct load_block *lb, uint64_t off, uint8_t **to);
/* The page's content has been written there.  0 or -errno. */
int ram_load_commit(const struct ram_load *l, struct load_block *lb, uint64_t off);
int ram_load_zero(const struct ram_load *l, struct load_block *lb, uint64_t off);

#endif
