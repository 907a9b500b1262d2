/*
 * migration.c - what the rest of the program may ask of migration
 *
 * Both directions live in one struct: a machine that has arrived may move on.
 * The threads of either end wake the main loop through an eventfd, where they
 * are joined and where what needs the loop (announcements) is done.
 */
#include "migration/migration.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "migration/announce.h"
#include "migration/device-file.h"
#include "migration/dirty/limit.h"
#include "migration/dirty/rate.h"
#include "migration/incoming/lazy.h"
#include "migration/incoming/postcopy.h"
#include "migration/internal.h"
#include "migration/probe.h"
#include "migration/ram/postcopy/blocktime.h"
#include "migration/settings/globals.h"
#include "vmm/base/alloc.h"
#include "vmm/base/log.h"
#include "vmm/base/units.h"
#include "vmm/base/wake.h"
#include "vmm/blocker.h"
#include "vmm/device.h"
#include "vmm/loop.h"
#include "vmm/machine.h"
#include "vmm/memory/missing.h"
#include "vmm/options/config.h"

#define IN_PROGRESS "There's a migration process in progress"

/* ---- making and ending ---- */

/* The parameters have changed: what runs follows. */
static void follow_params(struct migration *mg)
{
	settings_publish(&mg->set);
	incoming_recover_tls(&mg->in);
	outgoing_follow(&mg->out);
	incoming_lazy_follow(&mg->in);
}

/* A guest that came by migration begins to run here. */
static void announce_arrival(struct migration *mg)
{
	const struct migration_params *p = &mg->set.params;
	struct announce_args args = {
	    .initial_ms = p->announce_initial,
	    .max_ms = p->announce_max,
	    .rounds = p->announce_rounds,
	    .step_ms = p->announce_step,
	};

	list_for_each (d, &mg->m->devices, struct device, link)
		if (d->ops->arrived)
			d->ops->arrived(d);
	(void)migration_announce(mg, &args, NULL);
}

/* Machine lock held. */
static bool is_migrating(void *opaque)
{
	struct migration *mg = opaque;

	return status_busy(status_get(&mg->out.status)) ||
	       status_get(&mg->in.status) == MIG_ACTIVE || mg->in.postcopy;
}

/* Main loop. */
static void woken(void *opaque, int ready)
{
	struct migration *mg = opaque;

	(void)ready;
	wake_clear(mg->wake_fd);
	if (thread_is_done(&mg->out.thread))
		thread_join(&mg->out.thread);
	incoming_woken(&mg->in);
	if (mg->in.ran) {
		mg->in.ran = false;
		announce_arrival(mg);
	}
}

static void notified(void *opaque, const struct notification *n)
{
	struct migration *mg = opaque;

	if (n->kind == NOTIFY_RESUME || n->kind == NOTIFY_STOP)
		stats_running(&mg->out.stats, n->kind == NOTIFY_RESUME);
	if (n->kind == NOTIFY_RESUME && mg->in.arrived) {
		mg->in.arrived = false;
		mg->in.ran = true;
		wake_set(mg->wake_fd);
	}
}

static void close_fd(int fd)
{
	if (fd >= 0)
		(void)close(fd);
}

/* All that needs no thread to end.  Machine lock held. */
static void release(struct migration *mg)
{
	announce_fini(mg);
	dirty_limits_free(mg->dirty_limits);
	dirty_rate_free(mg->dirty_rate); /* nothing is being measured */
	loop_fd_del(mg->wake);
	notify_unsubscribe(&mg->listener);
	outgoing_fini(&mg->out);
	close_fd(mg->wake_fd);
	close_fd(mg->in.cancel_fd);
	recover_listen_fini(&mg->in.recover);
	free(mg->in.error_text);
	free(mg->in.where);
	free(mg->in.from);
	blocktime_unref(mg->in.blocktime);
	free(mg->blockers);
	bitmap_mapping_free(&mg->mapping);
	free(mg);
}

struct migration *migration_new(struct machine *m, struct err *err)
{
	struct migration *mg = NEW(struct migration);
	int ret;

	mg->m = m;
	list_init(&mg->announcers);
	mg->wake_fd = wake_open();
	mg->dirty_limits = dirty_limits_new(m);
	mg->dirty_rate = dirty_rate_new(m);
	mg->out = (struct outgoing){
	    .m = m,
	    .set = &mg->set,
	    .dirty_limits = mg->dirty_limits,
	    .wake_fd = mg->wake_fd,
	    .ram_section_id = m->vmstate.next_id++,
	};
	outgoing_init(&mg->out, -1);
	mg->in = (struct incoming){
	    .m = m,
	    .set = &mg->set,
	    .globalstate = &mg->globalstate,
	    .leaving = &mg->out.status,
	    .wake_fd = mg->wake_fd,
	};
	incoming_init(&mg->in);
	ret = mg->wake_fd < 0 || mg->out.cancel_fd < 0 || mg->out.kick_fd < 0 ||
		      mg->in.cancel_fd < 0 || mg->out.deadline.stop_fd < 0 ||
		      mg->out.resume.wake_fd < 0 || mg->in.recover.wake_fd < 0
		  ? -errno
		  : 0;
	globalstate_init(&mg->globalstate, m);
	mg->snapshots = (struct snapshots){
	    .m = m,
	    .globalstate = &mg->globalstate,
	    .set = &mg->set,
	    .in = &mg->in,
	    .ram_section_id = mg->out.ram_section_id,
	    .track.m = m,
	    .migrating = is_migrating,
	    .opaque = mg,
	};
	mg->listener = (struct notify_listener){.fn = notified, .opaque = mg};
	notify_subscribe(&m->notify, &mg->listener);
	settings_init(&mg->set, m->ring != NULL);
	if (ret < 0) {
		(void)err_set(err, -ret, "cannot make an eventfd: %s", err_text(-ret));
	} else {
		mg->wake = loop_fd_add(m->loop, mg->wake_fd, LOOP_READABLE, woken, mg);
		ret = globals_apply(&mg->set, &m->cfg->migration_globals, err);
	}
	if (ret < 0) {
		release(mg);
		return NULL;
	}
	follow_params(mg);
	return mg;
}

void migration_free(struct migration *mg)
{
	struct machine *m;

	if (!mg)
		return;
	m = mg->m;
	machine_lock(m);
	outgoing_cancel(&mg->out);
	machine_unlock(m);
	thread_join(&mg->out.thread);
	incoming_fini(&mg->in);
	dirty_rate_free(mg->dirty_rate);
	mg->dirty_rate = NULL;
	machine_lock(m);
	snapshots_fini(&mg->snapshots);
	(void)migration_log_dirty(mg, false, NULL);
	release(mg);
	machine_unlock(m);
}

/* ---- outgoing ---- */

static int may_start(struct migration *mg, const struct migrate_args *args, struct err *err)
{
	size_t n;
	const char *const *reasons;

	if (migration_check_complete(mg, err) < 0)
		return err_prefix(err, -EBUSY, "The guest cannot move on yet");
	if (migration_busy(mg))
		return err_set(err, EBUSY, IN_PROGRESS);
	if (mg->m->state == RS_INMIGRATE)
		return err_set(err, EINVAL, "Guest is waiting for an incoming migration");
	if (machine_check_memory(mg->m, err) < 0)
		return -ENODATA;
	if (machine_check_whole(mg->m, err) < 0)
		return -EBUSY;
	if (mg->m->state == RS_POSTMIGRATE)
		return err_set(err, EINVAL,
			       "Can't migrate the vm that was paused due to previous migration");
	if (migration_check_pages(mg, err) < 0)
		return -EIO;
	if (mg->set.caps[CAP_X_IGNORE_SHARED] && memory_check_complete(&mg->m->mem, err) < 0)
		return err_prefix(err, -EBUSY, "Capability 'x-ignore-shared' has to wait");
	reasons = migration_blockers(mg, &n);
	if (n)
		return err_set(err, EINVAL, "%s", reasons[0]);
	if (args->blk || args->inc)
		return err_set(
		    err, ENOTSUP,
		    "minivmm has no old-style (blk/-b, inc/-i) block migration: copy the "
		    "disks first, or share them");
	if (settings_check_start(&mg->set, err) < 0)
		return -EINVAL;
	/* Another limit, another user, more memory than when it was set. */
	return mg->set.caps[CAP_BACKGROUND_SNAPSHOT] ? probe_background(mg, err) : 0;
}

int migration_start(struct migration *mg, const struct migrate_args *args, struct err *err)
{
	int ret = args->resume ? 0 : may_start(mg, args, err);

	if (args->resume)
		return migration_resume(mg, &args->where, args->fd, err);
	if (ret == 0)
		return outgoing_start(&mg->out, &args->where, args->fd, err);
	close_fd(args->fd);
	return ret;
}

/* The destination has been given the guest, or is just being. */
static bool postcopy_given(const struct outgoing *o)
{
	enum migration_status s = status_get(&o->status);

	return o->released && (status_is_postcopy(s) || (s == MIG_DEVICE && o->start_postcopy));
}

int migration_cancel(struct migration *mg, struct err *err)
{
	if (postcopy_given(&mg->out))
		return err_set(
		    err, EBUSY,
		    "Postcopy migration in progress, cannot cancel (the guest is at the "
		    "destination): migrate-pause interrupts it, migrate-recover there and "
		    "'migrate' with 'resume' here go on with it");
	outgoing_cancel(&mg->out);
	return 0;
}

bool migration_take_back(struct migration *mg)
{
	struct outgoing *o = &mg->out;

	if (status_get(&o->status) != MIG_POSTCOPY_PAUSED || mg->m->handed_certain)
		return false;
	o->take_back = true;
	wake_set(o->resume.wake_fd);
	return true;
}

int migration_start_postcopy(struct migration *mg, struct err *err)
{
	struct outgoing *o = &mg->out;

	if (!mg->set.caps[CAP_POSTCOPY_RAM])
		return err_set(err, EINVAL,
			       "Enable postcopy with migrate_set_capability before the start of "
			       "migration");
	if (status_get(&o->status) == MIG_NONE)
		return err_set(err, EINVAL,
			       "Postcopy must be started after migration has been started");
	__atomic_store_n(&o->start_postcopy, true, __ATOMIC_RELAXED);
	wake_set(o->kick_fd);
	return 0;
}

int migration_continue(struct migration *mg, enum migration_status expected, struct err *err)
{
	struct outgoing *o = &mg->out;
	enum migration_status s = status_get(&o->status);

	if (s != expected)
		return err_set(err, EINVAL, "Migration not in expected state: %s",
			       migration_status_name(s));
	if (s == MIG_PRE_SWITCHOVER) {
		o->go_on = true;
		wake_set(o->kick_fd);
	}
	return 0;
}

/* ---- incoming ---- */

static int may_listen(struct migration *mg, bool from_qmp, struct err *err)
{
	if (mg->m->state != RS_INMIGRATE)
		return err_set(err, EINVAL, "'-incoming' was not specified on the command line");
	if (mg->in.started || (from_qmp && !mg->in.armed && !mg->in.failed))
		return err_set(err, EBUSY, "The incoming migration has already been started");
	return 0;
}

int migration_incoming(struct migration *mg, const struct migration_where *where, int fd,
		       bool from_qmp, struct err *err)
{
	bool again = mg->in.failed;
	struct err why = {0};
	int ret = may_listen(mg, from_qmp, err);

	if (ret < 0) {
		close_fd(fd);
		return ret;
	}
	if (!from_qmp && where->uri && !strcmp(where->uri, "defer")) {
		mg->in.armed = true;
		return 0;
	}
	mg->in.exit_on_error = mg->exit_default;
	ret = incoming_start(&mg->in, where, fd, &why);
	/* A program that has stayed for another attempt stays for one more. */
	if (ret < 0 && again)
		incoming_not_started(&mg->in, &why);
	if (ret < 0 && err)
		*err = why;
	return ret;
}

void migration_incoming_refused(struct migration *mg, const struct err *why)
{
	incoming_not_started(&mg->in, why);
}

void migration_set_exit_on_error(struct migration *mg, bool on, bool this_one)
{
	mg->in.exit_on_error = on;
	if (!this_one)
		mg->exit_default = on;
}

int migration_check_cont(const struct migration *mg, struct err *err)
{
	const struct incoming *in = &mg->in;

	if (mg->m->state != RS_INMIGRATE || !in->failed)
		return migration_check_pages(mg, err);
	return err_set(err, EBUSY,
		       "there is no guest to run, for its load failed (migrate-incoming tries "
		       "again): %s",
		       in->error_text ? in->error_text : in->error.msg);
}

int migration_check_pages(const struct migration *mg, struct err *err)
{
	int ret = incoming_postcopy_check(&mg->in, err);

	return ret < 0 ? ret : incoming_lazy_check(&mg->in, err);
}

int migration_check_complete(const struct migration *mg, struct err *err)
{
	return incoming_postcopy_begun(mg->in.postcopy) ? memory_check_complete(&mg->m->mem, err)
							: 0;
}

/* ---- questions and settings ---- */

const char *const *migration_blockers(struct migration *mg, size_t *n)
{
	*n = 0;
	list_for_each (b, &mg->m->blockers, struct blocker, link) {
		mg->blockers = xrealloc(mg->blockers, (*n + 1) * sizeof(*mg->blockers));
		mg->blockers[(*n)++] = b->reason;
	}
	return mg->blockers;
}

struct dirty_rate *migration_dirty_rate(struct migration *mg)
{
	return mg->dirty_rate;
}

struct snapshots *migration_snapshots(struct migration *mg)
{
	return &mg->snapshots;
}

struct dirty_limits *migration_dirty_limits(struct migration *mg)
{
	return mg->dirty_limits;
}

const struct migration_params *migration_get_params(struct migration *mg)
{
	return &mg->set.params;
}

int migration_set_params(struct migration *mg, const struct migration_params_set *set,
			 struct err *err)
{
	struct migration_params next;
	int ret = settings_next_params(&mg->set, set, &next, err);

	if (ret == 0)
		ret = outgoing_check_params(&mg->out, &next, err);
	if (ret < 0)
		return ret;
	mg->set.params = next;
	follow_params(mg);
	return 0;
}

int migration_set_bitmap_mapping(struct migration *mg, const struct bitmap_mapping *map,
				 struct err *err)
{
	int ret = bitmap_mapping_check(map, err);

	if (ret == 0)
		bitmap_mapping_copy(&mg->mapping, map);
	return ret;
}

const struct bitmap_mapping *migration_bitmap_mapping(const struct migration *mg)
{
	return &mg->mapping;
}

bool migration_get_capability(struct migration *mg, enum migration_capability c)
{
	return mg->set.caps[c];
}

/* In QEMU's order: a migration that goes out, the rules; one that comes in is ours to refuse. */
int migration_set_capabilities(struct migration *mg, const enum migration_capability *caps,
			       const bool *states, size_t n, struct err *err)
{
	enum migration_status comes = status_get(&mg->in.status);
	bool comes_alone = (comes == MIG_SETUP || comes == MIG_ACTIVE) && !mg->in.listens;
	bool next[CAP_COUNT];
	int ret;

	if (status_busy(status_get(&mg->out.status)))
		return err_set(err, EBUSY, IN_PROGRESS);
	ret = settings_next_capabilities(&mg->set, caps, states, n, comes_alone, next, err);
	if (ret == 0 && migration_busy(mg))
		ret = err_set(err, EBUSY, IN_PROGRESS);
	if (ret == 0 && next[CAP_BACKGROUND_SNAPSHOT] && !mg->set.caps[CAP_BACKGROUND_SNAPSHOT])
		ret = probe_background(mg, err);
	if (ret == 0 && next[CAP_POSTCOPY_RAM] && !mg->set.caps[CAP_POSTCOPY_RAM])
		ret = probe_postcopy(mg, err);
	if (ret == 0)
		memcpy(mg->set.caps, next, sizeof(next));
	return ret;
}

bool migration_busy(struct migration *mg)
{
	return is_migrating(mg) || mg->snapshots.busy;
}
