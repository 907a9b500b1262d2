/* balloon.h - virtio-balloon: what its two files share */
#ifndef MINIVMM_DEVICES_VIRTIO_BALLOON_H
#define MINIVMM_DEVICES_VIRTIO_BALLOON_H

#include <stdbool.h>
#include <stdint.h>

#include "devices/virtio/virtio-devices.h"
#include "devices/virtio/virtio.h"
#include "vmm/base/units.h"

#define BALLOON_F_STATS_VQ       VIRTIO_BIT(1)
#define BALLOON_F_DEFLATE_ON_OOM VIRTIO_BIT(2)
#define BALLOON_F_HINT           VIRTIO_BIT(3)
#define BALLOON_F_POISON         VIRTIO_BIT(4)
#define BALLOON_F_REPORTING      VIRTIO_BIT(5)

#define BALLOON_CMD_STOP  0U
#define BALLOON_CMD_DONE  1U
#define BALLOON_CMD_FIRST 0x80000000U /* of a request for hints; the others count on from it */

/* A chain that says more than this is free is not read to its end: it names memory twice. */
#define BALLOON_CHAIN_BYTES GiB

/* What a queue is for; which of them there are depends on the features offered. */
enum balloon_role {
	BALLOON_INFLATE,
	BALLOON_DEFLATE,
	BALLOON_STATS,
	BALLOON_HINTS,
	BALLOON_REPORTS,
};

/* On the wire, too. */
enum balloon_hint_status {
	HINTS_STOPPED,
	HINTS_REQUESTED,
	HINTS_STARTED,
	HINTS_DONE,
};

struct balloon {
	struct virtio_device v; /* first */
	/* set at creation and then constant */
	enum balloon_role roles[VIRTIO_MAX_QUEUES];
	uint64_t ram_bytes;
	struct loop_timer *timer; /* main loop */
	/* machine lock */
	uint32_t told; /* 'actual' of the last BALLOON_CHANGE */
	uint64_t stats_interval_s;
	/* v.irq_lock */
	uint32_t num_pages; /* that are to be in the balloon, of 4 KiB */
	uint32_t actual;    /* that are there, as the driver says: any number */
	uint32_t cmd_id, hint_status, poison_val;
	balloon_drop_fn *drop; /* NULL: hints are of no use */
	void *drop_opaque;
	struct balloon_stats stats;
	/* I/O loop */
	bool holds; /* a chain of the queue of statistics, whose completion asks for new ones */
	uint16_t held;
	bool warned; /* the host has refused to take pages back */
};

static inline struct balloon *to_balloon(struct virtio_device *v)
{
	return container_of(v, struct balloon, v);
}

/* virtio_ops.serve and start (balloon-queues.c). */
void balloon_serve(struct virtio_device *v, unsigned q);
void balloon_start(struct virtio_device *v);
/* Machine lock: ask the guest for new statistics. */
void balloon_ask_stats(struct balloon *b);

#endif
