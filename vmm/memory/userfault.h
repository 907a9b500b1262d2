/*
 * userfault.h - page faults of guest memory, resolved by this program (userfaultfd)
 *
 * A descriptor with RAM blocks registered in it.  A registered block's pages that
 * are missing, or protected against writes, make the thread that touches them wait
 * until the page has been filled in or released; fault-thread.h reads who waits.
 * Every kind of thread may come to wait: a vCPU in KVM_RUN, the I/O thread, a
 * system call.
 *
 * A CLOSED DESCRIPTOR IS A ZERO PAGE: closing it, or unregistering a block,
 * while somebody waits for a missing page lets it go on with zeroes.  So first all
 * pages are there, or vCPUs and I/O threads have stopped for good;
 * userfault_close() leaves a descriptor open that has blocks registered for
 * missing pages, and the end of the process closes it, when none of its
 * threads runs any more.  A protected page is simply writable then.
 *
 * All calls: any thread, no lock needed; opening, registering and closing are one thread's.
 */
#ifndef MINIVMM_MEMORY_USERFAULT_H
#define MINIVMM_MEMORY_USERFAULT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/memory/memory.h"

struct err;

/* Why a block is registered. */
enum userfault_modes {
	USERFAULT_MISSING = 1, /* pages that are not there */
	USERFAULT_WP = 2,      /* writes to pages that userfault_protect() protects */
};

/* What a fault was. */
enum userfault_flags {
	USERFAULT_WRITE = 1,     /* a write; else a read */
	USERFAULT_PROTECTED = 2, /* of a page that is there, and protected */
};

struct userfault {
	int fd;                           /* -1: closed; non-blocking */
	bool wp_unpopulated;              /* protection holds also where there is no page yet */
	unsigned missing;                 /* blocks registered for missing pages */
	uint8_t modes[MEMORY_MAX_BLOCKS]; /* enum userfault_modes of blocks[] */
	const struct ram_block *blocks[MEMORY_MAX_BLOCKS]; /* borrowed; registered, or NULL */
};

struct userfault_msg {
	uint64_t hva;   /* of the page, or somewhere in it: not rounded to huge pages */
	unsigned flags; /* enum userfault_flags */
	uint32_t tid;   /* the thread that waits, as gettid() says; 0: the kernel does not tell */
};

/*
 * Open a descriptor that can do 'modes' (enum userfault_modes), also for
 * faults in the kernel, as KVM's are. -EPERM and -EACCES say what would help;
 * -ENOTSUP names what this kernel lacks.
 */
int userfault_open(struct userfault *u, unsigned modes, struct err *err);
/* One that is closed, or zeroed with fd -1, is fine. */
void userfault_close(struct userfault *u);

/*
 * Register a block, all of it. -ENOTSUP: memory of that kind cannot; the
 * sentence names the block and what can. -EBUSY: it is registered elsewhere.
 */
int userfault_register(struct userfault *u, const struct ram_block *b, unsigned modes,
		       struct err *err);
/* Who waits goes on.  One that is not registered is fine. */
void userfault_unregister(struct userfault *u, const struct ram_block *b);
/* Could all blocks (mem NULL: none) be registered, and is opening allowed?  Nothing stays. 0, or as
 * above. */
int userfault_probe(const struct memory *mem, unsigned modes, struct err *err);

/*
 * Offsets and lengths below: bytes of the block, whole pages of the block
 * (page_bytes). 0 or -errno.
 */

/* Protect pages, or release them and wake who waits for that. */
int userfault_protect(const struct userfault *u, const struct ram_block *b, uint64_t off,
		      uint64_t bytes, bool on);
/*
 * Fill pages in and wake who waits; those that are there already are left as
 * they are. 'from' may be memory of any alignment; 'protect': they are
 * protected from the beginning. -ENOMEM, -ENOSPC: the host has no page.
 */
int userfault_copy(const struct userfault *u, const struct ram_block *b, uint64_t off,
		   const void *from, uint64_t bytes, bool protect);
/* The same with zeroes.  Private anonymous pages cost no memory; others do. */
int userfault_zero(const struct userfault *u, const struct ram_block *b, uint64_t off,
		   uint64_t bytes);
/* The same as far as no page of them is there; small pages.  One call. */
int userfault_zero_some(const struct userfault *u, const struct ram_block *b, uint64_t off,
			uint64_t bytes);
/* Who waits looks again. */
int userfault_wake(const struct userfault *u, const struct ram_block *b, uint64_t off,
		   uint64_t bytes);

/* The next faults, at most 'max': how many, 0 when nobody waits, or -errno.  Does not wait. */
int userfault_read(const struct userfault *u, struct userfault_msg *msgs, unsigned max);

/* The registered block with that host address, and where in it; NULL: none. */
const struct ram_block *userfault_block_at(const struct userfault *u, uint64_t hva, uint64_t *off);

#endif
