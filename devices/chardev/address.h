/* address.h - socket addresses of a chardev: unix path, or host and port */
#ifndef MINIVMM_DEVICES_CHARDEV_ADDRESS_H
#define MINIVMM_DEVICES_CHARDEV_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

struct cfg_chardev;
struct err;
struct host;

#define ADDRESS_MAX 8

struct address {
	struct sockaddr_storage sa;
	socklen_t len;
};

struct addresses {
	struct address v[ADDRESS_MAX];
	size_t n;
};

/*
 * What the path, or host and port, stand for; at least one.  May ask a name
 * server: a signal that ends the program ends the waiting (-EINTR).
 */
int address_resolve(struct host *h, struct addresses *as, const struct cfg_chardev *cfg,
		    struct err *err);
/* A listening, non-blocking socket, or -errno.  A stale unix socket in the way is removed. */
int address_listen(const struct addresses *as, const struct cfg_chardev *cfg, struct err *err);
/* A connected, non-blocking socket, or -errno; waits for it like address_resolve(). */
int address_connect(struct host *h, struct addresses *as, const struct cfg_chardev *cfg,
		    struct err *err);
/* A non-blocking socket that is connected or about to be (writable when decided), or -errno. */
int address_connect_start(const struct address *a);
/* "host:port" of a TCP address, "" of another; 'text' holds ADDRESS_TEXT bytes. */
#define ADDRESS_TEXT 128
void address_text(const struct address *a, char *text);

#endif
