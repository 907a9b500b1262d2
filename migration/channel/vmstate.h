/*
 * vmstate.h - channels over the VM state area of a qcow2 image (qcow2-vmstate 3)
 *
 * Neither has a descriptor to wait for, for storage is always ready; both are one-way.
 */
#ifndef MINIVMM_MIGRATION_CHANNEL_VMSTATE_H
#define MINIVMM_MIGRATION_CHANNEL_VMSTATE_H

#include <stdint.h>

#include "vmm/base/error.h"

struct channel;
struct qcow2;
struct qcow2_saving;

/* Where a stream is written to; the caller's, and outlives the channel. */
struct vmstate_area {
	/* set by the caller */
	struct qcow2_saving *saving;
	/* Called before each write: 0, or -ECANCELED ends it.  May wait.  NULL: never. */
	int (*go_on)(void *opaque);
	void *opaque;
	/* the channel's: how long the stream is; complete after channel_finish() */
	uint64_t bytes;
	struct err err; /* why the image refused a write, in its words */
};

/* Returns owned. */
struct channel *channel_vmstate_write(struct vmstate_area *area, int cancel_fd);
/* Where one is read from; the caller's, and outlives the channel. */
struct vmstate_source {
	/* set by the caller; borrowed */
	struct qcow2 *q;
	const char *id; /* of the snapshot */
	uint64_t off;   /* where its VM state begins, in guest offsets */
	uint64_t bytes; /* of its VM state */
	uint64_t pause; /* no read in front of this position goes beyond it; 0: as they come */
	/* Called after each read with how much has been read: 0, or -ECANCELED ends it. */
	int (*go_on)(void *opaque, uint64_t at);
	void *opaque;
	/* the channel's */
	struct err err; /* why the image refused a read, in its words */
};

/* Returns owned. */
struct channel *channel_vmstate_read(struct vmstate_source *source, int cancel_fd);

#endif
