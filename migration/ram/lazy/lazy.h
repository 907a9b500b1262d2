/*
 * lazy.h - a guest that runs while its pages still come from where it was saved
 *
 *     lazy_new()     userfaultfd can be had, the source is there
 *     lazy_take()    for each block: its pages are missing from now on
 *     lazy_begin()   the fault thread serves whoever touches one; guest memory may be touched
 *     lazy_run()     the guest is about to run: the eager thread brings the rest
 *     ...            resident(): all is there, and the source is not needed any more
 *
 * The session belongs to the machine's memory (memory_set_missing()) from lazy_begin() on, and
 * lives as long as that: it ends behind vCPUs and I/O, for who waits for a page would go
 * on with zeroes.  Calls: the load thread's, but where another is named.
 */
#ifndef MINIVMM_MIGRATION_RAM_LAZY_H
#define MINIVMM_MIGRATION_RAM_LAZY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct lazy;
struct memory;
struct page_source;
struct ram_block;

/* Called on the eager thread, no lock of the session held but one that only lazy_disown() takes. */
struct lazy_owner {
	/* All pages are there; the source has been closed. */
	void (*resident)(void *opaque);
	/*
	 * Pages cannot be read: who touches one waits.  Tried again each second, and
	 * recovered() says that they come again.
	 */
	void (*stalled)(void *opaque, const struct err *why);
	void (*recovered)(void *opaque);
	void *opaque;
};

struct lazy_info {
	uint64_t total_bytes, left_bytes; /* of pages with content */
	uint64_t faults;                  /* that were served */
	uint64_t working_set_pages;       /* that came before the others */
	int64_t resident_ns;              /* host_now_ns() when all was there; 0: not yet */
	bool stalled;
};

/*
 * 'source' is taken, also on failure.  NULL with *err set: userfaultfd is not to be had here, in
 * words that say what would help.
 */
struct lazy *lazy_new(struct memory *mem, struct page_source *source, struct err *err);
struct page_source *lazy_source(struct lazy *l);
/*
 * The pages of 'comes' (taken, also on failure: one bit a page of 4 KiB) come later.  -ENOTSUP or
 * another -errno with *err set: memory of this kind cannot; it has to be loaded at once.
 */
int lazy_take(struct lazy *l, const struct ram_block *b, uint64_t *comes, struct err *err);
/* How many were taken. */
size_t lazy_blocks(const struct lazy *l);
/* Free one that has not begun; NULL is fine. */
void lazy_free(struct lazy *l);

/* The session is the memory's from now on; on failure, too (memory_set_missing() ends it). */
int lazy_begin(struct lazy *l, const struct lazy_owner *owner, struct err *err);
int lazy_run(struct lazy *l, struct err *err);
/* The owner goes: its functions are not called any more when this returns.  No lock held. */
void lazy_disown(struct lazy *l);

/* ---- any thread, while the session is the memory's ---- */

/* Bytes a second that the eager thread brings; 0: as many as it can. */
void lazy_set_rate(struct lazy *l, uint64_t bytes_s);
void lazy_query(struct lazy *l, struct lazy_info *info);

#endif
