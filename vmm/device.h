/*
 * device.h - what every device offers
 *
 * A device embeds struct device first, and is made by its own
 * NAME_create(machine, ...), which registers its regions (bus.h), its state
 * (vmstate.h, in the order of the stream) and itself (machine_add_device).
 * All ops are called under the machine lock, and none waits.
 */
#ifndef MINIVMM_DEVICE_H
#define MINIVMM_DEVICE_H

#include <stdbool.h>

#include "vmm/base/list.h"

struct device;
struct err;
struct flush;
struct machine;

/* What machine_handover() asks of a device whose back end one process at a time may use. */
enum handover {
	HANDOVER_ACQUIRE, /* use it (again); FLUSH_ACQUIRE follows */
	HANDOVER_RELEASE, /* stop using it; the device is paused, and FLUSH_RELEASE has been */
	HANDOVER_PROBE,   /* nothing changes: could it be acquired now? */
};

struct device_ops {
	const char *name; /* "virtio-blk-device", "serial" */
	/* Power-on state; vCPUs are paused.  May be NULL. */
	void (*reset)(struct device *d);
	/*
	 * pause: vCPUs have stopped; take no new work.  The device is idle when no
	 * thread of it will touch guest memory or device state again and requests
	 * in flight are done; until then busy_fd tells what becomes readable by
	 * that time, then -1.  resume: undo pause, idle or not.  All may be NULL.
	 */
	void (*pause)(struct device *d);
	int (*busy_fd)(struct device *d);
	void (*resume)(struct device *d);
	/* A migration or load has completed here and the guest is about to run: e.g. announce.  May
	 * be NULL. */
	void (*arrived)(struct device *d);
	/* Put everything written on stable storage, or what else flush_kind() says: begin, for
	 * flush.h.  May be NULL. */
	void (*flush)(struct device *d, struct flush *f);
	/*
	 * What other processes may not use at the same time (disk images).
	 * Each may be asked again when it is done already; a refusal (0 or
	 * -errno; -EBUSY: another process has it) changes nothing.  May be NULL.
	 */
	int (*handover)(struct device *d, enum handover what, struct err *err);
	/* Free everything, the struct included; I/O threads have stopped. */
	void (*destroy)(struct device *d);
};

struct device {
	const struct device_ops *ops;
	struct machine *m;
	char *id; /* owned; the user's id or NULL */
	struct list link;
};

#endif
