/*
 * virtio-backends.h - what the devices of a unit test stand on: a disk in a temporary file, a
 * network that keeps what it is sent
 */
#ifndef MINIVMM_TESTS_VIRTIO_BACKENDS_H
#define MINIVMM_TESTS_VIRTIO_BACKENDS_H

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "devices/block/node.h"
#include "devices/device-table.h"
#include "devices/microvm.h"
#include "devices/net/net.h"
#include "devices/virtio/virtio-devices.h"
#include "tests/unit/virtio-guest.h"
#include "vmm/base/iov.h"

/* ---- options ---- */

static inline struct cfg_device test_device(const char *driver, const char *id)
{
	return (struct cfg_device){.row = device_row_find(&device_table, driver),
				   .driver = (char *)(uintptr_t)driver,
				   .id = (char *)(uintptr_t)id};
}

static inline void device_free(struct cfg_device *d)
{
	keyvals_fini(&d->props);
}

/* ---- disk ---- */

/* An unlinked file stays reachable through /proc. */
struct disk {
	int fd;
	char path[64];
	struct block_node *node;
};

static inline void disk_open(struct disk *d, uint64_t bytes, bool threads, bool readonly,
			     bool writeback)
{
	struct err err = {0};
	struct cfg_blockdev cfg = {.node_name = (char *)(uintptr_t) "disk0",
				   .driver = (char *)(uintptr_t) "raw",
				   .filename = d->path,
				   .readonly = readonly,
				   .writeback = writeback,
				   .discard = true,
				   .aio_threads = threads};

	d->fd = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	GUEST_MUST(d->fd >= 0);
	GUEST_MUST(ftruncate(d->fd, (off_t)bytes) == 0);
	(void)snprintf(d->path, sizeof(d->path), "/proc/self/fd/%d", d->fd);
	d->node = block_node_new(&cfg, &err);
	GUEST_MUST(d->node != NULL);
}

static inline void disk_close(struct disk *d)
{
	block_node_free(d->node);
	(void)close(d->fd);
}

/* ---- network ---- */

struct fake_net {
	struct net_backend be;
	uint8_t sent[2048]; /* the start of the last frame, as it came */
	size_t sent_bytes;
	unsigned n_sent;
	bool full;               /* send() says -EAGAIN */
	unsigned offload, asked; /* set_offload(): last, how often; asked: can_receive() */
};

static inline int fake_attach(struct net_backend *b, struct err *err)
{
	(void)b;
	(void)err;
	return 0;
}

static inline void fake_detach(struct net_backend *b)
{
	(void)b;
}

static inline ssize_t fake_send(struct net_backend *b, const struct iovec *iov, int n_iov)
{
	struct fake_net *f = container_of(b, struct fake_net, be);

	if (f->full)
		return -EAGAIN;
	(void)iov_read(iov, (size_t)n_iov, 0, f->sent, sizeof(f->sent));
	f->sent_bytes = iov_bytes(iov, (size_t)n_iov);
	f->n_sent++;
	return (ssize_t)f->sent_bytes;
}

static inline void fake_can_receive(struct net_backend *b)
{
	container_of(b, struct fake_net, be)->asked++;
}

static inline int fake_set_offload(struct net_backend *b, unsigned tun_f)
{
	container_of(b, struct fake_net, be)->offload = tun_f;
	return 0;
}

static const struct net_backend_ops fake_net_ops = {
    .type = "fake",
    .attach = fake_attach,
    .detach = fake_detach,
    .send = fake_send,
    .can_receive = fake_can_receive,
    .set_offload = fake_set_offload,
};

static inline void fake_net_init(struct fake_net *f, struct machine *m, bool vnet_hdr)
{
	*f = (struct fake_net){
	    .be = {.ops = &fake_net_ops,
		   .m = m,
		   .id = (char *)(uintptr_t) "net0",
		   .vnet_hdr = vnet_hdr,
		   .has_ufo = vnet_hdr,
		   .hdr_bytes = vnet_hdr ? 12 : 0}
        };
}

#endif
