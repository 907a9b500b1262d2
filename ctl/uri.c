/* uri.c - the peer has another working directory: paths are made absolute here */
#include "ctl/uri.h"

#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm/base/alloc.h"
#include "vmm/base/units.h"

char *path_absolute(const char *path)
{
	char folder[PATH_MAX];

	return *path == '/' || !*path || !getcwd(folder, sizeof(folder))
		   ? xstrdup(path)
		   : xasprintf("%s/%s", folder, path);
}

char *uri_absolute(const char *uri)
{
	CLEANUP(cleanup_free) char *path = NULL;
	struct stat st;

	if (!strncmp(uri, "unix:", 5) || !strncmp(uri, "file:", 5)) {
		path = path_absolute(uri + 5);
		return xasprintf("%.5s%s", uri, path);
	}
	if (strchr(uri, ':') || !strchr(uri, '/'))
		return xstrdup(uri);
	path = path_absolute(uri);
	return xasprintf("%s:%s", stat(path, &st) == 0 && S_ISSOCK(st.st_mode) ? "unix" : "file",
			 path);
}
