#include "devices/net/user-poll.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"
#include "vmm/loop.h"
#include "vmm/vclock.h"

#define READY_BATCH 64
#define AGAIN_MS    100

/* slirp's own timers; the loop's exist while the back end is attached. */
struct poll_timer {
	struct list link;
	struct user_poll *p;
	SlirpTimerId id;
	void *opaque;
	int64_t when_ms; /* of CLOCK_MONOTONIC, -1: not armed */
	struct loop_timer *timer;
};

/* A descriptor by its number. */
struct poll_fd {
	uint32_t in_set; /* what epoll has for it, 0: not there */
	uint32_t wanted; /* in this round */
	uint32_t ready;  /* in this round */
	bool listens;
};

/* ---- sockets ---- */

static bool is_listening(int fd)
{
	int yes = 0;
	socklen_t len = sizeof(yes);

	return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &yes, &len) == 0 && yes;
}

static struct poll_fd *find_fd(struct user_poll *p, int fd)
{
	size_t n = p->n_fds;

	if ((size_t)fd >= n) {
		p->n_fds = (size_t)fd + 16;
		p->fds = xrealloc(p->fds, p->n_fds * sizeof(*p->fds));
		memset(p->fds + n, 0, (p->n_fds - n) * sizeof(*p->fds));
	}
	return &p->fds[fd];
}

static void set_interest(struct user_poll *p, int fd, uint32_t events)
{
	struct poll_fd *f = find_fd(p, fd);
	struct epoll_event e = {.events = events, .data.fd = fd};

	if (f->in_set == events)
		return;
	/* libslirp's accept() leaves a connection open in every program that is started. */
	if (!f->in_set) {
		(void)fcntl(fd, F_SETFD, FD_CLOEXEC);
		f->listens = is_listening(fd);
	}
	if (!events)
		(void)epoll_ctl(p->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
	else if (epoll_ctl(p->epoll_fd, f->in_set ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &e) < 0 &&
		 (errno == ENOENT || errno == EEXIST))
		(void)epoll_ctl(p->epoll_fd, f->in_set ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, fd, &e);
	f->in_set = events;
}

static int add_poll(int fd, int events, void *opaque)
{
	struct user_poll *p = opaque;

	if (fd < 0)
		return -1;
	find_fd(p, fd)->wanted |= (events & SLIRP_POLL_IN ? EPOLLIN : 0U) |
				  (events & SLIRP_POLL_OUT ? EPOLLOUT : 0U) |
				  (events & SLIRP_POLL_PRI ? EPOLLPRI : 0U) | EPOLLERR;
	if (p->n_polled == p->polled_room) {
		p->polled_room = p->polled_room * 2 + 16;
		p->polled = xrealloc(p->polled, p->polled_room * sizeof(*p->polled));
	}
	p->polled[p->n_polled] = fd;
	return (int)p->n_polled++;
}

static int get_revents(int i, void *opaque)
{
	struct user_poll *p = opaque;
	uint32_t ready;

	if (i < 0 || (size_t)i >= p->n_polled)
		return 0;
	ready = find_fd(p, p->polled[i])->ready;
	return (ready & EPOLLIN ? SLIRP_POLL_IN : 0) | (ready & EPOLLOUT ? SLIRP_POLL_OUT : 0) |
	       (ready & EPOLLPRI ? SLIRP_POLL_PRI : 0) | (ready & EPOLLERR ? SLIRP_POLL_ERR : 0) |
	       (ready & EPOLLHUP ? SLIRP_POLL_HUP : 0);
}

static void forget_fd(int fd, void *opaque)
{
	if (fd >= 0) /* a socket of a state that was refused has none */
		set_interest(opaque, fd, 0);
}

/* Which sockets, and until when? */
static void slirp_ask(struct user_poll *p)
{
	CLEANUP(cleanup_free) int *before = p->polled;
	size_t n_before = p->n_polled;
	uint32_t wait_ms = UINT32_MAX;

	p->polled = NULL;
	p->n_polled = p->polled_room = 0;
	for (size_t i = 0; i < n_before; i++)
		find_fd(p, before[i])->wanted = 0;
	slirp_pollfds_fill(p->slirp, &wait_ms, add_poll, p);
	for (size_t i = 0; i < n_before; i++)
		if (!find_fd(p, before[i])->wanted)
			set_interest(p, before[i], 0);
	for (size_t i = 0; i < p->n_polled; i++)
		set_interest(p, p->polled[i], find_fd(p, p->polled[i])->wanted);
	if (wait_ms == UINT32_MAX)
		loop_timer_cancel(p->timer);
	else
		loop_timer_arm_ms(p->timer, wait_ms);
}

/* A connection for which there is no descriptor left stays ready: do not look at it all the time.
 */
static void rest_if_full(struct user_poll *p)
{
	int fd = fcntl(p->epoll_fd, F_DUPFD_CLOEXEC, 0);

	if (fd >= 0) {
		(void)close(fd);
		return;
	}
	loop_fd_events(p->watch, 0);
	loop_timer_arm_ms(p->again, AGAIN_MS);
}

static void slirp_tell(struct user_poll *p)
{
	struct epoll_event ready[READY_BATCH];
	int n = epoll_wait(p->epoll_fd, ready, READY_BATCH, 0);
	bool comes = false;

	for (int i = 0; i < n; i++) {
		struct poll_fd *f = find_fd(p, ready[i].data.fd);

		f->ready = ready[i].events;
		comes |= f->listens;
	}
	if (comes)
		rest_if_full(p);
	slirp_pollfds_poll(p->slirp, 0, get_revents, p);
	for (int i = 0; i < n; i++)
		find_fd(p, ready[i].data.fd)->ready = 0;
	p->changed = true;
}

static void sockets_ready(void *opaque, int ready)
{
	(void)ready;
	slirp_tell(opaque);
}

static void look_again(void *opaque)
{
	struct user_poll *p = opaque;

	loop_fd_events(p->watch, LOOP_READABLE);
}

static void time_has_come(void *opaque)
{
	slirp_tell(opaque);
}

/* ---- what slirp calls ---- */

static int64_t clock_now(void *opaque)
{
	(void)opaque;
	return host_now_ns();
}

static void timer_fired(void *opaque)
{
	struct poll_timer *t = opaque;

	t->when_ms = -1;
	slirp_handle_timer(t->p->slirp, t->id, t->opaque);
	t->p->changed = true;
}

static void timer_arm(struct poll_timer *t)
{
	int64_t left = t->when_ms - host_now_ns() / 1000000;

	if (!t->timer || t->when_ms < 0)
		return;
	loop_timer_arm_ms(t->timer, left > 0 ? (uint64_t)left : 0);
}

static void *timer_new(SlirpTimerId id, void *id_opaque, void *opaque)
{
	struct poll_timer *t = NEW(struct poll_timer);

	t->p = opaque;
	t->id = id;
	t->opaque = id_opaque;
	t->when_ms = -1;
	if (t->p->watch)
		t->timer = loop_timer_new(t->p->io, timer_fired, t);
	list_add_tail(&t->p->timers, &t->link);
	return t;
}

static void timer_free(void *timer, void *opaque)
{
	struct poll_timer *t = timer;

	(void)opaque;
	loop_timer_free(t->timer);
	list_del(&t->link);
	free(t);
}

static void timer_mod(void *timer, int64_t when_ms, void *opaque)
{
	struct poll_timer *t = timer;

	(void)opaque;
	t->when_ms = when_ms;
	timer_arm(t);
}

static void notify(void *opaque)
{
	((struct user_poll *)opaque)->changed = true;
}

static void init_completed(Slirp *slirp, void *opaque)
{
	((struct user_poll *)opaque)->slirp = slirp;
}

void user_poll_callbacks(SlirpCb *cb)
{
	cb->clock_get_ns = clock_now;
	cb->timer_new_opaque = timer_new;
	cb->timer_free = timer_free;
	cb->timer_mod = timer_mod;
	cb->register_poll_fd = forget_fd; /* a new one: what was known of its number is old */
	cb->unregister_poll_fd = forget_fd;
	cb->notify = notify;
	cb->init_completed = init_completed;
}

/* ---- its life ---- */

int user_poll_init(struct user_poll *p, struct err *err)
{
	*p = (struct user_poll){.epoll_fd = epoll_create1(EPOLL_CLOEXEC)};
	list_init(&p->timers);
	return p->epoll_fd < 0
		   ? err_set(err, errno, "cannot make an epoll set: %s", err_text(errno))
		   : 0;
}

void user_poll_fini(struct user_poll *p)
{
	if (p->epoll_fd >= 0)
		(void)close(p->epoll_fd);
	free(p->fds);
	free(p->polled);
}

void user_poll_attach(struct user_poll *p, struct loop *io)
{
	p->io = io;
	p->watch = loop_fd_add(io, p->epoll_fd, LOOP_READABLE, sockets_ready, p);
	p->timer = loop_timer_new(io, time_has_come, p);
	p->again = loop_timer_new(io, look_again, p);
	list_for_each (t, &p->timers, struct poll_timer, link) {
		t->timer = loop_timer_new(io, timer_fired, t);
		timer_arm(t);
	}
	p->changed = true;
}

void user_poll_detach(struct user_poll *p)
{
	list_for_each (t, &p->timers, struct poll_timer, link) {
		loop_timer_free(t->timer);
		t->timer = NULL;
	}
	loop_timer_free(p->timer);
	loop_timer_free(p->again);
	loop_fd_del(p->watch);
	p->timer = p->again = NULL;
	p->watch = NULL;
}

void user_poll_before_wait(struct user_poll *p)
{
	if (!p->changed)
		return;
	/* What waits within libslirp (for an answer of ARP) goes on in there only. */
	slirp_tell(p);
	slirp_ask(p);
	p->changed = false;
}
