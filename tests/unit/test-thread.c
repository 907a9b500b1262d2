/* thread, wake: signals and roles of a thread; what makes a waiting one go on */
#include <check.h>
#include <poll.h>
#include <unistd.h>

#include "tests/unit/check-main.h"
#include "vmm/base/thread.h"
#include "vmm/base/wake.h"

struct seen {
	enum thread_role role;
	sigset_t blocked;
};

static void *look(void *opaque)
{
	struct seen *s = opaque;

	s->role = thread_role();
	(void)pthread_sigmask(SIG_SETMASK, NULL, &s->blocked);
	return NULL;
}

START_TEST(test_role_and_signals)
{
	struct seen vcpu = {0}, helper = {0};
	struct thread a = {0}, b = {0};

	ck_assert_int_eq(thread_start(&a, "a", THREAD_VCPU, look, &vcpu, NULL), 0);
	ck_assert_int_eq(thread_start(&b, "b", THREAD_HELPER, look, &helper, NULL), 0);
	thread_join(&a);
	thread_join(&b);
	ck_assert(!a.live && !b.live);
	ck_assert_int_eq(vcpu.role, THREAD_VCPU);
	ck_assert_int_eq(helper.role, THREAD_HELPER);
	ck_assert_int_eq(thread_role(), THREAD_MAIN);
	ck_assert_int_eq(sigismember(&vcpu.blocked, THREAD_KICK_SIGNAL), 0);
	ck_assert_int_eq(sigismember(&helper.blocked, THREAD_KICK_SIGNAL), 1);
	ck_assert_int_eq(sigismember(&vcpu.blocked, SIGTERM), 1);
	ck_assert_int_eq(sigismember(&helper.blocked, SIGPIPE), 1);
	thread_join(&a); /* again: nothing */
}
END_TEST

static bool is_readable(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, 0) == 1;
}

START_TEST(test_either)
{
	int a = wake_open(), b = wake_open(), both = wake_either(a, b);

	ck_assert_int_ge(both, 0);
	ck_assert(!is_readable(both));
	wake_set(b);
	wake_set(b);
	ck_assert(is_readable(both));
	wake_clear(b);
	wake_clear(b);
	ck_assert(!is_readable(both));
	wake_set(a);
	ck_assert(is_readable(both));
	ck_assert_int_eq(wake_either(a, -1), -1);
	(void)close(a);
	(void)close(b);
	(void)close(both);
}
END_TEST

CHECK_MAIN("thread", test_role_and_signals, test_either)
