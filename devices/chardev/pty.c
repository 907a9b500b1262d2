/*
 * pty.c - a pseudo terminal, for screen, minicom or virsh console
 *
 * The program holds the master; query-chardev tells the path of the other side.  A peer is who has
 * that side open.  Nothing says that somebody opens it, so while there is no peer a timer looks
 * whether the master still hangs up, and output is dropped: what the terminal holds of it would
 * be old when somebody comes.  The other side is raw: bytes pass as they are, and nothing is
 * echoed.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>

#include "devices/chardev/backend.h"
#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/base/log.h"
#include "vmm/base/units.h"
#include "vmm/loop.h"
#include "vmm/machine.h"
#include "vmm/options/config.h"

#define LOOK_MS 200

struct pty {
	/* set at creation and then constant */
	int fd; /* the master */
	struct loop_fd *watch;
	struct loop_timer *timer;
	/* the chardev's loop */
	bool blocked; /* the terminal is full: wait until it can be written */
};

static void follow(const struct chardev *c)
{
	const struct pty *p = c->state;

	loop_fd_events(p->watch, c->connected ? (chardev_room(c) ? LOOP_READABLE : 0) |
						    (p->blocked ? LOOP_WRITABLE : 0)
					      : 0);
}

static void lose_peer(struct chardev *c)
{
	struct pty *p = c->state;

	p->blocked = false;
	chardev_set_connected(c, false);
	follow(c);
	loop_timer_arm_ms(p->timer, LOOK_MS);
}

static bool hangs_up(const struct pty *p)
{
	struct pollfd pfd = {.fd = p->fd, .events = POLLIN};

	return poll(&pfd, 1, 0) > 0 && (pfd.revents & POLLHUP);
}

static void look_for_peer(void *opaque)
{
	struct chardev *c = opaque;
	struct pty *p = c->state;

	if (hangs_up(p)) {
		loop_timer_arm_ms(p->timer, LOOK_MS);
		return;
	}
	chardev_set_connected(c, true);
	follow(c);
}

static void pty_read(struct chardev *c)
{
	const struct pty *p = c->state;
	uint8_t bytes[CHARDEV_CHUNK];
	size_t room = MIN(chardev_room(c), sizeof(bytes));
	ssize_t n = room ? read(p->fd, bytes, room) : 0;

	if (n > 0)
		chardev_deliver(c, bytes, (size_t)n);
	else if (n < 0 && errno != EAGAIN && errno != EINTR)
		lose_peer(c); /* EIO: the other side was closed */
}

static void pty_ready(void *opaque, int ready)
{
	struct chardev *c = opaque;
	struct pty *p = c->state;

	if (ready & LOOP_READABLE)
		pty_read(c);
	else if (hangs_up(p))
		lose_peer(c);
	if (c->connected && (ready & LOOP_WRITABLE)) {
		p->blocked = false;
		chardev_tell_writable(c);
	}
	follow(c);
}

static void pty_accept_input(struct chardev *c)
{
	if (c->state)
		follow(c);
}

/* The path of the other side, which is made raw; it is closed again, so that the master hangs up.
 */
static int set_up(int fd, char *path, size_t bytes, struct err *err)
{
	CLEANUP(cleanup_close) int other = -1;
	struct termios t;

	if (grantpt(fd) < 0 || unlockpt(fd) < 0 || ptsname_r(fd, path, bytes) != 0)
		return err_set(err, errno, "Failed to create PTY: %s", err_text(errno));
	other = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (other < 0 || tcgetattr(other, &t) < 0)
		return err_set(err, errno, "Failed to create PTY: %s: %s", path, err_text(errno));
	cfmakeraw(&t);
	if (tcsetattr(other, TCSAFLUSH, &t) < 0)
		return err_set(err, errno, "Failed to create PTY: %s: %s", path, err_text(errno));
	return 0;
}

static int pty_open(struct chardev *c, const struct cfg_chardev *cfg, struct err *err)
{
	int fd = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	char path[64];
	struct pty *p;
	int ret;

	(void)cfg;
	if (fd < 0)
		return err_set(err, errno, "Failed to create PTY: %s", err_text(errno));
	ret = set_up(fd, path, sizeof(path), err);
	if (ret < 0) {
		(void)close(fd);
		return ret;
	}
	p = NEW(struct pty);
	p->fd = fd;
	c->state = p;
	p->watch = loop_fd_add(c->loop, fd, 0, pty_ready, c);
	p->timer = loop_timer_new(c->loop, look_for_peer, c);
	loop_timer_arm_ms(p->timer, LOOK_MS);
	chardev_set_filename(c, "pty:%s", path);
	log_notice("char device redirected to %s (label %s)", path, c->id);
	return 0;
}

static ssize_t pty_write(struct chardev *c, const uint8_t *bytes, size_t n)
{
	struct pty *p = c->state;
	ssize_t ret = chardev_write_fd(p->fd, bytes, n);

	if (ret >= 0 && (size_t)ret < n) {
		p->blocked = true;
		follow(c);
	}
	return ret == -EIO ? (ssize_t)n
			   : ret; /* the other side was closed; the loop finds it too */
}

static void pty_close(struct chardev *c)
{
	struct pty *p = c->state;

	loop_fd_del(p->watch);
	loop_timer_free(p->timer);
	(void)close(p->fd);
	free(p);
}

const struct chardev_ops chardev_pty_ops = {
    .type = "pty",
    .open = pty_open,
    .write = pty_write,
    .accept_input = pty_accept_input,
    .close = pty_close,
};
