/* stream.h - the stream back end, for others that speak its protocol over a socket of their own */
#ifndef MINIVMM_DEVICES_NET_STREAM_H
#define MINIVMM_DEVICES_NET_STREAM_H

#include <sys/types.h>
#include <sys/uio.h>

struct err;
struct net_backend;

/* The operation 'open', over a connected socket, which it takes; 'name' is for events. */
void stream_open_fd(struct net_backend *b, int fd, const char *name);
/* The other operations (net.h). */
int stream_attach(struct net_backend *b, struct err *err);
void stream_detach(struct net_backend *b);
ssize_t stream_send(struct net_backend *b, const struct iovec *iov, int n_iov);
void stream_can_receive(struct net_backend *b);
void stream_close(struct net_backend *b);

#endif
