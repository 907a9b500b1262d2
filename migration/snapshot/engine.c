/*
 * engine.c - the outgoing engine with settings and a status of its own
 *
 * outgoing_thread() takes an open channel, so that a snapshot runs the engine of every move; but
 * it runs it on the job's own thread, and beside the migration that query-migrate shows: the
 * capabilities and parameters are the defaults, without a limit of bandwidth.
 */
#include "migration/snapshot/engine.h"

#include <errno.h>
#include <unistd.h>

#include "migration/channel/channel.h"
#include "migration/outgoing/modes.h"
#include "vmm/base/alloc.h"
#include "vmm/base/units.h"
#include "vmm/machine.h"

int snapshot_engine_init(struct snapshot_engine *e, struct machine *m, uint32_t ram_section_id,
			 const struct outgoing_snapshot *s, int cancel_fd, const char *where,
			 struct err *err)
{
	struct outgoing *o = &e->out;

	settings_init(&e->set, m->ring != NULL);
	e->set.params.max_bandwidth = 0;
	settings_publish(&e->set);
	*o = (struct outgoing){.m = m, .set = &e->set, .ram_section_id = ram_section_id};
	o->snapshot = s;
	e->total_bytes = memory_total_bytes(&m->mem);
	outgoing_init(o, cancel_fd >= 0 ? dup(cancel_fd) : -1);
	o->wake_fd = o->kick_fd; /* nobody waits for its thread */
	o->where = xstrdup(where);
	o->saves = true;
	if (o->cancel_fd < 0 || o->kick_fd < 0 || o->deadline.stop_fd < 0)
		return err_set(err, EMFILE, "cannot make an eventfd: %s", err_text(EMFILE));
	return 0;
}

void snapshot_engine_fini(struct snapshot_engine *e)
{
	outgoing_fini(&e->out);
}

int snapshot_engine_run(struct snapshot_engine *e, const struct migration_mode *mode,
			struct err *err)
{
	struct outgoing *o = &e->out;
	struct machine *m = o->m;
	struct channel *ch = channel_vmstate_write(&e->area, o->deadline.stop_fd);
	struct err why = {0};

	o->mode = mode;
	machine_lock(m);
	stats_start(&o->stats, memory_total_bytes(&m->mem), o->set->params.downtime_limit);
	stats_running(&o->stats, machine_running(m));
	status_set(m, &o->status, MIG_SETUP);
	machine_unlock(m);
	outgoing_thread(o, ch, 0, &why);
	switch (status_get(&o->status)) {
	case MIG_COMPLETED:
		return 0;
	case MIG_CANCELLED:
		return -ECANCELED;
	default:
		break;
	}
	if (e->area.err.errnum) /* the image's own words */
		return err_set(err, e->area.err.errnum, "%s", e->area.err.msg);
	return err_set(err, o->error.errnum, "%s", o->error.msg);
}

int64_t snapshot_engine_pause_ns(struct snapshot_engine *e)
{
	int64_t total_ns, pause_ns;

	stats_durations(&e->out.stats, &total_ns, &pause_ns);
	return pause_ns;
}

uint64_t snapshot_engine_total(const struct snapshot_engine *e)
{
	return e->total_bytes;
}

uint64_t snapshot_engine_done(const struct snapshot_engine *e)
{
	uint64_t total = snapshot_engine_total(e);
	uint64_t left = ram_save_left_pages(&e->out.ram) * PAGE_BYTES;

	return total - MIN(left, total);
}
