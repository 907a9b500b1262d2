/*
 * ioapic.h - an IOAPIC that KVM does not emulate: registers, pins, messages to local APICs
 *
 * Pure: works on the state of section "ioapic"; the caller has the lock, sends
 * the messages and tells KVM the routes.  Every function that may make an
 * interrupt due returns the pins, one bit each, whose message the caller sends
 * now.
 */
#ifndef MINIVMM_ARCH_X86_IOAPIC_H
#define MINIVMM_ARCH_X86_IOAPIC_H

#include <stdbool.h>
#include <stdint.h>

#include "arch/x86/irqchip.h"

/* What a pin sends: as on the bus, and as an MSI. */
struct ioapic_message {
	uint32_t address, data;
};

/* A pin's line has the level; *lines is what all had before. */
uint32_t ioapic_set_line(struct ioapic_state *s, uint32_t *lines, unsigned pin, bool level);
/* A local APIC has finished a level-triggered interrupt of that vector. */
uint32_t ioapic_eoi(struct ioapic_state *s, uint8_t vector);
/* Send what is pending on pins that may send. */
uint32_t ioapic_service(struct ioapic_state *s);
/* The registers, by offset in the IOAPIC's page; *changed: an entry of the table was written. */
uint32_t ioapic_read(const struct ioapic_state *s, uint64_t off);
uint32_t ioapic_write(struct ioapic_state *s, uint64_t off, uint32_t val, bool *changed);

struct ioapic_message ioapic_message(uint64_t entry);
bool ioapic_is_level(uint64_t entry);
uint8_t ioapic_vector(uint64_t entry);
/*
 * Pins that wait for the end of an interrupt which no local APIC has any more:
 * the news of it was lost.  has(opaque, vector): does one of them have it?
 * They wait no longer.
 */
void ioapic_heal(struct ioapic_state *s, bool (*has)(void *opaque, uint8_t vector), void *opaque);

#endif
