/*
 * blocktime.h - how long threads wait for pages in a postcopy: by waiter, not by message
 *
 * Three numbers of a waiting thread: the page, who it is, since when.  A thread waits for one
 * page at a time, and every thread that waits for a page goes on when the page is placed, however
 * many messages the kernel made of it.  Pages are numbers of the caller's choice, in a row where
 * their memory is: the host's address over 4096, for instance.  Times: host_now_ns().
 *
 * All calls: any thread.  The lock is a leaf, held for a few steps;
 * nothing is allocated after _new().
 *
 * A page may be placed between the fault and the call that reports it.  So the fault thread calls
 * blocktime_fault(), then looks whether the page is there already, and calls blocktime_drop() if
 * it is; a thread that places pages says that they are there before it calls blocktime_placed().
 */
#ifndef MINIVMM_MIGRATION_RAM_POSTCOPY_BLOCKTIME_H
#define MINIVMM_MIGRATION_RAM_POSTCOPY_BLOCKTIME_H

#include <stddef.h>
#include <stdint.h>

struct blocktime;
struct migration_blocktime;

/* 'tids': of the vCPUs' threads, at most MIGRATION_MAX_VCPUS.  Returns a reference. */
struct blocktime *blocktime_new(const uint32_t *tids, size_t n_vcpus);
/* Who measures and who asks may end in any order: the last reference frees it.  NULL is fine. */
struct blocktime *blocktime_ref(struct blocktime *b);
void blocktime_unref(struct blocktime *b);

/* Thread 'tid' (0: not known) waits for the page since 'now_ns', if it has not before. */
void blocktime_fault(struct blocktime *b, uint64_t page, uint32_t tid, int64_t now_ns);
/* It did not have to wait: the page was there. */
void blocktime_drop(struct blocktime *b, uint64_t page, uint32_t tid);
/* Pages [first, first + n) are there: who waits for one of them goes on.  Cheap when nobody
 * waits. */
void blocktime_placed(struct blocktime *b, uint64_t first, uint64_t n, int64_t now_ns);

/* All figures; waits that go on are part of the block times up to now. */
void blocktime_read(struct blocktime *b, int64_t now_ns, struct migration_blocktime *out);

#endif
