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
 * The descriptors are set non-blocking and restored at close: they may be
 * shared with the shell.  A regular file as standard input cannot be watched;
 * it is always ready, and is read a piece per turn of the loop.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "devices/chardev/backend.h"
#include "vmm/base/alloc.h"
#include "vmm/base/units.h"
#include "vmm/loop.h"
#include "vmm/machine.h"
#include "vmm/options/config.h"

#define ESCAPE    0x01 /* Ctrl-a */
#define KEYS_KEPT 64
#define PUMP_MS   1 /* not 0: the loop would do nothing else until the file's end */

struct stdio {
	/* set at creation and then constant */
	bool tty; /* stdin is one, and 'saved' is how it was */
	struct termios saved;
	int in_flags, out_flags;
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
		(void)chardev_write_fd(STDOUT_FILENO, (const uint8_t *)"\r\n", 2);
		loop_post(c->m->loop, request_exit, c->m);
		return false;
	case 'h':
	case '?':
		(void)chardev_write_fd(STDOUT_FILENO, (const uint8_t *)help_text,
				       strlen(help_text));
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

static void take(struct chardev *c, const uint8_t *p, size_t n)
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
	ssize_t n = room ? read(STDIN_FILENO, bytes, room) : -1;

	if (n > 0)
		take(c, bytes, (size_t)n);
	else if (room && (n == 0 || (errno != EAGAIN && errno != EINTR)))
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

static void make_raw(struct stdio *s, bool signals)
{
	struct termios t;

	s->tty = isatty(STDIN_FILENO) && tcgetattr(STDIN_FILENO, &s->saved) == 0;
	if (!s->tty)
		return;
	t = s->saved;
	cfmakeraw(&t);
	t.c_oflag |= OPOST; /* lines of our own messages begin at the left */
	if (signals)
		t.c_lflag |= ISIG;
	(void)tcsetattr(STDIN_FILENO, TCSANOW, &t);
}

static int stdio_open(struct chardev *c, const struct cfg_chardev *cfg, struct err *err)
{
	struct stdio *s = NEW(struct stdio);

	(void)err;
	c->state = s;
	make_raw(s, cfg->signal);
	s->in_flags = fcntl(STDIN_FILENO, F_GETFL);
	s->out_flags = fcntl(STDOUT_FILENO, F_GETFL);
	s->pump = loop_timer_new(c->loop, pump_fired, c);
	if (chardev_fd_watchable(STDIN_FILENO)) {
		(void)fcntl(STDIN_FILENO, F_SETFL, s->in_flags | O_NONBLOCK);
		s->in = loop_fd_add(c->loop, STDIN_FILENO, 0, in_ready, c);
	}
	if (chardev_fd_watchable(STDOUT_FILENO)) {
		(void)fcntl(STDOUT_FILENO, F_SETFL, s->out_flags | O_NONBLOCK);
		s->out = loop_fd_add(c->loop, STDOUT_FILENO, 0, out_ready, c);
	}
	c->connected = true;
	return 0;
}

static ssize_t stdio_write(struct chardev *c, const uint8_t *p, size_t n)
{
	const struct stdio *s = c->state;
	ssize_t ret = chardev_write_fd(STDOUT_FILENO, p, n);

	if (ret >= 0 && (size_t)ret < n && s->out)
		loop_fd_events(s->out, LOOP_WRITABLE);
	return ret;
}

static void stdio_close(struct chardev *c)
{
	struct stdio *s = c->state;

	loop_fd_del(s->in);
	loop_fd_del(s->out);
	loop_timer_free(s->pump);
	if (s->out_flags >= 0)
		(void)fcntl(STDOUT_FILENO, F_SETFL, s->out_flags);
	if (s->in_flags >= 0)
		(void)fcntl(STDIN_FILENO, F_SETFL, s->in_flags);
	if (s->tty)
		(void)tcsetattr(STDIN_FILENO, TCSANOW, &s->saved);
	free(s);
}

const struct chardev_ops chardev_stdio_ops = {
    .type = "stdio",
    .open = stdio_open,
    .write = stdio_write,
    .accept_input = stdio_accept_input,
    .close = stdio_close,
};
