/*
 * generation.c - has a generation ID: says which, and how far it was when a change was notified
 *
 * It counts in memory at COUNT_AT, one at a time and with interrupts on, so that the count of a
 * saved guest and the one at its notification tell whether anything ran in between.  Obeys r
 * (report), x (reset), q (power off).
 */
#include "lib.h"

#define TABLES_FIRST  0xd0000u
#define TABLES_END    0x100000u
#define COUNT_AT      (8ul << 20)
#define EVENT_CHANGED 0x100u
#define ID_BYTES      16u

static const uint8_t *id;
static volatile uint64_t notified;

static uint32_t get32(const uint8_t *at)
{
	uint32_t v;

	memcpy(&v, at, sizeof(v));
	return v;
}

static const uint8_t *find_text(const uint8_t *from, const uint8_t *end, const char *what, size_t n)
{
	for (; from + n <= end; from++)
		if (memcmp(from, what, n) == 0)
			return from;
	return NULL;
}

/* An integer of ACPI's language, and where the next begins; those that an address needs. */
static uint32_t aml_number(const uint8_t **at)
{
	const uint8_t *p = *at;

	switch (*p) {
	case 0x0a:
		*at += 2;
		return p[1];
	case 0x0b:
		*at += 3;
		return p[1] | (uint32_t)p[2] << 8;
	case 0x0c:
		*at += 5;
		return get32(p + 1);
	default:
		*at += 1;
		return *p;
	}
}

/* Where ADDR of the device with _CID "VM_Gen_Counter" says that the ID is. */
static const uint8_t *find_id(void)
{
	const uint8_t *dsdt = find_text(at_gpa(TABLES_FIRST), at_gpa(TABLES_END), "DSDT", 4);
	const uint8_t *end = dsdt ? dsdt + get32(dsdt + 4) : NULL, *at;
	uint64_t low, high;

	at = dsdt ? find_text(dsdt, end, "VM_Gen_Counter", 15) : NULL;
	at = at ? find_text(at, end, "ADDR\x12", 5) : NULL;
	if (!at || at[6] != 2) /* a package of two; its length takes one byte */
		return NULL;
	at += 7;
	low = aml_number(&at);
	high = aml_number(&at);
	return at_gpa(high << 32 | low);
}

/* "changed 2 count=1234 id=00112233...", the bytes as they stand in memory. */
static void say(const char *what)
{
	static const char digits[] = "0123456789abcdef";

	text(what);
	dec(notified);
	field(" count=", *(volatile uint64_t *)at_gpa(COUNT_AT));
	text(" id=");
	for (unsigned i = 0; i < ID_BYTES; i++)
		text((char[]){digits[id[i] >> 4], digits[id[i] & 15], '\0'});
	text("\n");
}

static void ged_interrupt(unsigned vector)
{
	(void)vector;
	if (!(mmio_read32(GED_SELECTOR) & EVENT_CHANGED))
		return;
	notified++;
	say("changed ");
}

static void obey(char c)
{
	if (c == 'r')
		say("report ");
	else if (c == 'x')
		request_reset();
	else if (c == 'q')
		power_off();
}

void guest_main(void)
{
	volatile uint64_t *count = at_gpa(COUNT_AT);

	id = find_id();
	if (!id) {
		text("no ID\n");
		finish(1);
	}
	commands_start();
	interrupt_handler(VECTOR_GSI(GSI_GED), ged_interrupt);
	ioapic_route(GSI_GED, false);
	say("counting on ");
	interrupts_on();
	for (;;) {
		++*count;
		obey(command());
	}
}
