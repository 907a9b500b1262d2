/* commands.h - COMMAND records and what comes back for them (migration-stream 5.1, 5.7) */
#ifndef MINIVMM_MIGRATION_COMMANDS_H
#define MINIVMM_MIGRATION_COMMANDS_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/base/buf.h"

struct channel;
struct err;
struct machine;
struct ram_load;

enum stream_command {
	CMD_OPEN_RETURN_PATH = 1,
	CMD_PING = 2,
	CMD_POSTCOPY_ADVISE = 3,
	CMD_POSTCOPY_LISTEN = 4,
	CMD_POSTCOPY_RUN = 5,
	CMD_POSTCOPY_RAM_DISCARD = 6,
	CMD_PACKAGED = 7,
	CMD_ENABLE_COLO = 8,
	CMD_POSTCOPY_RESUME = 9,
	CMD_RECV_BITMAP = 10,
	CMD_SWITCHOVER_START = 11,
	/* Only to a peer that is known to be minivmm: */
	CMD_DESCRIPTION = 0x4d01, /* the source's machine (vmm/describe.h) */
	CMD_GO = 0x4d02,          /* the guest is yours: run it; struct go_requests, or nothing */
	CMD_BACKING = 0x4d03,     /* str8 block, be64 bytes, and a descriptor: what backs it */
	CMD_SPARSE = 0x4d04,      /* str8 block, str8 boot id, be64 device, be64 inode of its file:
				     pages of it that are not sent are zero; before RAM */
};

/* PING with this cookie says "I am minivmm"; every destination echoes it. */
#define COOKIE_SOURCE 0x4d564d4dU
/* PONG with this one says the same of the destination; it precedes the echo. */
#define COOKIE_DESTINATION 0x4d564d01U

/* PING with this one follows the description; its PONG says that the machines fit. */
#define COOKIE_COMPARED 0x4d564d02U
/* PING with this one follows the last section: its PONG says that QEMU has loaded them all. */
#define COOKIE_LOADED 0x4d564d03U

/* What a destination knows of the source from its commands. */
struct command_state {
	struct channel *ch; /* borrowed; NULL: answers go nowhere */
	struct machine *m;
	struct ram_load *ram; /* borrowed; NULL: no pages are taken */
	const bool *caps;     /* borrowed: our capabilities; NULL: all off */
	bool return_path;     /* the source reads what we send */
	bool minivmm;         /* the source is minivmm */
	struct buf differs;   /* owned: how its machine differs from ours, in words; empty: not */
};

/* A command, behind its tag. */
int commands_load(struct command_state *cs, struct src *in, struct err *err);
/* "COMMAND 7 (PACKAGED)"'s name, or "unknown" */
const char *command_name(uint16_t command);

#endif
