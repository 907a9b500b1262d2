/*
 * fdset.h - descriptor sets: open files that a client passed in, as paths "/dev/fdset/N"
 *
 * A set has a number and descriptors with different access (qmp-surface 1.7).  A path to it opens
 * the file of one: that of the access mode that is asked for, and with or without O_DIRECT as that
 * is asked for.  Paths belong to the process, so the sets do, too.
 *
 * All functions: any thread; the lock within is a leaf.
 */
#ifndef MINIVMM_BASE_FDSET_H
#define MINIVMM_BASE_FDSET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct err;

#define FDSET_PREFIX      "/dev/fdset/"
#define FDSET_MAX_MEMBERS 1024 /* of all sets together */

/* One descriptor of a set; fd -1: the set has none, and lives for what is open from it. */
struct fdset_entry {
	int64_t set;
	int fd;
	char *opaque; /* owned; what the client calls it; NULL: nothing */
};

/* ---- the sets ---- */

/*
 * Add fd (taken, also on failure) to set *set, or, when that is negative, to a new one of the
 * smallest free number, which is written there.  -EBADF: fd is negative.
 */
int fdset_add(int64_t *set, int fd, const char *opaque, struct err *err);
/* Remove one descriptor, or all of the set (fd -1).  -ENOENT. */
int fdset_remove(int64_t set, int fd, struct err *err);
/* Copies, the set with the highest number last; *entries is the caller's: fdset_list_free(). */
size_t fdset_list(struct fdset_entry **entries);
void fdset_list_free(struct fdset_entry *entries, size_t n);

/*
 * What decides how long a descriptor stays.  One that was removed is closed while the guest runs;
 * one that nothing has open goes, while the guest runs, when the last client of a monitor leaves.
 */
void fdset_client_came(void);
void fdset_client_left(void);
void fdset_guest_runs(bool runs);
/* Close all; the end of the process. */
void fdset_end(void);

/* ---- paths ---- */

bool path_is_fdset(const char *path);
/*
 * open(), for a path that may name a set: a descriptor (O_CLOEXEC), or -errno with *err "Could not
 * open 'PATH': why".  Of a set: O_TRUNC empties the file, and the place in a regular one is its
 * beginning.  Where the file could not be opened once more, flags, locks and place are shared with
 * the descriptor of the set.
 */
int path_open(const char *path, int flags, mode_t mode, struct err *err);
/* Close what path_open() gave; any other descriptor too.  A negative one is fine. */
void path_close(int fd);

#endif
