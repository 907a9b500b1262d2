/*
 * reopen.c - a channel's file, open once more: with O_DIRECT, or with locks of its own
 *
 * By way of /proc/self/fd, for a file that is being written has no name yet.  A channel of a
 * descriptor set takes another descriptor of the set, which a client adds for this: it may not have
 * given us the permission to open the file.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#include "migration/channel/channel.h"
#include "vmm/base/error.h"
#include "vmm/base/fdset.h"

static const struct channel *lowest(const struct channel *c)
{
	while (c->below)
		c = c->below;
	return c;
}

int channel_open_again(const struct channel *c, int flags, struct err *err)
{
	const char *set = lowest(c)->set_path;
	char self[32];
	int fd;

	if (set)
		return path_open(set, flags, 0, err);
	(void)snprintf(self, sizeof(self), "/proc/self/fd/%d", channel_fd(c));
	fd = open(self, flags | O_CLOEXEC);
	if (fd >= 0)
		return fd;
	if (flags & O_DIRECT)
		return err_set(
		    err, errno,
		    "the file cannot be used past the page cache: %s; set 'direct-io' to "
		    "false, or take a file system that offers O_DIRECT",
		    err_text(errno));
	return err_set(err, errno, "the file cannot be opened once more: %s", err_text(errno));
}

bool channel_has_name(const struct channel *c)
{
	return !lowest(c)->set_path;
}
