/*
 * device-state.h - the records around RAM that a source writes
 *
 * The format is migration-stream 1: header, configuration, records with a tag
 * each, a footer behind every section.
 */
#ifndef MINIVMM_MIGRATION_DEVICESTATE_H
#define MINIVMM_MIGRATION_DEVICESTATE_H

#include <stdbool.h>
#include <stdint.h>

#include "migration/stream/wire.h"
#include "vmm/base/buf.h"

struct err;
struct machine;
struct writer;

/* File header and configuration, with what the capabilities (CAP_COUNT of them) put into it. */
int stream_put_header(struct writer *w, const struct machine *m, const bool *caps);
/* A COMMAND record, appended. */
void buf_command(struct buf *b, uint16_t command, const void *payload, uint16_t n);
int stream_put_command(struct writer *w, uint16_t command, const void *payload, uint16_t n);

/* Everything that follows RAM, collected while the machine stands still. */
struct device_state {
	struct buf sections; /* FULL records */
	struct buf json;     /* what VMDESCRIPTION says */
};

/* Save every registered table.  Machine lock held, machine paused, arch state fetched. */
int device_state_collect(struct device_state *ds, struct machine *m, struct err *err);
void device_state_free(struct device_state *ds);
/* The sections; the description, which follows EOF.  'ds' must live until the flush. */
int device_state_put(const struct device_state *ds, struct writer *w);
int device_state_describe(const struct device_state *ds, struct writer *w);

#endif
