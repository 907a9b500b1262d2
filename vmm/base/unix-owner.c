/*
 * unix-owner.c - which process serves a unix socket, for the message that refuses its place
 *
 * /proc/net/unix has the inode of the socket behind each path, as it was given to
 * bind(); that inode is what a descriptor's link in /proc/PID/fd says.
 */
#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm/base/alloc.h"
#include "vmm/base/listen.h"

#define LINE_BYTES 512

static bool same_file(const char *a, const char *b)
{
	struct stat sa, sb;

	if (!strcmp(a, b))
		return true;
	return *a == '/' && stat(a, &sa) == 0 && stat(b, &sb) == 0 && sa.st_ino == sb.st_ino &&
	       sa.st_dev == sb.st_dev;
}

/* "Num: RefCount Protocol Flags Type St Inode Path": the path, NULL: the socket has none. */
static const char *parse_line(const char *line, unsigned long *inode)
{
	char *end;

	for (unsigned column = 0; column < 6; column++) {
		line += strspn(line, " ");
		line += strcspn(line, " ");
	}
	*inode = strtoul(line, &end, 10);
	return end > line && *end == ' ' ? end + strspn(end, " ") : NULL;
}

/* "socket:[INODE]" of the newest socket bound to 'path'; false: none is listed. */
static bool find_socket(const char *path, char *link, size_t bytes)
{
	FILE *f = fopen("/proc/net/unix", "re");
	char line[LINE_BYTES];
	bool found = false;

	while (f && fgets(line, sizeof(line), f)) {
		unsigned long inode;
		const char *bound;

		line[strcspn(line, "\n")] = 0;
		bound = parse_line(line, &inode);
		if (!bound || !same_file(bound, path))
			continue;
		(void)snprintf(link, bytes, "socket:[%lu]", inode);
		found = true;
	}
	if (f)
		(void)fclose(f);
	return found;
}

/* Has the process a descriptor whose link reads so? */
static bool has_open(const char *pid, const char *link)
{
	char name[64 + 256], text[64];
	const struct dirent *e;
	bool found = false;
	DIR *d;

	(void)snprintf(name, sizeof(name), "/proc/%.20s/fd", pid);
	d = opendir(name);
	/* NOLINTNEXTLINE(concurrency-mt-unsafe): the stream is this call's own */
	while (d && !found && (e = readdir(d))) {
		ssize_t n;

		(void)snprintf(name, sizeof(name), "/proc/%.20s/fd/%s", pid, e->d_name);
		n = readlink(name, text, sizeof(text) - 1);
		if (n < 0)
			continue;
		text[n] = 0;
		found = !strcmp(text, link);
	}
	if (d)
		(void)closedir(d);
	return found;
}

/* The first process that has such a descriptor; 0: none that may be looked at. */
static pid_t find_owner(const char *link)
{
	const struct dirent *e;
	long pid = 0;
	DIR *d = opendir("/proc");

	/* NOLINTNEXTLINE(concurrency-mt-unsafe): the stream is this call's own */
	while (d && !pid && (e = readdir(d)))
		if (isdigit((unsigned char)*e->d_name) && has_open(e->d_name, link))
			pid = strtol(e->d_name, NULL, 10);
	if (d)
		(void)closedir(d);
	return (pid_t)pid;
}

pid_t unix_inode_owner(unsigned long inode)
{
	char link[64];

	(void)snprintf(link, sizeof(link), "socket:[%lu]", inode);
	return find_owner(link);
}

pid_t unix_socket_owner(const char *path)
{
	char link[64];

	return find_socket(path, link, sizeof(link)) ? find_owner(link) : 0;
}
