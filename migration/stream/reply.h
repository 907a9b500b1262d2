/* reply.h - what a destination says on the return path (migration-stream 5.7) */
#ifndef MINIVMM_MIGRATION_REPLY_H
#define MINIVMM_MIGRATION_REPLY_H

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

#endif
