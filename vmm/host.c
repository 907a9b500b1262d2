/*
 * host.c - inherited descriptors, working directory, signals before the main loop
 *
 * A start-up step that may block (a name look-up, a connect) cannot be
 * interrupted, so host_run() calls it on a thread of its own and waits for its
 * end and for a signal together.  A signal leaves that thread and its argument
 * behind: the program is about to end, and 'abandoned' says that it must not
 * wait for them.
 */
#include "vmm/host.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/base/inet.h"
#include "vmm/base/thread.h"
#include "vmm/base/units.h"
#include "vmm/base/wake.h"

#define FDS_WITHOUT_PROC 1024 /* where /proc cannot be read, so many are tried */

/* ---- descriptors ---- */

static void note_fd(struct host *h, int fd)
{
	h->fds = xrealloc(h->fds, (h->n_fds + 1) * sizeof(h->fds[0]));
	h->fds[h->n_fds++] = (struct inherited_fd){.fd = fd};
}

static void note_open_fds(struct host *h)
{
	DIR *dir = opendir("/proc/self/fd");
	struct dirent *e;

	/* NOLINTNEXTLINE(concurrency-mt-unsafe): there is one thread, and the stream is its own */
	while (dir && (e = readdir(dir))) {
		int fd = (int)strtol(e->d_name, NULL, 10);

		if (e->d_name[0] != '.' && fd != dirfd(dir))
			note_fd(h, fd);
	}
	for (int fd = 0; !dir && fd < FDS_WITHOUT_PROC; fd++)
		if (fcntl(fd, F_GETFD) >= 0)
			note_fd(h, fd);
	if (dir)
		(void)closedir(dir);
}

static void fill_standard_fds(void)
{
	int fd;

	do /* the lowest number that is free is taken */
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		(void)close(fd);
}

static struct inherited_fd *find_fd(const struct host *h, int fd)
{
	for (size_t i = 0; i < h->n_fds; i++)
		if (h->fds[i].fd == fd)
			return &h->fds[i];
	return NULL;
}

int host_claim_fd(struct host *h, int fd, const char *what, struct err *err)
{
	struct inherited_fd *in = h ? find_fd(h, fd) : NULL;

	if (h && !in)
		return err_set(err, EBADF,
			       "%s: file descriptor %d is not one that minivmm was started with",
			       what, fd);
	if (in && in->user)
		return err_set(err, EBUSY, "%s: file descriptor %d is used by %s already", what, fd,
			       in->user);
	if (fd > STDERR_FILENO)
		(void)fcntl(fd, F_SETFD, FD_CLOEXEC);
	if (in)
		in->user = xstrdup(what);
	return 0;
}

int host_claim_number(struct host *h, const char *number, const char *what, struct err *err)
{
	char *end;
	long n;
	int ret;

	errno = 0;
	n = strtol(number, &end, 10);
	if (errno || end == number || *end || n < 0 || n > INT_MAX)
		return err_set(err, EINVAL, "Invalid file descriptor number '%s'", number);
	ret = host_claim_fd(h, (int)n, what, err);
	return ret < 0 ? ret : (int)n;
}

int host_check_room(int fds, struct err *err)
{
	int *copies = xcalloc((size_t)fds, sizeof(int)), n = 0, e;

	while (n < fds && (copies[n] = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0)) >= 0)
		n++;
	e = n < fds ? errno : 0;
	for (int i = 0; i < n; i++)
		(void)close(copies[i]);
	free(copies);
	if (e)
		return err_set(err, e,
			       "%s: this machine needs %d file descriptors and %d are free; raise "
			       "the limit (ulimit -n)",
			       err_text(e), fds, n);
	return 0;
}

/* ---- the folder ---- */

int host_keep_folder(struct host *h, struct err *err)
{
	h->folder = getcwd(NULL, 0);
	if (!h->folder)
		return err_set(err, errno, "cannot learn the working directory: %s",
			       err_text(errno));
	return 0;
}

char *host_path(const struct host *h, const char *path)
{
	if (!h || !h->folder || *path == '/')
		return xstrdup(path);
	return xasprintf("%s/%s", strcmp(h->folder, "/") ? h->folder : "", path);
}

/* ---- signals ---- */

static void our_signals(sigset_t *set)
{
	(void)sigemptyset(set);
	(void)sigaddset(set, SIGINT);
	(void)sigaddset(set, SIGTERM);
	(void)sigaddset(set, SIGHUP);
}

int host_take_signals(struct host *h, struct err *err)
{
	sigset_t set;

	our_signals(&set);
	h->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (h->signal_fd < 0)
		return err_set(err, errno, "cannot make a descriptor for signals: %s",
			       err_text(errno));
	(void)pthread_sigmask(SIG_BLOCK, &set, NULL);
	return 0;
}

void host_let_signals_kill(const struct host *h, bool may)
{
	sigset_t set;

	our_signals(&set);
	if (h->signal_fd >= 0)
		(void)pthread_sigmask(may ? SIG_UNBLOCK : SIG_BLOCK, &set, NULL);
}

/* The kernel takes the terminal from the session before it tells the session's processes. */
static bool terminal_is_gone(const struct host *h)
{
	int fd = h->had_terminal ? open("/dev/tty", O_RDONLY | O_NONBLOCK | O_CLOEXEC) : -1;

	if (fd >= 0)
		(void)close(fd);
	return h->had_terminal && fd < 0;
}

int host_next_signal(const struct host *h, bool *by_terminal)
{
	struct signalfd_siginfo info;

	if (read(h->signal_fd, &info, sizeof(info)) != (ssize_t)sizeof(info))
		return 0;
	*by_terminal =
	    info.ssi_signo == SIGHUP && (info.ssi_code == SI_KERNEL || terminal_is_gone(h));
	return (int)info.ssi_signo;
}

int host_wait(const struct host *h, const int *fds, int n, short events, const char *what_for,
	      struct err *err)
{
	struct pollfd p[HOST_WAIT_FDS + 1];
	bool by_terminal;
	int ret;

	assert(n <= HOST_WAIT_FDS);
	for (int i = 0; i < n; i++)
		p[i] = (struct pollfd){.fd = fds[i], .events = events};
	p[n] = (struct pollfd){.fd = h ? h->signal_fd : -1, .events = POLLIN};
	do
		ret = poll(p, (nfds_t)n + 1, -1);
	while (ret < 0 && errno == EINTR);
	if (ret < 0)
		return err_set(err, errno, "%s: %s", what_for, err_text(errno));
	if (!h || !p[n].revents)
		return 0;
	return err_set(err, EINTR, "ended by signal %d while %s", host_next_signal(h, &by_terminal),
		       what_for);
}

int host_wait_program(const struct host *h, pid_t pid, const char *what_for, int *status,
		      struct err *err)
{
	CLEANUP(cleanup_close) int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	int ret = pidfd < 0 ? 0 : host_wait(h, &pidfd, 1, POLLIN, what_for, err);

	if (ret < 0)
		(void)kill(pid, SIGTERM);
	while (waitpid(pid, status, 0) < 0)
		if (errno != EINTR)
			return err_set(err, errno, "%s: %s", what_for, err_text(errno));
	return ret;
}

struct run {
	void (*fn)(void *arg);
	void *arg;
	int done_fd; /* wake: fn has returned */
};

static void *run_thread(void *opaque)
{
	struct run *r = opaque;

	r->fn(r->arg);
	wake_set(r->done_fd);
	return NULL;
}

int host_run(struct host *h, void (*fn)(void *arg), void *arg, const char *what_for,
	     struct err *err)
{
	struct thread thread = {0};
	int done_fd = h && h->signal_fd >= 0 ? wake_open() : -1;
	struct run *r;
	int ret;

	if (done_fd < 0) {
		fn(arg);
		return 0;
	}
	r = NEW(struct run);
	*r = (struct run){.fn = fn, .arg = arg, .done_fd = done_fd};
	ret = thread_start(&thread, "start", THREAD_HELPER, run_thread, r, err);
	if (ret == 0) {
		ret = host_wait(h, &r->done_fd, 1, POLLIN, what_for, err);
		if (ret < 0) {
			h->abandoned = true;
			return ret;
		}
		thread_join(&thread);
	}
	(void)close(r->done_fd);
	free(r);
	return ret;
}

struct lookup {
	const char *host, *port; /* borrowed */
	int family, flags, ret;
	struct sockaddr_list list;
	struct err err;
};

static void look_up(void *arg)
{
	struct lookup *l = arg;

	l->ret = inet_lookup(&l->list, l->host, l->port, l->family, l->flags, &l->err);
}

int host_lookup(struct host *h, struct sockaddr_list *list, const char *host, const char *port,
		int family, int flags, const char *what_for, struct err *err)
{
	struct lookup *l = NEW(struct lookup);
	int ret;

	*l = (struct lookup){.host = host, .port = port, .family = family, .flags = flags};
	ret = host_run(h, look_up, l, what_for, err);
	if (ret < 0)
		return ret; /* the abandoned thread still uses it */
	ret = l->ret;
	*list = l->list;
	if (ret < 0 && err)
		*err = l->err;
	free(l);
	return ret;
}

/* ---- beginning and end ---- */

void host_init(struct host *h)
{
	int tty;

	*h = (struct host){.signal_fd = -1};
	note_open_fds(h);
	fill_standard_fds();
	tty = open("/dev/tty", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	h->had_terminal = tty >= 0;
	if (tty >= 0)
		(void)close(tty);
}

void host_fini(struct host *h)
{
	for (size_t i = 0; i < h->n_fds; i++)
		free(h->fds[i].user);
	free(h->fds);
	free(h->folder);
	if (h->signal_fd >= 0)
		(void)close(h->signal_fd);
	*h = (struct host){.signal_fd = -1};
}
