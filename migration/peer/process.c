/*
 * process.c - the peer's process, watched through a pidfd
 *
 * A pid means something only in one kernel and one pid namespace.  The
 * destination sends the kernel's boot id, its namespace, its pid and its start
 * time with READY; the source opens a pidfd when all of it is the same here, and
 * compares the start time, because the pid may have been given to another process.
 * The pidfd becomes readable when the process ends.
 */
#include "migration/peer/process.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "vmm/base/alloc.h"
#include "vmm/base/buf.h"
#include "vmm/base/units.h"

#define STAT_START_TIME 22 /* field of /proc/PID/stat */

static int read_text(const char *path, char *out, size_t size)
{
	CLEANUP(cleanup_close) int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, out, size - 1);

	if (n <= 0)
		return -ENOENT;
	out[n] = 0;
	out[strcspn(out, "\n")] = 0;
	return 0;
}

/*
 * A numeric field of /proc/PID/stat, counted from 1; the name in field 2 may
 * hold anything but ends with the last ')'.
 */
static int stat_field(uint32_t pid, int wanted, uint64_t *out)
{
	char path[48], text[1024], *p, *end;

	(void)snprintf(path, sizeof(path), "/proc/%u/stat", pid);
	if (read_text(path, text, sizeof(text)) < 0)
		return -ESRCH;
	p = strrchr(text, ')');
	for (int field = 2; p && field < wanted; field++)
		p = strchr(p + 1, ' ');
	if (!p)
		return -ESRCH;
	*out = strtoull(p + 1, &end, 10);
	return end == p + 1 ? -ESRCH : 0;
}

static int start_time(uint32_t pid, uint64_t *out)
{
	return stat_field(pid, STAT_START_TIME, out);
}

void peer_self(struct peer *p)
{
	struct stat st;

	*p = (struct peer){.pid = (uint32_t)getpid()};
	if (read_text("/proc/sys/kernel/random/boot_id", p->boot_id, sizeof(p->boot_id)) < 0 ||
	    stat("/proc/self/ns/pid", &st) < 0 || start_time(p->pid, &p->start_time) < 0)
		p->boot_id[0] = 0;
	else
		p->pid_ns = st.st_ino;
}

void peer_put(const struct peer *p, struct buf *out)
{
	buf_str8(out, p->boot_id);
	buf_be64(out, p->pid_ns);
	buf_be32(out, p->pid);
	buf_be64(out, p->start_time);
}

void peer_put_self(struct buf *out)
{
	struct peer self;

	peer_self(&self);
	peer_put(&self, out);
}

int peer_get(struct peer *p, struct src *in)
{
	if (src_str8(in, p->boot_id) < 0 || src_be64(in, &p->pid_ns) < 0 ||
	    src_be32(in, &p->pid) < 0 || src_be64(in, &p->start_time) < 0)
		return -EPROTO;
	return 0;
}

int peer_watch(const struct peer *p)
{
	struct peer self;
	uint64_t started;
	int fd;

	peer_self(&self);
	if (!p->boot_id[0] || strcmp(p->boot_id, self.boot_id) != 0 || p->pid_ns != self.pid_ns)
		return -EXDEV;
	fd = (int)syscall(SYS_pidfd_open, p->pid, 0);
	if (fd < 0)
		return errno == ESRCH ? -ESRCH : -EXDEV;
	/* The number may have been given to another process meanwhile. */
	if (start_time(p->pid, &started) < 0 || started != p->start_time) {
		(void)close(fd);
		return -ESRCH;
	}
	return fd;
}

/* Does it hold the descriptor of a virtual machine? */
static bool has_machine(pid_t pid)
{
	char path[64], to[64];
	bool found = false;
	struct dirent *e;
	DIR *dir;

	(void)snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	dir = opendir(path);
	while (dir && !found && (e = readdir(dir))) {
		ssize_t n = readlinkat(dirfd(dir), e->d_name, to, sizeof(to) - 1);

		to[MAX(n, 0)] = 0;
		found = !strcmp(to, "anon_inode:kvm-vm");
	}
	if (dir)
		(void)closedir(dir);
	return found;
}

int peer_watch_socket(int fd)
{
	struct ucred cred = {0};
	socklen_t len = sizeof(cred);
	int pidfd;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0 || cred.pid <= 0)
		return -EXDEV;
	pidfd = (int)syscall(SYS_pidfd_open, cred.pid, 0);
	if (pidfd < 0)
		return -EXDEV;
	/* It is the process that pidfd means, if that has not ended by now. */
	if (!has_machine(cred.pid) || peer_ended(pidfd, 0)) {
		(void)close(pidfd);
		return -EXDEV;
	}
	return pidfd;
}

bool peer_ended(int pidfd, int timeout_ms)
{
	struct pollfd fd = {.fd = pidfd, .events = POLLIN};
	int n;

	do
		n = poll(&fd, 1, timeout_ms);
	while (n < 0 && errno == EINTR);
	return n > 0;
}
