/*
 * deadline.c - one timerfd, one epoll of it and the cancel, and which of them was first
 *
 * A deadline that has passed stays passed, for a wait may already have ended
 * because of it; parameters that change later do not move it.  The timer may
 * expire just before it is set anew: timerfd_settime() then returns an old value
 * of zero, and the timer is set to a moment in the past (stay_passed).
 * deadline_end() disarms the timer in the same way, so that either the hand-over or
 * the deadline is first, never both.  The policies 'force' and 'postcopy' have no timer: the
 * migration thread compares the clock with force_ns and switch_ns.
 */
#include "migration/outgoing/deadline.h"

#include <errno.h>
#include <poll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "migration/settings/params.h"
#include "vmm/base/units.h"
#include "vmm/base/wake.h"
#include "vmm/vclock.h"

#define NS_PER_S  ((int64_t)1000000000)
#define NS_PER_MS ((int64_t)1000000)

int deadline_init(struct deadline *d, int cancel_fd)
{
	*d = (struct deadline){0};
	d->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	d->stop_fd = wake_either(cancel_fd, d->timer_fd);
	return d->stop_fd < 0 ? -errno : 0;
}

void deadline_fini(struct deadline *d)
{
	if (d->stop_fd >= 0)
		(void)close(d->stop_fd);
	if (d->timer_fd >= 0)
		(void)close(d->timer_fd);
	d->stop_fd = d->timer_fd = -1;
}

/* CLOCK_MONOTONIC; 0: off.  False when it had run out by then. */
static bool set_timer(struct deadline *d, int64_t at_ns)
{
	struct itimerspec new =
	    {
		.it_value = {at_ns / NS_PER_S, at_ns % NS_PER_S}
        },
			  old = {0};
	bool was_armed = d->armed;

	(void)timerfd_settime(d->timer_fd, TFD_TIMER_ABSTIME, &new, &old);
	d->armed = at_ns != 0;
	return !was_armed || old.it_value.tv_sec || old.it_value.tv_nsec;
}

bool deadline_passed(const struct deadline *d)
{
	struct pollfd p = {.fd = d->timer_fd, .events = POLLIN};

	return d->armed && poll(&p, 1, 0) > 0;
}

/* A wait may have ended because the deadline had passed, so it stays passed. */
static void stay_passed(struct deadline *d)
{
	(void)set_timer(d, 1);
}

void deadline_change(struct deadline *d, uint32_t seconds, uint8_t policy)
{
	int64_t at = seconds ? d->started_ns + (int64_t)seconds * NS_PER_S : 0;
	bool force = policy == DEADLINE_FORCE, switches = policy == DEADLINE_POSTCOPY;

	if (!d->started_ns || deadline_passed(d))
		return;
	d->seconds = seconds;
	d->policy = policy;
	__atomic_store_n(&d->force_ns, force ? at : 0, __ATOMIC_RELAXED);
	__atomic_store_n(&d->switch_ns, switches ? at : 0, __ATOMIC_RELAXED);
	if (!set_timer(d, force || switches ? 0 : at))
		stay_passed(d);
}

void deadline_start(struct deadline *d, uint32_t seconds, uint8_t policy)
{
	(void)set_timer(d, 0);
	d->started_ns = host_now_ns();
	deadline_change(d, seconds, policy);
}

bool deadline_end(struct deadline *d)
{
	if (!d->started_ns)
		return true;
	if (!set_timer(d, 0)) {
		stay_passed(d);
		return false;
	}
	d->started_ns = 0;
	__atomic_store_n(&d->force_ns, 0, __ATOMIC_RELAXED);
	__atomic_store_n(&d->switch_ns, 0, __ATOMIC_RELAXED);
	return true;
}

bool deadline_left(const struct deadline *d, uint64_t *ms)
{
	int64_t left = d->started_ns + (int64_t)d->seconds * NS_PER_S - host_now_ns();

	if (!d->started_ns || !d->seconds)
		return false;
	*ms = (uint64_t)(MAX(left, 0) / NS_PER_MS);
	return true;
}

static bool is_past(const int64_t *atomic_ns)
{
	int64_t at = __atomic_load_n(atomic_ns, __ATOMIC_RELAXED);

	return at && host_now_ns() >= at;
}

bool deadline_forces(const struct deadline *d)
{
	return is_past(&d->force_ns);
}

bool deadline_switches(const struct deadline *d)
{
	return is_past(&d->switch_ns);
}
