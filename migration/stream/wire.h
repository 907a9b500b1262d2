/*
 * wire.h - the numbers of the stream: tags, commands, messages on the return path
 *
 * migration-stream 1 (records), 5.1 (commands), 5.7 (return path).  What stands under "minivmm"
 * is said only to a peer that has shown itself to be one.
 */
#ifndef MINIVMM_MIGRATION_WIRE_H
#define MINIVMM_MIGRATION_WIRE_H

#define TLS_HELLO      0x1603U /* what the greeting of TLS begins with, instead of a magic */
#define STREAM_MAGIC   0x5145564dU
#define STREAM_VERSION 3U

enum stream_tag {
	TAG_EOF = 0x00,
	TAG_START = 0x01,
	TAG_PART = 0x02,
	TAG_END = 0x03,
	TAG_FULL = 0x04,
	TAG_SUBSECTION = 0x05,
	TAG_VMDESC = 0x06,
	TAG_CONFIGURATION = 0x07,
	TAG_COMMAND = 0x08,
	TAG_FOOTER = 0x7e,
};

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
	CMD_GO = 0x4d02,          /* the guest is yours: run it; payload: go.h */
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

/* PING with this one ends a pass; its PONG says that the pass has been loaded. */
#define COOKIE_PASS 0x4d564d04U

/* PONG with this one, behind COOKIE_DESTINATION: MULTIFD_FLUSH is understood. */
#define COOKIE_FLUSH_PASS 0x4d564d05U

/*
 * Postcopy (migration-stream 5.4): PINGs in front of the package, at the end of it (of QEMU, and of
 * QEMU 11 alone) and behind it.
 */
#define COOKIE_DISCARDED 2U
#define COOKIE_PACKAGE   3U
#define COOKIE_PACKAGED  4U
#define COOKIE_STARTED   0x42U
/* PING with this one follows a postcopy's GO: its PONG says that the guest runs. */
#define COOKIE_RUNS 5U

/*
 * Section ids have no meaning, so this one may have: with it as RAM's, a saved
 * stream ends with a checksum (channel/checksum.h).
 */
#define RAM_ID_CHECKSUM 0x4d564d63U

#define RP_MAX_PAYLOAD 512

/* What RESUME_ACK says. */
#define RESUME_ACK_VALUE 1U

enum rp_type {
	RP_SHUT = 1,
	RP_PONG = 2,
	RP_REQ_PAGES_ID = 3,
	RP_REQ_PAGES = 4,
	RP_RECV_BITMAP = 5,
	RP_RESUME_ACK = 6,
	RP_SWITCHOVER_ACK = 7,
	/* Only to a peer that is known to be minivmm: */
	RP_ERROR = 0x4d01,   /* text: why the destination gives up; SHUT follows */
	RP_READY = 0x4d02,   /* struct peer: all is loaded and checked; waits for GO */
	RP_DIFFERS = 0x4d03, /* text, a piece of it: how the machines differ; ERROR follows */
};

/* Low bits of a RAM record's first word (migration-stream 3.3) */
enum ram_flag {
	RAM_FLAG_FULL = 0x001,
	RAM_FLAG_ZERO = 0x002,
	RAM_FLAG_MEM_SIZE = 0x004,
	RAM_FLAG_PAGE = 0x008,
	RAM_FLAG_EOS = 0x010,
	RAM_FLAG_CONTINUE = 0x020,
	RAM_FLAG_XBZRLE = 0x040,
	RAM_FLAG_HOOK = 0x080,
	RAM_FLAG_COMPRESS = 0x100,
	RAM_FLAG_MULTIFD_FLUSH = 0x200,
	/* Only between two minivmms: be32 n follows, then n consecutive pages */
	RAM_FLAG_RUN = RAM_FLAG_FULL | RAM_FLAG_PAGE,
};

#endif
