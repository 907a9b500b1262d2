/*
 * loader.h - a whole stream into a machine (migration-stream 1, 8)
 *
 * Whatever the stream says is checked; a stream that is refused leaves the
 * machine half loaded: it must be reset, and must not run.
 */
#ifndef MINIVMM_MIGRATION_LOADER_H
#define MINIVMM_MIGRATION_LOADER_H

#include <stddef.h>
#include <stdint.h>

#include "migration/incoming/commands.h"
#include "migration/settings/capabilities.h"

struct err;
struct lazy;
struct machine;
struct mapped_config;
struct mapped_load;
struct parent_mark;
struct postcopy_records;
struct ram_load;
struct reader;
struct src;
struct vms_entry;

struct seen_section {
	uint32_t id, version;
	struct vms_entry *entry; /* NULL: ram */
};

struct loader {
	/* the caller's */
	struct machine *m;
	struct src *in;
	struct reader *reader; /* the one behind 'in'; NULL: 'in' is memory */
	bool checks; /* set before loader_header(): nothing is changed, devices are passed over */
	bool
	    package; /* 'in' is a postcopy's package: devices only; its end is that of the stream */
	bool pages_only; /* ... devices are passed over, and commands: RAM is all that is loaded */
	/* The stream may have only what was written since another one, and says so here.  NULL:
	 * then it is refused. */
	struct parent_mark *parent;
	bool devices_only; /* there is neither RAM nor, perhaps, a configuration (device-file.c) */
	/* a part of the stream that is records of pages, which come by an index; empty: none is */
	uint64_t pages_start, pages_end;
	struct command_state commands; /* its 'caps' also tell what both ends must agree on */
	/* the loader's */
	bool caps_seen[CAP_COUNT]; /* on at the source */
	struct ram_load *ram;
	struct mapped_load *mapped; /* owned; NULL: pages have no places in a file */
	/* borrowed; the guest may run already, and pages are all that comes; NULL: it does not */
	struct postcopy_records *postcopy;
	struct lazy *lazy; /* owned until it has begun; NULL: all pages are loaded at once */
	struct seen_section *seen; /* owned; sections announced by START or FULL */
	size_t n_seen;
};

/* 'reader' or, when it is NULL, 'in' (both borrowed) is where the bytes come from. */
void loader_init(struct loader *l, struct machine *m, struct reader *reader, struct src *in);
void loader_fini(struct loader *l);
/* Capability mapped-ram is on: before the header.  0, or -errno with *err set. */
int loader_map(struct loader *l, const struct mapped_config *cfg, struct err *err);
/*
 * Header and configuration, then records up to and with EOF.  Takes the
 * machine lock around each device section (the caller does not hold it).
 */
int loader_header(struct loader *l, struct err *err);
int loader_records(struct loader *l, struct err *err);
/*
 * What follows EOF: read and drop a description when one comes; everything
 * else is left.  1: it came, 0: something else did, or the end.  'text' (may be
 * NULL) gets what it says, unless that is larger than any machine's.
 */
int loader_description(struct loader *l, struct buf *text);

#endif
