/* screen.c - drawing in place, and the keys of the question behind Ctrl-C */
#include "ctl/screen.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>

static struct termios before; /* of the keyboard, while 'asking' */

void screen_open(struct screen *s, bool texts)
{
	sigset_t set;

	*s = (struct screen){.terminal = texts && isatty(STDOUT_FILENO) == 1,
			     .keyboard =
				 texts && isatty(STDIN_FILENO) == 1 && isatty(STDOUT_FILENO) == 1};
	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGINT);
	(void)sigaddset(&set, SIGTERM);
	(void)pthread_sigmask(SIG_BLOCK, &set, NULL);
	s->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static void answer_ends(struct screen *s)
{
	if (s->asking)
		(void)tcsetattr(STDIN_FILENO, TCSANOW, &before);
	s->asking = false;
}

void screen_close(struct screen *s)
{
	sigset_t set;

	answer_ends(s);
	screen_clear(s);
	if (s->signal_fd >= 0)
		(void)close(s->signal_fd);
	s->signal_fd = -1;
	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGINT);
	(void)sigaddset(&set, SIGTERM);
	(void)pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

unsigned screen_columns(const struct screen *s)
{
	struct winsize size;

	(void)s;
	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col)
		return size.ws_col;
	return 80;
}

void screen_draw(struct screen *s, const char *line)
{
	if (!s->terminal)
		return;
	(void)printf("\r%s\033[K", line);
	(void)fflush(stdout);
	s->drawn = true;
}

void screen_clear(struct screen *s)
{
	if (!s->terminal || !s->drawn)
		return;
	(void)printf("\r\033[K");
	(void)fflush(stdout);
	s->drawn = false;
}

int screen_fd(const struct screen *s)
{
	return s->asking ? STDIN_FILENO : s->signal_fd;
}

/* From now on each key counts at once, Ctrl-C among them. */
void screen_ask(struct screen *s)
{
	struct termios raw;

	if (tcgetattr(STDIN_FILENO, &before) < 0)
		return;
	raw = before;
	raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO | ISIG);
	raw.c_cc[VMIN] = 0;
	raw.c_cc[VTIME] = 0;
	(void)tcsetattr(STDIN_FILENO, TCSANOW, &raw);
	s->asking = true;
}

static enum screen_key signal_key(struct screen *s)
{
	struct signalfd_siginfo info;

	if (read(s->signal_fd, &info, sizeof(info)) != (ssize_t)sizeof(info))
		return KEY_NONE;
	return info.ssi_signo == SIGINT && s->keyboard ? KEY_ASK : KEY_LEAVE;
}

enum screen_key screen_key(struct screen *s)
{
	char key;
	ssize_t n;

	if (!s->asking)
		return signal_key(s);
	n = read(STDIN_FILENO, &key, 1);
	if (n < 0)
		return KEY_NONE;
	answer_ends(s);
	if (n == 0) /* the terminal is gone */
		return KEY_LEAVE;
	if (key == 'c' || key == 'C')
		return KEY_CANCEL;
	return key == 'l' || key == 'L' || key == 3 ? KEY_LEAVE : KEY_GO_ON;
}
