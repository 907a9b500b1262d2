/* names.c - which monitor is meant */
#include <errno.h>
#include <stddef.h>

#include "ctl/client.h"
#include "ctl/ctl.h"
#include "ctl/say.h"
#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"

char *ctl_find_monitor(const struct ctl *ctl, struct err *err)
{
	if (ctl->socket)
		return xstrdup(ctl->socket);
	(void)err_set(err, EINVAL, "say which one with -s SOCKET or -n NAME");
	return NULL;
}

struct client *ctl_client(struct ctl *ctl, int *status)
{
	CLEANUP(cleanup_free) char *path = NULL;
	struct err err = {0};

	if (ctl->client)
		return ctl->client;
	path = ctl_find_monitor(ctl, &err);
	if (!path) {
		*status = say_error(ctl, CTL_USAGE, "%s", err.msg);
		return NULL;
	}
	ctl->client = client_open(path, ctl->timeout_ms, &err);
	if (!ctl->client)
		*status = say_error(ctl, CTL_FAILED, "%s", err.msg);
	return ctl->client;
}
