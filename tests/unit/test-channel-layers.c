/* test-channel-layers.c - channels that stand on others: waiting, peeking, hang-ups, whole moves */
#include <check.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "channel-filter.h"
#include "check-main.h"
#include "migration-rig.h"
#include "migration/internal.h"
#include "vmm/base/wake.h"

static struct filter_layer layer = {.layer = {filter_put_on}, .key = 0x5a};

static void pair_of_filters(struct channel *ends[2], int cancel_fd)
{
	int pair[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
	for (int i = 0; i < 2; i++) {
		ends[i] = channel_from_socket(pair[i], i ? cancel_fd : -1);
		/* two of them, so that 'below' is more than one step */
		ends[i] = channel_with_layer(ends[i], &layer.layer, i, NULL);
		ends[i] = channel_with_layer(ends[i], &layer.layer, i, NULL);
	}
}

static bool descriptor_readable(const struct channel *c)
{
	struct pollfd p = {.fd = channel_fd(c), .events = POLLIN};

	return poll(&p, 1, 0) > 0;
}

/* What a layer holds ends a wait, though the descriptor has nothing; a cancel comes first. */
START_TEST(pending_bytes_end_a_wait)
{
	struct channel *ends[2];
	int cancel_fd = wake_open();
	uint8_t got[8];

	pair_of_filters(ends, cancel_fd);
	ck_assert_int_eq(channel_wait(ends[1], POLLIN, 0), 0);
	ck_assert_int_eq(channel_write(ends[0], "abcd", 4, NULL), 0);
	ck_assert_int_eq(channel_write(ends[0], "efgh", 4, NULL), 0);
	ck_assert_int_eq(channel_read(ends[1], got, 1, NULL), 1);
	ck_assert(!descriptor_readable(ends[1]));
	ck_assert_uint_gt(channel_pending(ends[1]), 0);
	ck_assert_int_eq(channel_wait(ends[1], POLLIN, -1), 1);
	wake_set(cancel_fd);
	ck_assert_int_eq(channel_wait(ends[1], POLLIN, -1), -ECANCELED);
	wake_clear(cancel_fd);
	for (size_t have = 1; have < 8;)
		have += (size_t)channel_read(ends[1], got + have, 8 - have, NULL);
	ck_assert_mem_eq(got, "abcdefgh", 8);
	ck_assert_uint_eq(channel_pending(ends[1]), 0);
	ck_assert_int_eq(channel_wait(ends[1], POLLIN, 0), 0);
	channel_close(ends[0]);
	channel_close(ends[1]);
	(void)close(cancel_fd);
}
END_TEST

START_TEST(peek_takes_nothing)
{
	struct channel *ends[2];
	uint8_t got[8] = {0};

	pair_of_filters(ends, -1);
	ck_assert_int_eq(channel_peek(ends[1], got, 4), -EAGAIN);
	ck_assert_int_eq(channel_write(ends[0], "ab", 2, NULL), 0);
	ck_assert_int_eq(channel_peek(ends[1], got, 4), 2);
	ck_assert_int_eq(channel_write(ends[0], "cdef", 4, NULL), 0);
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(channel_peek(ends[1], got, 4), 4);
	ck_assert_mem_eq(got, "abcd", 4);
	for (size_t have = 0; have < 6;)
		have += (size_t)channel_read(ends[1], got + have, 6 - have, NULL);
	ck_assert_mem_eq(got, "abcdef", 6);
	channel_close(ends[0]);
	ck_assert_int_eq(channel_peek(ends[1], got, 4), 0);
	channel_close(ends[1]);
}
END_TEST

/* A hang-up is seen before the bytes in front of it have been read, and they stay. */
START_TEST(hang_up_is_seen_without_reading)
{
	struct channel *ends[2];
	uint8_t got[4];

	pair_of_filters(ends, -1);
	ck_assert(!channel_hung_up(ends[1]));
	ck_assert_int_eq(channel_write(ends[0], "abcd", 4, NULL), 0);
	ck_assert(!channel_hung_up(ends[1]));
	channel_close(ends[0]);
	ck_assert(channel_hung_up(ends[1]));
	ck_assert_int_eq(channel_read(ends[1], got, 4, NULL), 4);
	ck_assert_mem_eq(got, "abcd", 4);
	ck_assert_int_eq(channel_read(ends[1], got, 4, NULL), 0);
	channel_close(ends[1]);
}
END_TEST

static void carry(bool multifd)
{
	struct rig *a = rig_new(RS_PRELAUNCH), *b = rig_new(RS_INMIGRATE);
	char uri[128];

	a->mg->set.layer = b->mg->set.layer = &layer.layer;
	rig_capability(a, CAP_MULTIFD, multifd);
	rig_capability(b, CAP_MULTIFD, multifd);
	(void)snprintf(uri, sizeof(uri), "unix:%s/sock", rig_dir());
	rig_fill(a, 7);
	rig_run_guest(a);
	ck_assert_int_eq(rig_incoming(b, uri, NULL), 0);
	ck_assert_int_eq(rig_migrate(a, uri, NULL), 0);
	rig_await(a, MIG_COMPLETED);
	rig_await(b, MIG_COMPLETED);
	rig_check_same(a, b);
	ck_assert_uint_gt(layer.frames, 4);
	rig_free(a);
	rig_free(b);
	rig_remove_dir();
}

START_TEST(a_whole_move)
{
	carry(false);
}
END_TEST

START_TEST(a_whole_move_on_several_channels)
{
	carry(true);
}
END_TEST

static int silent_listener(char *uri, size_t n)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)snprintf(un.sun_path, sizeof(un.sun_path), "%s/silent", rig_dir());
	(void)snprintf(uri, n, "unix:%s", un.sun_path);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&un, sizeof(un)), 0);
	ck_assert_int_eq(listen(fd, 1), 0);
	return fd;
}

/* Without a reader the layer's write waits for the descriptor below it, and a cancel ends that. */
START_TEST(a_move_that_is_cancelled)
{
	struct rig *a = rig_new(RS_PRELAUNCH);
	char uri[128];
	int fd = silent_listener(uri, sizeof(uri));

	a->mg->set.layer = &layer.layer;
	rig_fill(a, 7);
	rig_run_guest(a);
	ck_assert_int_eq(rig_migrate(a, uri, NULL), 0);
	rig_await(a, MIG_ACTIVE);
	rig_cancel(a);
	rig_await(a, MIG_CANCELLED);
	ck_assert_int_eq((int)rig_state(a), RS_RUNNING);
	(void)close(fd);
	rig_free(a);
	rig_remove_dir();
}
END_TEST

START_TEST(a_move_whose_peer_hangs_up)
{
	struct rig *a = rig_new(RS_PRELAUNCH);
	char uri[128];
	int fd = silent_listener(uri, sizeof(uri));

	a->mg->set.layer = &layer.layer;
	rig_fill(a, 7);
	rig_run_guest(a);
	ck_assert_int_eq(rig_migrate(a, uri, NULL), 0);
	rig_await(a, MIG_ACTIVE);
	(void)close(accept(fd, NULL, NULL));
	rig_await(a, MIG_FAILED);
	ck_assert_int_eq((int)rig_state(a), RS_RUNNING);
	(void)close(fd);
	rig_free(a);
	rig_remove_dir();
}
END_TEST

CHECK_MAIN("channel-layers", pending_bytes_end_a_wait, peek_takes_nothing,
	   hang_up_is_seen_without_reading, a_whole_move, a_whole_move_on_several_channels,
	   a_move_that_is_cancelled, a_move_whose_peer_hangs_up)
