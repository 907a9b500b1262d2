/* commands.h - COMMAND records and what comes back for them (migration-stream 5.1, 5.7) */
#ifndef MINIVMM_MIGRATION_COMMANDS_H
#define MINIVMM_MIGRATION_COMMANDS_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/base/buf.h"

struct channel;
struct err;
struct incoming_postcopy;
struct machine;
struct ram_load;
struct rp_out;

/* What a destination knows of the source from its commands. */
struct command_state {
	struct channel *ch; /* borrowed; NULL: answers go nowhere */
	struct machine *m;
	struct ram_load *ram; /* borrowed; NULL: no pages are taken */
	const bool *caps;     /* borrowed: our capabilities; NULL: all off */
	bool agree_early;     /* a source waits for SWITCHOVER_ACK (QEMU 8.1 to 10) */
	bool hinted;          /* ... and it has been said when it is not */
	bool return_path;     /* the source reads what we send */
	bool minivmm;         /* the source is minivmm */
	/* borrowed; NULL: this load does not become a postcopy */
	struct incoming_postcopy *postcopy;
	struct rp_out *out; /* borrowed; once other threads write to 'ch', too; NULL: none does */
	bool package;       /* the commands are in a postcopy's package */
	bool listened, run; /* ... in which LISTEN, RUN have come */
	struct buf differs; /* owned: how its machine differs from ours, in words; empty: not */
};

/* A command, behind its tag. */
int commands_load(struct command_state *cs, struct src *in, struct err *err);
/* "COMMAND 7 (PACKAGED)"'s name, or "unknown" */
const char *command_name(uint16_t command);

#endif
