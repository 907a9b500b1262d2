/* test-fdset.c - descriptor sets: which descriptor a path opens, and how long each stays; base64 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check-main.h"
#include "vmm/base/base64.h"
#include "vmm/base/error.h"
#include "vmm/base/fdset.h"
#include "vmm/base/units.h"

static char path[] = "/tmp/minivmm-fdset-XXXXXX";

static void set_up(void)
{
	int fd;

	memcpy(path + strlen(path) - 6, "XXXXXX", 6);
	fd = mkstemp(path);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, "0123456789", 10), 10);
	(void)close(fd);
	fdset_guest_runs(true);
	fdset_client_came();
}

static void tear_down(void)
{
	fdset_client_left();
	fdset_end();
	fdset_guest_runs(false);
	(void)unlink(path);
}

static int64_t add(int64_t set, int flags)
{
	struct err err = {0};
	int fd = open(path, flags | O_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	ck_assert_msg(fdset_add(&set, fd, "opaque", &err) == 0, "%s", err.msg);
	return set;
}

static size_t members(void)
{
	struct fdset_entry *entries;
	size_t n = fdset_list(&entries), held = 0;

	for (size_t i = 0; i < n; i++)
		held += entries[i].fd >= 0;
	fdset_list_free(entries, n);
	return held;
}

static int mode_of(int fd)
{
	return fcntl(fd, F_GETFL) & (O_ACCMODE | O_DIRECT);
}

START_TEST(test_numbers)
{
	int64_t set = -1;
	struct err err = {0};

	set_up();
	ck_assert_int_eq(add(-1, O_RDONLY), 0);
	ck_assert_int_eq(add(2, O_RDONLY), 2);
	ck_assert_int_eq(add(-1, O_RDONLY), 1);
	ck_assert_int_eq(add(-1, O_RDONLY), 3);
	ck_assert_int_eq(fdset_add(&set, -1, NULL, &err), -EBADF);
	ck_assert_int_eq(fdset_remove(9, -1, &err), -ENOENT);
	ck_assert_int_eq(fdset_remove(2, 9999, &err), -ENOENT);
	ck_assert_int_eq(fdset_remove(2, -1, &err), 0);
	ck_assert_int_eq(add(-1, O_RDONLY), 2);
	ck_assert_uint_eq(members(), 4);
	tear_down();
}
END_TEST

/* The access that is asked for, and no other. */
START_TEST(test_access)
{
	struct err err = {0};
	int fd;

	set_up();
	(void)add(0, O_RDONLY);
	(void)add(0, O_RDWR);
	fd = path_open("/dev/fdset/0", O_RDWR, 0, &err);
	ck_assert_int_eq(mode_of(fd), O_RDWR);
	path_close(fd);
	fd = path_open("/dev/fdset/0", O_RDONLY, 0, &err);
	ck_assert_int_eq(mode_of(fd), O_RDONLY);
	path_close(fd);
	ck_assert_int_eq(path_open("/dev/fdset/0", O_WRONLY, 0, &err), -EACCES);
	ck_assert_msg(strstr(err.msg, "open for writing"), "%s", err.msg);
	tear_down();
}
END_TEST

static const char *const not_paths[] = {
    "/dev/fdset/",
    "/dev/fdset/1",
    "/dev/fdset/0x0",
    "/dev/fdset/-0",
    "/dev/fdset/0/",
    "/dev/fdset/ 0",
    "/dev/fdset/99999999999999999999999",
};

START_TEST(test_no_such_set)
{
	struct err err = {0};

	set_up();
	(void)add(0, O_RDONLY);
	for (size_t i = 0; i < ARRAY_LEN(not_paths); i++) {
		ck_assert_int_eq(path_open(not_paths[i], O_RDONLY, 0, &err), -ENOENT);
		ck_assert(path_is_fdset(not_paths[i]));
		ck_assert(strstr(err.msg, not_paths[i]) != NULL);
	}
	tear_down();
}
END_TEST

/* Place and flags are those of one opening alone. */
START_TEST(test_own_place)
{
	struct err err = {0};
	char c[4] = "";
	int one, two;

	set_up();
	(void)add(0, O_RDWR);
	one = path_open("/dev/fdset/0", O_RDWR, 0, &err);
	ck_assert_int_eq(read(one, c, 3), 3);
	two = path_open("/dev/fdset/0", O_RDWR | O_APPEND, 0, &err);
	ck_assert_int_eq(write(two, "x", 1), 1);
	ck_assert_int_eq(read(one, c, 3), 3);
	ck_assert_str_eq(c, "345");
	ck_assert_int_eq(fcntl(one, F_GETFL) & O_APPEND, 0);
	path_close(one);
	path_close(two);
	one = path_open("/dev/fdset/0", O_RDWR | O_TRUNC, 0, &err);
	ck_assert_int_eq(lseek(one, 0, SEEK_END), 0);
	path_close(one);
	tear_down();
}
END_TEST

/* A socket cannot be opened again: it is duplicated. */
START_TEST(test_socket)
{
	struct err err = {0};
	int64_t set = 5;
	int s[2], fd;
	char c = 0;

	set_up();
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
	ck_assert_int_eq(fdset_add(&set, s[0], NULL, &err), 0);
	fd = path_open("/dev/fdset/5", O_RDWR | O_NONBLOCK, 0, &err);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(read(fd, &c, 1), -1);
	ck_assert_int_eq(write(fd, "y", 1), 1);
	ck_assert_int_eq(read(s[1], &c, 1), 1);
	path_close(fd);
	(void)close(s[1]);
	tear_down();
}
END_TEST

START_TEST(test_lifetime)
{
	struct err err = {0};
	int fd;

	set_up();
	(void)add(0, O_RDONLY);
	(void)add(1, O_RDONLY);
	fd = path_open("/dev/fdset/0", O_RDONLY, 0, &err);
	fdset_client_came();
	fdset_client_left();
	ck_assert_uint_eq(members(), 2);
	fdset_client_left(); /* the last: what nobody uses goes */
	ck_assert_uint_eq(members(), 1);
	fdset_client_came();
	path_close(fd); /* there is a client: it stays */
	ck_assert_uint_eq(members(), 1);
	fdset_guest_runs(false);
	ck_assert_int_eq(fdset_remove(0, -1, &err), 0);
	ck_assert_uint_eq(members(), 1);
	ck_assert_int_eq(path_open("/dev/fdset/0", O_RDONLY, 0, &err), -EACCES);
	fdset_guest_runs(true);
	ck_assert_uint_eq(members(), 0);
	tear_down();
}
END_TEST

START_TEST(test_too_many)
{
	struct err err = {0};
	int64_t set = 0;
	int n = 0, ret = 0;

	set_up();
	for (; ret == 0 && n <= FDSET_MAX_MEMBERS; n++) {
		int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

		if (fd < 0)
			break; /* the limit of this process */
		ret = fdset_add(&set, fd, NULL, &err);
	}
	ck_assert(ret == 0 || (ret == -EMFILE && n == FDSET_MAX_MEMBERS + 1));
	tear_down();
}
END_TEST

START_TEST(test_plain_path)
{
	struct err err = {0};
	int fd;

	set_up();
	fd = path_open(path, O_RDONLY, 0, &err);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
	path_close(fd);
	path_close(-1);
	ck_assert_int_eq(path_open("/nope/x", O_RDONLY, 0, &err), -ENOENT);
	ck_assert_str_eq(err.msg, "Could not open '/nope/x': No such file or directory");
	tear_down();
}
END_TEST

/* ---- base64 ---- */

static const struct {
	const char *text, *bytes; /* NULL: refused */
} base64[] = {
    {"",	 ""    },
    {"Zg==",     "f"   },
    {"Zm8=",     "fo"  },
    {"Zm9v",     "foo" },
    {"Zm9vYg==", "foob"},
    {"Zm 9v\n",  "foo" },
    {"Zg=",      NULL  },
    {"Zg",       NULL  },
    {"Z===",     NULL  },
    {"Zh==",     NULL  }, /* bits behind the end */
    {"Zg==Zg==", NULL  },
    {"Z=g=",     NULL  },
    {"Zm9\x80",  NULL  },
    {"====",     NULL  },
};

static void check_base64(const char *text, const char *bytes)
{
	uint8_t out[64] = {0};
	char back[64];
	ssize_t n = base64_decode(out, text, strlen(text));

	if (!bytes) {
		ck_assert_msg(n == -EINVAL, "'%s' is taken", text);
		return;
	}
	ck_assert_int_eq(n, (ssize_t)strlen(bytes));
	ck_assert_mem_eq(out, bytes, (size_t)n);
	base64_encode(back, out, (size_t)n);
	ck_assert_int_eq(base64_decode(out, back, strlen(back)), n);
	ck_assert_mem_eq(out, bytes, (size_t)n);
}

START_TEST(test_base64)
{
	for (size_t i = 0; i < ARRAY_LEN(base64); i++)
		check_base64(base64[i].text, base64[i].bytes);
}
END_TEST

CHECK_MAIN("fdset", test_numbers, test_access, test_no_such_set, test_own_place, test_socket,
	   test_lifetime, test_too_many, test_plain_path, test_base64)
