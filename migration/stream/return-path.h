/*
 * return-path.h - what a destination tells the source (migration-stream 5.7)
 */
#ifndef MINIVMM_MIGRATION_RETURN_PATH_H
#define MINIVMM_MIGRATION_RETURN_PATH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "migration/peer/process.h"
#include "vmm/base/buf.h"

struct channel;
struct err;

#define RP_MAX_PAYLOAD 512

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

/* ---- destination ---- */

/* ch NULL: nothing is sent. */
int rp_send(struct channel *ch, enum rp_type type, const void *payload, size_t n, struct err *err);
int rp_send_shut(struct channel *ch, uint32_t status, struct err *err);

/* ---- source ---- */

struct return_path {
	struct channel *ch; /* borrowed */
	uint8_t in[4 + RP_MAX_PAYLOAD];
	size_t have;   /* bytes of 'in': a message that is not complete yet */
	bool ponged;   /* somebody is there who understands PING */
	bool minivmm;  /* it is minivmm */
	bool compared; /* it has no objection to our machine */
	bool loaded;   /* it has loaded all device state in front of EOF (COOKIE_LOADED) */
	bool ready, shut;
	uint32_t shut_status;           /* 0: the guest has been taken over */
	bool ended;                     /* the peer has closed */
	bool reset;                     /* ... with ECONNRESET */
	struct peer peer;               /* from READY */
	char cause[RP_MAX_PAYLOAD + 1]; /* from ERROR; "" none */
	struct buf differs;             /* owned; from DIFFERS */
};

/*
 * Take in what the destination has sent, waiting up to timeout_ms (0: not,
 * -1: until something comes).  1 when something came, 0 when not; -errno with
 * *err set for a broken message (-EPROTO), -ECANCELED.  The end of the
 * connection is no failure here: it sets 'ended'.
 */
int rp_poll(struct return_path *rp, int timeout_ms, struct err *err);
/* The destination's reason to give up, as one sentence about it; always returns -EREMOTEIO. */
int rp_refused(const struct return_path *rp, struct err *err);
/* That sentence, owned, where a struct err has no room for it: how the machines differ.  Else NULL.
 */
char *rp_refused_text(const struct return_path *rp);
void rp_fini(struct return_path *rp);

#endif
