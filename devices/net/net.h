/*
 * net.h - network back ends: where a virtual NIC's frames go
 *
 * Frames move on the loop the back end is attached to (the I/O thread's).
 * Each frame is preceded by a virtio_net_hdr of hdr_bytes when the back end
 * has offloads (tap with vnet_hdr), else it is bare.
 */
#ifndef MINIVMM_DEVICES_NET_H
#define MINIVMM_DEVICES_NET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

/* <linux/if_tun.h> has them from Linux 6.2 and 6.17 on. */
#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif
#ifndef TUN_F_UDP_TUNNEL_GSO
#define TUN_F_UDP_TUNNEL_GSO      0x80
#define TUN_F_UDP_TUNNEL_GSO_CSUM 0x100
#endif

struct cfg_netdev;
struct err;
struct loop;
struct machine;
struct net_backend;

#define NET_MAX_FRAME (68UL * 1024) /* largest frame with offloads and its header */

struct net_client {
	/*
	 * A frame has come: 0 taken, -EAGAIN no room (the back end keeps it and
	 * waits for net_backend_can_receive), other -errno: dropped.
	 */
	int (*receive)(void *opaque, const uint8_t *frame, size_t n);
	void (*writable)(void *opaque); /* after send said -EAGAIN */
};

struct net_backend_ops {
	const char *type; /* "tap", "stream", "user", "passt" */
	int (*open)(struct net_backend *b, const struct cfg_netdev *cfg, struct err *err);
	int (*attach)(struct net_backend *b, struct err *err); /* watch on b->io */
	void (*detach)(struct net_backend *b);
	ssize_t (*send)(struct net_backend *b, const struct iovec *iov, int n_iov);
	void (*can_receive)(struct net_backend *b);
	/* tap: TUNSETOFFLOAD with these TUN_F_* bits, as far as the host has them */
	int (*set_offload)(struct net_backend *b, unsigned tun_f);
	void (*close)(struct net_backend *b);
};

struct net_backend {
	const struct net_backend_ops *ops;
	struct machine *m;
	char *id; /* owned */
	struct loop *io;
	bool vnet_hdr; /* frames carry a header and the host takes offloads */
	/* ... of these, too: UDP fragmentation, UDP segmentation, UDP tunnels */
	bool has_ufo, has_uso, has_tunnel;
	unsigned hdr_bytes; /* 0, 10 or 12 */
	const struct net_client *client;
	void *client_opaque;
	void *state;
};

struct net_backend *net_backend_new(struct machine *m, const struct cfg_netdev *cfg,
				    struct err *err);
void net_backend_free(struct net_backend *b);
int net_backend_attach(struct net_backend *b, struct loop *io, const struct net_client *client,
		       void *opaque, struct err *err);
void net_backend_detach(struct net_backend *b);
/* On b->io: 0 sent (or dropped by the host), -EAGAIN: writable() follows, other -errno: dropped. */
int net_backend_send(struct net_backend *b, const struct iovec *iov, int n_iov);
/* On b->io: the client has room again. */
void net_backend_can_receive(struct net_backend *b);

struct net_backends {
	struct net_backend **v;
	size_t n;
};
int net_backends_open(struct net_backends *ns, struct machine *m, struct err *err);
struct net_backend *net_backends_find(const struct net_backends *ns, const char *id);
/* Close one that exists.  -EBUSY: a network card uses it. */
int net_backends_del(struct net_backends *ns, const char *id, struct err *err);
void net_backends_close(struct net_backends *ns);

#endif
