/*
 * internal.h - the parts of struct migration, for the files of this folder
 *
 * Lock: everything is under the machine lock unless its banner says
 * otherwise.  The statuses change by compare-and-swap, under the machine lock
 * too (so that their event is in order), and may be read without it.
 */
#ifndef MINIVMM_MIGRATION_INTERNAL_H
#define MINIVMM_MIGRATION_INTERNAL_H

#include <pthread.h>

#include "migration/channel/patience.h"
#include "migration/channel/uri.h"
#include "migration/globalstate.h"
#include "migration/migration.h"
#include "migration/outgoing/auto-converge.h"
#include "migration/outgoing/deadline.h"
#include "migration/outgoing/return-path.h"
#include "migration/outgoing/stats.h"
#include "migration/ram/multifd/multifd.h"
#include "migration/ram/ram.h"
#include "vmm/base/error.h"
#include "vmm/base/list.h"
#include "vmm/base/listen.h"
#include "vmm/base/thread.h"
#include "vmm/notify.h"
#include "vmm/runstate.h"
#include "vmm/yank.h"

struct arrivals;
struct channel;
struct channel_layer;
struct dirty_limits;
struct dirty_rate;
struct listener;
struct loader;
struct loop_fd;
struct resolve;
struct writer;

struct outgoing {
	struct migration *mg;
	int status; /* enum migration_status, atomic */
	struct err error;
	char *error_text; /* owned; the whole sentence where 'error' has no room for it, or NULL */
	/*
	 * The destination has been told to run the guest, or cannot be kept
	 * from it any more: from here on the source does not resume by itself.
	 */
	bool released;
	bool stored;       /* it is a store of bytes: the guest is here as well */
	bool go_on;        /* migrate-continue has come */
	bool saves;        /* into a file or a command: nobody takes the guest over */
	char *where;       /* owned; the address as it was given, for messages */
	bool shared_given; /* the destination has been passed the memory itself */
	struct thread thread;
	struct resolve *resolve;  /* while the host's name is being looked up */
	struct loop_fd *too_late; /* ... and its deadline */
	struct sockaddr_list to;
	struct migration_uri uri;
	int fd;               /* of fd:, -1 once it belongs to the channel */
	bool caps[CAP_COUNT]; /* as they were at the start */
	struct multifd_config multifd_config;
	struct migration_stats stats;
	struct patience patience; /* with the destination, on all channels; atomic */
	/* constant */
	int cancel_fd; /* eventfd: readable once cancelled */
	int kick_fd;   /* eventfd: look at parameters and flags again */
	/* its stop_fd is what every wait looks at: cancelled, or too late */
	struct deadline deadline;
	struct yank yank;
	/* the migration thread's, while it lives */
	struct channel *ch;
	struct writer *w;
	struct ram_save ram;
	struct multifd_send *multifd; /* NULL: all goes over 'ch' */
	uint64_t multifd_counted;     /* bytes of it that the statistics have */
	struct return_path rp;
	struct device_state devices;
	struct slowdown slowdown;
	bool stopped;          /* we have stopped the machine: m->before_stop is where to go back */
	bool waited;           /* for a peer that never answered */
	uint64_t window_bytes; /* outgoing_bytes() when the bandwidth window began */
	int64_t window_ns;
	int64_t slice_ns; /* when the present slice began */
};

struct incoming {
	struct migration *mg;
	int status; /* enum migration_status, atomic */
	struct err error;
	char *error_text;        /* as struct outgoing's */
	bool armed;              /* -incoming defer */
	bool started;            /* waiting, loading, or done */
	bool dirty;              /* an earlier attempt has loaded something */
	bool arrived;            /* a guest has been loaded and has not run here yet */
	bool ran;                /* ... and now does: announce it */
	bool listens;            /* for connections: tcp:, unix: */
	bool failed;             /* the last attempt has; cont is refused, another one may follow */
	bool exits;              /* ... and the program ends as soon as the source has been told */
	char *where;             /* owned; the address as it was given, for messages */
	char *from;              /* owned; who has connected */
	int64_t begun_ns;        /* when */
	struct resolve *resolve; /* while the host's name is being looked up */
	struct migration_uri uri; /* ... of that */
	struct listen_set listening;
	struct listener *listener;
	struct arrivals *arrivals;    /* who has connected */
	struct multifd_recv *multifd; /* NULL: everything comes over one connection */
	bool has_address;
	struct migration_address address;
	struct thread thread;
	int cancel_fd;      /* constant; eventfd: readable when the program ends */
	struct channel *ch; /* the load thread's */
	struct yank yank;
};

struct migration {
	struct machine *m;
	int wake_fd; /* eventfd: a worker has ended, or a guest has arrived */
	struct loop_fd *wake;
	struct notify_listener listener;
	struct migration_params params;
	bool caps[CAP_COUNT];
	/* atomic copies of the parameters that the migration thread follows */
	uint64_t max_bandwidth, downtime_limit_ms, xbzrle_cache_bytes;
	struct outgoing out;
	struct incoming in;
	struct globalstate globalstate;
	uint32_t ram_section_id; /* constant */
	struct list announcers;
	struct dirty_limits *dirty_limits; /* owned */
	struct dirty_rate *dirty_rate;     /* owned */
	bool exit_default;                 /* should a failed incoming migration end the program? */
	bool exit_on_error;                /* this attempt */
	const struct channel_layer *layer; /* borrowed; on each socket to a peer; NULL: none */
	const char **blockers;             /* owned; what migration_blockers() has returned last */
};

/* ---- status.c ---- */

/* From one status to the next, with its event; false when it is another one.  Machine lock held. */
bool status_move(struct migration *mg, int *status, enum migration_status from,
		 enum migration_status to);
/* The same from any status. */
void status_set(struct migration *mg, int *status, enum migration_status to);
enum migration_status status_get(const int *status);
bool status_busy(enum migration_status s);
void publish_pass(struct migration *mg, uint64_t pass);

/* ---- outgoing.c, passes.c, switchover.c: machine lock held ---- */

void outgoing_init(struct outgoing *o, struct migration *mg);
/* Cancels, without waiting. */
void outgoing_cancel(struct outgoing *o);
void *outgoing_thread(void *opaque);
/*
 * Migration thread, lock not held: stop the guest, send what is left, and
 * hand the guest over.  0: the destination has it.  -EAGAIN: something else
 * wants to be done to the guest first; it runs again.
 */
int switchover(struct outgoing *o, struct err *err);
/* Until what is left fits the downtime limit, and a pass more would not make it much less. */
int outgoing_passes(struct outgoing *o, struct err *err);
/* Until a moment, or until somebody kicks; -ECANCELED. */
int outgoing_sleep(struct outgoing *o, int64_t until_ns, struct err *err);
/* What the destination has said up to now, without waiting: a refusal is an error. */
int outgoing_listen(struct outgoing *o, struct err *err);
/* Another pass, with its event and figures. */
int outgoing_sync(struct outgoing *o, struct err *err);
/* Account for the bytes and pages since 'bytes' and 'before'. */
void outgoing_count(struct outgoing *o, uint64_t bytes, const struct ram_counters *before);

/* ---- handshake.c: migration thread, lock not held ---- */

/* The other end is known: do the machines fit, and what memory do both have? */
int handshake_machines(struct outgoing *o, struct err *err);
/* RAM is set up and no page has been sent: which of them need not come. */
int handshake_memory(struct outgoing *o, struct err *err);

/* ---- incoming.c ---- */

void incoming_init(struct incoming *in, struct migration *mg);
int incoming_start(struct incoming *in, const char *uri, int fd, struct err *err);
/* The main stream's connection is there.  Main loop, machine lock held; takes 'ch'. */
void incoming_connected(struct incoming *in, struct channel *ch);
/* Waiting has ended without a source. */
void incoming_not_started(struct incoming *in, const struct err *err);
/* End listening and loading; the lock is not held. */
void incoming_fini(struct incoming *in);

/* ---- outgoing-multifd.c: migration thread ---- */

/* May pages go over several connections to that address? */
int outgoing_check_channels(const struct outgoing *o, struct err *err);
/* Open them when the capability is on; behind the header, in front of RAM. */
int outgoing_open_channels(struct outgoing *o, struct err *err);
void outgoing_close_channels(struct outgoing *o);
/* Something has failed with 'ret' and *err: if a channel was the cause, that instead. */
int outgoing_channels_failure(struct outgoing *o, int ret, struct err *err);
/* Bytes on all connections up to now. */
uint64_t outgoing_bytes(const struct outgoing *o);
/* Bring the channels' figures into the statistics. */
void outgoing_count_channels(struct outgoing *o);

/* ---- incoming-multifd.c ---- */

/* Main loop: wait for connections to a tcp: or unix: address; takes *uri over as far as needed. */
int incoming_listen(struct incoming *in, struct migration_uri *uri, struct err *err);
void incoming_stop_listening(struct incoming *in);
/* Those that have come, and the channels for pages. */
void incoming_free_connections(struct incoming *in);
/* Main thread, when the load thread has ended: also ends listening for theirs. */
void incoming_free_channels(struct incoming *in);
/* Load thread. */
void incoming_use_channels(struct incoming *in, struct loader *l);
/* As outgoing_channels_failure(). */
int incoming_channels_failure(struct incoming *in, int ret, struct err *err);
void incoming_stop_channels(struct incoming *in);

/* ---- announce.c ---- */

void announce_fini(struct migration *mg);

#endif
