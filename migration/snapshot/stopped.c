/*
 * stopped.c - the mode that saves a guest which stands still from the first page to the last
 *
 * As QEMU saves a snapshot: devices are collected first, so that a state that cannot be saved
 * fails before a byte is written; then header, RAM in one pass, the devices' sections, EOF and
 * the description, in which the machine is described too.  The events are QEMU's as well: status
 * 'setup', two passes, 'completed'.
 */
#include "migration/snapshot/stopped.h"

#include "migration/channel/channel.h"
#include "migration/outgoing/modes.h"
#include "migration/outgoing/outgoing.h"
#include "migration/peer/saved.h"
#include "migration/stream/device-state.h"
#include "migration/stream/wire.h"
#include "migration/stream/writer.h"
#include "vmm/base/units.h"
#include "vmm/machine.h"

static int stopped_check(const struct outgoing *o, struct err *err)
{
	(void)o;
	(void)err;
	return 0;
}

/* A guest that has never run has no kernel in memory yet.  Machine lock held. */
static int stopped_collect(struct outgoing *o, struct err *err)
{
	struct machine *m = o->m;
	int ret = m->needs_boot ? machine_reset(m, err) : 0;

	if (ret == 0)
		ret = m->arch->fetch(m, err);
	if (ret == 0)
		ret = device_state_collect(&o->devices, m, err);
	if (ret == 0)
		saved_describe(m, &o->devices.json);
	if (ret == 0 && o->snapshot->begin)
		ret = o->snapshot->begin(o->snapshot->opaque, err);
	if (ret == 0)
		ret = o->snapshot->instant(o->snapshot->opaque, err);
	return ret;
}

/* What goes of memory: all, or what the snapshot chooses.  Machine lock held. */
static int stopped_choose(struct outgoing *o, struct err *err)
{
	return o->snapshot->choose ? o->snapshot->choose(o->snapshot->opaque, &o->ram, err) : 0;
}

static int stopped_begin(struct outgoing *o, struct err *err)
{
	struct machine *m = o->m;
	int ret;

	ram_save_init(&o->ram, m, o->w, o->ram_section_id);
	o->ram.tracker = &tracker_none;
	o->ram.partial = o->snapshot->mark != NULL;
	ram_save_note(&o->ram, o->snapshot->index);
	machine_lock(m);
	ret = stopped_collect(o, err);
	if (ret == 0)
		ret = ram_save_start(&o->ram, err);
	machine_unlock(m);
	if (ret == 0)
		ret = writer_explain(o->w, outgoing_put_header(o), err);
	if (ret == 0)
		ret = ram_save_begin(&o->ram, err);
	if (ret < 0)
		return ret;
	machine_lock(m);
	ret = stopped_choose(o, err);
	machine_unlock(m);
	return ret;
}

static int stopped_run(struct outgoing *o, struct err *err)
{
	int ret;

	publish_pass(o->m, 1);
	ret = ram_save_record(&o->ram, TAG_PART, NULL, NULL);
	publish_pass(o->m, 2);
	if (ret == 0)
		ret = ram_save_record(&o->ram, TAG_END, NULL, NULL);
	if (ret < 0)
		return writer_explain(o->w, ret, err);
	ret = outgoing_put_devices(o, err);
	return ret == 0 ? channel_finish(o->ch, err) : ret;
}

static void stopped_finish(struct outgoing *o, bool certain)
{
	(void)o;
	(void)certain;
}

static int stopped_undo(struct outgoing *o, struct err *err)
{
	(void)o;
	(void)err;
	return 0;
}

const struct migration_mode stopped_mode = {
    .name = "stopped",
    .check = stopped_check,
    .begin = stopped_begin,
    .run = stopped_run,
    .finish = stopped_finish,
    .undo = stopped_undo,
};
