/*
 * recv.h - what the two halves of the receiving side share
 *
 * recv.c has the connections and the load thread, recv-channel.c
 * the thread of one channel.
 */
#ifndef MINIVMM_MIGRATION_RAM_MULTIFD_RECV_H
#define MINIVMM_MIGRATION_RAM_MULTIFD_RECV_H

#include <pthread.h>
#include <sys/uio.h>

#include "migration/ram/multifd/multifd.h"
#include "migration/ram/ram.h"
#include "vmm/base/error.h"
#include "vmm/base/thread.h"
#include "vmm/base/wake.h"

#define MULTIFD_MAX_CHANNELS 255U

struct recv_channel {
	/* constant while the thread lives */
	struct multifd_recv *r;
	struct channel *ch; /* owned */
	struct thread thread;
	/* the thread's */
	uint8_t header[MULTIFD_HEADER_BYTES];
	size_t have; /* bytes of 'header', read together with the payload before it */
	struct multifd_packet packet;
	struct iovec iov[MULTIFD_PAGES + 1];
	void *state; /* owned; the decompressor's */
	uint8_t *in; /* owned; a compressed payload */
	uint8_t scrap[PAGE_BYTES];
	struct ram_load *ram; /* borrowed; NULL: the list of RAM blocks is not complete yet */
	bool late; /* pages have come behind the last SYNC; others look while it is not busy */
	/* under r->lock */
	int id;         /* -1: not said yet */
	uint64_t syncs; /* seen */
	bool busy;      /* with a packet of which bytes have been read */
	bool ended;     /* the source has closed it, between two packets */
};

struct multifd_recv {
	/* set at creation and then constant */
	struct multifd_config cfg;
	const struct multifd_method *method;
	bool (*pending)(void *opaque);
	void *opaque;
	int wake_fd;      /* eventfd for the load thread: look again */
	int alarm_fd;     /* eventfd: a channel has failed, or all are to end */
	int watch_fd;     /* epoll: alarm_fd or the migration's cancel_fd */
	uint64_t packets; /* atomic; taken from all channels */
	/* the load thread's */
	int main_fd; /* borrowed; the main connection while it is open, else -1 */
	bool main_closed;
	/* Protects what follows, and each channel's members marked so.  Nothing is taken under it.
	 */
	pthread_mutex_t lock;
	pthread_cond_t go; /* for channels: released, stop, failed */
	struct recv_channel *channels[MULTIFD_MAX_CHANNELS];
	unsigned n_channels, n_known; /* connected; of these, with an id */
	struct ram_load *ram;         /* borrowed; from the first round on */
	uint64_t rounds, released;    /* sync rounds begun and done */
	bool plain;                   /* the source has no channels */
	bool expected;                /* it has some */
	bool finishing;               /* the load thread waits for channels that are not busy */
	bool stop, failed;
	struct err err; /* then: why */
};

/* A channel has failed with *err, or something else of this side.  Lock held. */
void multifd_recv_fail_locked(struct multifd_recv *r, const struct err *err);
/* A channel's thread; opaque: its struct recv_channel. */
void *multifd_channel_thread(void *opaque);

#endif
