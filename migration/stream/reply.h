/* reply.h - what a destination says on the return path (migration-stream 5.7) */
#ifndef MINIVMM_MIGRATION_REPLY_H
#define MINIVMM_MIGRATION_REPLY_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

#include "migration/stream/wire.h"

struct channel;
struct err;

/*
 * One message of n bytes, RP_MAX_PAYLOAD at most; ch NULL: nothing is sent.
 * The channel's writer's thread.  0, or -errno with *err set.
 */
int rp_send(struct channel *ch, enum rp_type type, const void *payload, size_t n, struct err *err);
/* Why the stream is refused; what is too long for a message ends with " ...". */
int rp_send_error(struct channel *ch, const char *text, struct err *err);
int rp_send_shut(struct channel *ch, uint32_t status, struct err *err);

/*
 * The way back while several threads write to it: messages stay whole.  With 'ch' NULL they go
 * nowhere.  The lock is a leaf; it is held while a message waits for the source to read.
 */
struct rp_out {
	pthread_mutex_t lock;
	struct channel *ch; /* borrowed; under lock */
};

void rp_out_init(struct rp_out *out);
void rp_out_fini(struct rp_out *out);
/* rp_send() to it.  Any thread. */
int rp_out_send(struct rp_out *out, enum rp_type type, const void *payload, size_t n,
		struct err *err);

#endif
