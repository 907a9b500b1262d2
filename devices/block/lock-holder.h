/* lock-holder.h - which process holds a lock on a byte of a file, as far as /proc tells */
#ifndef MINIVMM_DEVICES_BLOCK_LOCK_HOLDER_H
#define MINIVMM_DEVICES_BLOCK_LOCK_HOLDER_H

#include <sys/types.h>

struct lock_holder {
	pid_t pid;     /* 0: not found */
	char text[64]; /* "process 4711 (qemu-system-x86)", "another process" */
};

/*
 * Look for the holder of a lock on this byte of the file behind 'fd'.  The
 * search is bounded: it takes a quarter of a second of processor time at the most.
 */
void lock_holder_find(struct lock_holder *who, int fd, off_t byte);

#endif
