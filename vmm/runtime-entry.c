/* runtime-entry.c - the file that says that this program runs */
#include "vmm/runtime-entry.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm/base/leftovers.h"

int runtime_folder(char out[RUNTIME_PATH_BYTES])
{
	/* NOLINTNEXTLINE(concurrency-mt-unsafe): nobody sets it */
	const char *base = getenv("XDG_RUNTIME_DIR");
	int n;

	if (!base || *base != '/')
		base = "/run";
	n = snprintf(out, RUNTIME_PATH_BYTES, "%s/minivmm", base);
	return n < 0 || n >= 900 ? -ENAMETOOLONG : 0;
}

static int write_entry(int fd, const void *text, size_t n)
{
	ssize_t done = write(fd, text, n);

	if (done < 0)
		return -errno;
	if ((size_t)done != n)
		return -ENOSPC;
	return flock(fd, LOCK_EX | LOCK_NB) < 0 ? -errno : 0;
}

int runtime_entry_add(struct runtime_entry *e, const void *text, size_t n)
{
	char folder[RUNTIME_PATH_BYTES], dotted[RUNTIME_PATH_BYTES + 32];
	int ret = runtime_folder(folder), fd;

	e->fd = -1;
	if (ret < 0)
		return ret;
	(void)mkdir(folder, strcmp(folder, "/run/minivmm") != 0 ? 0700 : 0755);
	(void)snprintf(e->path, sizeof(e->path), "%.900s/%ld", folder, (long)getpid());
	(void)snprintf(dotted, sizeof(dotted), "%.900s/.%ld", folder, (long)getpid());
	(void)unlink(dotted); /* of one with our number that was killed meanwhile */
	fd = open(dotted, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	ret = write_entry(fd, text, n);
	if (ret == 0 && rename(dotted, e->path) < 0)
		ret = -errno;
	if (ret < 0) {
		(void)unlink(dotted);
		(void)close(fd);
		return ret;
	}
	leftover_add(e->path);
	e->fd = fd;
	return 0;
}

void runtime_entry_remove(struct runtime_entry *e)
{
	if (e->fd < 0)
		return;
	leftover_forget(e->path);
	(void)unlink(e->path);
	(void)close(e->fd);
	e->fd = -1;
}
