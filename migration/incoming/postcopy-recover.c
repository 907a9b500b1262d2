/* postcopy-recover.c - a paused postcopy waits for another connection */
#include <errno.h>
#include <poll.h>

#include "migration/incoming/incoming.h"
#include "migration/incoming/postcopy.h"

int incoming_postcopy_await_resume(struct incoming_postcopy *pc, struct err *err)
{
	struct pollfd p = {.fd = pc->in->cancel_fd, .events = POLLIN};

	while (poll(&p, 1, -1) < 0 && errno == EINTR)
		;
	return err_set(err, ECANCELED, "the program ends");
}
