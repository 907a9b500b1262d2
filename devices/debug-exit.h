/*
 * debug-exit.h - isa-debug-exit: a port by which a guest ends the program
 *
 * Writing v ends it with status (v << 1) | 1, whatever -no-shutdown says.
 * Reads are 0.  Nothing of it is in the stream.
 */
#ifndef MINIVMM_DEVICES_DEBUG_EXIT_H
#define MINIVMM_DEVICES_DEBUG_EXIT_H

struct cfg_device;
struct err;
struct machine;

/* Properties: iobase (default 0x501), iosize (default 2). */
int debug_exit_create(struct machine *m, const struct cfg_device *cfg, struct err *err);

#endif
