/*
 * loop.c - event loops on libuv that other threads may talk to
 *
 * libuv's watchers may be used on the loop's thread only.  Two queues under
 * 'mutex' and one uv_async carry the requests of other threads there:
 *
 *     posts     functions to call (loop_post, loop_call)
 *     changes   watchers whose wanted state was changed by another thread
 *
 * The wanted state of a watcher (events, expiry) stands beside libuv's under
 * 'mutex'.  The loop's thread applies a change at once; another thread links
 * the watcher into 'changes' and wakes the loop.  libuv may already be on its
 * way to the callback with the old state, so fd_ready() and timer_fired()
 * compare with the wanted state again and drop what is no longer wanted.
 */
#include "vmm/loop.h"

#include <assert.h>
#include <stdlib.h>
#include <uv.h>

#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/base/list.h"
#include "vmm/base/thread.h"

struct post {
	loop_fn *fn;
	void *opaque;
	struct list link;
};

struct loop {
	/* set at creation and then constant */
	uv_loop_t uv;
	pthread_mutex_t *lock; /* borrowed, may be NULL */
	uv_async_t wake;
	/* under 'mutex', the last in the order of locks (machine.h); nothing else is taken under it
	 */
	pthread_mutex_t mutex;
	struct list posts;
	struct list changes; /* struct change: what other threads want of watchers */
	bool stopping;
	bool running; /* atomic: within loop_run */
	/* whose watchers these are: the maker's, then that of loop_run, then the joiner's */
	pthread_t thread;
	struct thread own; /* made by loop_thread_start */
	bool left_behind;  /* the loop's thread's: see loop_leave_behind() */
};

/*
 * libuv's watchers belong to the loop's thread.  Another thread (a vCPU that
 * holds the machine lock) notes what it wants, and the loop applies it when it
 * wakes up; a callback that was on its way meanwhile is not made.
 */
struct change {
	struct list link; /* under the loop's mutex; itself: nothing is wanted */
	void (*apply)(struct change *c);
};

struct loop_fd {
	uv_poll_t poll;
	struct loop *loop;
	struct change change;
	int events; /* wanted; under the loop's mutex */
	void (*fn)(void *opaque, int ready);
	void *opaque;
};

struct loop_timer {
	uv_timer_t timer;
	struct loop *loop;
	struct change change;
	bool armed;         /* wanted; under the loop's mutex */
	uint64_t expiry_ms; /* then: on the loop's clock; under the loop's mutex */
	loop_fn *fn;
	void *opaque;
};

static void callback_lock(struct loop *l)
{
	if (l->lock)
		pthread_mutex_lock(l->lock);
}

static void callback_unlock(struct loop *l)
{
	if (l->lock)
		pthread_mutex_unlock(l->lock);
}

static struct post *next_post(struct loop *l)
{
	struct post *p = NULL;

	pthread_mutex_lock(&l->mutex);
	if (!list_empty(&l->posts)) {
		p = container_of(l->posts.next, struct post, link);
		list_del(&p->link);
	}
	pthread_mutex_unlock(&l->mutex);
	return p;
}

static bool is_stopping(struct loop *l)
{
	bool stopping;

	pthread_mutex_lock(&l->mutex);
	stopping = l->stopping;
	pthread_mutex_unlock(&l->mutex);
	return stopping;
}

static void run_posts(struct loop *l)
{
	for (struct post *p = next_post(l); p; p = next_post(l)) {
		callback_lock(l);
		p->fn(p->opaque);
		callback_unlock(l);
		free(p);
	}
}

static bool on_thread(struct loop *l)
{
	return pthread_equal(__atomic_load_n(&l->thread, __ATOMIC_RELAXED), pthread_self());
}

static uint64_t clock_ms(void)
{
	return uv_hrtime() / 1000000;
}

/* A change has been noted in the watcher: apply it, here or on the loop's thread.  Mutex held. */
static void apply_or_queue(struct loop *l, struct change *c)
{
	bool here = on_thread(l);

	list_del(&c->link);
	if (here) {
		c->apply(c);
		return;
	}
	list_add_tail(&l->changes, &c->link);
	(void)uv_async_send(&l->wake);
}

static void apply_changes(struct loop *l)
{
	pthread_mutex_lock(&l->mutex);
	while (!list_empty(&l->changes)) {
		struct change *c = container_of(l->changes.next, struct change, link);

		list_del(&c->link);
		c->apply(c);
	}
	pthread_mutex_unlock(&l->mutex);
}

static void loop_woken(uv_async_t *a)
{
	struct loop *l = container_of(a, struct loop, wake);

	apply_changes(l);
	run_posts(l);
	if (is_stopping(l))
		uv_stop(&l->uv);
}

struct loop *loop_new(pthread_mutex_t *lock, struct err *err)
{
	struct loop *l = NEW(struct loop);
	int ret = uv_loop_init(&l->uv);

	if (ret < 0) {
		free(l);
		(void)err_set(err, -ret, "cannot make an event loop: %s", uv_strerror(ret));
		return NULL;
	}
	ret = uv_async_init(&l->uv, &l->wake, loop_woken);
	if (ret < 0) {
		(void)uv_loop_close(&l->uv);
		free(l);
		(void)err_set(err, -ret, "cannot make an event loop: %s", uv_strerror(ret));
		return NULL;
	}
	l->lock = lock;
	l->thread = pthread_self();
	pthread_mutex_init(&l->mutex, NULL);
	list_init(&l->posts);
	list_init(&l->changes);
	return l;
}

void loop_free(struct loop *l)
{
	if (!l)
		return;
	assert(!l->own.live);
	run_posts(l);
	uv_close((uv_handle_t *)&l->wake, NULL);
	/* lets the closings finish */
	(void)uv_run(&l->uv, l->left_behind ? UV_RUN_NOWAIT : UV_RUN_DEFAULT);
	if (uv_loop_close(&l->uv) == UV_EBUSY && l->left_behind)
		return;
	pthread_mutex_destroy(&l->mutex);
	free(l);
}

void loop_leave_behind(struct loop *l)
{
	l->left_behind = true;
}

bool loop_left_behind(const struct loop *l)
{
	return l->left_behind;
}

struct uv_loop_s *loop_uv(struct loop *l)
{
	return &l->uv;
}

/* loop_thread_start() and the new thread's loop_run() may both do this, with the same values. */
static void set_thread(struct loop *l, pthread_t id)
{
	__atomic_store_n(&l->thread, id, __ATOMIC_RELAXED);
	__atomic_store_n(&l->running, true, __ATOMIC_RELEASE);
}

void loop_run(struct loop *l)
{
	set_thread(l, pthread_self());
	while (!is_stopping(l))
		(void)uv_run(&l->uv, UV_RUN_DEFAULT);
	__atomic_store_n(&l->running, false, __ATOMIC_RELEASE);
	pthread_mutex_lock(&l->mutex);
	l->stopping = false;
	pthread_mutex_unlock(&l->mutex);
}

void loop_stop(struct loop *l)
{
	pthread_mutex_lock(&l->mutex);
	l->stopping = true;
	pthread_mutex_unlock(&l->mutex);
	(void)uv_async_send(&l->wake);
}

void loop_post(struct loop *l, loop_fn *fn, void *opaque)
{
	struct post *p = NEW(struct post);

	p->fn = fn;
	p->opaque = opaque;
	pthread_mutex_lock(&l->mutex);
	list_add_tail(&l->posts, &p->link);
	pthread_mutex_unlock(&l->mutex);
	(void)uv_async_send(&l->wake);
}

struct call {
	loop_fn *fn;
	void *opaque;
	pthread_mutex_t mutex;
	pthread_cond_t cond;
	bool done; /* under mutex */
};

static void run_call(void *opaque)
{
	struct call *c = opaque;

	c->fn(c->opaque);
	pthread_mutex_lock(&c->mutex);
	c->done = true;
	pthread_cond_signal(&c->cond);
	pthread_mutex_unlock(&c->mutex);
}

void loop_call(struct loop *l, loop_fn *fn, void *opaque)
{
	struct call c = {.fn = fn, .opaque = opaque};

	/* A loop that does not run has no thread that could use its objects meanwhile. */
	if (!__atomic_load_n(&l->running, __ATOMIC_ACQUIRE) || on_thread(l)) {
		fn(opaque);
		return;
	}
	pthread_mutex_init(&c.mutex, NULL);
	pthread_cond_init(&c.cond, NULL);
	loop_post(l, run_call, &c);
	pthread_mutex_lock(&c.mutex);
	while (!c.done)
		pthread_cond_wait(&c.cond, &c.mutex);
	pthread_mutex_unlock(&c.mutex);
	pthread_cond_destroy(&c.cond);
	pthread_mutex_destroy(&c.mutex);
}

/* ---- threads ---- */

static void *thread_main(void *opaque)
{
	loop_run(opaque);
	return NULL;
}

int loop_thread_start(struct loop *l, const char *name, enum thread_role role, struct err *err)
{
	int ret = thread_start(&l->own, name, role, thread_main, l, err);

	/* loop_call must know the thread from here on, whether or not it has come to loop_run. */
	if (ret >= 0)
		set_thread(l, l->own.id);
	return ret;
}

void loop_thread_join(struct loop *l)
{
	if (!l->own.live)
		return;
	loop_stop(l);
	thread_join(&l->own);
	l->thread = pthread_self();
}

bool loop_thread_join_ms(struct loop *l, unsigned ms)
{
	if (!l->own.live)
		return true;
	loop_stop(l);
	if (!thread_join_ms(&l->own, ms))
		return false;
	l->thread = pthread_self();
	return true;
}

/* ---- descriptors ---- */

static void fd_ready(uv_poll_t *p, int status, int events)
{
	struct loop_fd *w = container_of(p, struct loop_fd, poll);
	int ready = 0;

	if (events & UV_READABLE)
		ready |= LOOP_READABLE;
	if (events & UV_WRITABLE)
		ready |= LOOP_WRITABLE;
	if (events & UV_DISCONNECT)
		ready |= LOOP_HANGUP;
	if (status < 0) /* an error shows as readable: the read will tell */
		ready = LOOP_READABLE | LOOP_HANGUP;
	callback_lock(w->loop);
	pthread_mutex_lock(&w->loop->mutex);
	if (status >= 0 || !w->events)
		ready &= w->events;
	pthread_mutex_unlock(&w->loop->mutex);
	if (w->fn && ready)
		w->fn(w->opaque, ready);
	callback_unlock(w->loop);
}

static void fd_apply(struct change *c)
{
	struct loop_fd *w = container_of(c, struct loop_fd, change);
	int uv = 0;

	if (w->events & LOOP_READABLE)
		uv |= UV_READABLE;
	if (w->events & LOOP_WRITABLE)
		uv |= UV_WRITABLE;
	if (w->events & LOOP_HANGUP)
		uv |= UV_DISCONNECT;
	if (uv)
		(void)uv_poll_start(&w->poll, uv, fd_ready);
	else
		(void)uv_poll_stop(&w->poll);
}

struct loop_fd *loop_fd_add(struct loop *l, int fd, int events, void (*fn)(void *opaque, int ready),
			    void *opaque)
{
	struct loop_fd *w = NEW(struct loop_fd);
	int ret = uv_poll_init(&l->uv, &w->poll, fd);

	assert(ret == 0); /* a descriptor that cannot be polled is a bug of ours */
	w->loop = l;
	w->fn = fn;
	w->opaque = opaque;
	list_init(&w->change.link);
	w->change.apply = fd_apply;
	loop_fd_events(w, events);
	return w;
}

void loop_fd_events(struct loop_fd *w, int events)
{
	pthread_mutex_lock(&w->loop->mutex);
	w->events = events;
	apply_or_queue(w->loop, &w->change);
	pthread_mutex_unlock(&w->loop->mutex);
}

static void fd_closed(uv_handle_t *h)
{
	free(container_of((uv_poll_t *)(void *)h, struct loop_fd, poll));
}

void loop_fd_del(struct loop_fd *w)
{
	if (!w)
		return;
	w->fn = NULL;
	loop_fd_events(w, 0);
	uv_close((uv_handle_t *)&w->poll, fd_closed);
}

/* ---- timers ---- */

/* Has the timer expired without having been armed anew or cancelled meanwhile? */
static bool timer_due(struct loop_timer *t)
{
	bool due;

	pthread_mutex_lock(&t->loop->mutex);
	due = t->armed && list_empty(&t->change.link);
	if (due)
		t->armed = false;
	pthread_mutex_unlock(&t->loop->mutex);
	return due;
}

static void timer_fired(uv_timer_t *u)
{
	struct loop_timer *t = container_of(u, struct loop_timer, timer);

	callback_lock(t->loop);
	if (timer_due(t) && t->fn)
		t->fn(t->opaque);
	callback_unlock(t->loop);
}

static void timer_apply(struct change *c)
{
	struct loop_timer *t = container_of(c, struct loop_timer, change);
	uint64_t now = clock_ms();

	if (!t->armed) {
		(void)uv_timer_stop(&t->timer);
		return;
	}
	uv_update_time(&t->loop->uv);
	(void)uv_timer_start(&t->timer, timer_fired, t->expiry_ms > now ? t->expiry_ms - now : 0,
			     0);
}

static void timer_want(struct loop_timer *t, bool armed, uint64_t expiry_ms)
{
	pthread_mutex_lock(&t->loop->mutex);
	t->armed = armed;
	t->expiry_ms = expiry_ms;
	apply_or_queue(t->loop, &t->change);
	pthread_mutex_unlock(&t->loop->mutex);
}

struct loop_timer *loop_timer_new(struct loop *l, loop_fn *fn, void *opaque)
{
	struct loop_timer *t = NEW(struct loop_timer);

	(void)uv_timer_init(&l->uv, &t->timer);
	t->loop = l;
	t->fn = fn;
	t->opaque = opaque;
	list_init(&t->change.link);
	t->change.apply = timer_apply;
	return t;
}

void loop_timer_arm_ms(struct loop_timer *t, uint64_t delay_ms)
{
	timer_want(t, true, clock_ms() + delay_ms);
}

void loop_timer_cancel(struct loop_timer *t)
{
	timer_want(t, false, 0);
}

static void timer_closed(uv_handle_t *h)
{
	free(container_of((uv_timer_t *)(void *)h, struct loop_timer, timer));
}

void loop_timer_free(struct loop_timer *t)
{
	if (!t)
		return;
	t->fn = NULL;
	loop_timer_cancel(t);
	uv_close((uv_handle_t *)&t->timer, timer_closed);
}
