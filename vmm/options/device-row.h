/*
 * device-row.h - a device model, as the command line, the board and the help read it
 *
 * The options know no model by name: main.c hands them the board's table.  A
 * device's properties are rows like those of an option's list; their values are
 * checked where they are given (-device, -global) and read by the device with
 * device_text() and its like, which know the default from the same row.
 */
#ifndef MINIVMM_OPTIONS_DEVICE_ROW_H
#define MINIVMM_OPTIONS_DEVICE_ROW_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/options/prop.h"

struct backends;
struct cfg_device;
struct config;
struct err;
struct machine;

enum device_kind {
	DEVICE_VIRTIO, /* takes a virtio slot */
	DEVICE_PORT,   /* has a place of its own */
	DEVICE_UART,   /* the board's serial port: its chardev= is -serial chardev:ID */
	DEVICE_PART,   /* of the board, and no -device: has properties for -global only */
};

struct device_row {
	const char *name;
	enum device_kind kind;
	const char *help; /* what it is, for the list of models */
	const struct opt_prop *props;
	/*
	 * Make the device; main thread, machine lock.  'cfg' is borrowed for the
	 * call, 'be' for the device's life; slot: of a DEVICE_VIRTIO.  Called with
	 * properties that the rows allow.
	 */
	int (*create)(struct machine *m, const struct cfg_device *cfg, unsigned slot,
		      struct backends *be, struct err *err);
};

struct device_table {
	const struct device_row *const *rows; /* ends with NULL */
	const struct device_row *disk;        /* what -drive if=virtio makes, with drive= */
	const struct device_row *nic;         /* what -nic makes, with netdev= and mac= */
	/* Refuse a name that is in no row with the reason and what to use instead; 0: nothing is
	 * known of it. */
	int (*refuse)(const char *name, struct err *err);
};

/* The row of that name, or NULL. */
const struct device_row *device_row_find(const struct device_table *t, const char *name);
/* Check the names and values of all properties against cfg->row. */
int device_check(const struct cfg_device *cfg, struct err *err);

/* The value of a property that the row has: as given, or the default. */
const char *device_text(const struct cfg_device *cfg, const char *name); /* NULL: no default */
bool device_bool(const struct cfg_device *cfg, const char *name);
uint64_t device_number(const struct cfg_device *cfg, const char *name);
/* The number of a part of the board, from -global, or the row's default. */
uint64_t device_part_number(const struct config *cfg, const struct device_row *row,
			    const char *name);

/* The same of a part of the board, from -global; 'otherwise' is the default. */
bool device_part_bool(const struct config *cfg, const struct device_row *row, const char *name,
		      bool otherwise);

/* ---- rows of a device's properties: a text of the form v, a number from lo to hi, a switch ----
 */

#define DEVICE_TEXT(k, v, h)                                                                       \
	{                                                                                          \
		.key = (k), .kind = OPT_STRING, .off = OPT_NOWHERE, .values = (v), .help = (h)     \
	}
#define DEVICE_NUMBER(k, lo, hi, d, h)                                                             \
	{                                                                                          \
		.key = (k), .kind = OPT_U64, .off = OPT_NOWHERE, .min = (lo), .max = (hi),         \
		.otherwise = (d), .help = (h)                                                      \
	}
#define DEVICE_BOOL(k, d, h)                                                                       \
	{                                                                                          \
		.key = (k), .kind = OPT_BOOL, .off = OPT_NOWHERE, .values = "on|off",              \
		.otherwise = (d), .help = (h)                                                      \
	}
/* Of a set of words, of which 'o' are offered, for the reason 'w'. */
#define DEVICE_WORD(k, v, o, w, d, h)                                                              \
	{                                                                                          \
		.key = (k), .kind = OPT_ENUM, .off = OPT_NOWHERE, .values = (v), .only = (o),      \
		.why = (w), .otherwise = (d), .help = (h)                                          \
	}
/* A switch that stands for feature bits, on unless it is turned off. */
#define DEVICE_FEATURE(k, b, h)                                                                    \
	{                                                                                          \
		.key = (k), .kind = OPT_BOOL, .off = OPT_NOWHERE, .values = "on|off",              \
		.otherwise = "on", .bits = (b), .help = (h)                                        \
	}
/* The same, off unless it is turned on. */
#define DEVICE_FEATURE_OFF(k, b, h)                                                                \
	{                                                                                          \
		.key = (k), .kind = OPT_BOOL, .off = OPT_NOWHERE, .values = "on|off",              \
		.otherwise = "off", .bits = (b), .help = (h)                                       \
	}
/* Bits from 64 on, which are off unless the switch is turned on. */
#define DEVICE_FEATURE_64(k, b, h)                                                                 \
	{                                                                                          \
		.key = (k), .kind = OPT_BOOL, .off = OPT_NOWHERE, .values = "on|off",              \
		.otherwise = "off", .bits_64 = (b), .help = (h)                                    \
	}
/* A switch with one value that can be had here. */
#define DEVICE_FIXED(k, d, w, h)                                                                   \
	{                                                                                          \
		.key = (k), .kind = OPT_BOOL, .off = OPT_NOWHERE, .values = "on|off", .only = (d), \
		.why = (w), .otherwise = (d), .help = (h)                                          \
	}
#define DEVICE_CALL(k, v, f, h)                                                                    \
	{                                                                                          \
		.key = (k), .kind = OPT_CALL, .off = OPT_NOWHERE, .values = (v), .set = (f),       \
		.help = (h)                                                                        \
	}

#endif
