/*
 * ioapic.c - a 24-pin IOAPIC (82093AA, with the EOI register of version 0x20)
 *
 * A pin is pending while its bit in irr is set.  For a level-triggered one
 * that is as long as its line is high, and after it has sent it waits, with
 * remote IRR set in its entry, for the local APIC's EOI.  For an edge-triggered
 * one the bit is set by the edge, kept while the pin is masked, and cleared when the
 * message is sent.
 */
#include "arch/x86/ioapic.h"

#define REG_SELECT 0x00
#define REG_WINDOW 0x10
#define REG_EOI    0x40

#define INDEX_ID      0x00
#define INDEX_VERSION 0x01
#define INDEX_ARB     0x02
#define INDEX_TABLE   0x10

#define VERSION  (0x20U | (IOAPIC_PINS - 1) << 16)
#define ID_SHIFT 24
#define ID_MASK  0xfU

#define ENTRY_VECTOR     0xffULL
#define ENTRY_DELIVERY   (7ULL << 8)
#define ENTRY_LOGICAL    (1ULL << 11)
#define ENTRY_STATUS     (1ULL << 12)
#define ENTRY_REMOTE_IRR (1ULL << 14)
#define ENTRY_LEVEL      (1ULL << 15)
#define ENTRY_MASKED     (1ULL << 16)
#define ENTRY_READ_ONLY  (ENTRY_STATUS | ENTRY_REMOTE_IRR)
#define ENTRY_DEST_SHIFT 56

#define MSI_ADDRESS    0xfee00000U
#define MSI_DEST_SHIFT 12
#define MSI_LOGICAL    (1U << 2)
#define MSI_ASSERT     (1U << 14)
#define MSI_LEVEL      (1U << 15)

bool ioapic_is_level(uint64_t entry)
{
	return entry & ENTRY_LEVEL;
}

uint8_t ioapic_vector(uint64_t entry)
{
	return (uint8_t)(entry & ENTRY_VECTOR);
}

struct ioapic_message ioapic_message(uint64_t entry)
{
	return (struct ioapic_message){
	    .address = MSI_ADDRESS | (uint32_t)(entry >> ENTRY_DEST_SHIFT) << MSI_DEST_SHIFT |
		       (entry & ENTRY_LOGICAL ? MSI_LOGICAL : 0),
	    .data = (uint32_t)(entry & (ENTRY_VECTOR | ENTRY_DELIVERY)) | MSI_ASSERT |
		    (entry & ENTRY_LEVEL ? MSI_LEVEL : 0),
	};
}

uint32_t ioapic_service(struct ioapic_state *s)
{
	uint32_t send = 0;

	for (unsigned i = 0; i < IOAPIC_PINS; i++) {
		uint64_t *e = &s->ioredtbl[i];

		if (!(s->irr >> i & 1) || (*e & ENTRY_MASKED))
			continue;
		if (!(*e & ENTRY_LEVEL))
			s->irr &= ~(1U << i);
		else if (*e & ENTRY_REMOTE_IRR)
			continue;
		else
			*e |= ENTRY_REMOTE_IRR;
		send |= 1U << i;
	}
	return send;
}

uint32_t ioapic_set_line(struct ioapic_state *s, uint32_t *lines, unsigned pin, bool level)
{
	uint32_t bit = 1U << pin;
	bool was = *lines & bit;

	*lines = level ? *lines | bit : *lines & ~bit;
	if (s->ioredtbl[pin] & ENTRY_LEVEL)
		s->irr = level ? s->irr | bit : s->irr & ~bit;
	else if (level && !was)
		s->irr |= bit;
	return level ? ioapic_service(s) : 0;
}

uint32_t ioapic_eoi(struct ioapic_state *s, uint8_t vector)
{
	for (unsigned i = 0; i < IOAPIC_PINS; i++) {
		uint64_t *e = &s->ioredtbl[i];

		if ((*e & ENTRY_LEVEL) && ioapic_vector(*e) == vector)
			*e &= ~ENTRY_REMOTE_IRR;
	}
	return ioapic_service(s);
}

void ioapic_heal(struct ioapic_state *s, bool (*has)(void *opaque, uint8_t vector), void *opaque)
{
	for (unsigned i = 0; i < IOAPIC_PINS; i++) {
		uint64_t *e = &s->ioredtbl[i];

		if ((*e & ENTRY_LEVEL) && (*e & ENTRY_REMOTE_IRR) &&
		    !has(opaque, ioapic_vector(*e)))
			*e &= ~ENTRY_REMOTE_IRR;
	}
}

static uint32_t read_window(const struct ioapic_state *s)
{
	unsigned at = s->ioregsel - INDEX_TABLE;

	switch (s->ioregsel) {
	case INDEX_ID:
	case INDEX_ARB:
		return (uint32_t)s->id << ID_SHIFT;
	case INDEX_VERSION:
		return VERSION;
	default:
		if (s->ioregsel < INDEX_TABLE || at / 2 >= IOAPIC_PINS)
			return 0;
		return (uint32_t)(s->ioredtbl[at / 2] >> (at % 2 ? 32 : 0));
	}
}

uint32_t ioapic_read(const struct ioapic_state *s, uint64_t off)
{
	switch (off) {
	case REG_SELECT:
		return s->ioregsel;
	case REG_WINDOW:
		return read_window(s);
	default:
		return 0;
	}
}

static void write_entry(struct ioapic_state *s, unsigned at, uint32_t val)
{
	uint64_t *e = &s->ioredtbl[at / 2], kept = *e & ENTRY_READ_ONLY;

	if (at % 2) {
		*e = (uint32_t)*e | (uint64_t)val << 32;
	} else {
		*e = (*e & ~(uint64_t)UINT32_MAX) | (val & ~ENTRY_READ_ONLY) | kept;
		if (!(val & ENTRY_LEVEL)) /* an edge has no end to wait for */
			*e &= ~ENTRY_REMOTE_IRR;
	}
}

uint32_t ioapic_write(struct ioapic_state *s, uint64_t off, uint32_t val, bool *changed)
{
	unsigned at = s->ioregsel - INDEX_TABLE;

	*changed = false;
	if (off == REG_SELECT)
		s->ioregsel = (uint8_t)val;
	else if (off == REG_EOI)
		return ioapic_eoi(s, (uint8_t)val);
	else if (off == REG_WINDOW && s->ioregsel == INDEX_ID)
		s->id = (uint8_t)(val >> ID_SHIFT & ID_MASK);
	else if (off == REG_WINDOW && s->ioregsel >= INDEX_TABLE && at / 2 < IOAPIC_PINS) {
		write_entry(s, at, val);
		*changed = true;
		return ioapic_service(s);
	}
	return 0;
}
