/*
 * postcopy.h - a guest that runs there while its memory comes from here
 *
 * struct postcopy lives from the switch to the end of the migration.  Which thread does what is
 * in postcopy.c; the switch is postcopy-switch.c, requests are read in postcopy-listen.c, pages
 * go in postcopy-pages.c, and a connection that breaks is postcopy-recover.c's.
 */
#ifndef MINIVMM_MIGRATION_POSTCOPY_H
#define MINIVMM_MIGRATION_POSTCOPY_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "migration/peer/process.h"
#include "migration/ram/ram-stream.h"
#include "vmm/base/error.h"
#include "vmm/base/thread.h"

struct channel;
struct outgoing;
struct writer;

/* What the destination has said on the return path since the switch. */
struct postcopy_news {
	bool loaded;  /* PONG behind the package: it has the devices' state */
	bool ready;   /* a minivmm waits for GO */
	bool runs;    /* ... and runs the guest */
	bool resumed; /* RESUME_ACK */
	bool refused; /* SHUT with an error, or ERROR */
	bool shut;    /* SHUT 0: it has everything */
	bool ended;   /* it has closed the connection */
	int failed;   /* 0, or -errno: what it says makes no sense, or the urgent channel broke */
	struct err err;
	struct peer peer; /* from READY */
};

struct postcopy {
	/* set at creation and then constant */
	struct outgoing *o;
	int wake_fd; /* eventfd: there is news, or a page is asked for */
	/* the migration thread's; those of the channels change only while there is no listener */
	struct channel *urgent; /* owned; NULL: what is asked for goes over the main one */
	struct writer *urgent_w;
	bool urgent_early; /* it was opened at set-up, for a QEMU 7.2, which wants its end told */
	struct thread listener;
	int pidfd;         /* of the destination, -1: not known */
	bool packaged;     /* it has been sent the devices' state */
	bool gone;         /* ... and, a minivmm, GO */
	bool all_sent;     /* all pages, and END */
	bool hung_up;      /* the main connection is broken, or ends */
	bool shut;         /* it has said that it has everything */
	bool confirmed;    /* it is certain that the guest is there, and not here */
	int64_t window_ns; /* of max-postcopy-bandwidth */
	uint64_t window_bytes;
	/* urgent_lock, which is held while pages are taken and written */
	pthread_mutex_t urgent_lock;
	struct ram_stream urgent_stream; /* the listener's */
	/* atomic */
	bool has_news;
	/* lock, a leaf */
	pthread_mutex_t lock;
	struct postcopy_news news;
};

/* ---- any thread ---- */

/* migrate-start-postcopy has come, or the deadline that does the same, and is not done yet. */
bool postcopy_wanted(const struct outgoing *o);

/* ---- the migration thread, the machine lock not held, unless said otherwise ---- */

/* POSTCOPY_ADVISE, where the capability is on: behind the first PING.  0 or -errno. */
int postcopy_advise(struct outgoing *o, struct err *err);
/* The destination is known: can it do what the capabilities ask for?  0 or -ENOTSUP. */
int postcopy_check_peer(const struct outgoing *o, struct err *err);
/*
 * The connection for what is asked for, with postcopy-preempt, unless it is there.  'early': at
 * set-up, as QEMU 7.2 wants it.
 */
int postcopy_open_urgent(struct outgoing *o, bool early, struct err *err);
/* It ends: the listener is joined, the second connection closed.  Without a switch it is fine. */
void postcopy_close(struct outgoing *o);
void postcopy_free(struct outgoing *o); /* after that */

/* ---- postcopy-switch.c ---- */

/*
 * The guest stops here and the destination is sent its devices.  0: the rest is pages; -EAGAIN:
 * something else wants to be done to the guest first, which runs again.
 */
int postcopy_switch(struct outgoing *o, struct err *err);
/* It is certain that the guest is there. */
void postcopy_confirm(struct outgoing *o);
/* The destination has loaded that, or is ready for GO, or runs the guest: go a step on. */
int postcopy_step(struct outgoing *o, const struct postcopy_news *news, struct err *err);
/*
 * The connection has broken, or what was said is refused: *err is why.  0: the guest may be there,
 * the migration is paused.  -errno: it is certain that it is not, or that it is lost; *err says so.
 */
int postcopy_failed(struct outgoing *o, int ret, const struct postcopy_news *news, struct err *err);

/* The destination's program has ended while it had the guest: -ECONNRESET with what that means. */
int postcopy_err_lost(struct outgoing *o, struct err *err);

/* ---- postcopy-listen.c ---- */

int postcopy_listen_start(struct outgoing *o, struct err *err);
/* Both channels are shut down, and the thread has ended. */
void postcopy_listen_stop(struct outgoing *o);
struct postcopy_news postcopy_news(struct postcopy *pc);
/* The connection is broken or of no use, by what it says: -errno with *err set; else 0. */
int postcopy_news_failure(const struct postcopy_news *news, struct err *err);

/* ---- postcopy-pages.c ---- */

/* All that was taken to go over the second connection has been written, and its end, if it has one.
 */
int postcopy_urgent_end(struct outgoing *o, struct err *err);

/* Until the destination has everything: 0.  -errno: the connection broke, or -ECANCELED. */
int postcopy_pages(struct outgoing *o, struct err *err);

/* ---- postcopy-recover.c ---- */

/*
 * The connection is lost, the guest is there: status postcopy-paused, both channels closed.  Waits
 * until the move has been resumed over new ones: 0, with o->ch, o->w and, for postcopy-preempt,
 * the urgent channel in place, the listener at work and the page-set right.  -ECANCELED: the
 * program ends.  -ECONNRESET: the destination's has.
 */
int postcopy_await_resume(struct outgoing *o, struct err *err);

/* ---- postcopy.c ---- */

/* The main channel (taken) of a migration that goes on: the streams write there from now on. */
void postcopy_attach(struct outgoing *o, struct channel *ch);
/* Take both channels away, with their writers; the listener has ended. */
void postcopy_detach(struct outgoing *o);

#endif
