/*
 * zero-copy.h - sending from where the bytes are (MSG_ZEROCOPY)
 *
 * The kernel keeps the pages until it has sent them, and says in the socket's
 * error queue when that was, and whether it has copied them (as it
 * does on loopback).
 */
#ifndef MINIVMM_MIGRATION_ZERO_COPY_H
#define MINIVMM_MIGRATION_ZERO_COPY_H

#include <stdbool.h>
#include <stdint.h>

struct channel;
struct err;
struct iovec;

struct zero_copy {
	uint32_t sent, done; /* calls that asked for it; those the kernel has finished */
	bool spared;         /* some of them since the last flush without a copy */
};

/* Ask the channel's socket for it; a channel that is none, or a unix socket, refuses. */
int zero_copy_enable(struct channel *c, struct err *err);
/* As channel_write_all(); the bytes may be read until zero_copy_flush(). */
int zero_copy_write_all(struct channel *c, struct zero_copy *z, struct iovec *iov, int n_iov,
			struct err *err);
/* Wait until nothing is under way; *copied: something was, and all of it was copied. */
int zero_copy_flush(struct channel *c, struct zero_copy *z, bool *copied, struct err *err);

#endif
