/*
 * listen.h - listening stream sockets, opened alike for every listener of the program
 *
 * The sockets do not block and are not inherited.  Any thread.
 */
#ifndef MINIVMM_BASE_LISTEN_H
#define MINIVMM_BASE_LISTEN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "vmm/base/inet.h"

struct err;

#define LISTEN_BACKLOG 256 /* a burst of clients; all channels of a migration */

struct listen_set {
	int fd[SOCKADDR_LIST_MAX]; /* owned */
	int n;
	char *path; /* owned; of the unix socket that was made, else NULL */
	dev_t dev;  /* ... and what was made there */
	ino_t ino;
};

/*
 * A unix socket.  A socket without a listener in its place is replaced; one
 * with a listener is an error that names the process if it is known.
 */
int listen_unix(struct listen_set *set, const char *path, struct err *err);
/*
 * All addresses of a list, with the first port from that of its first address
 * to 'port_to' (0: only that one) that is free.  With both families ('family' is
 * AF_UNSPEC) the wildcard [::] takes IPv4 too.  'what' is the address for messages.
 */
int listen_inet(struct listen_set *set, const struct sockaddr_list *list, int family,
		uint16_t port_to, const char *what, struct err *err);
/* A descriptor that was given, which is then owned; one that listens gets the room for a burst,
 * too. */
void listen_given(struct listen_set *set, int fd);
/* A new connection (owned), non-blocking, or -EAGAIN. */
int listen_accept(const struct listen_set *set);
/* Does a connection wait to be accepted?  Waits up to timeout_ms (-1: for ever). */
bool listen_pending(const struct listen_set *set, int timeout_ms);
/* Closes, and removes the unix socket unless another one has taken its place; may be empty. */
void listen_close(struct listen_set *set);

/* A process that has the unix socket at 'path' open, of those that we may look at; 0: unknown. */
pid_t unix_socket_owner(const char *path);
/* The same by the inode of a socket. */
pid_t unix_inode_owner(unsigned long inode);

#endif
