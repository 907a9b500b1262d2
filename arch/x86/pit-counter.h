/*
 * pit-counter.h - the 8254 that KVM does not emulate
 *
 * Pure: works on the state of section "i8254"; all times are ns of the virtual
 * clock, 'now' among them.
 */
#ifndef MINIVMM_ARCH_X86_PIT_COUNTER_H
#define MINIVMM_ARCH_X86_PIT_COUNTER_H

#include <stdbool.h>
#include <stdint.h>

#include "arch/x86/irqchip.h"

#define PIT_NEVER (-1)

/* Ports 0 to 3 of the chip. */
uint8_t pit_read(struct pit_state *p, unsigned port, int64_t now);
void pit_write(struct pit_state *p, unsigned port, uint8_t val, int64_t now);
/* The output of a channel. */
bool pit_out(const struct pit_channel *c, int64_t now);
/* When it rises next, and when it changes next: later than now, or PIT_NEVER. */
int64_t pit_next_rise(const struct pit_channel *c, int64_t now);
int64_t pit_next_change(const struct pit_channel *c, int64_t now);

#endif
