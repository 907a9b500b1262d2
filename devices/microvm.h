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
struct ram_block;

/* Back ends that the board's devices use and that QMP lists; owned by main.c. */
struct backends {
	struct chardevs chardevs;
	struct block_nodes blocks;
	struct net_backends nets;
};

/*
 * RAM blocks "microvm.ram" and "pc.bios" with their slots (machine-microvm
 * 1.2), from the config; before x86_create(), vCPUs and devices.
 */
int microvm_create_memory(struct machine *m, struct err *err);
/*
 * Without -bios, the firmware's block takes the size that a source has for it.
 * Would it take this one?  Any thread.
 */
bool microvm_adopts_firmware(const struct machine *m, const struct ram_block *b, uint64_t bytes);
/* Have it do so: before pages are loaded, machine lock held, nothing runs. */
int microvm_adopt_firmware(struct machine *m, uint64_t bytes, struct err *err);
/* All devices the config asks for; fills m->board.  Main thread, lock held. */
int microvm_create_devices(struct machine *m, struct backends *be, struct err *err);

#endif
