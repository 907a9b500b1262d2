/*
 * postcopy-ram.h - the destination's memory while the guest runs and its pages still come
 *
 *     postcopy_ram_new()     all pages that came by precopy are there
 *     postcopy_ram_drop()    for each RAM_DISCARD: these pages will come again
 *     postcopy_ram_begin()   pages are missing from now on; the fault thread asks the source for
 *                            what is touched; guest memory may be touched
 *     postcopy_ram_put()     a page has come: whole pages of the host
 *     ...                    nothing is left: memory_set_missing(mem, NULL) ends the session
 *
 * The session belongs to the machine's memory (memory_set_missing()) from postcopy_ram_begin()
 * on.  It ends when all pages are there, when no guest has run in the memory, or behind vCPUs
 * and I/O: a thread that waits for a page would go on with zeroes.
 *
 * A page with its bit in 'received' is there, or it is zero and absent: then the fault thread puts
 * a zero page in when it is touched.  Zero pages that come cost neither time nor memory so.
 */
#ifndef MINIVMM_MIGRATION_RAM_POSTCOPY_RAM_H
#define MINIVMM_MIGRATION_RAM_POSTCOPY_RAM_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "migration/stream/reply.h"
#include "vmm/base/error.h"
#include "vmm/memory/beside.h"
#include "vmm/memory/fault-thread.h"
#include "vmm/memory/memory.h"
#include "vmm/memory/missing.h"
#include "vmm/memory/userfault.h"

/* Huge pages above have to be asked for: while one comes the guest stands still. */
#define POSTCOPY_MAX_PAGE_BYTES   0x200000ULL
#define POSTCOPY_ASKED_PAGE_BYTES 0x40000000ULL

struct blocktime;

struct postcopy_block {
	/* set at creation and then constant */
	const struct ram_block *block;
	uint64_t pages; /* of 4 KiB */
	uint64_t unit;  /* of these, in a page of the host */
	/* owned; atomic; one bit a page of 4 KiB, those of a host page together */
	uint64_t *received;
	uint64_t *requested; /* asked for, and not received yet: the first bit of a host page */
};

/* Called on the session's threads; no lock held but one that only postcopy_ram_disown() takes. */
struct postcopy_ram_owner {
	/* A thread has waited long for a page; or it has come.  Must not wait. */
	void (*stuck)(void *opaque, bool on);
	/* The fault thread has ended: whoever touches a missing page waits for the sweep. */
	void (*failed)(void *opaque, const struct err *why);
	void *opaque;
};

struct postcopy_ram {
	struct missing missing;
	/* set before postcopy_ram_begin() and then constant */
	struct memory *mem; /* borrowed */
	struct userfault uffd;
	struct postcopy_block blocks[MEMORY_MAX_BLOCKS];
	size_t n;
	struct rp_out out;           /* to the source; its lock is a leaf */
	struct blocktime *blocktime; /* a reference; NULL: waits are not measured */
	/* shared by whoever puts pages in; exclusive for who gives pages back to the host; a leaf
	 */
	pthread_rwlock_t giving_back;
	/* the fault thread's */
	struct fault_thread fault_thread;
	bool starved; /* a zero page could not be had: who waits for it is woken soon */
	bool said_starved;
	struct beside beside; /* where it and the thread of the urgent pages run */
	const struct postcopy_block *asked_last; /* under out.lock: named by the last request */
	/* atomic */
	uint64_t left_pages; /* of 4 KiB, that have not been received */
	uint64_t waiting;    /* host pages that were asked for and have not come */
	uint64_t requests;   /* messages to the source */
	int64_t progress_ns; /* when the last page that was asked for came, or the first was asked
				for */
	bool stuck;
	/* held while the owner is called; the machine lock comes behind it */
	pthread_mutex_t owner_lock;
	struct postcopy_ram_owner owner;
};

/*
 * Could memory of these kinds wait for its pages?  'take_1g': those of 1 GiB were asked for.  0, or
 * -errno with what would help.
 */
int postcopy_ram_check(const struct memory *mem, bool ignore_shared, bool take_1g, struct err *err);

/*
 * Owned by the caller until postcopy_ram_begin().  Blocks that are shared with the source
 * (ignore_shared) are left out.  NULL with *err set.
 */
struct postcopy_ram *postcopy_ram_new(struct memory *mem, bool ignore_shared, struct err *err);
/* One that has not begun; NULL is fine. */
void postcopy_ram_free(struct postcopy_ram *p);
/* Which block it is; NULL: left out, or none of this machine's. */
struct postcopy_block *postcopy_ram_find(struct postcopy_ram *p, const struct ram_block *b);
/* These bytes will come again: whole pages of the host, within the block. */
void postcopy_ram_drop(struct postcopy_ram *p, struct postcopy_block *pb, uint64_t off,
		       uint64_t bytes);
/*
 * Give back what was dropped, and begin.  The session is the memory's from now on; on failure, too,
 * once userfaultfd could be opened (*begun).
 */
int postcopy_ram_begin(struct postcopy_ram *p, const struct postcopy_ram_owner *owner, bool *begun,
		       struct err *err);

/* ---- any thread ---- */

/* The owner goes: it is not called any more when this returns.  No lock held. */
void postcopy_ram_disown(struct postcopy_ram *p);
static inline uint64_t postcopy_ram_left(const struct postcopy_ram *p)
{
	return __atomic_load_n(&p->left_pages, __ATOMIC_SEQ_CST);
}

/* 'n' bits of a word, from 'bit' on. */
static inline uint64_t postcopy_bits(uint64_t bit, uint64_t n)
{
	return (n >= 64 ? ~0ULL : (1ULL << n) - 1) << bit;
}

/* empty.c */

/* Could the block be emptied?  A private copy of a file: only where the file has no data. */
int postcopy_check_file(const struct ram_block *b, struct err *err);
/* Give back all pages that have not been received, and count them.  0 or -errno. */
int postcopy_empty_block(struct postcopy_ram *p, struct postcopy_block *pb, struct err *err);

/* place.c */

bool postcopy_ram_has(const struct postcopy_block *pb, uint64_t page);
/* A thread may wait for it: it should be put in at once. */
bool postcopy_ram_wanted(const struct postcopy_block *pb, uint64_t page);
/*
 * n pages of 4 KiB, whole ones of the host, with this content; those that were received before
 * stay as they are.  0, -ENOMEM or -ENOSPC (the host has no page), or another -errno.
 */
int postcopy_ram_put(struct postcopy_ram *p, struct postcopy_block *pb, uint64_t page, uint64_t n,
		     const uint8_t *from);
/* The same with zeroes. */
int postcopy_ram_put_zero(struct postcopy_ram *p, struct postcopy_block *pb, uint64_t page,
			  uint64_t n);

/* request.c */

extern const struct fault_ops postcopy_fault_ops; /* opaque: struct postcopy_ram */
/* These pages are received: nothing is awaited of them any more.  Returns for how many it was. */
uint64_t postcopy_request_end(struct postcopy_ram *p, struct postcopy_block *pb, uint64_t page,
			      uint64_t n);
/*
 * The way back is this channel from now on (NULL: there is none): on one that comes after
 * another the pages that are still awaited are asked for again.  0 or -errno.
 */
int postcopy_ram_attach(struct postcopy_ram *p, struct channel *ch, struct err *err);

#endif
