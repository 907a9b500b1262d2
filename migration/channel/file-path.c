/* file-path.c - where a file really is, and what is beside it */
#include "migration/channel/file-path.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vmm/base/alloc.h"
#include "vmm/base/units.h"

#define LINKS_MAX 40 /* as in the kernel */

char *file_directory_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	if (!slash)
		return xstrdup(".");
	return slash == path ? xstrdup("/") : xstrndup(path, (size_t)(slash - path));
}

char *file_temp_template(const char *path)
{
	CLEANUP(cleanup_free) char *dir = file_directory_of(path);
	const char *slash = strrchr(path, '/');

	/* a name component is at most 255 bytes */
	return xasprintf("%s/.%.200s.XXXXXX", dir, slash ? slash + 1 : path);
}

/* What the symbolic link 'path' says, as seen from here; NULL when it is none.  Owned. */
static char *link_target(const char *path)
{
	char to[PATH_MAX];
	ssize_t n = readlink(path, to, sizeof(to) - 1);
	CLEANUP(cleanup_free) char *dir = NULL;

	if (n < 0)
		return NULL;
	to[n] = 0;
	if (*to == '/')
		return xstrdup(to);
	dir = file_directory_of(path);
	return xasprintf("%s/%s", dir, to);
}

char *file_real_path(const char *path)
{
	char *real = realpath(path, NULL), *at, *next;

	if (real)
		return real;
	at = xstrdup(path); /* it does not exist; links that lead to it may */
	for (int i = 0; i < LINKS_MAX && (next = link_target(at)); i++) {
		free(at);
		at = next;
	}
	return at;
}
