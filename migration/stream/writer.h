/*
 * writer.h - a stream towards a channel
 *
 * Gathers small pieces and references to large ones into writev.
 */
#ifndef MINIVMM_MIGRATION_WRITER_H
#define MINIVMM_MIGRATION_WRITER_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "vmm/base/error.h"

struct channel;

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

#endif
