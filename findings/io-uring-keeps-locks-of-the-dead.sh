#!/bin/bash
# Linux io_uring: the locks of a process that was killed and waited for are still held for a moment
#
# version    Linux (seen with 6.18); liburing2, liburing-dev 2.3-3 of Debian 12
# guess      waitpid() has returned, so the process's files are closed and its open-file-description locks are gone:
#            whoever starts next can lock the image
# behaviour  a ring with writes in flight is taken down by a kernel worker after the process has ended, and holds
#            the files of its requests until then, locks included: for some milliseconds F_OFD_SETLK says EAGAIN, and
#            /proc/*/fdinfo names no process that has the lock. A program that writes with pwrite() leaves nothing
# seen       "pwrite: held after waitpid: 0 of 100" and "io_uring: held after waitpid: 87 of 100", gone by itself
#
# Fails when no lock outlives its process with io_uring, or one does without. Needs apt-get and dpkg (a Debian 12 host
# with a package list), a C compiler, and a kernel that allows io_uring.
set -eu
version=2.3-3
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
chmod 755 "$tmp"
cd "$tmp"
apt-get download "liburing2=$version" "liburing-dev=$version" >/dev/null
for deb in ./*.deb; do dpkg -x "$deb" root; done
lib=$(find root -name 'liburing.a')
cat >try.c <<'C'
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define ROUNDS 100
#define DEPTH 32
#define PIECE (1 << 20)

static char buf[PIECE];

static int lock(int fd)
{
	struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 1};

	return fcntl(fd, F_OFD_SETLK, &l);
}

static void write_on(int fd, int ready, int with_ring)
{
	struct io_uring ring;

	if (with_ring && io_uring_queue_init(DEPTH, &ring, 0) < 0)
		_exit(2);
	for (unsigned i = 0;; i++) {
		off_t off = (off_t)(i % DEPTH) * PIECE;

		if (!with_ring) {
			(void)!pwrite(fd, buf, PIECE, off);
		} else {
			struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
			struct io_uring_cqe *cqe;

			io_uring_prep_write(sqe, fd, buf, PIECE, (unsigned long long)off);
			io_uring_submit(&ring);
			if (i >= DEPTH - 1 && io_uring_wait_cqe(&ring, &cqe) == 0)
				io_uring_cqe_seen(&ring, cqe);
		}
		if (i == DEPTH)
			(void)!write(ready, "x", 1);
	}
}

/* Was the lock still held when the writer had been waited for? */
static int round_of(const char *path, int with_ring)
{
	int ready[2], fd, held;
	pid_t pid;
	char c;

	if (pipe(ready) < 0)
		_exit(2);
	pid = fork();
	if (pid == 0) {
		fd = open(path, O_RDWR);
		if (lock(fd) < 0)
			_exit(2);
		write_on(fd, ready[1], with_ring);
	}
	close(ready[1]);
	if (read(ready[0], &c, 1) != 1)
		_exit(2);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	fd = open(path, O_RDWR);
	held = lock(fd) < 0 && errno == EAGAIN;
	while (lock(fd) < 0) /* it goes by itself */
		sched_yield();
	close(fd);
	close(ready[0]);
	return held;
}

int main(void)
{
	int held[2] = {0, 0};

	for (int with_ring = 0; with_ring < 2; with_ring++)
		for (int i = 0; i < ROUNDS; i++)
			held[with_ring] += round_of("file", with_ring);
	printf("pwrite: held after waitpid: %d of %d\n", held[0], ROUNDS);
	printf("io_uring: held after waitpid: %d of %d\n", held[1], ROUNDS);
	return held[0] != 0 || held[1] == 0;
}
C
truncate -s 32M file
cc -O1 -Iroot/usr/include try.c "$lib" -o try
if ./try; then
	echo "as found: with io_uring a lock outlives its process"
else
	echo "changed"
	exit 1
fi
