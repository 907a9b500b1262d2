/*
 * microvm.h - the microvm board: which devices, where, on which interrupt
 */
#ifndef MINIVMM_DEVICES_MICROVM_H
#define MINIVMM_DEVICES_MICROVM_H

#include "devices/block/node.h"
#include "devices/chardev/chardev.h"
#include "devices/net/net.h"

struct err;
struct machine;

/* Back ends that the board's devices use and that QMP lists; owned by main.c. */
struct backends {
	struct chardevs chardevs;
	struct block_nodes blocks;
	struct net_backends nets;
};

/*
 * RAM blocks "microvm.ram" and "pc.bios" with their slots (machine-microvm
 * 1.2), from the config; before x86_create(), vCPUs and devices.  Sets board.ops.
 */
int microvm_create_memory(struct machine *m, struct err *err);
/* All devices the config asks for; fills m->board.  Main thread, lock held. */
int microvm_create_devices(struct machine *m, struct backends *be, struct err *err);

#endif
