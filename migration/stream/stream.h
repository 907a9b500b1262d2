/*
 * stream.h - the bytes between two ends: writer, reader, records
 *
 * The format is migration-stream 1: header, configuration, records with a tag
 * each, a footer behind every section.
 */
#ifndef MINIVMM_MIGRATION_STREAM_H
#define MINIVMM_MIGRATION_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "migration/stream/wire.h"
#include "vmm/base/buf.h"
#include "vmm/base/error.h"

struct channel;
struct machine;

/* ---- writer: gathers small pieces and references to large ones into writev ---- */

#define WRITER_IOV         1024
#define WRITER_SMALL_BYTES (128 * 1024UL)

struct writer {
	struct channel *ch; /* borrowed */
	struct iovec iov[WRITER_IOV];
	int n_iov;
	uint8_t *small; /* owned: bytes of small pieces not yet written */
	size_t small_len;
	uint64_t bytes; /* accepted so far, from the first byte of the stream */
	struct err err; /* why the last call failed */
};

struct writer *writer_new(struct channel *ch);
void writer_free(struct writer *w); /* drops what was not flushed */
/* All: 0, or -errno with w->err set. */
/* Copies. */
int writer_put(struct writer *w, const void *p, size_t n);
/*
 * Keeps the pointer until the next flush: for bytes that stay where they are,
 * and for guest pages - what the guest changes meanwhile is dirty again.
 */
int writer_ref(struct writer *w, const void *p, size_t n);
/*
 * The same for many guest pages.  Where the channel can, they are not copied
 * (channel_splice): the peer must say that it has them all before the guest
 * may go on as if nothing had been sent.
 */
int writer_pages(struct writer *w, const void *p, size_t n);
int writer_flush(struct writer *w);
/* Take the writer's words for 'ret' when it is a failure; returns it.  err may be NULL. */
int writer_explain(const struct writer *w, int ret, struct err *err);

/* ---- reader: a struct src over a channel ---- */

struct reader {
	struct src src;
	struct channel *ch; /* borrowed */
	uint8_t *buf;       /* owned */
	size_t cap;
	/*
	 * Who loads device state holds the machine lock; waiting for the peer
	 * must not hold up the machine, so it is given up meanwhile.
	 */
	struct machine *m;
	bool locked;
	int failed;     /* -errno of the channel's read, 0: none */
	struct err err; /* then: why */
};

struct reader *reader_new(struct channel *ch, struct machine *m);
void reader_free(struct reader *r);

/* ---- records that a source writes (sections-save.c) ---- */

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
