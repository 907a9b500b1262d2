/*
 * fault.h - a SIGBUS in guest memory ends the program with a message
 *
 * Where the program itself touches guest memory for which its file has no room
 * (or which was cut short, or whose hardware failed), the kernel sends
 * SIGBUS.  The handler says which block and which file that was, and ends the
 * program with status 1; a SIGBUS from elsewhere has its default effect.
 * vCPUs do not come here: KVM_RUN returns.
 */
#ifndef MINIVMM_MEMORY_FAULT_H
#define MINIVMM_MEMORY_FAULT_H

struct ram_block;

struct ram_file {
	char s[128]; /* "'/dev/shm/ram'"; cut short where it is long */
};

/* The name of the file behind a descriptor, for messages. */
struct ram_file ram_file_of(int fd);

/* From now on, until fault_forget().  Main or load thread; one at a time. */
void fault_watch(const struct ram_block *b);
void fault_forget(const struct ram_block *b); /* one that is not watched is fine */

#endif
