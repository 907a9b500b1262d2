/*
 * stdio.c - standard input and output
 *
 * A terminal is put into raw mode, so that the guest sees every key, and back
 * at close.  Ctrl-a is the way out of it: Ctrl-a x ends the program, Ctrl-a h
 * lists what there is, Ctrl-a Ctrl-a sends Ctrl-a.  A guest that takes no
 * input must not shut that way, so keys are always read, and wait here for the
 * guest; when there are too many they are lost.  Where standard input is not a
 * terminal every byte is the guest's, and is read when it wants one.
 *
 * The descriptors may be shared with the shell and other programs, so their
 * flags are left alone (base/nonblock.h).  A regular file as standard input
 * cannot be watched; it is always ready, and is read a piece per turn of the
 * loop.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "devices/chardev/backend.h"
#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/base/log.h"
#include "vmm/base/nonblock.h"
#include "vmm/base/terminal.h"
#include "vmm/base/units.h"
#include "vmm/host.h"
#include "vmm/loop.h"
#include "vmm/machine.h"
#include "vmm/options/config.h"

#define ESCAPE    0x01 /* Ctrl-a */
#define KEYS_KEPT 64
#define PUMP_MS   1 /* not 0: the loop would do nothing else until the file's end */

struct stdio {
	/* set at creation and then constant */
	bool tty;     /* stdin is one */
	bool signals; /* ^C ends the program */
	struct nonblock from, to;
	int in_poll, out_poll;    /* epoll descriptors: libuv would make the others non-blocking */
	struct loop_fd *in, *out; /* NULL: always ready */
	struct loop_timer *pump;  /* what cannot be watched: a regular file, keys that wait */
	/* main thread */
	bool eof;
	bool escaped;            /* the last key was Ctrl-a */
	uint8_t keys[KEYS_KEPT]; /* typed, and not yet taken by the guest */
	size_t n_keys;
};

static const char help_text[] = "\r\nCtrl-a h    print this help\r\n"
				"Ctrl-a x    end the program\r\n"
				"Ctrl-a Ctrl-a    send Ctrl-a\r\n";

/* Main loop: the terminal may be the control thread's. */
static void request_exit(void *opaque)
{
	machine_request_exit(opaque, 0, CAUSE_HOST_UI);
}

/* One key from a terminal.  True when it is the guest's. */
static bool unescape(struct chardev *c, uint8_t key)
{
	struct stdio *s = c->state;

	if (!s->escaped) {
		s->escaped = key == ESCAPE;
		return !s->escaped;
	}
	s->escaped = false;
	switch (key) {
	case 'x':
		(void)nonblock_write(&s->to, "\r\n", 2);
		loop_post(c->m->loop, request_exit, c->m);
		return false;
	case 'h':
	case '?':
		(void)nonblock_write(&s->to, help_text, strlen(help_text));
		return false;
	default:
		return key == ESCAPE;
	}
}

static void deliver_keys(struct chardev *c)
{
	struct stdio *s = c->state;
	size_t n = MIN(chardev_room(c), s->n_keys);
	uint8_t keys[KEYS_KEPT];

	if (!n)
		return;
	memcpy(keys, s->keys, n);
	s->n_keys -= n;
	memmove(s->keys, s->keys + n, s->n_keys);
	chardev_deliver(c, keys, n);
}

static void stdio_accept_input(struct chardev *c)
{
	struct stdio *s = c->state;
	bool want = !s->eof && (s->tty || chardev_room(c) > 0);

	if (s->in)
		loop_fd_events(s->in, want ? LOOP_READABLE : 0);
	if ((!s->in && want) || (s->n_keys && chardev_room(c) > 0))
		loop_timer_arm_ms(s->pump, PUMP_MS);
	else
		loop_timer_cancel(s->pump);
}

static void stdio_take(struct chardev *c, const uint8_t *p, size_t n)
{
	struct stdio *s = c->state;

	if (!s->tty) {
		chardev_deliver(c, p, n);
		return;
	}
	for (size_t i = 0; i < n; i++)
		if (unescape(c, p[i]) && s->n_keys < KEYS_KEPT)
			s->keys[s->n_keys++] = p[i];
}

/* After the end of the input the output goes on. */
static void read_some(struct chardev *c)
{
	struct stdio *s = c->state;
	uint8_t bytes[CHARDEV_CHUNK];
	size_t room = s->tty ? KEYS_KEPT : chardev_room(c);
	ssize_t n = room ? nonblock_read(&s->from, bytes, room) : -EAGAIN;

	if (n > 0)
		stdio_take(c, bytes, (size_t)n);
	else if (n != -EAGAIN && n != -EINTR)
		s->eof = true;
}

static void in_ready(void *opaque, int ready)
{
	(void)ready;
	read_some(opaque);
	deliver_keys(opaque);
	stdio_accept_input(opaque);
}

/* The next piece of an input that cannot be watched, or of the keys that waited. */
static void pump_fired(void *opaque)
{
	const struct chardev *c = opaque;
	const struct stdio *s = c->state;

	if (!s->in && !s->eof)
		read_some(opaque);
	deliver_keys(opaque);
	stdio_accept_input(opaque);
}

static void out_ready(void *opaque, int ready)
{
	struct chardev *c = opaque;
	const struct stdio *s = c->state;

	(void)ready;
	loop_fd_events(s->out, 0);
	chardev_tell_writable(c);
}

/* A descriptor that is readable when 'fd' is ready; -1 when that is always so (a regular file). */
static int poll_fd(int fd, uint32_t events)
{
	struct epoll_event ev = {.events = events};
	int ep = epoll_create1(EPOLL_CLOEXEC);

	if (ep >= 0 && epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev) < 0) {
		(void)close(ep);
		ep = -1;
	}
	return ep;
}

static int stdio_open(struct chardev *c, const struct cfg_chardev *cfg, struct err *err)
{
	struct stdio *s;

	if (host_claim_fd(c->m->host, STDIN_FILENO, "stdio", NULL) == -EBUSY ||
	    host_claim_fd(c->m->host, STDOUT_FILENO, "stdio", NULL) == -EBUSY)
		return err_set(err, EBUSY, "chardev '%s': standard input or output has another use",
			       c->id);
	s = NEW(struct stdio);
	c->state = s;
	s->tty = isatty(STDIN_FILENO);
	s->signals = cfg->signal;
	nonblock_init(&s->from, STDIN_FILENO, O_RDONLY);
	nonblock_init(&s->to, STDOUT_FILENO, O_WRONLY);
	s->pump = loop_timer_new(c->loop, pump_fired, c);
	s->in_poll = poll_fd(s->from.fd, EPOLLIN);
	s->out_poll = poll_fd(s->to.fd, EPOLLOUT);
	if (s->in_poll >= 0)
		s->in = loop_fd_add(c->loop, s->in_poll, 0, in_ready, c);
	if (s->out_poll >= 0)
		s->out = loop_fd_add(c->loop, s->out_poll, 0, out_ready, c);
	c->connected = true;
	return 0;
}

/* Raw only now: a start that fails or is interrupted leaves the terminal as it was. */
static void stdio_start(struct chardev *c)
{
	const struct stdio *s = c->state;

	if (!s->tty)
		return;
	log_notice("Ctrl-a x ends minivmm, Ctrl-a h lists what else there is");
	(void)terminal_raw(STDIN_FILENO, s->signals);
}

static ssize_t stdio_write(struct chardev *c, const uint8_t *p, size_t n)
{
	const struct stdio *s = c->state;
	ssize_t ret;

	do
		ret = nonblock_write(&s->to, p, n);
	while (ret == -EINTR);
	if (ret == -EAGAIN)
		ret = 0;
	if (ret >= 0 && (size_t)ret < n && s->out)
		loop_fd_events(s->out, LOOP_READABLE);
	return ret;
}

static void stdio_close(struct chardev *c)
{
	struct stdio *s = c->state;

	loop_fd_del(s->in);
	loop_fd_del(s->out);
	loop_timer_free(s->pump);
	if (s->in_poll >= 0)
		(void)close(s->in_poll);
	if (s->out_poll >= 0)
		(void)close(s->out_poll);
	nonblock_fini(&s->from);
	nonblock_fini(&s->to);
	terminal_restore();
	free(s);
}

const struct chardev_ops chardev_stdio_ops = {
    .type = "stdio",
    .open = stdio_open,
    .write = stdio_write,
    .accept_input = stdio_accept_input,
    .start = stdio_start,
    .close = stdio_close,
};
