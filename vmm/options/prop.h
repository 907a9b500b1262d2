/*
 * prop.h - one property of an option's list or of a device: what it is called,
 * what it takes, what it means
 *
 * The same row checks a value, stores it, and is printed in the help and the
 * manual page.
 */
#ifndef MINIVMM_OPTIONS_PROP_H
#define MINIVMM_OPTIONS_PROP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct opt_parse;

/* How much of a foreign value a message quotes. */
#define OPT_QUOTE "%.96s"

enum opt_kind {
	OPT_STRING,  /* char * */
	OPT_ID,      /* char *: letter, then letters, digits, '-', '.', '_' */
	OPT_BOOL,    /* bool: on|off and their synonyms */
	OPT_AUTO,    /* bool: on|off|auto, where auto is on */
	OPT_SWITCH,  /* unsigned, enum cfg_auto: on|off|auto */
	OPT_CHOICE,  /* unsigned: IP_ON|IP_OFF of enum ip_choice; absent is IP_UNSET */
	OPT_SIZE,    /* uint64_t: bytes, with suffix */
	OPT_U32,     /* uint32_t */
	OPT_U64,     /* uint64_t: min to max */
	OPT_FD,      /* int: a descriptor's number */
	OPT_ENUM,    /* unsigned: index in 'values' */
	OPT_SEEN,    /* read by the caller */
	OPT_REFUSED, /* known, not offered: 'why' */
	OPT_CALL,    /* 'set' */
};

#define OPT_NOWHERE SIZE_MAX /* checked, not stored: the knob has no meaning here */

struct opt_prop {
	const char *key;
	enum opt_kind kind;
	size_t off;         /* in the base struct, or OPT_NOWHERE */
	bool needed;        /* refused when absent */
	const char *values; /* "a|b|c": what exists (OPT_ENUM, and for the help) */
	const char *only;   /* "a|b": what is offered; NULL: all */
	const char *why;    /* for what is not offered: what to use */
	/* OPT_CALL; p and base are NULL for a device's property, which is only checked. */
	int (*set)(struct opt_parse *p, void *base, const char *val, struct err *err);
	const char *help;
	uint64_t min, max; /* OPT_U64 */
	const char
	    *otherwise;   /* the default, as one would type it; NULL: none, or 'help' says it */
	uint64_t bits;    /* a device's feature bits that OPT_BOOL stands for; 0: none */
	uint64_t bits_64; /* ... from bit 64 on */
};

#define PROP_END                                                                                   \
	{                                                                                          \
		.key = NULL                                                                        \
	}
/* Rows: the key, its kind and place, what values there are, the help. */
#define PROP(k, t, o, v, h)                                                                        \
	{                                                                                          \
		.key = (k), .kind = (t), .off = (o), .values = (v), .help = (h)                    \
	}
#define PROP_NEEDED(k, t, o, v, h)                                                                 \
	{                                                                                          \
		.key = (k), .kind = (t), .off = (o), .values = (v), .help = (h), .needed = true    \
	}
/* 'y' are the values offered, 'w' what to use in the place of the others. */
#define PROP_ONLY(k, t, o, v, y, w, h)                                                             \
	{                                                                                          \
		.key = (k), .kind = (t), .off = (o), .values = (v), .only = (y), .why = (w),       \
		.help = (h)                                                                        \
	}
#define PROP_CALL(k, v, f, h)                                                                      \
	{                                                                                          \
		.key = (k), .kind = OPT_CALL, .values = (v), .set = (f), .help = (h)               \
	}
#define PROP_SEEN(k, v, h)                                                                         \
	{                                                                                          \
		.key = (k), .kind = OPT_SEEN, .values = (v), .help = (h)                           \
	}
#define PROP_REFUSED(k, w)                                                                         \
	{                                                                                          \
		.key = (k), .kind = OPT_REFUSED, .why = (w)                                        \
	}

#endif
