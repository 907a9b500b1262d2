/*
 * pty.c - a pseudoterminal: a program opens the terminal that query-chardev names, and is the peer
 *
 * Only the master end is kept open.  While no program has the terminal open
 * the master is hung up: what the guest prints then is dropped, as on a line
 * without a listener, so each write looks first.  A hang-up is a level that
 * stays, so the event loop watches an epoll descriptor that reports edges
 * (input, room, a hang-up that begins), and 'readable' keeps an edge until all
 * input has been read.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <termios.h>
#include <unistd.h>

#include "devices/chardev/backend.h"
#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/base/log.h"
#include "vmm/base/units.h"
#include "vmm/loop.h"
#include "vmm/options/config.h"

#define NAME_BYTES 64

struct pty {
	/* set at creation and then constant */
	int master, edges; /* edges: an epoll descriptor, readable when something has changed */
	struct loop_fd *watch;
	/* the loop's thread */
	bool readable; /* the front end may not have had all that was typed */
	bool reading;
};

/* Reads while the front end takes something; it calls accept_input out of this, too. */
static void pty_read(struct chardev *c)
{
	struct pty *s = c->state;
	uint8_t bytes[CHARDEV_CHUNK];
	size_t room;

	if (s->reading)
		return;
	s->reading = true;
	while (s->readable && (room = chardev_room(c)) > 0) {
		ssize_t n = read(s->master, bytes, room);

		if (n > 0)
			chardev_deliver(c, bytes, (size_t)n);
		else if (n == 0 || errno != EINTR) /* EIO: no program has the terminal open */
			s->readable = false;
	}
	s->reading = false;
}

static void pty_edge(void *opaque, int ready)
{
	struct chardev *c = opaque;
	struct pty *s = c->state;
	struct epoll_event ev;

	(void)ready;
	if (epoll_wait(s->edges, &ev, 1, 0) != 1)
		return;
	s->readable = true;
	pty_read(c);
	if (ev.events & (EPOLLOUT | EPOLLHUP))
		chardev_tell_writable(c);
}

static ssize_t pty_write(struct chardev *c, const uint8_t *p, size_t n)
{
	const struct pty *s = c->state;
	struct pollfd look = {.fd = s->master};
	ssize_t ret;

	if (poll(&look, 1, 0) == 1 && look.revents & POLLHUP)
		return (ssize_t)n;
	ret = chardev_write_fd(s->master, p, n);
	return ret == -EIO ? (ssize_t)n : ret;
}

/* Raw, as no one's echo is wanted.  The hang-up begins when the terminal has been open once. */
static int set_up_terminal(const char *path)
{
	struct termios t;
	int fd = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
	int ret;

	if (fd < 0)
		return -errno;
	ret = tcgetattr(fd, &t);
	if (ret == 0) {
		cfmakeraw(&t);
		ret = tcsetattr(fd, TCSAFLUSH, &t);
	}
	ret = ret ? -errno : 0;
	(void)close(fd);
	return ret;
}

/* -errno; 'name' has room for NAME_BYTES. */
static int open_master(struct pty *s, char *name)
{
	struct epoll_event ev = {.events = EPOLLIN | EPOLLOUT | EPOLLET};

	s->master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
	if (s->master < 0 || grantpt(s->master) < 0 || unlockpt(s->master) < 0)
		return -errno;
	if (ptsname_r(s->master, name, NAME_BYTES) != 0)
		return -errno;
	s->edges = epoll_create1(EPOLL_CLOEXEC);
	if (s->edges < 0 || epoll_ctl(s->edges, EPOLL_CTL_ADD, s->master, &ev) < 0)
		return -errno;
	return set_up_terminal(name);
}

static void pty_close(struct chardev *c)
{
	struct pty *s = c->state;

	loop_fd_del(s->watch);
	if (s->edges >= 0)
		(void)close(s->edges);
	if (s->master >= 0)
		(void)close(s->master);
	free(s);
}

static int pty_open(struct chardev *c, const struct cfg_chardev *cfg, struct err *err)
{
	struct pty *s = NEW(struct pty);
	char name[NAME_BYTES];
	int ret;

	(void)cfg;
	s->master = s->edges = -1;
	c->state = s;
	ret = open_master(s, name);
	if (ret < 0) {
		pty_close(c);
		c->state = NULL;
		return err_set(err, -ret, "chardev '%s': no pseudoterminal", c->id);
	}
	s->watch = loop_fd_add(c->loop, s->edges, LOOP_READABLE, pty_edge, c);
	chardev_set_filename(c, "pty:%s", name);
	c->connected = true;
	log_notice("char device redirected to %s (label %s)", name, c->id);
	return 0;
}

const struct chardev_ops chardev_pty_ops = {
    .type = "pty",
    .open = pty_open,
    .write = pty_write,
    .accept_input = pty_read,
    .close = pty_close,
};
