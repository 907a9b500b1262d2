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
/*
 * The VM state of the snapshot with that id (copied): 'bytes' of it.  *why gets the image's words
 * when a read fails; it outlives the channel.  Returns owned.
 */
struct channel *channel_vmstate_read(struct qcow2 *q, const char *id, uint64_t bytes, int cancel_fd,
				     struct err *why);

#endif
