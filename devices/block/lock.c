/*
 * lock.c - taking and asking for QEMU's image locks
 *
 * The order matters: a user first takes its shared locks (hold_bytes), then
 * asks whether an exclusive one is possible on the bytes that conflict
 * (check_bytes).  Two users that start together both hold their locks when they
 * ask, so at least one of them sees the other.  F_OFD_GETLK does not see the
 * locks of its own open file.
 *
 * A process that was killed may leave its locks behind for some milliseconds: its io_uring is taken
 * down after it has ended, and keeps its files open so long.  So a lock that nobody holds is waited
 * for.
 */
#include "devices/block/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#include "devices/block/lock-holder.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"
#include "vmm/vclock.h"

#define USED_BYTE     100
#define UNSHARED_BYTE 200

#define ORPHAN_NS 1000000000LL /* how long a lock may last that no process holds */
#define NAP_NS    5000000L

static const char *const perm_names[] = {"consistent read", "write", "write unchanged", "resize",
					 "change node"};

#define N_PERMS ((int)ARRAY_LEN(perm_names))

struct block_perms block_disk_perms(bool readonly, bool share_rw)
{
	return (struct block_perms){
	    .used = BLOCK_PERM_READ | (readonly ? 0U : BLOCK_PERM_WRITE),
	    .unshared = BLOCK_PERM_RESIZE | (share_rw ? 0U : BLOCK_PERM_WRITE),
	};
}

static int lock_byte(int fd, int type, off_t byte)
{
	struct flock fl = {
	    .l_type = (short)type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};

	return fcntl(fd, F_OFD_SETLK, &fl) < 0 ? -errno : 0;
}

/* Does another open file hold the byte?  1, 0 or -errno. */
static int byte_is_held(int fd, off_t byte)
{
	struct flock fl = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};

	if (fcntl(fd, F_OFD_GETLK, &fl) < 0)
		return -errno;
	return fl.l_type != F_UNLCK;
}

void block_unlock(int fd)
{
	for (int p = 0; p < N_PERMS; p++) {
		(void)lock_byte(fd, F_UNLCK, USED_BYTE + p);
		(void)lock_byte(fd, F_UNLCK, UNSHARED_BYTE + p);
	}
}

static int say_unsupported(const char *path, int errnum, struct err *err)
{
	return err_set(err, errnum == EAGAIN ? EBUSY : ENOTSUP, "Failed to lock '%s': %s", path,
		       err_text(errnum));
}

/* An exclusive lock is in the way already when the shared one is taken: nothing of QEMU's does so.
 */
static int hold_bytes(int fd, const char *path, struct block_perms perms, struct err *err)
{
	for (int p = 0; p < N_PERMS; p++) {
		int ret = 0;

		if (perms.used >> p & 1)
			ret = lock_byte(fd, F_RDLCK, USED_BYTE + p);
		if (ret == 0 && (perms.unshared >> p & 1))
			ret = lock_byte(fd, F_RDLCK, UNSHARED_BYTE + p);
		if (ret < 0)
			return say_unsupported(path, -ret, err);
	}
	return 0;
}

/* What grows its file has tables in memory, and cannot be shared. */
static int say_held(int fd, const char *path, struct block_perms perms, const char *shared, int p,
		    off_t byte, struct lock_holder *who, struct err *err)
{
	bool tables = perms.used & BLOCK_PERM_RESIZE;

	if (!err) /* the caller asks for no message */
		return -EBUSY;
	lock_holder_find(who, fd, byte);
	return err_set(err, EBUSY,
		       "Failed to get %s\"%s\" lock on '%s': %s uses it (two guests that write to "
		       "one image destroy it%s)",
		       shared, perm_names[p], path, who->text,
		       tables ? "" : "; where that is wanted, say share-rw=on at both");
}

static int check_bytes(int fd, const char *path, struct block_perms perms, struct lock_holder *who,
		       struct err *err)
{
	for (int p = 0; p < N_PERMS; p++) {
		int ret = 0;

		if (perms.used >> p & 1)
			ret = byte_is_held(fd, UNSHARED_BYTE + p);
		if (ret > 0)
			return say_held(fd, path, perms, "", p, UNSHARED_BYTE + p, who, err);
		if (ret == 0 && (perms.unshared >> p & 1))
			ret = byte_is_held(fd, USED_BYTE + p);
		if (ret > 0)
			return say_held(fd, path, perms, "shared ", p, USED_BYTE + p, who, err);
		if (ret < 0)
			return say_unsupported(path, -ret, err);
	}
	return 0;
}

static int lock_once(int fd, const char *path, struct block_perms perms, bool probe,
		     struct lock_holder *who, struct err *err)
{
	int ret = probe ? 0 : hold_bytes(fd, path, perms, err);

	if (ret == 0)
		ret = check_bytes(fd, path, perms, who, err);
	if (ret < 0 && !probe)
		block_unlock(fd);
	return ret;
}

int block_lock(int fd, const char *path, struct block_perms perms, bool probe, struct err *err)
{
	int64_t until = host_now_ns() + ORPHAN_NS;
	struct timespec nap = {.tv_nsec = NAP_NS};

	for (;;) {
		struct lock_holder who = {.pid = -1};
		int ret = lock_once(fd, path, perms, probe, &who, err);

		if (ret != -EBUSY || who.pid != 0 || host_now_ns() > until)
			return ret;
		(void)nanosleep(&nap, NULL);
	}
}
