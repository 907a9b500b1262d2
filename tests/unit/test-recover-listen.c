/* test-recover-listen.c - a paused postcopy waits for its source, and for nobody else; and the
 * source for an address */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "migration/channel/channel.h"
#include "migration/channel/uri.h"
#include "migration/incoming/recover-listen.h"
#include "migration/outgoing/resume.h"
#include "tests/unit/check-main.h"
#include "vmm/base/error.h"
#include "vmm/base/log.h"
#include "vmm/base/wake.h"

#define COMMAND "\x08" /* what a source's main connection begins with */
#define RECORD  "\0"   /* ... and a page record */

struct rig {
	char folder[32];
	struct recover_listen r;
	int cancel_fd, watch_fd;
	pthread_t thread;
	bool preempt; /* what it waits for */
	struct channel *got;
};

static void rig_init(struct rig *g)
{
	*g = (struct rig){.folder = "/tmp/minivmm-recover-XXXXXX"};
	ck_assert_ptr_nonnull(mkdtemp(g->folder));
	ck_assert_int_eq(log_open("/dev/null", NULL), 0);
	ck_assert_int_eq(recover_listen_init(&g->r), 0);
	g->cancel_fd = wake_open();
	g->watch_fd = -1;
	recover_listen_begin(&g->r, NULL);
}

static void rig_fini(struct rig *g)
{
	recover_listen_fini(&g->r);
	(void)close(g->cancel_fd);
	ck_assert_int_eq(rmdir(g->folder), 0); /* no socket is left */
	log_close();
}

static struct sockaddr_un address_of(const struct rig *g, const char *name)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};

	(void)snprintf(un.sun_path, sizeof(un.sun_path), "%s/%s", g->folder, name);
	return un;
}

static int listen_at(struct rig *g, const char *name, struct err *err)
{
	struct sockaddr_un un = address_of(g, name);
	char text[sizeof(un.sun_path) + 8];
	struct migration_uri uri;
	int ret;

	(void)snprintf(text, sizeof(text), "unix:%s", un.sun_path);
	ck_assert_int_eq(uri_parse(&uri, text, true, NULL), 0);
	ret = recover_listen_at(&g->r, &uri, NULL, err);
	uri_fini(&uri);
	return ret;
}

/* A connection that has said these bytes, or -errno. */
static int connect_to(const struct rig *g, const char *name, const char *says, size_t n)
{
	struct sockaddr_un un = address_of(g, name);
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	if (connect(fd, (const struct sockaddr *)&un, sizeof(un)) < 0) {
		(void)close(fd);
		return -errno;
	}
	ck_assert_int_eq(send(fd, says, n, 0), (ssize_t)n);
	return fd;
}

static const bool begun = true;

static void *wait_thread(void *opaque)
{
	struct rig *g = opaque;

	g->got = g->preempt ? recover_listen_preempt(&g->r, &begun, g->cancel_fd)
			    : recover_listen_main(&g->r, g->cancel_fd, g->watch_fd);
	return NULL;
}

static void begin_wait(struct rig *g)
{
	ck_assert_int_eq(pthread_create(&g->thread, NULL, wait_thread, g), 0);
}

static struct channel *end_wait(struct rig *g)
{
	ck_assert_int_eq(pthread_join(g->thread, NULL), 0);
	return g->got;
}

/* The channel's other end is this one: it hears a byte. */
static void check_peer(struct channel *ch, int peer)
{
	char c = 0;

	ck_assert_ptr_nonnull(ch);
	ck_assert_int_eq(channel_write(ch, "x", 1, NULL), 0);
	ck_assert_int_eq(recv(peer, &c, 1, 0), 1);
	ck_assert_int_eq(c, 'x');
	channel_close(ch);
	(void)close(peer);
}

/* It has been closed here. */
static void check_closed(int peer)
{
	char c;

	ck_assert_int_le(recv(peer, &c, 1, 0), 0);
	(void)close(peer);
}

/* Somebody silent, somebody else, preempt's and the main one, in this order. */
START_TEST(test_told_apart)
{
	struct rig g;
	int silent, stranger, preempt, source;

	rig_init(&g);
	ck_assert_int_eq(listen_at(&g, "a", NULL), 0);
	silent = connect_to(&g, "a", "", 0);
	stranger = connect_to(&g, "a", "GET", 3);
	preempt = connect_to(&g, "a", RECORD, 1);
	begin_wait(&g);
	check_closed(stranger);
	source = connect_to(&g, "a", COMMAND, 1);
	check_peer(end_wait(&g), source);
	g.preempt = true;
	begin_wait(&g);
	check_peer(end_wait(&g), preempt);
	recover_listen_stop(&g.r);
	check_closed(silent);
	ck_assert_int_eq(connect_to(&g, "a", "", 0), -ENOENT);
	/* and nobody is waited for */
	ck_assert_int_eq(listen_at(&g, "a", NULL), -EINVAL);
	ck_assert_int_eq(recover_listen_given(&g.r, dup(g.cancel_fd), NULL), -EINVAL);
	rig_fini(&g);
}
END_TEST

/* Of postcopy-preempt: nothing is said before a page is asked for. */
START_TEST(test_silent_preempt)
{
	struct rig g;
	int peer, again;

	rig_init(&g);
	ck_assert_int_eq(listen_at(&g, "a", NULL), 0);
	g.preempt = true;
	again = connect_to(&g, "a", COMMAND, 1); /* another main connection is no preempt's */
	begin_wait(&g);
	check_closed(again);
	peer = connect_to(&g, "a", "", 0);
	check_peer(end_wait(&g), peer);
	rig_fini(&g);
}
END_TEST

/* A thread that waits already goes on at another address, and at the same one anew. */
START_TEST(test_another_address)
{
	struct migration_address addr;
	struct rig g;
	int source;

	rig_init(&g);
	ck_assert(!recover_listen_address(&g.r, &addr));
	begin_wait(&g);
	ck_assert_int_eq(listen_at(&g, "a", NULL), 0);
	ck_assert_int_eq(listen_at(&g, "b", NULL), 0);
	ck_assert_int_eq(connect_to(&g, "a", "", 0), -ENOENT);
	ck_assert_int_eq(listen_at(&g, "b", NULL), 0);
	ck_assert(recover_listen_address(&g.r, &addr));
	ck_assert_str_eq(addr.path, address_of(&g, "b").sun_path);
	source = connect_to(&g, "b", COMMAND, 1);
	check_peer(end_wait(&g), source);
	rig_fini(&g);
}
END_TEST

/* An address that cannot be had leaves the earlier one. */
START_TEST(test_refused_address)
{
	struct err err = {0};
	struct rig g;
	int source;

	rig_init(&g);
	ck_assert_int_eq(listen_at(&g, "a", NULL), 0);
	ck_assert_int_lt(listen_at(&g, "no/where", &err), 0);
	ck_assert_msg(strstr(err.msg, "no/where") != NULL, "%s", err.msg);
	begin_wait(&g);
	source = connect_to(&g, "a", COMMAND, 1);
	check_peer(end_wait(&g), source);
	rig_fini(&g);
}
END_TEST

/* More that are silent than may wait: the oldest goes, the source comes in. */
START_TEST(test_crowd)
{
	int silent[RECOVER_WAITING_MAX + 3];
	struct rig g;
	int source;

	rig_init(&g);
	ck_assert_int_eq(listen_at(&g, "a", NULL), 0);
	for (size_t i = 0; i < sizeof(silent) / sizeof(silent[0]); i++)
		silent[i] = connect_to(&g, "a", "", 0);
	begin_wait(&g);
	source = connect_to(&g, "a", COMMAND, 1);
	check_peer(end_wait(&g), source);
	check_closed(silent[0]);
	recover_listen_stop(&g.r);
	for (size_t i = 1; i < sizeof(silent) / sizeof(silent[0]); i++)
		check_closed(silent[i]);
	rig_fini(&g);
}
END_TEST

START_TEST(test_given)
{
	struct rig g;
	int pair[2];

	rig_init(&g);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	begin_wait(&g);
	ck_assert_int_eq(recover_listen_given(&g.r, pair[0], NULL), 0);
	ck_assert_int_eq(send(pair[1], COMMAND, 1, 0), 1);
	check_peer(end_wait(&g), pair[1]);
	rig_fini(&g);
}
END_TEST

START_TEST(test_cancelled)
{
	struct rig g;

	rig_init(&g);
	ck_assert_int_eq(listen_at(&g, "a", NULL), 0);
	begin_wait(&g);
	wake_set(g.cancel_fd);
	ck_assert_ptr_null(end_wait(&g));
	wake_clear(g.cancel_fd);
	g.watch_fd = wake_open();
	begin_wait(&g);
	wake_set(g.watch_fd);
	ck_assert_ptr_null(end_wait(&g));
	(void)close(g.watch_fd);
	rig_fini(&g);
}
END_TEST

/* ---- the source ---- */

static bool is_set(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, 0) == 1;
}

/* The latest address is the one that is taken, once. */
START_TEST(test_resume)
{
	struct resume_address a = {.fd = -1}, b = {.fd = -1}, got;
	struct resume r;

	ck_assert_int_eq(resume_init(&r), 0);
	ck_assert(!resume_take(&r, &got));
	ck_assert_int_eq(uri_parse(&a.uri, "unix:/a", false, NULL), 0);
	ck_assert_int_eq(uri_parse(&b.uri, "unix:/b", false, NULL), 0);
	resume_put(&r, &a);
	ck_assert(is_set(r.wake_fd));
	resume_put(&r, &b);
	ck_assert(resume_take(&r, &got));
	ck_assert_str_eq(got.uri.path, "/b");
	ck_assert(!is_set(r.wake_fd));
	ck_assert(!resume_take(&r, &b));
	resume_put(&r, &got);
	resume_clear(&r);
	ck_assert(!is_set(r.wake_fd));
	ck_assert(!resume_take(&r, &got));
	resume_fini(&r);
}
END_TEST

CHECK_MAIN("recover-listen", test_told_apart, test_silent_preempt, test_another_address,
	   test_refused_address, test_crowd, test_given, test_cancelled, test_resume)
