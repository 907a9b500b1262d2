/*
 * missing.h - pages of guest memory that are not there yet, although the guest may run
 *
 * A guest that is loaded lazily touches pages before they have come: the thread
 * that does waits until the page has been filled in (userfault.h).  What else looks at guest
 * memory has to know of it: a page that is still to come is not one that was never
 * touched (populated.h), and one that is given back to the host must not
 * be filled in afterwards (memory_discard()).
 *
 * A block's pointer is set before its guest runs, and what it points to lives until
 * memory_set_missing() replaces it or memory_end_missing(); it is asked after the last page has
 * come, too. Whoever asks holds the block's missing_lock meanwhile, for a guest may be replaced by
 * another one (a snapshot that is loaded), whose pages come from elsewhere.
 */
#ifndef MINIVMM_MEMORY_MISSING_H
#define MINIVMM_MEMORY_MISSING_H

#include <stdbool.h>
#include <stdint.h>

struct err;
struct memory;
struct missing;
struct ram_block;

struct missing_ops {
	/* Set the bit of each page of the block that is to come.  Any thread. */
	void (*mark)(struct missing *x, const struct ram_block *b, uint64_t *map);
	/*
	 * give_back() the bytes (whole pages of the block) to the host: those still to come do not
	 * come any more, and read as zero.  What give_back() returns.  Any thread but those
	 * that hold the machine lock.
	 */
	int (*discard)(struct missing *x, const struct ram_block *b, uint64_t off, uint64_t bytes,
		       int (*give_back)(const struct ram_block *b, uint64_t off, uint64_t bytes));
	/*
	 * Are there pages to come, or blocks still registered with userfaultfd?  *err (may be
	 * NULL): -EBUSY, and from where.
	 */
	int (*check)(struct missing *x, struct err *err);
	/*
	 * Nothing touches guest memory, for good, or no guest has run in it, or all of it is there:
	 * stop filling in, and free.  'wait': as long as a read takes; else false after two
	 * seconds: a thread does not end, and the process has to, with _exit().
	 */
	bool (*end)(struct missing *x, bool wait);
};

struct missing {
	const struct missing_ops *ops;
};

/*
 * From now on the blocks that 'x' has taken (ram_block.missing) have pages missing; NULL:
 * none has.  What was set before is ended, however long that takes: what it still reads would come
 * into the memory of another guest.  One thread at a time, which does not hold the machine lock.
 */
void memory_set_missing(struct memory *mem, struct missing *x);
/* The program ends: the same with NULL, in bounded time; false as there. */
bool memory_end_missing(struct memory *mem);
/* The block's pages are filled in by 'x'; NULL: by nobody.  Waits for whoever asks just now. */
void missing_set_block(struct ram_block *b, struct missing *x);
/*
 * 0 when all of the guest's memory is there, and its page faults can be another's; -EBUSY with a
 * sentence about where it comes from.
 */
int memory_check_complete(struct memory *mem, struct err *err);
/*
 * Have every page brought that is still to come, by touching it: waits for each, a thread that
 * holds no lock.  'stop' is asked between two pages; -ECANCELED when it says so; -ENOMEM.
 */
int memory_bring_missing(struct memory *mem, bool (*stop)(void *opaque), void *opaque);

#endif
