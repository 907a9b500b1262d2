/*
 * trackers.h - which pages have to go, and when their content may be read
 *
 * A row for each way to know.  Precopy lets the guest write and sends what was written
 * again: it asks KVM's dirty log or dirty ring (vmm/dirty.h).  A background
 * snapshot keeps the guest from writing until the page has been copied, and sends
 * each page once (write-protect.h).  A guest that stands still writes nothing.
 */
#ifndef MINIVMM_MIGRATION_TRACKERS_H
#define MINIVMM_MIGRATION_TRACKERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct page_run;
struct ram_save;

/* The migration thread's; the machine lock is not held unless said otherwise. */
struct ram_tracker {
	const char *name;
	/* From now on each written page is reported.  Machine lock held. */
	int (*start)(struct ram_save *s, struct err *err);
	/*
	 * Set the bits of s->touched[block] of pages that may hold something but zeros; later
	 * ones are reported.
	 */
	int (*touched)(struct ram_save *s, size_t block, struct err *err);
	/* With s->partial: these pages go.  NULL: nothing has to be done for that. */
	int (*choose)(struct ram_save *s, const struct page_run *run, struct err *err);
	/*
	 * Set the bits of pages written since they were taken, in s->reported (NULL: left out).
	 * NULL: none will be reported.
	 */
	int (*sync)(struct ram_save *s, struct err *err);
	/*
	 * The next pages, about to be read, at most s->run_limit: 1, or 0 when none is
	 * left, or -errno with the writer's words.  *copy: where their content is, until the
	 * writer is flushed; NULL: in guest memory.
	 */
	int (*next)(struct ram_save *s, struct page_run *run, uint8_t **copy);
	/* The writer has been flushed: what next() gave is not read any more.  May be NULL. */
	void (*flushed)(struct ram_save *s);
	/* Does a thread of the guest wait for a page to be sent?  NULL: none ever does. */
	bool (*waited_for)(const struct ram_save *s);
	/* No lock needed but where 'start' has one. */
	void (*stop)(struct ram_save *s);
};

extern const struct ram_tracker tracker_dirty;
extern const struct ram_tracker tracker_none;
extern const struct ram_tracker tracker_write_protect; /* write-protect.c */

#endif
