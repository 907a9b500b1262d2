/*
 * report.c - what the log says of guests that come: a line when one is
 * awaited, one when a source has connected, and one when the guest is here or
 * is not, with the duration and reason
 */
#include "migration/incoming/report.h"

#include <netdb.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "migration/incoming/incoming.h"
#include "vmm/base/alloc.h"
#include "vmm/base/log.h"
#include "vmm/base/units.h"
#include "vmm/machine.h"
#include "vmm/vclock.h"

#define WHERE "%.300s" /* the command of exec: may be long */

static double seconds(int64_t ns)
{
	return (double)ns / 1e9;
}

/* The peer's address where the socket has one; returns owned, or NULL. */
static char *peer_of(int fd)
{
	struct sockaddr_storage sa = {0};
	socklen_t len = sizeof(sa);
	char host[NI_MAXHOST], port[NI_MAXSERV];

	if (getpeername(fd, (struct sockaddr *)&sa, &len) < 0 ||
	    (sa.ss_family != AF_INET && sa.ss_family != AF_INET6) ||
	    getnameinfo((struct sockaddr *)&sa, len, host, sizeof(host), port, sizeof(port),
			NI_NUMERICHOST | NI_NUMERICSERV))
		return NULL;
	return xasprintf(sa.ss_family == AF_INET6 ? "tcp:[%s]:%s" : "tcp:%s:%s", host, port);
}

void report_incoming_awaited(const struct incoming *in)
{
	log_notice("a guest is awaited at " WHERE, in->where);
}

void report_incoming_start(struct incoming *in, int fd)
{
	char *peer = peer_of(fd);

	in->begun_ns = host_now_ns();
	free(in->from);
	in->from = peer ? peer : xstrdup(in->where ? in->where : "");
	log_notice("a guest arrives from " WHERE, in->from);
}

void report_incoming_done(const struct incoming *in)
{
	enum runstate s = in->m->state;

	log_notice("the guest has arrived from " WHERE ": %.3f s; run state: %s%s", in->from,
		   seconds(host_now_ns() - in->begun_ns), runstate_name(s),
		   s == RS_RUNNING  ? ""
		   : s == RS_PAUSED ? ", 'cont' runs it"
				    : "");
}

void report_incoming_resident(const struct incoming *in)
{
	log_notice("all memory of the guest from " WHERE " is here: %.3f s", in->from,
		   seconds(host_now_ns() - in->begun_ns));
}

void report_incoming_failure(const struct incoming *in)
{
	log_notice("the guest from " WHERE
		   " has not arrived, after %.3f s: load of migration failed: %s",
		   in->from, seconds(host_now_ns() - in->begun_ns),
		   in->error_text ? in->error_text : in->error.msg);
}

void report_incoming_torn(const struct incoming *in, uint64_t pages)
{
	log_notice("minivmm ends: the guest from " WHERE
		   " ends here, with %.1f MB of its memory that had not come",
		   in->from, (double)pages * PAGE_BYTES / 1e6);
}

void report_incoming_given_up(const struct incoming *in)
{
	log_notice("minivmm ends: the guest from " WHERE " has not arrived; it stays where it was",
		   in->from);
}
