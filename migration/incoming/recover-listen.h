/*
 * recover-listen.h - where a paused postcopy's destination waits for its source to come back
 *
 * migrate-recover opens the sockets, on whatever thread it runs, out of band too; the
 * thread of the postcopy that is paused waits for the connections and accepts them.  The main loop
 * has no part in it: it may be busy.
 *
 *     migrate-recover -> listening -> the main connection -> (preempt's) -> stopped
 *
 * The source says something on the main connection at once, a command (migration-stream 5.8), and
 * on that of postcopy-preempt nothing before a page is asked for, and then a page record.  So the
 * first byte tells them apart.  A connection that begins with another byte is no
 * source's and is closed; a silent one takes nobody's place.
 */
#ifndef MINIVMM_MIGRATION_INCOMING_RECOVER_LISTEN_H
#define MINIVMM_MIGRATION_INCOMING_RECOVER_LISTEN_H

#include <pthread.h>
#include <stdbool.h>

#include "migration/channel/address.h"
#include "migration/tls/layer.h"
#include "vmm/base/listen.h"

struct channel;
struct channel_layer;
struct err;
struct migration_uri;
struct sockaddr_list;

#define RECOVER_NOT_PAUSED "Migrate recover can only be run when postcopy is paused."

#define RECOVER_WAITING_MAX 8 /* connections that have not said what they are; the oldest goes */

struct recover_listen {
	/* set at creation and then constant */
	int wake_fd; /* eventfd: there is something else to wait for */
	/* 'mutex': a leaf (vmm/machine.h) */
	pthread_mutex_t mutex;
	bool wanted; /* a source may come back */
	struct listen_set set;
	int given; /* the descriptor of fd:, not taken yet, owned; -1: none */
	bool has_address;
	struct migration_address address;
	struct tls_layer tls; /* as the parameters are now */
	/* the waiting thread's */
	const struct channel_layer *layer; /* borrowed; in the place of 'tls' */
	struct recover_waiting {
		struct channel *ch; /* owned */
		int kind;           /* by its first byte, when it was looked at last */
	} waiting[RECOVER_WAITING_MAX];
	int n_waiting;
};

/* -errno: no eventfd. */
int recover_listen_init(struct recover_listen *r);
void recover_listen_fini(struct recover_listen *r); /* nobody waits any more */

/* ---- any thread ---- */

/*
 * Wait at that address from now on, and no longer at an earlier one.  'list': of tcp:, else NULL.
 * When it fails with *err set the earlier one still holds, unless it was the same.  -EINVAL: no
 * source may come back now; so for the next function, which closes 'fd' then.
 */
int recover_listen_at(struct recover_listen *r, const struct migration_uri *uri,
		      const struct sockaddr_list *list, struct err *err);
/* The connection is there already: fd: (taken). */
int recover_listen_given(struct recover_listen *r, int fd, struct err *err);
/* What the parameters say about TLS (taken), for connections that come from now on. */
void recover_listen_use(struct recover_listen *r, struct tls_layer *tls);
/* Where it listens; false: nowhere. */
bool recover_listen_address(struct recover_listen *r, struct migration_address *address);

/* ---- the waiting thread ---- */

/* A source may come back from now on.  'layer': on each connection, in the place of TLS, or NULL.
 */
void recover_listen_begin(struct recover_listen *r, const struct channel_layer *layer);
/*
 * Wait for the source's main connection; returned owned, with 'cancel_fd' in it.  NULL: cancel_fd
 * (an eventfd) has become readable, or 'watch_fd' (-1: none).  The machine lock is not held.
 */
struct channel *recover_listen_main(struct recover_listen *r, int cancel_fd, int watch_fd);
/*
 * The same for the connection of postcopy-preempt, behind the main one.  Until *begun is true
 * (atomic; recover_listen_poke() tells that) nothing is taken: a source may agree on TLS on it
 * before it says that it resumes.
 */
struct channel *recover_listen_preempt(struct recover_listen *r, const bool *begun, int cancel_fd);
/* Whoever waits looks again.  Any thread. */
void recover_listen_poke(const struct recover_listen *r);
/* Is there a layer on the connections, on which something has to be agreed first?  Any thread. */
bool recover_listen_agrees(struct recover_listen *r);
/* Enough have come: close what listens and what waits; no other source may come back. */
void recover_listen_stop(struct recover_listen *r);

#endif
