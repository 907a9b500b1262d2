/*
 * vmgenid.h - the generation ID: a guest learns that it has become one of several
 *
 * 16 bytes of guest memory, which ACPI device VGEN names, hold a GUID that no
 * other copy of this guest has.  A guest that is loaded from a file gets a new
 * one and is notified; one that moves to another host keeps its own.
 */
#ifndef MINIVMM_DEVICES_VMGENID_H
#define MINIVMM_DEVICES_VMGENID_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/base/uuid.h"
#include "vmm/device.h"

struct device_row;
struct err;
struct machine;
struct vms_desc;

struct vmgenid {
	struct device dev;
	/* set at creation and then constant */
	bool has_wanted; /* guid= */
	uint8_t wanted[UUID_BYTES];
	/* machine lock */
	bool used;                       /* 'wanted' has been this guest's */
	uint8_t guid[UUID_BYTES];        /* in the order of its digits */
	uint8_t guest_bytes[UUID_BYTES]; /* the same in the order of the guest's memory */
	/* in the stream: where the guest has it, little-endian; 0: it was never told */
	uint8_t address_le[8];
};

/* NULL: the machine has none. */
struct vmgenid *vmgenid_find(struct machine *m);

/*
 * The guest that has just been loaded is a copy: that of a file, which may be
 * loaded again.  It gets a new ID, and the notification is pending when it runs
 * its first instruction.  After the state has been pushed into KVM, before the
 * machine starts.  The caller does not hold the machine lock, and may wait for
 * guest memory.  Fails when memory cannot be had or there is no randomness; a
 * machine without the device is fine.
 */
int vmgenid_changed(struct machine *m, struct err *err);
/* The guest has moved here and keeps its ID: read which one that is.  As above. */
int vmgenid_kept(struct machine *m, struct err *err);

extern const struct device_row vmgenid_row;
extern const struct vms_desc vmgenid_vmstate; /* over struct vmgenid */

#endif
