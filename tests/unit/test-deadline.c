/* When a migration shall have ended: what its waits see, who is first, what can be changed. */
#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "migration/outgoing/deadline.h"
#include "migration/settings/params.h"
#include "tests/unit/check-main.h"

struct rig {
	struct deadline d;
	int cancel_fd;
};

static struct rig rig_new(void)
{
	struct rig r = {.cancel_fd = eventfd(0, EFD_NONBLOCK)};

	ck_assert_int_eq(deadline_init(&r.d, r.cancel_fd), 0);
	return r;
}

static void rig_free(struct rig *r)
{
	deadline_fini(&r->d);
	(void)close(r->cancel_fd);
}

/* Is it to be seen by a wait of up to so many ms (-1: any)? */
static bool seen(const struct rig *r, int ms)
{
	struct pollfd p = {.fd = r->d.stop_fd, .events = POLLIN};

	return poll(&p, 1, ms) > 0;
}

/* As if the migration had begun so much earlier. */
static void age(struct rig *r, int seconds)
{
	r->d.started_ns -= (int64_t)seconds * 1000000000;
	deadline_change(&r->d, r->d.seconds, r->d.policy);
}

START_TEST(test_cancel)
{
	struct rig r = rig_new();
	uint64_t ms;

	ck_assert(!seen(&r, 0) && !deadline_left(&r.d, &ms));
	ck_assert_int_eq(eventfd_write(r.cancel_fd, 1), 0);
	ck_assert(seen(&r, -1) && !deadline_passed(&r.d));
	rig_free(&r);
}
END_TEST

START_TEST(test_passes)
{
	struct rig r = rig_new();
	uint64_t ms = 0;

	deadline_start(&r.d, 100, DEADLINE_CANCEL);
	ck_assert(!seen(&r, 0) && !deadline_passed(&r.d) && !deadline_forces(&r.d));
	ck_assert(deadline_left(&r.d, &ms) && ms > 0 && ms <= 100000);
	age(&r, 100);
	ck_assert(seen(&r, -1) && deadline_passed(&r.d) && !deadline_forces(&r.d));
	ck_assert(deadline_left(&r.d, &ms) && ms == 0);
	/* it is known, and stays so */
	deadline_change(&r.d, 0, DEADLINE_CANCEL);
	deadline_change(&r.d, 1000, DEADLINE_FORCE);
	ck_assert(seen(&r, 0) && deadline_passed(&r.d));
	ck_assert(!deadline_end(&r.d) && deadline_passed(&r.d));
	/* the next migration has one of its own */
	deadline_start(&r.d, 0, DEADLINE_CANCEL);
	ck_assert(!seen(&r, 0) && !deadline_passed(&r.d) && !deadline_left(&r.d, &ms));
	ck_assert(deadline_end(&r.d));
	rig_free(&r);
}
END_TEST

/* Once the destination may run the guest, nothing ends the waiting for its word. */
START_TEST(test_given_in_time)
{
	struct rig r = rig_new();
	uint64_t ms;

	deadline_start(&r.d, 100, DEADLINE_CANCEL);
	ck_assert(deadline_end(&r.d) && !deadline_left(&r.d, &ms));
	deadline_change(&r.d, 1, DEADLINE_CANCEL);
	ck_assert(!seen(&r, 0) && !deadline_passed(&r.d));
	ck_assert(deadline_end(&r.d));
	rig_free(&r);
}
END_TEST

START_TEST(test_changes)
{
	struct rig r = rig_new();

	deadline_start(&r.d, 0, DEADLINE_CANCEL);
	age(&r, 50);
	ck_assert(!seen(&r, 0));
	deadline_change(&r.d, 60, DEADLINE_CANCEL); /* counted from the beginning */
	ck_assert(!seen(&r, 0));
	deadline_change(&r.d, 0, DEADLINE_CANCEL);
	age(&r, 50);
	ck_assert(!seen(&r, 0));
	deadline_change(&r.d, 60, DEADLINE_CANCEL);
	ck_assert(seen(&r, -1) && deadline_passed(&r.d));
	rig_free(&r);
}
END_TEST

START_TEST(test_force)
{
	struct rig r = rig_new();

	deadline_start(&r.d, 100, DEADLINE_FORCE);
	ck_assert(!deadline_forces(&r.d));
	age(&r, 100);
	ck_assert(deadline_forces(&r.d) && !deadline_passed(&r.d) && !seen(&r, 0));
	deadline_change(&r.d, 1000, DEADLINE_FORCE);
	ck_assert(!deadline_forces(&r.d));
	deadline_change(&r.d, 50, DEADLINE_CANCEL);
	ck_assert(!deadline_forces(&r.d) && deadline_passed(&r.d));
	deadline_start(&r.d, 1, DEADLINE_FORCE);
	age(&r, 10);
	ck_assert(deadline_forces(&r.d) && deadline_end(&r.d) && !deadline_forces(&r.d));
	rig_free(&r);
}
END_TEST

/* As 'force', but for what is to be done. */
START_TEST(test_postcopy)
{
	struct rig r = rig_new();

	deadline_start(&r.d, 100, DEADLINE_POSTCOPY);
	ck_assert(!deadline_switches(&r.d));
	age(&r, 100);
	ck_assert(deadline_switches(&r.d) && !deadline_forces(&r.d));
	ck_assert(!deadline_passed(&r.d) && !seen(&r, 0));
	deadline_change(&r.d, 100, DEADLINE_FORCE);
	ck_assert(!deadline_switches(&r.d) && deadline_forces(&r.d));
	deadline_change(&r.d, 1000, DEADLINE_POSTCOPY);
	ck_assert(!deadline_switches(&r.d) && !deadline_forces(&r.d));
	age(&r, 1000);
	ck_assert(deadline_switches(&r.d) && deadline_end(&r.d) && !deadline_switches(&r.d));
	rig_free(&r);
}
END_TEST

CHECK_MAIN("deadline", test_cancel, test_passes, test_given_in_time, test_changes, test_force,
	   test_postcopy)
