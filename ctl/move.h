/* move.h - what the commands that start a migration share */
#ifndef MINIVMM_CTL_MOVE_H
#define MINIVMM_CTL_MOVE_H

#include "ctl/follow.h"
#include "ctl/settings.h"

struct ctl_args;

/*
 * Set what the settings say, call 'command' with 'args' (taken), follow it to its end, put back
 * what was set, and say the result with 'what' in front ("moved to unix:/x").  The exit status.
 */
int move_run(struct ctl *ctl, struct settings *s, struct follow *f, const char *command,
	     struct json_object *args, const char *what);

/* clang-format off */
/* Options of 'move' and 'save', for their tables. */
#define MOVE_COMMON_OPTS                                                                              \
	{"rate", "BYTES", "at most so many a second, as 100M; 0: no limit"},                          \
	{"multifd", "N[:zlib|zstd]", "N channels, compressed or not; the other end needs it too"},    \
	{"compress", NULL, "threads compress pages (not in QEMU since 9.1)"},                         \
	{"xbzrle", NULL, "of pages that are sent again only what has changed"},                       \
	{"xbzrle-cache", "BYTES", "the same, with so much memory for it"},                            \
	{"auto-converge", NULL, "slow the guest down when it writes faster than can be sent"},        \
	{"max-pause", "MS", "the guest may stand still for so long"},                                 \
	{"deadline", "SECONDS", "by then the guest is to be there"},                                  \
	{"or", "force|cancel|postcopy", "what is done at the deadline; cancel unless it is said"}
/* clang-format on */

#endif
