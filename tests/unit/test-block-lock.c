/* The byte locks of images: which bytes, and who refuses whom. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "devices/block/lock-holder.h"
#include "devices/block/lock.h"
#include "tests/unit/check-main.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"

struct image {
	char path[64];
	int a, b; /* two open file descriptions */
};

static void open_image(struct image *i)
{
	int fd = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	ck_assert_int_ge(fd, 0);
	(void)snprintf(i->path, sizeof(i->path), "/proc/self/fd/%d", fd);
	i->a = fd;
	i->b = open(i->path, O_RDWR | O_CLOEXEC);
	ck_assert_int_ge(i->b, 0);
}

static void close_image(struct image *i)
{
	(void)close(i->a);
	(void)close(i->b);
}

/* Seen from b: does a hold the byte? */
static bool held(const struct image *i, off_t byte)
{
	struct flock fl = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};

	ck_assert_int_eq(fcntl(i->b, F_OFD_GETLK, &fl), 0);
	return fl.l_type != F_UNLCK;
}

START_TEST(test_bytes)
{
	static const struct {
		bool readonly, share_rw;
		off_t bytes[5];
	} rows[] = {
	    {false, false, {100, 101, 201, 203}},
	    {true,  false, {100, 201, 203}     },
	    {false, true,  {100, 101, 203}     },
	    {true,  true,  {100, 203}          },
	};

	for (size_t r = 0; r < ARRAY_LEN(rows); r++) {
		struct block_perms p = block_disk_perms(rows[r].readonly, rows[r].share_rw);
		struct image i;

		open_image(&i);
		ck_assert_int_eq(block_lock(i.a, i.path, p, true, NULL), 0);
		for (off_t byte = 90; byte < 220; byte++)
			ck_assert(!held(&i, byte)); /* a probe leaves nothing behind */
		ck_assert_int_eq(block_lock(i.a, i.path, p, false, NULL), 0);
		for (off_t byte = 90; byte < 220; byte++) {
			bool wanted = false;

			for (size_t k = 0; k < ARRAY_LEN(rows[r].bytes); k++)
				wanted = wanted || rows[r].bytes[k] == byte;
			ck_assert_msg(held(&i, byte) == wanted, "row %zu, byte %ld", r, (long)byte);
		}
		block_unlock(i.a);
		for (off_t byte = 90; byte < 220; byte++)
			ck_assert(!held(&i, byte));
		close_image(&i);
	}
}
END_TEST

START_TEST(test_refused)
{
	struct block_perms writer = block_disk_perms(false, false);
	struct err err = {0};
	struct image i;

	open_image(&i);
	ck_assert_int_eq(block_lock(i.a, i.path, writer, false, NULL), 0);
	ck_assert_int_eq(block_lock(i.b, i.path, writer, true, &err), -EBUSY);
	ck_assert_int_eq(block_lock(i.b, i.path, writer, false, &err), -EBUSY);
	ck_assert_msg(strstr(err.msg, "another disk of this machine"), "%s", err.msg);
	/* The refused one holds nothing. */
	block_unlock(i.a);
	ck_assert_int_eq(block_lock(i.a, i.path, writer, false, &err), 0);
	close_image(&i);
}
END_TEST

/* A user that does not share resizing refuses one that may resize, and vice versa. */
START_TEST(test_resize)
{
	struct block_perms grows = {.used = BLOCK_PERM_READ | BLOCK_PERM_RESIZE};
	struct image i;

	open_image(&i);
	ck_assert_int_eq(block_lock(i.a, i.path, grows, false, NULL), 0);
	ck_assert_int_eq(block_lock(i.b, i.path, block_disk_perms(true, true), false, NULL),
			 -EBUSY);
	block_unlock(i.a);
	ck_assert_int_eq(block_lock(i.b, i.path, block_disk_perms(true, true), false, NULL), 0);
	ck_assert_int_eq(block_lock(i.a, i.path, grows, false, NULL), -EBUSY);
	close_image(&i);
}
END_TEST

/* Another process's lock, and a lock of QEMU's that spans several bytes. */
START_TEST(test_holder)
{
	struct flock fl = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 100, .l_len = 4};
	struct lock_holder who;
	struct image i;

	open_image(&i);
	lock_holder_find(&who, i.a, 101);
	ck_assert_str_eq(who.text, "another process");
	ck_assert_int_eq(who.pid, 0);
	ck_assert_int_eq(fcntl(i.b, F_OFD_SETLK, &fl), 0);
	lock_holder_find(&who, i.a, 103);
	ck_assert_int_eq(who.pid, getpid());
	lock_holder_find(&who, i.a, 104);
	ck_assert_int_eq(who.pid, 0);
	close_image(&i);
}
END_TEST

/* An open file with its locks goes to where no process has it: into a socket's queue. */
static void send_away(int to, int fd)
{
	union {
		struct cmsghdr head;
		char space[CMSG_SPACE(sizeof(int))];
	} control = {
	    .head = {.cmsg_len = CMSG_LEN(sizeof(int)),
		     .cmsg_level = SOL_SOCKET,
		     .cmsg_type = SCM_RIGHTS}
        };
	struct iovec iov = {.iov_base = (void *)"x", .iov_len = 1};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = &control,
			     .msg_controllen = sizeof(control)};

	memcpy(CMSG_DATA(&control.head), &fd, sizeof(fd));
	ck_assert_int_eq(sendmsg(to, &msg, 0), 1);
	(void)close(fd);
}

static void *let_go_soon(void *opaque)
{
	struct timespec soon = {.tv_nsec = 30000000};
	int *s = opaque;

	(void)nanosleep(&soon, NULL);
	(void)close(s[0]);
	(void)close(s[1]);
	return NULL;
}

/* A killed process may leave its locks behind for a moment: they are waited for, but not for ever.
 */
START_TEST(test_orphan)
{
	struct block_perms writer = block_disk_perms(false, false);
	struct err err = {0};
	struct image i;
	pthread_t thread;
	int s[2];

	open_image(&i);
	ck_assert_int_eq(block_lock(i.a, i.path, writer, false, NULL), 0);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s), 0);
	send_away(s[0], i.a);
	ck_assert_int_eq(block_lock(i.b, i.path, writer, false, &err), -EBUSY);
	ck_assert_msg(strstr(err.msg, "another process uses it"), "%s", err.msg);
	ck_assert_int_eq(pthread_create(&thread, NULL, let_go_soon, s), 0);
	ck_assert_int_eq(block_lock(i.b, i.path, writer, false, &err), 0);
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	(void)close(i.b);
}
END_TEST

CHECK_MAIN("block-lock", test_bytes, test_refused, test_resize, test_holder, test_orphan)
