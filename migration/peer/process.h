/*
 * process.h - which process is at the other end, and does it live?
 *
 * A connection that breaks says little: the peer may have died, or a tunnel
 * on the way.  When both ends share a kernel the source can know: the
 * destination tells which process it is, the source keeps a pidfd of it.
 */
#ifndef MINIVMM_MIGRATION_PEER_H
#define MINIVMM_MIGRATION_PEER_H

#include <stdbool.h>
#include <stdint.h>

struct buf;
struct src;

struct peer {
	char boot_id[256];   /* of the kernel; "" unknown */
	uint64_t pid_ns;     /* inode of the PID namespace */
	uint32_t pid;        /* in that namespace */
	uint64_t start_time; /* clock ticks since boot, as /proc/PID/stat says */
};

/* This process. */
void peer_self(struct peer *p);
void peer_put(const struct peer *p, struct buf *out);
void peer_put_self(struct buf *out);
int peer_get(struct peer *p, struct src *in); /* 0 or -errno */
/*
 * A pidfd (owned) of the process, -ESRCH when it has ended, or -EXDEV when
 * nothing can be known: another kernel, another namespace, no /proc.
 */
int peer_watch(const struct peer *p);
/*
 * The same of the process at the other end of a unix socket, if it is one that has a machine of
 * KVM: then it is no relay, and when it has ended, so has the guest.  Else -EXDEV.
 */
int peer_watch_socket(int fd);
/*
 * Has the process ended, threads and all?  Waits for that up to timeout_ms:
 * its sockets are closed before, and its manager may end it when it
 * has said that it failed.
 */
bool peer_ended(int pidfd, int timeout_ms);

#endif
