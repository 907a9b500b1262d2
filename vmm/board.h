/*
 * board.h - the machine description: what was built, where, on which interrupt
 *
 * Written by the code that builds devices, read by those that describe the
 * machine: ACPI tables, the flattened device tree, the description for the other
 * end of a migration.  Constant once the machine is built.
 */
#ifndef MINIVMM_BOARD_H
#define MINIVMM_BOARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BOARD_MAX_DEVICES 40

/* Guest-physical places and interrupts of the microvm board (machine-microvm 1.2 - 1.5). */
#define BOARD_LOWMEM_LIMIT 0xc0000000ULL
#define BOARD_HIGHMEM_BASE 0x100000000ULL
#define BOARD_GED_EVENT    0xfea00000ULL
#define BOARD_GED_REGS     0xfea00200ULL
#define BOARD_VIRTIO_BASE  0xfeb00000ULL
#define BOARD_VIRTIO_BYTES 0x200ULL
#define BOARD_IOAPIC_BASE  0xfec00000ULL
#define BOARD_IOAPIC_BYTES 0x10000ULL /* from one to the next */
#define BOARD_IOAPIC_PINS  24
#define BOARD_LAPIC_BASE   0xfee00000ULL
#define BOARD_PORT_SERIAL  0x3f8
#define BOARD_PORT_RTC     0x70
#define BOARD_PORT_FW_CFG  0x510
#define BOARD_GSI_SERIAL   4
#define BOARD_GSI_RTC      8
#define BOARD_GSI_GED      9

struct err;
struct machine;
struct ram_block;

/* What a load may ask of the board, which is on a higher floor. */
struct board_ops {
	/*
	 * A block may take the size that a source has for it (the firmware's,
	 * without -bios).  Would it take this one?  Any thread.
	 */
	bool (*adopts)(const struct machine *m, const struct ram_block *b, uint64_t bytes);
	/* Have it do so: before pages are loaded, machine lock held, nothing runs. */
	int (*adopt)(struct machine *m, struct ram_block *b, uint64_t bytes, struct err *err);
};

enum board_kind {
	BOARD_VIRTIO_MMIO, /* slot: transport number; base, bytes, gsi set; props tell the device */
	BOARD_SERIAL,
	BOARD_RTC,
	BOARD_GED,
	BOARD_FW_CFG,
	BOARD_DEBUG_EXIT,
	BOARD_PVPANIC,
};

/* A property that migration depends on (capacity, mac, queue size...). */
struct board_prop {
	char name[24];
	char text[104];
};

struct board_device {
	enum board_kind kind;
	char name[32];        /* "virtio-blk" */
	char id[64];          /* the user's id or "" */
	int slot;             /* BOARD_VIRTIO_MMIO, else -1 */
	uint64_t base, bytes; /* port or guest-physical address */
	unsigned gsi;
	struct board_prop props[12];
	size_t n_props;
	/* of property "features"; NULL: no names */
	const char *(*feature_name)(unsigned bit);
	/*
	 * Of these features, which other releases and other hosts do not offer, a
	 * description names those that the guest's driver has taken.  'taken' is
	 * borrowed, and read under the machine lock.
	 */
	uint64_t rare_features;
	const uint64_t *taken;
};

/* Virtio's transports, on the last pins of the last IOAPIC: how many, and the GSI of slot 0. */
#define BOARD_VIRTIO_SLOTS 8
#define BOARD_VIRTIO_GSI   16
#define BOARD_MAX_SLOTS    24

struct board {
	/* set at creation and then constant */
	const struct board_ops *ops; /* NULL: no block takes another size */
	bool ioapic2;
	bool legacy_virtio;                             /* transports of version 1 */
	struct board_device devices[BOARD_MAX_DEVICES]; /* in order of creation */
	size_t n;
};

static inline unsigned board_ioapics(const struct board *b)
{
	return b->ioapic2 ? 2 : 1;
}

static inline unsigned board_virtio_slots(const struct board *b)
{
	return b->ioapic2 ? BOARD_MAX_SLOTS : BOARD_VIRTIO_SLOTS;
}

static inline unsigned board_virtio_gsi(const struct board *b)
{
	return b->ioapic2 ? BOARD_IOAPIC_PINS : BOARD_VIRTIO_GSI;
}

/* Append and return a zeroed entry (borrowed); NULL when the board is full. */
struct board_device *board_add(struct board *b, enum board_kind kind, const char *name);
/* "event_idx, bit 6": append to the text in list[n] the features in 'bits', of which the lowest is
 * bit 'base', by the properties that offer them. */
void board_feature_list(char *list, size_t n, const char *(*name)(unsigned bit), uint64_t bits,
			unsigned base);
/* In the place of what was said of that property before. */
void board_prop(struct board_device *d, const char *name, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#endif
