/* address.h - socket addresses of a chardev: unix path, or host and port */
#ifndef MINIVMM_DEVICES_CHARDEV_ADDRESS_H
#define MINIVMM_DEVICES_CHARDEV_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

#include "vmm/base/inet.h"

struct cfg_chardev;
struct err;
struct host;
struct listen_set;

/*
 * What the path, or host and port, stand for; at least one.  May ask a name
 * server: a signal that ends the program ends the waiting (-EINTR).
 */
int address_resolve(struct host *h, struct sockaddr_list *as, const struct cfg_chardev *cfg,
		    struct err *err);
/* Listen there; see listen_unix() and listen_inet(). */
int address_listen(struct listen_set *set, const struct sockaddr_list *as,
		   const struct cfg_chardev *cfg, struct err *err);
/* A connected, non-blocking socket, or -errno; waits for it like address_resolve(). */
int address_connect(struct host *h, const struct sockaddr_list *as, const struct cfg_chardev *cfg,
		    struct err *err);
/* A non-blocking socket that is connected or about to be (writable when decided), or -errno; to
 * address i. */
int address_connect_start(const struct sockaddr_list *as, int i);
/* "host:port" of a TCP address, "" of another; 'text' holds ADDRESS_TEXT bytes. */
#define ADDRESS_TEXT 128
void address_text(const struct sockaddr_storage *ss, socklen_t len, char *text);

#endif
