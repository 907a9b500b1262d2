/*
 * outgoing.h - a guest on its way out: its state, and what the files of this room share
 *
 * Lock: everything is under the machine lock unless its banner says
 * otherwise.  The status changes as settings/status.h says.
 */
#ifndef MINIVMM_MIGRATION_OUTGOING_H
#define MINIVMM_MIGRATION_OUTGOING_H

#include <stdbool.h>
#include <stdint.h>

#include "migration/channel/patience.h"
#include "migration/channel/uri.h"
#include "migration/outgoing/auto-converge.h"
#include "migration/outgoing/deadline.h"
#include "migration/outgoing/resume.h"
#include "migration/outgoing/return-path.h"
#include "migration/outgoing/stats.h"
#include "migration/ram/multifd/multifd.h"
#include "migration/ram/ram.h"
#include "migration/settings/settings.h"
#include "migration/settings/status.h"
#include "migration/stream/device-state.h"
#include "vmm/base/error.h"
#include "vmm/base/thread.h"
#include "vmm/yank.h"

struct channel;
struct dirty_limits;
struct balloon;
struct loop_fd;
struct machine;
struct mapped_save;
struct migration_mode;
struct page_index;
struct postcopy;
struct resolve;
struct writer;

/*
 * A snapshot's save, which is not a migration but goes the same way. In this order; what may be
 * NULL is left out.
 */
struct outgoing_snapshot {
	struct buf *mark; /* borrowed; a section behind the header; only a part of memory goes then.
			     NULL: all of it does */
	/* Pages are about to be tracked or protected, the guest runs.  Machine lock held.  May be
	 * NULL. */
	int (*begin)(void *opaque, struct err *err);
	/* The instant is near: pages that go may be known already.  No lock.  May be NULL. */
	int (*near)(void *opaque, struct ram_save *ram, struct err *err);
	/* The instant: the guest stands still; the pages that go are chosen.  Machine lock held.
	 * May be NULL. */
	int (*choose)(void *opaque, struct ram_save *ram, struct err *err);
	/*
	 * The instant that is saved: the guest stands still, its devices are collected, and it
	 * runs on after this.  Machine lock held.  0, or -errno with *err set.
	 */
	int (*instant)(void *opaque, struct err *err);
	void *opaque;
	struct page_index *index; /* borrowed; is put behind the stream; NULL: none is */
};

struct outgoing {
	/* set at creation and then constant; all borrowed */
	struct machine *m;
	struct migration_settings
	    *set; /* as they are now; params and caps under the machine lock */
	struct dirty_limits *dirty_limits;
	int wake_fd; /* eventfd: the thread has ended */
	uint32_t ram_section_id;
	/* machine lock */
	int status; /* enum migration_status, atomic */
	struct err error;
	char *error_text; /* owned; the whole sentence where 'error' has no room for it, or NULL */
	/*
	 * The destination has been told to run the guest, or cannot be kept
	 * from it any more: from here on the source does not resume by itself.
	 */
	bool released;
	bool stored;    /* it is a store of bytes: the guest is here as well */
	bool go_on;     /* migrate-continue has come */
	bool take_back; /* 'cont' was forced while a postcopy paused that might have the guest */
	bool start_postcopy; /* atomic: migrate-start-postcopy has come */
	bool saves;          /* into a file or a command: no destination takes the guest over */
	const struct outgoing_snapshot *snapshot; /* borrowed; NULL: a migration */
	char *where;       /* owned; the address as it was given, for messages */
	bool shared_given; /* the destination has been passed the memory itself */
	struct thread thread;
	struct resolve *resolve;  /* while the host's name is being looked up */
	struct loop_fd *too_late; /* ... and its deadline */
	struct sockaddr_list to;
	struct migration_uri uri;
	int fd;               /* of fd:, -1 once it belongs to the channel */
	struct tls_layer tls; /* of every connection; as the parameters were at the start */
	bool caps[CAP_COUNT]; /* as they were at the start */
	bool flush_sections;  /* ... and multifd-flush-after-each-section */
	uint8_t zero_pages;   /* ... and zero-page-detection */
	bool checksum;        /* ... and x-minivmm-checksum; then: does the stream carry one? */
	bool direct_io;       /* ... and direct-io */
	const struct migration_mode *mode;
	struct multifd_config multifd_config;
	struct migration_stats stats;
	struct patience patience; /* with the destination, on all channels; atomic */
	/* constant */
	int cancel_fd; /* eventfd: readable once cancelled */
	int kick_fd;   /* eventfd: look at parameters and flags again */
	/* its stop_fd is what every wait looks at: cancelled, or too late */
	struct deadline deadline;
	struct resume resume; /* where a paused postcopy goes on; a lock of its own */
	struct yank yank;
	/* the migration thread's, while it lives */
	struct channel *ch;
	struct writer *w;
	struct ram_save ram;
	struct multifd_send *multifd; /* NULL: all goes over 'ch' */
	uint64_t multifd_counted;     /* bytes of channels that the statistics have */
	bool flush_unproven;        /* a QEMU has not said yet that it understands MULTIFD_FLUSH */
	struct mapped_save *mapped; /* NULL: pages have no places in a file */
	struct balloon *hints;      /* gives hints of free pages; NULL: none does */
	struct return_path rp;
	struct device_state devices;
	struct postcopy *postcopy; /* owned; NULL: it has not come to that */
	struct auto_converge auto_converge;
	bool stopped;    /* we have stopped the machine: m->before_stop is where to go back */
	bool waited;     /* for a peer that never answered */
	bool missed_ack; /* it waits, or has waited, for SWITCHOVER_ACK */
	bool start_sent; /* SWITCHOVER_START has been sent */
	uint64_t undrained_pages; /* sent since the destination answered last */
	uint64_t window_bytes;    /* outgoing_bytes() when the bandwidth window began */
	int64_t window_ns;
	int64_t slice_ns; /* when the present slice began */
};

/* ---- outgoing.c: machine lock held ---- */

/* 'o' is zeroed but for what is constant.  Takes 'cancel_fd'; -1: it gets one of its own. */
void outgoing_init(struct outgoing *o, int cancel_fd);
/*
 * Migration thread, the lock not held: move the guest over 'ch' (taken) in the
 * way of o->mode, and end in a status.  'ret' < 0: the stage that opens the
 * channel has failed with *err, and there is no 'ch'.
 */
void outgoing_thread(struct outgoing *o, struct channel *ch, int ret, struct err *err);

/* ---- start.c: machine lock held ---- */

/*
 * Start a migration to that address.  Takes 'fd' (of fd:, else -1).  What
 * forbids a migration has been checked; the status becomes 'setup', or
 * 'failed' when this fails.
 */
int outgoing_start(struct outgoing *o, const struct migration_where *where, int fd,
		   struct err *err);
/* The thread has been joined. */
void outgoing_fini(struct outgoing *o);
/* Cancels, without waiting. */
void outgoing_cancel(struct outgoing *o);
/* Can a migration that runs follow these parameters? */
int outgoing_check_params(const struct outgoing *o, const struct migration_params *next,
			  struct err *err);
/* o->set->params have changed: limits and deadline count at once. */
void outgoing_follow(struct outgoing *o);

/* ---- setup.c: migration thread, lock not held ---- */

/* Header, return path, comparison, RAM set-up; the status becomes 'active'. */
int outgoing_set_up(struct outgoing *o, struct err *err);

/* A guest that has never run has nothing in memory: put its kernel there.  Machine lock held. */
int outgoing_load_kernel(struct machine *m, struct err *err);

/* ---- slice.c: migration thread, lock not held ---- */

/* Records are about to begin: the bandwidth limit counts from now. */
void outgoing_slices_begin(struct outgoing *o);
/* A PART record, and a wait as long as the bandwidth limit wants. */
int outgoing_slice(struct outgoing *o, struct err *err);

/* ---- switchover.c, engine.c: migration thread, lock not held ---- */

/*
 * Stop the guest, send what is left, and
 * hand the guest over.  0: the destination has it.  -EAGAIN: something else
 * wants to be done to the guest first; it runs again.
 */
int switchover(struct outgoing *o, struct err *err);
/* Of a saved stream: the header, and a snapshot's mark.  0 or -errno. */
int outgoing_put_header(struct outgoing *o);
/* The end of the stream, all at once: the devices that were collected, EOF, the description. */
int outgoing_put_devices(struct outgoing *o, struct err *err);
/* Until a moment, or until kick_fd is set; -ECANCELED. */
int outgoing_sleep(struct outgoing *o, int64_t until_ns, struct err *err);
/* What the destination has said up to now, without waiting: a refusal is an error. */
int outgoing_listen(struct outgoing *o, struct err *err);
/* A pass ends: what has to be said of that to the destination. */
int outgoing_flush(struct outgoing *o, struct err *err);
/* Another pass, with its event and figures. */
int outgoing_sync(struct outgoing *o, struct err *err);
/* Account for the bytes and pages since 'bytes' and 'before'. */
void outgoing_count(struct outgoing *o, uint64_t bytes, const struct ram_counters *before);

/* ---- handshake.c: migration thread, lock not held ---- */

/* The other end is known: do the machines fit, and what memory do both have? */
int handshake_machines(struct outgoing *o, struct err *err);
/* RAM is set up and no page has been sent: which of them need not come. */
int handshake_memory(struct outgoing *o, struct err *err);

/* ---- flush-check.c: migration thread, lock not held ---- */

/*
 * The START record has been sent, and no page: does a QEMU read channels in the way in which they
 * are written?  -EINVAL, -ETIMEDOUT: no, the sentence names the option.
 */
int outgoing_check_flush(struct outgoing *o, struct err *err);

/* ---- channels.c: migration thread ---- */

/* May pages go over several connections to that address? */
int outgoing_check_channels(const struct outgoing *o, struct err *err);
/* The file that the pages get places in, with its threads; before RAM. */
int outgoing_open_file(struct outgoing *o, struct err *err);
/* Open them when the capability is on; behind the header, in front of RAM. */
int outgoing_open_channels(struct outgoing *o, struct err *err);
void outgoing_close_channels(struct outgoing *o);
/* RAM is being set up, the destination is known: pages go over them, in a way that it understands.
 */
void outgoing_use_channels(struct outgoing *o);
/* Something has failed with 'ret' and *err: if a channel was the cause, that instead. */
int outgoing_channels_failure(struct outgoing *o, int ret, struct err *err);
/* Bytes on all connections up to now; and those that pages on their way may become. */
uint64_t outgoing_bytes(const struct outgoing *o);
uint64_t outgoing_pending_bytes(const struct outgoing *o);
/* Bring the channels' figures into the statistics. */
void outgoing_count_channels(struct outgoing *o);

#endif
