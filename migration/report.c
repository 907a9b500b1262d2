/*
 * report.c - what the log says of moves and saves: a line when one begins, one
 * when it has ended, with its duration, the guest's pause and the reason
 */
#include "migration/report.h"

#include <errno.h>
#include <inttypes.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "migration/channel/channel.h"
#include "migration/internal.h"
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

/* ---- outgoing ---- */

static bool is_socket(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode);
}

void report_outgoing_start(struct outgoing *o, const char *uri)
{
	free(o->where);
	o->where = xstrdup(uri);
	o->saves = o->uri.kind == URI_FILE || o->uri.kind == URI_EXEC ||
		   (o->uri.kind == URI_FD && !is_socket(o->fd));
	log_notice(o->saves ? "the guest is being saved to " WHERE : "the guest moves to " WHERE,
		   o->where);
}

static void report_success(const struct outgoing *o, double total, double pause)
{
	if (o->saves)
		log_notice("the guest is saved to " WHERE ": %.3f s, paused for %.0f ms; it is "
			   "stopped here",
			   o->where, total, pause);
	else
		log_notice("the guest has moved to " WHERE ": %.3f s, paused for %.0f ms", o->where,
			   total, pause);
}

void report_outgoing_end(struct outgoing *o)
{
	enum migration_status s = status_get(&o->status);
	const char *what = o->saves ? "save" : "move";
	int64_t total_ns, pause_ns;
	double total, pause;

	stats_durations(&o->stats, &total_ns, &pause_ns);
	total = seconds(total_ns);
	pause = (double)pause_ns / 1e6;
	if (s == MIG_COMPLETED)
		report_success(o, total, pause);
	else if (s == MIG_CANCELLED)
		log_notice("the %s to " WHERE " was cancelled after %.3f s, paused for %.0f ms; "
			   "run state here: %s",
			   what, o->where, total, pause, runstate_name(o->mg->m->state));
	else
		log_notice("the %s to " WHERE " failed after %.3f s, paused for %.0f ms; run state "
			   "here: %s; reason: %s",
			   what, o->where, total, pause, runstate_name(o->mg->m->state),
			   o->error_text ? o->error_text : o->error.msg);
}

/* ---- incoming ---- */

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

void report_incoming_start(struct incoming *in)
{
	char *peer = peer_of(channel_fd(in->ch));

	in->begun_ns = host_now_ns();
	free(in->from);
	in->from = peer ? peer : xstrdup(in->where ? in->where : "");
	log_notice("a guest arrives from " WHERE, in->from);
}

void report_arrival(const struct incoming *in)
{
	enum runstate s = in->mg->m->state;

	log_notice("the guest has arrived from " WHERE ": %.3f s; run state: %s%s", in->from,
		   seconds(host_now_ns() - in->begun_ns), runstate_name(s),
		   s == RS_RUNNING  ? ""
		   : s == RS_PAUSED ? ", 'cont' runs it"
				    : "");
}

void report_incoming_failure(const struct incoming *in)
{
	log_notice("the guest from " WHERE
		   " has not arrived, after %.3f s: load of migration failed: %s",
		   in->from, seconds(host_now_ns() - in->begun_ns),
		   in->error_text ? in->error_text : in->error.msg);
}

/* ---- the end of the program ---- */

static void give_up_outgoing(struct migration *mg)
{
	const struct outgoing *o = &mg->out;
	struct migration_info info;

	migration_query(mg, &info);
	if (o->released)
		log_notice("minivmm ends while the guest is handed to " WHERE
			   ": whether it runs there is not known here",
			   o->where);
	else if (o->saves)
		log_notice("minivmm ends: the save to " WHERE
			   " is given up at %u %%; what it was to replace is untouched",
			   o->where, info.percent);
	else
		log_notice("minivmm ends: the move to " WHERE
			   " is given up at %u %%; the guest ends here",
			   o->where, info.percent);
}

void migration_say_given_up(struct migration *mg)
{
	if (status_busy(status_get(&mg->out.status)))
		give_up_outgoing(mg);
	if (status_get(&mg->in.status) == MIG_ACTIVE)
		log_notice("minivmm ends: the guest from " WHERE
			   " has not arrived; it stays where it was",
			   mg->in.from);
}

int migration_check_quit(struct migration *mg, struct err *err)
{
	const struct outgoing *o = &mg->out;
	struct migration_info info;

	if (!status_busy(status_get(&o->status)) || !o->saves)
		return 0;
	migration_query(mg, &info);
	return err_set(err, EBUSY,
		       "the guest is being saved to " WHERE
		       " (%u %%), which 'quit' would give up: wait for it, use migrate_cancel, or "
		       "say x-minivmm-force",
		       o->where, info.percent);
}
