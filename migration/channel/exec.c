/*
 * exec.c - a child process behind a pipe: /bin/sh -c COMMAND, or a program and its arguments
 *
 * Sending is complete when the command has read everything and has ended
 * with status 0; the pipe alone does not tell, for a command that ends early
 * leaves a short stream unread in it.  So finish() opens the reading end once
 * more before it closes the writing one: what is left there after the
 * command has ended was not read.
 *
 * The command has a process group of its own, so that giving up ends all of
 * a pipeline.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "migration/channel/channel.h"
#include "migration/channel/pipe.h"
#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/base/spawn.h"
#include "vmm/base/units.h"

#define END_MS 500 /* that a command may take to end once it has closed its pipe */
#define PIPE_BYTES                                                                                 \
	(1 * MiB) /* the two change over so much more rarely than with the usual 64 KiB */

struct exec_channel {
	struct channel ch;
	pid_t pid; /* 0: reaped */
};

static struct exec_channel *exec_of(struct channel *c)
{
	return container_of(c, struct exec_channel, ch);
}

static ssize_t exec_read(struct channel *c, void *buf, size_t n)
{
	ssize_t got = read(c->fd, buf, n);

	return got < 0 ? -errno : got;
}

static ssize_t exec_writev(struct channel *c, struct iovec *iov, int n_iov)
{
	ssize_t sent = writev(c->fd, iov, n_iov);

	return sent < 0 ? -errno : sent;
}

/* Wait for the child; its wait status, or -errno (-ECANCELED). */
static int reap(struct exec_channel *e)
{
	int pidfd = (int)syscall(SYS_pidfd_open, e->pid, 0);
	int status = 0, ret = 0;

	if (pidfd >= 0) { /* without pidfds waiting cannot be interrupted */
		struct channel waiter = {.fd = pidfd, .cancel_fd = e->ch.cancel_fd};

		ret = channel_wait(&waiter, POLLIN, -1);
		(void)close(pidfd);
	}
	if (ret < 0)
		return ret;
	while (waitpid(e->pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	e->pid = 0;
	return status;
}

static struct channel_end end_of(bool exited, int n)
{
	struct channel_end end;

	(void)snprintf(
	    end.s, sizeof(end.s),
	    exited ? "the command ended with status %d" : "the command was ended by signal %d", n);
	return end;
}

/* A command that has closed its end of the pipe is usually just about to exit. */
static struct channel_end exec_peer_end(const struct channel *c)
{
	const struct exec_channel *e = container_of(c, const struct exec_channel, ch);
	int pidfd = e->pid > 0 ? (int)syscall(SYS_pidfd_open, e->pid, 0) : -1;
	struct pollfd p[2] = {
	    {.fd = pidfd,        .events = POLLIN},
            {.fd = c->cancel_fd, .events = POLLIN}
        };
	siginfo_t si = {0};

	if (pidfd >= 0) {
		(void)poll(p, 2, END_MS);
		(void)close(pidfd);
	}
	if (e->pid <= 0 || waitid(P_PID, (id_t)e->pid, &si, WEXITED | WNOHANG | WNOWAIT) < 0 ||
	    si.si_pid == 0)
		return (struct channel_end){""};
	return end_of(si.si_code == CLD_EXITED, si.si_status);
}

static int exec_finish(struct channel *c, struct err *err)
{
	struct exec_channel *e = exec_of(c);
	struct channel_end end;
	char path[32];
	int status;
	CLEANUP(cleanup_close) int reader = -1;

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", c->fd);
	reader = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	(void)close(c->fd);
	c->fd = -1;
	status = reap(e);
	if (status == -ECANCELED)
		return err_set(err, ECANCELED, "the migration was cancelled");
	if (status < 0)
		return err_set(err, -status, "cannot learn how the command ended: %s",
			       err_text(-status));
	end =
	    WIFEXITED(status) ? end_of(true, WEXITSTATUS(status)) : end_of(false, WTERMSIG(status));
	if (pipe_unread(reader) > 0)
		return err_set(err, EPIPE, "Unable to write to command: %s (%s)", err_text(EPIPE),
			       end.s);
	return status ? err_set(err, EIO, "%s", end.s) : 0;
}

static void exec_close(struct channel *c)
{
	struct exec_channel *e = exec_of(c);

	if (c->fd >= 0)
		(void)close(c->fd);
	if (e->pid > 0) {
		(void)kill(-e->pid, SIGKILL);
		(void)waitpid(e->pid, NULL, 0);
	}
	free(e);
}

static void exec_end_writing(struct channel *c)
{
	(void)shutdown(c->fd, SHUT_WR);
}

static const struct channel_ops exec_ops = {
    .kind = "command",
    .read = exec_read,
    .writev = exec_writev,
    .finish = exec_finish,
    .peer_end = exec_peer_end,
    .close = exec_close,
};

/* A relay of what two ends say to each other: that the command has read it all says nothing. */
static const struct channel_ops exec_both_ops = {
    .kind = "command",
    .read = exec_read,
    .writev = exec_writev,
    .peer_end = exec_peer_end,
    .end_writing = exec_end_writing,
    .close = exec_close,
};

/* The child's end becomes its stdin, its stdout or both; 0 or an errno value. */
static int start_command(pid_t *pid, const char *const *argv, const char *folder, int child_end,
			 enum exec_end end)
{
	struct spawn s = {
	    .argv = argv,
	    .folder = folder,
	    .in = end == EXEC_OUTPUT ? -1 : child_end,
	    .out = end == EXEC_INPUT ? -1 : child_end,
	    .group = true,
	};

	return spawn_program(pid, &s);
}

/* Ours and the child's; -errno. */
static int make_ends(int *ours, int *child_end, enum exec_end end)
{
	int fd[2];

	if (end == EXEC_BOTH) {
		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd) < 0)
			return -errno;
	} else {
		if (pipe2(fd, O_CLOEXEC) < 0)
			return -errno;
		/* the host's limits may refuse it */
		(void)fcntl(fd[1], F_SETPIPE_SZ, (int)PIPE_BYTES);
	}
	*ours = fd[end == EXEC_INPUT ? 1 : 0];
	*child_end = fd[end == EXEC_INPUT ? 0 : 1];
	return 0;
}

struct channel *channel_exec(const char *const *argv, const char *command, const char *folder,
			     enum exec_end end, int cancel_fd, struct err *err)
{
	struct exec_channel *e;
	pid_t pid = 0;
	int ours = -1, child_end = -1, ret = make_ends(&ours, &child_end, end);

	if (ret < 0) {
		(void)err_set(err, -ret, "cannot make a pipe for the command: %s", err_text(-ret));
		return NULL;
	}
	ret = start_command(&pid, argv, folder, child_end, end);
	(void)close(child_end);
	if (ret) {
		(void)close(ours);
		(void)err_set(err, ret, "cannot run '%s': %s", command, err_text(ret));
		return NULL;
	}
	(void)fcntl(ours, F_SETFL, O_NONBLOCK);
	e = NEW(struct exec_channel);
	e->ch.ops = end == EXEC_BOTH ? &exec_both_ops : &exec_ops;
	e->ch.fd = ours;
	e->ch.cancel_fd = cancel_fd;
	e->ch.two_way = end == EXEC_BOTH;
	e->pid = pid;
	return &e->ch;
}
