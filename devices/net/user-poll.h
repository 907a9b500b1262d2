/*
 * user-poll.h - what libslirp waits for: sockets and timers, on a loop
 *
 * Before the loop waits, libslirp is asked which sockets it wants to know
 * about and for how long it may be left alone (slirp_pollfds_fill); the answer
 * goes into an epoll set, of which the loop watches the one descriptor.  Nothing
 * is asked while nothing has happened.
 */
#ifndef MINIVMM_DEVICES_NET_USER_POLL_H
#define MINIVMM_DEVICES_NET_USER_POLL_H

#include <slirp/libslirp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/base/list.h"

struct err;
struct loop;
struct loop_fd;
struct loop_timer;
struct poll_fd;

struct user_poll {
	/* set at creation and then constant */
	Slirp *slirp; /* the user of this sets it, and cleans it up before user_poll_fini() */
	int epoll_fd;
	/* the loop's thread (the maker before attach) */
	struct loop *io;
	struct loop_fd *watch;
	struct loop_timer *timer; /* libslirp wants to be called then */
	struct loop_timer
	    *again;          /* the sockets are looked at again then; armed while they are not */
	bool changed;        /* it may want other sockets or another time */
	struct poll_fd *fds; /* n_fds, by descriptor */
	size_t n_fds;
	int *polled; /* n_polled, what was asked for last; may be one descriptor twice */
	size_t n_polled, polled_room;
	struct list timers;
};

int user_poll_init(struct user_poll *p, struct err *err);
void user_poll_fini(struct user_poll *p); /* after a failed init, too */
/* Fill in the callbacks that are answered here; slirp_new()'s opaque is p. */
void user_poll_callbacks(SlirpCb *cb);
void user_poll_attach(struct user_poll *p, struct loop *io);
void user_poll_detach(struct user_poll *p);
/* The loop is about to wait. */
void user_poll_before_wait(struct user_poll *p);

#endif
