/*
 * postcopy-recover.c - a connection is lost while the guest is at the destination
 *
 * All that has not gone is kept, and nothing runs here.
 */
#include <errno.h>
#include <poll.h>

#include "migration/outgoing/handover.h"
#include "migration/outgoing/outgoing.h"
#include "migration/outgoing/postcopy.h"

int postcopy_await_resume(struct outgoing *o, struct err *err)
{
	struct pollfd p = {.fd = o->deadline.stop_fd, .events = POLLIN};

	postcopy_detach(o);
	while (!p.revents)
		(void)poll(&p, 1, -1);
	return err_cancelled(err);
}
