/*
 * fault-thread.c - reads page faults, one handler for all
 *
 * A fault costs the thread that waits for it two wake-ups: of this thread, and of
 * the waiting one.  The first is saved while faults come in a row: after the last
 * one the thread goes on asking for SPIN_NS before it sleeps in poll().  That takes a
 * processor from others, perhaps from the very thread that would make the next fault, so
 * where it was in vain a few times the thread sleeps at once, for a number of faults.
 */
#include "vmm/memory/fault-thread.h"

#include <errno.h>
#include <poll.h>
#include <time.h>
#include <unistd.h>

#include "vmm/base/probes.h"
#include "vmm/base/units.h"
#include "vmm/base/wake.h"
#include "vmm/memory/userfault.h"

#define SPIN_NS  50000 /* about what waking a thread on another core takes */
#define MESSAGES 16U
#define VAIN_MAX 4U  /* so often in a row in vain */
#define NO_SPIN  64U /* faults without it */

static int64_t now_ns(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

static bool stopping(const struct fault_thread *t)
{
	return __atomic_load_n(&t->stop, __ATOMIC_SEQ_CST);
}

static void fault_woken(struct fault_thread *t)
{
	if (!__atomic_exchange_n(&t->woken, false, __ATOMIC_SEQ_CST))
		return;
	wake_clear(t->wake_fd);
	if (t->ops->woken && !stopping(t))
		t->ops->woken(t->opaque);
}

static int fault_wait(struct fault_thread *t)
{
	struct pollfd p[] = {
	    {.fd = t->u->fd,   .events = POLLIN},
	    {.fd = t->wake_fd, .events = POLLIN},
	};

	int n = poll(p, ARRAY_LEN(p), t->ops->again_ms ? t->ops->again_ms(t->opaque) : -1);

	if (n < 0)
		return errno == EINTR ? 0 : -errno;
	if (n == 0)
		__atomic_store_n(&t->woken, true, __ATOMIC_SEQ_CST);
	if (p[0].revents & (POLLERR | POLLHUP | POLLNVAL))
		return -EBADF;
	return 0;
}

/* Faults that wait; returns how many there were, or -errno. */
static int fault_serve(struct fault_thread *t)
{
	struct userfault_msg msgs[MESSAGES];
	int n = userfault_read(t->u, msgs, MESSAGES), ret = 0;

	for (int i = 0; ret == 0 && i < n; i++) {
		PROBE(fault, msgs[i].hva, msgs[i].flags, msgs[i].tid);
		ret = t->ops->handle(t->opaque, &msgs[i]);
	}
	return ret < 0 ? ret : n;
}

/* Whether to go on asking behind a fault. */
struct spin {
	int64_t until_ns;
	unsigned vain, pause; /* tries in a row; faults until the next one */
};

/* A fault has been served. */
static void spin_begin(struct spin *s)
{
	int64_t now = now_ns();

	if (s->until_ns) /* this one came in time */
		s->vain = 0;
	s->until_ns = 0;
	if (s->pause)
		s->pause--;
	else
		s->until_ns = now + SPIN_NS;
}

/* Is it over?  It stays so until the next fault. */
static bool spin_over(struct spin *s)
{
	if (s->until_ns && now_ns() < s->until_ns)
		return false;
	if (s->until_ns && ++s->vain >= VAIN_MAX) {
		s->vain = 0;
		s->pause = NO_SPIN;
	}
	s->until_ns = 0;
	return true;
}

static int fault_loop(struct fault_thread *t)
{
	struct spin spin = {0};
	bool more = false;
	int ret = 0;

	while (ret >= 0 && !stopping(t)) {
		if (!more && spin_over(&spin))
			ret = fault_wait(t);
		fault_woken(t);
		if (ret >= 0)
			ret = fault_serve(t);
		if (ret > 0 && !t->ops->no_spin)
			spin_begin(&spin);
		more = ret > 0 || (ret == 0 && t->ops->ahead && t->ops->ahead(t->opaque));
	}
	return ret < 0 ? ret : 0;
}

static void *fault_main(void *opaque)
{
	struct fault_thread *t = opaque;
	struct err err;
	int ret = fault_loop(t);

	if (ret < 0) {
		(void)err_set(&err, -ret, "page faults of the guest cannot be resolved: %s",
			      err_text(-ret));
		t->ops->failed(t->opaque, &err);
	}
	return NULL;
}

int fault_thread_start(struct fault_thread *t, const struct userfault *u,
		       const struct fault_ops *ops, void *opaque, struct err *err)
{
	int ret;

	*t = (struct fault_thread){.u = u, .ops = ops, .opaque = opaque, .wake_fd = wake_open()};
	if (t->wake_fd < 0)
		return err_set(err, errno, "cannot start thread %s: %s", ops->name,
			       err_text(errno));
	ret = thread_start(&t->thread, ops->name, THREAD_FAULT, fault_main, t, err);
	if (ret < 0)
		(void)close(t->wake_fd);
	return ret;
}

void fault_thread_wake(struct fault_thread *t)
{
	__atomic_store_n(&t->woken, true, __ATOMIC_SEQ_CST);
	wake_set(t->wake_fd);
}

void fault_thread_stop(struct fault_thread *t)
{
	if (!t->thread.live)
		return;
	__atomic_store_n(&t->stop, true, __ATOMIC_SEQ_CST);
	fault_thread_wake(t);
	thread_join(&t->thread);
	(void)close(t->wake_fd);
}
