/*
 * incoming.h - a guest on its way in: its state, and what the files of this room share
 *
 * Lock: everything is under the machine lock unless its banner says
 * otherwise.  The status changes as settings/status.h says.
 */
#ifndef MINIVMM_MIGRATION_INCOMING_H
#define MINIVMM_MIGRATION_INCOMING_H

#include <stdbool.h>
#include <stdint.h>

#include "migration/channel/uri.h"
#include "migration/incoming/recover-listen.h"
#include "migration/settings/info.h"
#include "migration/settings/settings.h"
#include "migration/settings/status.h"
#include "migration/stream/globalstate.h"
#include "vmm/base/error.h"
#include "vmm/base/list.h"
#include "vmm/base/listen.h"
#include "vmm/base/thread.h"
#include "vmm/yank.h"

struct connections;
struct incoming_postcopy;
struct channel;
struct lazy;
struct listener;
struct loader;
struct machine;
struct multifd_recv;
struct resolve;

/*
 * One stream: a connection and the thread that loads it.  An attempt that has
 * failed may outlive the begin of the next one, for its source has to read why.
 */
struct incoming_attempt {
	/* set at creation and then constant */
	struct incoming *in;
	/* the thread's */
	struct channel *ch; /* owned */
	struct yank yank;
	/* machine lock */
	struct list link; /* incoming.attempts */
	struct thread thread;
	bool exits; /* it has failed, and the program ends as soon as the source has been told */
};

struct incoming {
	/* set at creation and then constant; all borrowed */
	struct machine *m;
	struct migration_settings *set; /* as they are now */
	struct globalstate *globalstate;
	const int *leaving; /* status of the move of the guest to another place; atomic */
	int wake_fd;   /* eventfd: an attempt has succeeded, failed or ended, or a guest runs */
	int cancel_fd; /* eventfd: readable when the program ends */
	struct recover_listen recover; /* a postcopy is paused; a lock of its own */
	/* machine lock */
	int status; /* enum migration_status, atomic */
	struct err error;
	char *error_text;   /* as struct outgoing's */
	bool armed;         /* -incoming defer */
	bool started;       /* waiting, loading, or done */
	bool dirty;         /* an earlier attempt has loaded something */
	bool arrived;       /* a guest has been loaded and has not run here yet */
	bool ran;           /* ... and now does: announce it */
	bool lazy_shown;    /* incoming_lazy_show() */
	int lazy_status;    /* enum migration_status: what a load whose pages come later is at */
	bool listens;       /* for connections: tcp:, unix: */
	bool failed;        /* the last attempt has; cont is refused, another one may follow */
	bool exit_on_error; /* should this attempt end the program when it fails? */
	char *where;        /* owned; the address as it was given, for messages */
	char *from;         /* owned; the source's address */
	int64_t begun_ns;   /* when */
	int64_t resumed_ns; /* the guest was here and could run */
	bool quiet;         /* 'status' is that of a snapshot's pages: no event tells it */
	struct lazy *lazy;  /* the memory's; pages of the last guest came later; or NULL */
	struct incoming_postcopy *postcopy; /* the load thread's; a guest may run while it lives */
	bool unstuck;                       /* atomic: pages came that had been waited for long */
	struct channel *preempt;            /* owned; came before postcopy has begun */
	uint64_t postcopy_requests;         /* of one that is complete */
	struct blocktime *blocktime; /* a reference: waits for pages of the last one, or NULL */
	bool blocktime_on;           /* the capability, when the guest came */
	struct migration_blocktime waits; /* what a question was answered with last */
	uint64_t loads;                   /* that incoming_lazy_adopt() has seen */
	struct resolve *resolve;          /* while the host's name is being looked up */
	struct migration_uri uri;         /* ... of that */
	struct listen_set listening;
	struct listener *listener;
	struct connections *connections; /* owned; not classified yet */
	struct multifd_recv *multifd;    /* NULL: everything comes over one connection */
	bool has_address;
	struct migration_address address;
	struct list attempts;             /* struct incoming_attempt, while their threads live */
	struct incoming_attempt *attempt; /* whose 'connections' and 'multifd' are; NULL: none's */
};

/* ---- incoming.c ---- */

/* An attempt's thread; opaque: the attempt. */
void *incoming_thread(void *opaque);

/* ---- start.c: main loop, machine lock held ---- */

/* 'in' is zeroed but for what is constant. */
void incoming_init(struct incoming *in);
int incoming_start(struct incoming *in, const struct migration_where *where, int fd,
		   struct err *err);
/* The main stream's connection is there; takes 'ch'. */
void incoming_connected(struct incoming *in, struct channel *ch);
/* Waiting has ended without a source. */
void incoming_not_started(struct incoming *in, const struct err *err);
/* wake_fd was readable: end what the load threads have done with. */
void incoming_woken(struct incoming *in);
/* End listening and loading, and wait for it.  The loop does not run, the lock is not held. */
void incoming_fini(struct incoming *in);

/* ---- channels.c ---- */

/* Main loop: wait for connections to a tcp: or unix: address; takes *uri over as far as needed. */
int incoming_listen(struct incoming *in, struct migration_uri *uri, struct err *err);
/* With TLS on it, as the parameters say; a 'ch' that is NULL stays so.  Machine lock held. */
struct channel *incoming_layer_on(const struct incoming *in, struct channel *ch, struct err *err);
/* On the connections of a source that comes back, too, from now on.  Machine lock held. */
void incoming_recover_tls(struct incoming *in);
/* Also closes the connections that are not classified yet. */
void incoming_stop_listening(struct incoming *in);
/* The same, and free all; the threads of the channels have ended, or else it waits for them. */
void incoming_free_channels(struct incoming *in);
/* Load thread. */
void incoming_use_channels(struct incoming *in, struct loader *l);
/* As outgoing_channels_failure(); 'ch': the main connection. */
int incoming_channels_failure(struct incoming *in, struct channel *ch, int ret, struct err *err);
/* The main stream has been loaded: so has all that came beside it.  Load thread. */
int incoming_finish_channels(struct incoming *in, struct err *err);
void incoming_stop_channels(struct incoming *in);

#endif
