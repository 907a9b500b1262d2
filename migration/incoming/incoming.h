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
#include "migration/settings/info.h"
#include "migration/settings/settings.h"
#include "migration/settings/status.h"
#include "migration/stream/globalstate.h"
#include "vmm/base/error.h"
#include "vmm/base/listen.h"
#include "vmm/base/thread.h"
#include "vmm/yank.h"

struct connections;
struct channel;
struct listener;
struct loader;
struct machine;
struct multifd_recv;
struct resolve;

struct incoming {
	/* set at creation and then constant; all borrowed */
	struct machine *m;
	struct migration_settings *set; /* as they are now */
	struct globalstate *globalstate;
	int wake_fd; /* eventfd: the load thread has ended, or a guest has arrived */
	/* machine lock */
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
	bool exit_on_error;      /* should this attempt end the program when it fails? */
	bool exits;              /* ... and the program ends as soon as the source has been told */
	char *where;             /* owned; the address as it was given, for messages */
	char *from;              /* owned; the source's address */
	int64_t begun_ns;        /* when */
	struct resolve *resolve; /* while the host's name is being looked up */
	struct migration_uri uri; /* ... of that */
	struct listen_set listening;
	struct listener *listener;
	struct connections *connections; /* owned; not classified yet */
	struct multifd_recv *multifd;    /* NULL: everything comes over one connection */
	bool has_address;
	struct migration_address address;
	struct thread thread;
	int cancel_fd;      /* constant; eventfd: readable when the program ends */
	struct channel *ch; /* the load thread's */
	struct yank yank;
};

/* ---- incoming.c ---- */

/* 'in' is zeroed but for what is constant. */
void incoming_init(struct incoming *in);
/* The channel is there (taken): start the load thread.  Main thread, machine lock held. */
int incoming_start_load(struct incoming *in, struct channel *ch, struct err *err);
/* The main stream's connection is there.  Main loop, machine lock held; takes 'ch'. */
void incoming_connected(struct incoming *in, struct channel *ch);
/* Waiting has ended without a source. */
void incoming_not_started(struct incoming *in, const struct err *err);

/* ---- start.c ---- */

int incoming_start(struct incoming *in, const char *uri, int fd, struct err *err);
/* End listening and loading; the lock is not held. */
void incoming_fini(struct incoming *in);

/* ---- listen.c ---- */

/* Main loop: wait for connections to a tcp: or unix: address; takes *uri over as far as needed. */
int incoming_listen(struct incoming *in, struct migration_uri *uri, struct err *err);
void incoming_stop_listening(struct incoming *in);
/* Those that have come, and the channels for pages. */
void incoming_free_connections(struct incoming *in);
/* Main thread, when the load thread has ended: also ends listening for theirs. */
void incoming_free_channels(struct incoming *in);

/* ---- channels.c: load thread ---- */

void incoming_use_channels(struct incoming *in, struct loader *l);
/* As outgoing_channels_failure(). */
int incoming_channels_failure(struct incoming *in, int ret, struct err *err);
void incoming_stop_channels(struct incoming *in);

#endif
