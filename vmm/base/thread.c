/*
 * thread.c - starting a thread with its signal mask, name and role
 *
 * The new thread inherits the mask of its creator, so the creator changes its
 * own mask around pthread_create(): no signal can reach the thread before its
 * mask stands.  The role is thread-local and set before the thread's function
 * runs.
 */
#include "vmm/base/thread.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"

#define GIVE_WAY 5 /* of niceness: a third of the share of a thread that does not */

static bool names_on; /* set once, before there are threads */
static __thread enum thread_role my_role;

struct start {
	enum thread_role role;
	void *(*fn)(void *opaque);
	void *opaque;
};

static void *thread_main(void *opaque)
{
	struct start s = *(struct start *)opaque;

	free(opaque);
	my_role = s.role;
	return s.fn(s.opaque);
}

void threads_named(bool on)
{
	names_on = on;
}

static void set_name(pthread_t id, const char *name)
{
	char kept[16];

	if (!names_on)
		return;
	(void)snprintf(kept, sizeof(kept), "%s", name);
	(void)pthread_setname_np(id, kept);
}

int thread_start(struct thread *t, const char *name, enum thread_role role,
		 void *(*fn)(void *opaque), void *opaque, struct err *err)
{
	static const int faults[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGABRT};
	struct start *s = NEW(struct start);
	sigset_t blocked, old;
	int ret;

	*s = (struct start){.role = role, .fn = fn, .opaque = opaque};
	t->done = false;
	(void)sigfillset(&blocked);
	/* A fault that is blocked ends the program past its handlers. */
	for (size_t i = 0; i < ARRAY_LEN(faults); i++)
		(void)sigdelset(&blocked, faults[i]);
	if (role == THREAD_VCPU)
		(void)sigdelset(&blocked, THREAD_KICK_SIGNAL);
	(void)pthread_sigmask(SIG_SETMASK, &blocked, &old); /* the new thread inherits it */
	ret = pthread_create(&t->id, NULL, thread_main, s);
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (ret) {
		free(s);
		return err_set(err, ret, "cannot start thread %s: %s", name, err_text(ret));
	}
	set_name(t->id, name);
	t->live = true;
	return 0;
}

void thread_join(struct thread *t)
{
	if (t->live)
		(void)pthread_join(t->id, NULL);
	t->live = false;
}

void thread_give_way(void)
{
	(void)!nice(GIVE_WAY);
}

enum thread_role thread_role(void)
{
	return my_role;
}

/* ThreadSanitizer knows only the join by the host's date: after the other all would be a race. */
#ifdef __SANITIZE_THREAD__
#define JOIN_CLOCK           CLOCK_REALTIME
#define join_until(t, until) pthread_timedjoin_np((t)->id, NULL, until)
#else
#define JOIN_CLOCK           CLOCK_MONOTONIC
#define join_until(t, until) pthread_clockjoin_np((t)->id, NULL, JOIN_CLOCK, until)
#endif

bool thread_join_ms(struct thread *t, unsigned ms)
{
	struct timespec until;

	if (!t->live)
		return true;
	(void)clock_gettime(JOIN_CLOCK, &until);
	until.tv_sec += ms / 1000;
	until.tv_nsec += ms % 1000 * 1000000L;
	if (until.tv_nsec >= 1000000000L) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000L;
	}
	if (join_until(t, &until))
		return false;
	t->live = false;
	return true;
}

void thread_cond_init(pthread_cond_t *cond)
{
	pthread_condattr_t attr;

	(void)pthread_condattr_init(&attr);
	(void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	(void)pthread_cond_init(cond, &attr);
	(void)pthread_condattr_destroy(&attr);
}

void thread_cond_wait_until(pthread_cond_t *cond, pthread_mutex_t *mutex, int64_t ns)
{
	struct timespec ts = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};

	(void)pthread_cond_timedwait(cond, mutex, &ts);
}
