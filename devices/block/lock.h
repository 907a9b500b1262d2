/*
 * lock.h - one image, one writer: byte locks that QEMU's programs understand
 *
 * Each user of an image holds shared open-file-description locks on single
 * bytes of it: 100 + p for a permission p that it uses, 200 + p for one that it
 * does not share.  Whether another user is in the way is found by asking, not
 * by locking: an exclusive lock must be possible on 200 + p for what is used
 * and on 100 + p for what is not shared.  So users may start in any order,
 * readers do not exclude each other, and a process that ends leaves nothing
 * behind.
 */
#ifndef MINIVMM_DEVICES_BLOCK_LOCK_H
#define MINIVMM_DEVICES_BLOCK_LOCK_H

#include <stdbool.h>

struct err;

/* The permissions, as bits; a permission's number is its bit's. */
enum block_perm {
	BLOCK_PERM_READ = 1 << 0, /* consistent read */
	BLOCK_PERM_WRITE = 1 << 1,
	BLOCK_PERM_WRITE_UNCHANGED = 1 << 2,
	BLOCK_PERM_RESIZE = 1 << 3,
	BLOCK_PERM_GRAPH_MOD = 1 << 4,
};

struct block_perms {
	unsigned used, unshared; /* enum block_perm */
};

/* What a disk over an image needs.  Its size must stay as it is. */
struct block_perms block_disk_perms(bool readonly, bool share_rw);

/*
 * Lock the open image, or only see whether that would be possible (probe).
 * The refusal names the file and, where /proc tells, the process in the way.
 * -EBUSY: another user holds a lock that conflicts; -ENOTSUP: the file system has no such locks;
 * nothing is held then.  A lock that no process is seen to hold is waited for, a second at the
 * most, unless 'err' is NULL.  Any thread.
 */
int block_lock(int fd, const char *path, struct block_perms p, bool probe, struct err *err);
void block_unlock(int fd);

#endif
