/*
 * return-path.h - what a destination tells the source (migration-stream 5.7)
 */
#ifndef MINIVMM_MIGRATION_RETURN_PATH_H
#define MINIVMM_MIGRATION_RETURN_PATH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "migration/peer/process.h"
#include "migration/stream/recv-bitmap.h"
#include "migration/stream/wire.h"
#include "vmm/base/buf.h"
#include "vmm/memory/memory.h"

struct channel;
struct err;

struct return_path {
	struct channel *ch; /* borrowed */
	uint8_t in[4 + RP_MAX_PAYLOAD];
	size_t have;     /* bytes of 'in': a message that is not complete yet */
	bool ponged;     /* the peer understands PING */
	bool minivmm;    /* it is minivmm */
	bool flush_pass; /* ... and understands MULTIFD_FLUSH */
	bool compared;   /* it has no objection to our machine */
	bool loaded;     /* it has loaded all device state in front of EOF (COOKIE_LOADED) */
	bool passed;     /* it has loaded all that was in front of the last PING with COOKIE_PASS */
	bool acked;      /* it agrees to the switchover (SWITCHOVER_ACK) */
	bool package_loaded; /* it has loaded the package of a postcopy ... */
	bool runs;           /* ... and, a minivmm, runs the guest (COOKIE_RUNS) */
	bool ready, shut;
	uint32_t shut_status;           /* 0: the guest has been taken over */
	bool ended;                     /* the peer has closed */
	bool reset;                     /* ... with ECONNRESET */
	struct peer peer;               /* from READY */
	char cause[RP_MAX_PAYLOAD + 1]; /* from ERROR; "" none */
	struct buf differs;             /* owned; from DIFFERS */
	/* Pages are asked for: 0, or -errno with *err set.  NULL: that is an error. */
	int (*request)(void *opaque, const char *block, uint64_t off, uint32_t bytes,
		       struct err *err);
	void *opaque;
	char block[RAM_NAME_BYTES]; /* named in the last request that named one; "": none has */
	/* A postcopy is being resumed: */
	struct recv_bitmap_in *bitmap; /* borrowed; the one that is awaited; NULL: none is */
	bool resuming;                 /* RESUME_ACK may come, ... */
	bool resumed;                  /* and has */
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
