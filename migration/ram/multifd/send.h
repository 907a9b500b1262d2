/*
 * send.h - what the two halves of the sending side share
 *
 * send.c has the migration thread's half, send-channel.c the thread of one channel.
 */
#ifndef MINIVMM_MIGRATION_RAM_MULTIFD_SEND_H
#define MINIVMM_MIGRATION_RAM_MULTIFD_SEND_H

#include <pthread.h>
#include <sys/uio.h>

#include "migration/channel/zero-copy.h"
#include "migration/ram/multifd/multifd.h"
#include "migration/ram/ram-stream.h"
#include "vmm/base/error.h"
#include "vmm/base/list.h"
#include "vmm/base/thread.h"

#define BATCHES_PER_CHANNEL 4U
#define UNTOUCHED           1U /* beside a page's offset: it is zero, and must not be read */

struct batch {
	struct list link;
	const struct ram_block *block;
	uint32_t n;
	uint64_t off[MULTIFD_PAGES]; /* | UNTOUCHED */
};

struct send_channel {
	/* constant while the thread lives */
	struct multifd_send *s;
	unsigned id;
	struct channel *ch; /* owned */
	struct thread thread;
	/* the thread's */
	struct multifd_packet packet;
	uint8_t header[MULTIFD_HEADER_BYTES];
	struct iovec iov[1 + MULTIFD_PAGES];
	struct zero_copy zc;
	void *state;  /* owned; the compressor's */
	uint8_t *out; /* owned; what it has made, MULTIFD_MAX_PAYLOAD */
	uint8_t page[PAGE_BYTES];
	/* under s->lock */
	uint64_t synced; /* rounds */
};

struct multifd_send {
	/* set at creation and then constant */
	struct multifd_config cfg;
	const struct multifd_method *method;
	int alarm_fd;    /* eventfd: a channel has failed, or all are to end */
	int watch_fd;    /* epoll: alarm_fd or the migration's cancel_fd */
	bool zero_pages; /* go in packets; set before the first page */
	/*
	 * Protects what follows, and each channel's 'synced'.  Nothing is
	 * taken under it.
	 */
	pthread_mutex_t lock;
	pthread_cond_t work; /* for channels: the queue, rounds, quit */
	pthread_cond_t back; /* for the migration thread: free batches, synced, failed */
	struct list queue, free;
	unsigned n_free;
	uint64_t rounds;
	uint64_t packets; /* numbered so far */
	bool quit, failed;
	struct err err; /* then: why */
	/* atomic */
	uint64_t bytes, copied, pending;
	struct multifd_pages pages;
	/* the migration thread's */
	struct batch *filling;
	unsigned n_channels; /* started */
	struct batch *batches;
	struct send_channel channels[]; /* cfg.channels */
};

static inline unsigned multifd_send_batches(const struct multifd_send *s)
{
	return s->cfg.channels * BATCHES_PER_CHANNEL;
}

static inline void multifd_send_count(struct multifd_send *s, uint64_t bytes)
{
	__atomic_fetch_add(&s->bytes, bytes, __ATOMIC_RELAXED);
}

/* A channel has failed with *err; the first one's is kept.  Lock not held. */
void multifd_send_fail(struct send_channel *c, const struct err *err);
/* A channel's thread; opaque: its struct send_channel. */
void *multifd_send_thread(void *opaque);

#endif
