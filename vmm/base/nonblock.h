/*
 * nonblock.h - read and write a descriptor that other programs share, without blocking
 *
 * O_NONBLOCK belongs to the open file description, which a shell, a pager or
 * the next program of a pipeline may share: setting it on our standard input
 * gives them EAGAIN.  So the flags stay as they are.  A pipe or a terminal is
 * opened once more through /proc, which makes a description of our own; a
 * socket has MSG_DONTWAIT; a regular file never has to be waited for.  Where
 * none of this is possible (no /proc, no permission) each call asks poll()
 * first.
 *
 * No lock is taken: one thread at a time.
 */
#ifndef MINIVMM_BASE_NONBLOCK_H
#define MINIVMM_BASE_NONBLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

enum nonblock_kind {
	NONBLOCK_POLL,   /* poll() before each call */
	NONBLOCK_OWN,    /* our own non-blocking description: 'fd' is ours to close */
	NONBLOCK_SOCKET, /* MSG_DONTWAIT */
	NONBLOCK_STEADY, /* a regular file, a block device, /dev/null */
};

struct nonblock {
	int fd; /* what is read, written and watched; not the one given when kind is OWN */
	enum nonblock_kind kind;
};

/* mode: O_RDONLY or O_WRONLY.  'fd' is borrowed; its flags are not changed. */
void nonblock_init(struct nonblock *n, int fd, int mode);
/* Closes what nonblock_init() has opened; the borrowed descriptor stays. */
void nonblock_fini(struct nonblock *n);
/* Bytes moved, 0 at the end of the input, -EAGAIN, or another -errno. */
ssize_t nonblock_read(const struct nonblock *n, void *p, size_t size);
ssize_t nonblock_write(const struct nonblock *n, const void *p, size_t size);

#endif
