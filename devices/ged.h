/*
 * ged.h - ACPI generic event device: power button, sleep and reset registers
 *
 * Event selector at 0xfea00000 (reading returns what is pending and clears
 * it), a pulse on GSI 9 for each event; sleep control, sleep status and reset
 * register at 0xfea00200 to 0xfea00202.
 */
#ifndef MINIVMM_DEVICES_GED_H
#define MINIVMM_DEVICES_GED_H

#include <stdint.h>

#include "vmm/device.h"

struct err;
struct machine;
struct vms_desc;

#define GED_EVENT_POWER_BUTTON 0x02
#define GED_EVENT_GENERATION   0x100 /* those below are QEMU's */
#define GED_RESET_VALUE        0x42  /* what the reset register wants written */

struct ged_events {
	uint32_t sel; /* pending events */
};

/* A memory hotplug controller belongs to the state though the board has none. */
struct ged_memhp {
	uint32_t selector;
};

struct ged {
	struct device dev;
	/* under the machine lock, in the stream */
	struct ged_events events;
	struct ged_memhp memhp;
};

/* Make the GED of the board, which becomes the machine's power button. */
int ged_create(struct machine *m, struct err *err);
/* Tell the guest of GED_EVENT_...; machine lock held, the guest may stand still.  Without a GED:
 * nothing. */
void ged_raise(struct machine *m, uint32_t event);

/* The registers, for tests. */
uint32_t ged_read_events(struct ged *g);
void ged_write_register(struct ged *g, unsigned reg, uint8_t val);
void ged_press_power_button(struct ged *g);

extern const struct vms_desc ged_vmstate; /* over struct ged */

#endif
