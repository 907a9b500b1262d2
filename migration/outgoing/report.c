/*
 * report.c - what the log says of moves and saves: a line when one begins, one
 * when it has ended, with its duration, the guest's pause and the reason
 */
#include "migration/outgoing/report.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "migration/outgoing/outgoing.h"
#include "vmm/base/alloc.h"
#include "vmm/base/log.h"
#include "vmm/base/units.h"
#include "vmm/machine.h"

#define WHERE "%.300s" /* the command of exec: may be long */

static double seconds(int64_t ns)
{
	return (double)ns / 1e9;
}

static bool is_socket(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode);
}

void report_outgoing_start(struct outgoing *o, const struct migration_where *where)
{
	free(o->where);
	o->where = uri_spell(where);
	o->saves = o->caps[CAP_BACKGROUND_SNAPSHOT] || o->uri.kind == URI_FILE ||
		   o->uri.kind == URI_EXEC || (o->uri.kind == URI_FD && !is_socket(o->fd));
	log_notice(o->saves ? "the guest is being saved to " WHERE : "the guest moves to " WHERE,
		   o->where);
}

static void report_success(const struct outgoing *o, double total, double pause)
{
	if (o->caps[CAP_BACKGROUND_SNAPSHOT])
		log_notice("the guest is saved to " WHERE
			   ": %.3f s, paused for %.1f ms; run state here: %s",
			   o->where, total, pause, runstate_name(o->m->state));
	else if (o->saves)
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

	if (o->snapshot) /* the job says it */
		return;
	stats_durations(&o->stats, &total_ns, &pause_ns);
	total = seconds(total_ns);
	pause = (double)pause_ns / 1e6;
	if (s == MIG_COMPLETED)
		report_success(o, total, pause);
	else if (s == MIG_CANCELLED)
		log_notice("the %s to " WHERE " was cancelled after %.3f s, paused for %.0f ms; "
			   "run state here: %s",
			   what, o->where, total, pause, runstate_name(o->m->state));
	else
		log_notice("the %s to " WHERE " failed after %.3f s, paused for %.0f ms; run state "
			   "here: %s; reason: %s",
			   what, o->where, total, pause, runstate_name(o->m->state),
			   o->error_text ? o->error_text : o->error.msg);
}

/* Bytes of the guest's memory that only this program has: it runs elsewhere by postcopy; 0: none.
 */
static uint64_t needed_there(const struct outgoing *o)
{
	enum migration_status s = status_get(&o->status);

	return o->released && status_is_postcopy(s) ? ram_save_left_pages(&o->ram) * PAGE_BYTES : 0;
}

void report_outgoing_given_up(const struct outgoing *o, unsigned percent)
{
	uint64_t left = needed_there(o);

	if (left)
		log_notice("minivmm ends with %.1f MB of the guest's memory that " WHERE
			   " has not got: the guest there is lost as soon as it needs them",
			   (double)left / 1e6, o->where);
	else if (o->released)
		log_notice("minivmm ends while the guest is handed to " WHERE
			   ": whether it runs there is not known here",
			   o->where);
	else if (o->saves)
		log_notice("minivmm ends: the save to " WHERE " is given up at %u %%%s", o->where,
			   percent,
			   o->uri.kind == URI_FILE ? "; what it was to replace is untouched" : "");
	else
		log_notice("minivmm ends: the move to " WHERE
			   " is given up at %u %%; the guest ends here",
			   o->where, percent);
}

int report_check_quit(const struct outgoing *o, unsigned percent, struct err *err)
{
	uint64_t left = needed_there(o);

	if (left)
		return err_set(err, EBUSY,
			       "the guest runs at " WHERE
			       " by postcopy and needs %.1f MB of memory that only this program "
			       "has: wait until it has moved, or say x-minivmm-force",
			       o->where, (double)left / 1e6);
	if (!status_busy(status_get(&o->status)) || !o->saves)
		return 0;
	return err_set(err, EBUSY,
		       "the guest is being saved to " WHERE
		       " (%u %%), which 'quit' would give up: wait for it, use migrate_cancel, or "
		       "say x-minivmm-force",
		       o->where, percent);
}
