#include "vmm/end-guard.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

#include "vmm/base/error.h"
#include "vmm/base/leftovers.h"
#include "vmm/base/log.h"
#include "vmm/base/terminal.h"
#include "vmm/base/wake.h"

static void *guard_main(void *opaque)
{
	const struct end_guard *g = opaque;
	struct pollfd p = {.fd = g->stop_fd, .events = POLLIN};

	if (poll(&p, 1, END_GUARD_MS) > 0)
		return NULL;
	log_warn("a disk or a file has not answered for %d ms: the program ends without it",
		 END_GUARD_MS);
	leftovers_remove();
	terminal_restore();
	_exit(g->status);
}

void end_guard_start(struct end_guard *g, int status)
{
	struct err err = {0};
	int ret = 0;

	*g = (struct end_guard){.stop_fd = wake_open(), .status = status};
	if (g->stop_fd < 0)
		ret = err_set(&err, errno, "cannot make an eventfd: %s", err_text(errno));
	if (ret == 0)
		ret = thread_start(&g->thread, "end", THREAD_HELPER, guard_main, g, &err);
	if (ret < 0)
		log_warn("the end waits for disks without a limit: %s", err.msg);
}

void end_guard_stop(struct end_guard *g)
{
	if (g->stop_fd < 0)
		return;
	wake_set(g->stop_fd);
	thread_join(&g->thread);
	(void)close(g->stop_fd);
	g->stop_fd = -1;
}
