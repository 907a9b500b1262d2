/*
 * lock-holder.c - open-file-description locks have no owner that the kernel
 * would name (F_OFD_GETLK says pid -1), but /proc/PID/fdinfo/FD lists the locks
 * of each open file:
 *
 *     lock:   1: OFDLCK  ADVISORY  READ -1 fe:00:1234 100 101
 *
 * The file is compared in the kernel's own spelling "device:inode", which is
 * read from a lock of ours: what stat() says differs on some file systems.
 */
#include "devices/block/lock-holder.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "vmm/base/alloc.h"

#define SEARCH_NS  250000000 /* of processor time, which a busy host does not make scarcer */
#define PROBE_BYTE 99        /* a lock here has no meaning */

struct search {
	char file[48]; /* "fe:00:1234" */
	long long byte;
	struct timespec began;
};

static bool took_too_long(const struct search *s)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (now.tv_sec - s->began.tv_sec) * 1000000000LL + now.tv_nsec - s->began.tv_nsec >
	       SEARCH_NS;
}

/* A "lock:" line: which file, which bytes.  end: -1 for "EOF". */
static bool parse_lock(const char *line, char file[48], long long *first, long long *last)
{
	char begin[24], end[24];

	if (sscanf(line, "lock: %*s %*s %*s %*s %*s %47s %23s %23s", file, begin, end) != 3)
		return false;
	*first = strtoll(begin, NULL, 10);
	*last = strcmp(end, "EOF") == 0 ? -1 : strtoll(end, NULL, 10);
	return true;
}

/* The first lock of the fdinfo file for which the byte is in range, its file's spelling in 'file'.
 */
static bool find_lock(const char *path, const char *wanted, long long byte, char file[48])
{
	FILE *f = fopen(path, "re");
	long long first, last;
	char line[256];
	bool found = false;

	while (f && !found && fgets(line, sizeof(line), f))
		found = strncmp(line, "lock:", 5) == 0 && parse_lock(line, file, &first, &last) &&
			first <= byte && (last < 0 || byte <= last) &&
			(!wanted || strcmp(file, wanted) == 0);
	if (f)
		(void)fclose(f);
	return found;
}

/* How the kernel calls the file behind fd. */
static bool learn_file(struct search *s, int fd)
{
	struct flock fl = {
	    .l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = PROBE_BYTE, .l_len = 1};
	char path[48];
	bool found;

	if (fcntl(fd, F_OFD_SETLK, &fl) < 0)
		return false;
	(void)snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	found = find_lock(path, NULL, PROBE_BYTE, s->file);
	fl.l_type = F_UNLCK;
	(void)fcntl(fd, F_OFD_SETLK, &fl);
	return found;
}

static bool is_number(const char *name)
{
	return isdigit((unsigned char)*name);
}

/* Does one of the process's open files other than 'except' hold it? */
static bool process_holds(const struct search *s, const char *pid, int except)
{
	char dir[300], path[600], file[48];
	bool found = false;
	struct dirent *e;
	DIR *d;

	(void)snprintf(dir, sizeof(dir), "/proc/%s/fdinfo", pid);
	d = opendir(dir); /* other users' processes are closed to us */
	/* NOLINTNEXTLINE(concurrency-mt-unsafe): the stream is this call's own */
	while (d && !found && (e = readdir(d)) && !took_too_long(s)) {
		(void)snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
		found = is_number(e->d_name) && strtol(e->d_name, NULL, 10) != except &&
			find_lock(path, s->file, s->byte, file);
	}
	if (d)
		(void)closedir(d);
	return found;
}

static void name_process(struct lock_holder *who, const char *pid)
{
	char path[300], comm[32] = "";
	FILE *f;

	(void)snprintf(path, sizeof(path), "/proc/%s/comm", pid);
	f = fopen(path, "re");
	if (f && fgets(comm, sizeof(comm), f))
		comm[strcspn(comm, "\n")] = 0;
	if (f)
		(void)fclose(f);
	who->pid = (pid_t)strtol(pid, NULL, 10);
	(void)snprintf(who->text, sizeof(who->text), "process %.10s (%.20s)", pid,
		       *comm ? comm : "?");
}

void lock_holder_find(struct lock_holder *who, int fd, off_t byte)
{
	struct search s = {.byte = byte};
	char self[16];
	struct dirent *e;
	DIR *proc;

	*who = (struct lock_holder){.text = "another process"};
	(void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &s.began);
	if (!learn_file(&s, fd))
		return;
	(void)snprintf(self, sizeof(self), "%ld", (long)getpid());
	if (process_holds(&s, self, fd)) {
		who->pid = getpid();
		(void)snprintf(who->text, sizeof(who->text), "another disk of this machine");
		return;
	}
	proc = opendir("/proc");
	/* NOLINTNEXTLINE(concurrency-mt-unsafe): the stream is this call's own */
	while (proc && !who->pid && (e = readdir(proc)) && !took_too_long(&s))
		if (is_number(e->d_name) && strcmp(e->d_name, self) != 0 &&
		    process_holds(&s, e->d_name, -1))
			name_process(who, e->d_name);
	if (proc)
		(void)closedir(proc);
}
