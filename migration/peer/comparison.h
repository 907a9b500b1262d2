/*
 * comparison.h - between compare.c, which goes through a description, and what it calls for a
 * record
 *
 * A function that compares takes a record's body, tells what differs in
 * c->diff, and returns -EIO when the body is too short.  One for what is left
 * tells what is here and was in no record.  Machine lock held.
 */
#ifndef MINIVMM_MIGRATION_PEER_COMPARISON_H
#define MINIVMM_MIGRATION_PEER_COMPARISON_H

#include <stdbool.h>
#include <stddef.h>

#include "vmm/base/buf.h"
#include "vmm/board.h"
#include "vmm/memory/memory.h"

struct config;
struct machine;

struct comparison {
	struct machine *m;
	const bool *caps; /* CAP_COUNT of them, or NULL */
	struct buf *diff;
	bool blocks[MEMORY_MAX_BLOCKS]; /* ours that the source has, too */
	bool devices[BOARD_MAX_DEVICES];
	char lacking[256]; /* a section that there is no taker for; "": none */
};

/* compare-machine.c */
int compare_option(struct comparison *c, struct src *in);
int compare_cpus(struct comparison *c, struct src *in);
int compare_block(struct comparison *c, struct src *in);
void compare_blocks_left(struct comparison *c);
int compare_section(struct comparison *c, struct src *in);
void compare_sections_left(struct comparison *c);

/* compare-device.c */
int compare_device(struct comparison *c, struct src *in);
void compare_devices_left(struct comparison *c);

/* ---- describe.c: what is described ---- */

/* Options that a guest sees and no device stands for. */
struct described_option {
	const char *name;
	bool (*get)(const struct config *cfg);
};
extern const struct described_option described_options[];
extern const size_t n_described_options;

/* Is it named by itself?  What every board has, and what an option stands for, is not. */
bool device_is_described(const struct board_device *d);

#endif
