/*
 * section-hint.c - which option gives a machine the device that a section is for
 *
 * A stream may name a section that this machine has no taker for.  What it
 * lacks follows from the name: most devices of the board come with an option of
 * -machine, virtio devices with -device in the same order as at the source, for
 * the order decides in which transport each is.
 */
#include "migration/incoming/section-hint.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/units.h"
#include "vmm/board.h"

#define TRANSPORT "virtio-mmio@"

static const struct {
	const char *idstr, *option;
	uint32_t first; /* instances from here on */
} hints[] = {
    {"ioapic",      "give it -machine ioapic2=on (stock=on: all of QEMU's defaults)", 1},
    {"mc146818rtc", "give it -machine rtc=on",                                        0},
    {"i8259",       "give it -machine pic=on",                                        0},
    {"i8254",       "give it -machine pit=on",                                        0},
    {"serial",      "give it -serial and -machine isa-serial=on",                     0},
    {"cpu_common",  "give it as many vCPUs with -smp",                                0},
    {"cpu",         "give it as many vCPUs with -smp",                                0},
    {"apic",        "give it as many vCPUs with -smp",                                0},
    {"vmgenid",     "give it -device vmgenid",                                        0},
    {"slirp",       "give it -netdev user, as many as the source has",                0},
};

/* Of transport 23, say, with only 8 of them here; or of one that is empty here. */
static struct section_hint transport_hint(const struct board *board, const char *at)
{
	struct section_hint h;
	char *end;
	uint64_t base = strtoull(at, &end, 16);
	uint64_t slot = (base - BOARD_VIRTIO_BASE) / BOARD_VIRTIO_BYTES;
	const char *device = *end == '/' ? end + 1 : "virtio";

	if (slot >= board_virtio_slots(board) && slot < BOARD_MAX_SLOTS)
		(void)snprintf(h.s, sizeof(h.s),
			       "give it -machine ioapic2=on, the devices are in slots %" PRIu64
			       " and below then (stock=on: all of QEMU's defaults)",
			       slot);
	else
		(void)snprintf(h.s, sizeof(h.s),
			       "give it -device %.40s-device, all -device in the source's order "
			       "and with its -machine ioapic2=",
			       device);
	return h;
}

struct section_hint section_hint(const struct board *board, const char *idstr, uint32_t instance)
{
	struct section_hint h = {"no option gives it one"};

	if (strncmp(idstr, TRANSPORT, strlen(TRANSPORT)) == 0)
		return transport_hint(board, idstr + strlen(TRANSPORT));
	for (size_t i = 0; i < ARRAY_LEN(hints); i++)
		if (strcmp(hints[i].idstr, idstr) == 0 && instance >= hints[i].first)
			(void)snprintf(h.s, sizeof(h.s), "%s", hints[i].option);
	return h;
}
