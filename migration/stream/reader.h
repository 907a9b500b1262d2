/*
 * reader.h - a stream from a channel: a struct src that is filled by reading
 */
#ifndef MINIVMM_MIGRATION_READER_H
#define MINIVMM_MIGRATION_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/base/buf.h"
#include "vmm/base/error.h"

struct channel;
struct machine;

struct reader {
	struct src src;
	struct channel *ch; /* borrowed */
	uint8_t *buf;       /* owned */
	size_t cap;
	/*
	 * The loader of device state holds the machine lock; waiting for the peer
	 * must not hold up the machine, so it is given up meanwhile.
	 */
	struct machine *m;
	bool locked;
	bool ended;     /* more was asked for than the stream has */
	bool exact;     /* nothing is read ahead: what follows may belong to another reader */
	int64_t start;  /* of the stream in the channel's file; negative: it has no places */
	int failed;     /* -errno of the channel's read, 0: none */
	struct err err; /* then: why */
};

struct reader *reader_new(struct channel *ch, struct machine *m);
void reader_free(struct reader *r);
/* Another channel, which begins a stream of its own; what was read ahead is dropped. */
void reader_restart(struct reader *r, struct channel *ch);

#endif
