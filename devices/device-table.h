/*
 * device-table.h - every model that -device makes on this board, and what to use in the place of
 * QEMU's others
 */
#ifndef MINIVMM_DEVICES_DEVICE_TABLE_H
#define MINIVMM_DEVICES_DEVICE_TABLE_H

#include "vmm/options/device-row.h"

extern const struct device_table device_table;

/* Check the properties and make the device that cfg->row describes; as device_row.create. */
int device_create(struct machine *m, const struct cfg_device *cfg, unsigned slot,
		  struct backends *be, struct err *err);

#endif
