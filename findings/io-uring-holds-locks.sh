#!/bin/bash
# Linux io_uring: a process that was killed and waited for can still hold the locks of its files
#
# version    Linux (seen with 6.18), on tmpfs and ext4; liburing 2.3
# guess      open files of a process are closed, and their locks (F_OFD_SETLK) gone, before waitpid() returns it; so what
#            was killed can be started again at once on the same file
# behaviour  with requests in an io_uring the ring is taken down by a worker of the kernel afterwards, and the requests hold
#            the file: for some milliseconds after waitpid() the lock is held, by no process that /proc has
# seen       "locked after waitpid(): 0 of 50 with pwrite(), 29 of 50 with io_uring" (the second figure varies)
#
# Fails when no lock outlives its process with io_uring, or one does without. Needs a C compiler and liburing.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cat >"$dir/try.c" <<'C'
#define _GNU_SOURCE
#include <fcntl.h>
#include <liburing.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define BYTES (1 << 20)
#define DEPTH 8

static char data[BYTES];

static int lock(int fd)
{
	struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

	return fcntl(fd, F_OFD_SETLK, &l);
}

static void turn_ring(struct io_uring *r, int fd, int i)
{
	struct io_uring_cqe *c;

	io_uring_prep_write(io_uring_get_sqe(r), fd, data, BYTES, 0);
	io_uring_submit(r);
	if (i >= DEPTH && io_uring_wait_cqe(r, &c) == 0)
		io_uring_cqe_seen(r, c);
}

/* Writes until it is killed. */
static void write_on(const char *path, int ring, int tell)
{
	int fd = open(path, O_RDWR | O_CREAT, 0600);
	struct io_uring r;

	if (fd < 0 || lock(fd) < 0 || (ring && io_uring_queue_init(64, &r, 0) < 0))
		exit(1);
	for (int i = 0;; i++) {
		if (ring)
			turn_ring(&r, fd, i);
		else if (pwrite(fd, data, BYTES, 0) < 0)
			exit(1);
		if (i == 2 * DEPTH && write(tell, "", 1) < 0)
			exit(1);
	}
}

static int is_locked(const char *path, int ring)
{
	int pipes[2], fd, locked;
	char byte;
	pid_t pid;

	if (pipe(pipes) < 0)
		exit(1);
	pid = fork();
	if (pid == 0)
		write_on(path, ring, pipes[1]);
	close(pipes[1]);
	if (read(pipes[0], &byte, 1) != 1)
		exit(1); /* no io_uring here */
	close(pipes[0]);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	fd = open(path, O_RDWR);
	locked = lock(fd) < 0;
	if (locked) { /* the next one begins without it */
		struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

		fcntl(fd, F_OFD_SETLKW, &l);
	}
	close(fd);
	return locked;
}

int main(int argc, char **argv)
{
	int n[2] = {0};

	for (int i = 0; argc == 2 && i < 100; i++)
		n[i % 2] += is_locked(argv[1], i % 2);
	printf("locked after waitpid(): %d of 50 with pwrite(), %d of 50 with io_uring\n", n[0], n[1]);
	return n[0] || !n[1];
}
C
${CC:-cc} -O1 -o "$dir/try" "$dir/try.c" -luring
"$dir/try" "$dir/file"
