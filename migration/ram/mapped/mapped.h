/*
 * mapped.h - RAM in a file, each page at its own place (capability mapped-ram)
 *
 *     migration thread                    page-io threads       load thread
 *     list entry, header -> stream                          <-  list entry, header, bitmap
 *     page -> run (1 MiB) ---------------> pwrite                run of the bitmap
 *     zero page -> bit                     pread  <------------- ... until all are there
 *     END: all written, then bitmaps -> their places            the stream behind the pages
 *
 * A page that is sent again overwrites its older content, so the file does not
 * grow with the passes of a guest that runs.  A page that became zero loses its bit,
 * and its older content stays; the bitmap alone says what is valid.  Bitmaps are
 * written last.
 */
#ifndef MINIVMM_MIGRATION_RAM_MAPPED_H
#define MINIVMM_MIGRATION_RAM_MAPPED_H

#include <stdbool.h>
#include <stdint.h>

struct channel;
struct err;
struct load_block;
struct mapped_load;
struct mapped_save;
struct lazy;
struct memory;
struct page_encoder;
struct page_placer;
struct page_sink;
struct reader;
struct src;

struct mapped_config {
	unsigned threads; /* multifd-channels with multifd, else 0: the migration thread's own */
	bool direct;      /* direct-io */
	bool sums;        /* saving: of pages, for the checksum of the file */
};

/* ---- saving: the migration thread calls ---- */

/* 'ch' and 'mem' are borrowed.  NULL with *err set: the channel is not one to a file. */
struct mapped_save *mapped_save_new(struct channel *ch, const struct memory *mem,
				    const struct mapped_config *cfg, struct err *err);
void mapped_save_free(struct mapped_save *s); /* ends the threads; NULL is fine */
/* Of pages that threads of their own write: what counts as multifd-bytes, not as bytes of the
 * stream. */
uint64_t mapped_save_thread_bytes(const struct mapped_save *s);

extern const struct page_sink sink_mapped;
extern const struct page_encoder *const mapped_encoders[];

/* ---- loading: the load thread calls ---- */

/*
 * 'r' is borrowed, and reads nothing ahead from now on, for bitmaps and pages lie
 * between the stream's bytes.  NULL with *err set.
 */
struct mapped_load *mapped_load_new(struct reader *r, const struct mapped_config *cfg,
				    struct err *err);
void mapped_load_free(struct mapped_load *l);
/* The file has a checksum, or not: before the list of blocks. */
void mapped_load_sums(struct mapped_load *l, bool wanted);
/*
 * Blocks that can are given to 'lazy' (borrowed), and their pages come later; of a file with a
 * checksum none, for all of it has to be read.  Before the list of blocks.
 */
void mapped_load_lazily(struct mapped_load *l, struct lazy *lazy);
/* The list has ended: from here on the stream is one piece. */
void mapped_load_listed(struct mapped_load *l);
/*
 * The header of a block behind its entry in the list, and all its pages, into
 * place; the stream goes on behind them.  'ignored': both ends share the block.
 * 0, or -errno with *err set.
 */
int mapped_load_block(struct mapped_load *l, struct load_block *lb, bool ignored,
		      const struct page_placer *placer, const struct memory *mem, struct src *in,
		      struct err *err);

#endif
