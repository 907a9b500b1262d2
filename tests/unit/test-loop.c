/* Event loops: order of posts, calls from other threads, descriptors, timers. */
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/check-main.h"
#include "vmm/loop.h"

struct state {
	struct loop *l;
	pthread_mutex_t lock;
	char text[64];
	struct loop_fd *w;
	struct loop_timer *t;
	int fds[2];
};

static void say(struct state *s, const char *what)
{
	/* The loop holds the lock around every callback: it cannot be had again. */
	ck_assert_int_ne(pthread_mutex_trylock(&s->lock), 0);
	strcat(s->text, what);
}

static void post_a(void *opaque)
{
	say(opaque, "a");
}

static void post_b(void *opaque)
{
	say(opaque, "b");
}

static void post_stop(void *opaque)
{
	struct state *s = opaque;

	say(s, ".");
	loop_stop(s->l);
}

static void readable(void *opaque, int ready)
{
	struct state *s = opaque;
	char c;

	ck_assert_int_eq(ready, LOOP_READABLE);
	ck_assert_int_eq(read(s->fds[0], &c, 1), 1);
	say(s, "r");
	loop_fd_del(s->w);
	loop_timer_arm_ms(s->t, 1);
}

static void fired(void *opaque)
{
	struct state *s = opaque;

	say(s, "t");
	loop_timer_free(s->t);
	loop_post(s->l, post_stop, s);
}

static void state_init(struct state *s)
{
	memset(s, 0, sizeof(*s));
	pthread_mutex_init(&s->lock, NULL);
	s->l = loop_new(&s->lock, NULL);
	ck_assert_ptr_nonnull(s->l);
}

START_TEST(test_posts_in_order)
{
	struct state s;

	state_init(&s);
	loop_post(s.l, post_a, &s);
	loop_post(s.l, post_b, &s);
	loop_post(s.l, post_a, &s);
	loop_post(s.l, post_stop, &s);
	loop_run(s.l);
	ck_assert_str_eq(s.text, "aba.");
	loop_free(s.l);
}
END_TEST

START_TEST(test_fd_then_timer)
{
	struct state s;

	state_init(&s);
	ck_assert_int_eq(pipe(s.fds), 0);
	s.w = loop_fd_add(s.l, s.fds[0], LOOP_READABLE, readable, &s);
	s.t = loop_timer_new(s.l, fired, &s);
	ck_assert_int_eq(write(s.fds[1], "x", 1), 1);
	loop_run(s.l);
	ck_assert_str_eq(s.text, "rt.");
	loop_free(s.l);
}
END_TEST

static void bump(void *opaque)
{
	++*(int *)opaque;
}

START_TEST(test_call_from_elsewhere)
{
	struct loop *l = loop_new(NULL, NULL);
	int n = 0;

	loop_call(l, bump, &n); /* before it runs: at once */
	ck_assert_int_eq(n, 1);
	ck_assert_int_eq(loop_thread_start(l, "io", THREAD_IO, NULL), 0);
	for (int i = 0; i < 100; i++)
		loop_call(l, bump, &n);
	ck_assert_int_eq(n, 101);
	loop_thread_join(l);
	loop_call(l, bump, &n); /* after it ran */
	ck_assert_int_eq(n, 102);
	loop_free(l);
}
END_TEST

/* ---- timers armed and cancelled by another thread that holds the lock ---- */

struct armer {
	struct loop *l;
	pthread_mutex_t *lock;
	struct loop_timer *t;
	int fired, wanted; /* under the lock */
};

static void count(void *opaque)
{
	struct armer *a = opaque;

	if (++a->fired == a->wanted)
		loop_stop(a->l);
}

/* Each round is armed, cancelled and armed again; it must fire once, although the loop is asleep.
 */
static void *arm(void *opaque)
{
	struct armer *a = opaque;

	for (int round = 0; round < a->wanted; round++) {
		int before;

		pthread_mutex_lock(a->lock);
		before = a->fired;
		loop_timer_arm_ms(a->t, 0);
		loop_timer_cancel(a->t);
		loop_timer_arm_ms(a->t, round % 3 ? 0 : 1);
		while (a->fired == before) {
			pthread_mutex_unlock(a->lock);
			(void)sched_yield();
			pthread_mutex_lock(a->lock);
		}
		ck_assert_int_eq(a->fired, before + 1);
		pthread_mutex_unlock(a->lock);
	}
	return NULL;
}

START_TEST(test_timer_from_elsewhere)
{
	pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	struct armer a = {.lock = &lock, .wanted = 300};
	pthread_t thread;

	a.l = loop_new(&lock, NULL);
	a.t = loop_timer_new(a.l, count, &a);
	ck_assert_int_eq(pthread_create(&thread, NULL, arm, &a), 0);
	loop_run(a.l);
	(void)pthread_join(thread, NULL);
	ck_assert_int_eq(a.fired, 300);
	loop_timer_free(a.t);
	loop_free(a.l);
}
END_TEST

CHECK_MAIN("loop", test_posts_in_order, test_fd_then_timer, test_call_from_elsewhere,
	   test_timer_from_elsewhere)
