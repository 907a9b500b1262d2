/*
 * pic.h - the pair of 8259 that KVM does not emulate
 *
 * Pure: works on the state of the sections "i8259", [0] the master; the caller has the lock.
 */
#ifndef MINIVMM_ARCH_X86_PIC_H
#define MINIVMM_ARCH_X86_PIC_H

#include <stdbool.h>
#include <stdint.h>

#include "arch/x86/irqchip.h"

#define PIC_LINES 16

/* Line 0 to 15 (2 is the cascade's) has the level. */
void pic_set_line(struct pic_state pics[2], unsigned line, bool level);
/* Does the pair interrupt the processor? */
bool pic_intr(const struct pic_state pics[2]);
/* The processor takes the interrupt: its vector.  7 of the master's when there was none. */
uint8_t pic_acknowledge(struct pic_state pics[2]);
/* Port 0 or 1 of one of them. */
uint8_t pic_read(struct pic_state pics[2], unsigned chip, unsigned port);
void pic_write(struct pic_state pics[2], unsigned chip, unsigned port, uint8_t val);
/* Which lines are level-triggered; the system's own lines cannot be. */
void pic_write_elcr(struct pic_state pics[2], unsigned chip, uint8_t val);

#endif
