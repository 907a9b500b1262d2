/*
 * debug-exit.h - isa-debug-exit: a port by which a guest ends the program
 *
 * Writing v ends it with status (v << 1) | 1, whatever -no-shutdown says.
 * Reads are 0.  Nothing of it is in the stream.
 */
#ifndef MINIVMM_DEVICES_DEBUG_EXIT_H
#define MINIVMM_DEVICES_DEBUG_EXIT_H

struct device_row;

extern const struct device_row debug_exit_row;

#endif
