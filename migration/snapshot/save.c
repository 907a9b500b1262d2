/*
 * save.c - a snapshot is saved: disks and memory of one instant, into the disks' own images
 *
 *     check     everything that can be known first: nodes, names, what else goes on; nothing
 *               has been touched, and a refusal does not stop the guest
 *     instant   the guest stands still, its disks are drained: devices are collected, each image
 *               holds its disk as it is now, in memory alone (qcow2_saving_begin()), and
 *               memory is protected against writes.  The guest runs on
 *     memory    the stream goes into the VM state area of one image (engine.c), each page as
 *               it was at the instant (outgoing/background.c)
 *     commit    image after image, the one with the VM state last: whoever finds it there finds
 *               the others complete
 *
 * With a parent only the pages go that were written since its instant (track.c); the disks, of
 * which the image keeps one copy of what is equal, are whole in any case.
 *
 * Where memory cannot be protected, or the guest is to stand still, it is held from the instant to
 * the commit (stopped.c).  What fails or is cancelled before the commit is forgotten by all
 * images.  An image that cannot be committed takes the snapshot back from those that could.
 */
#include "migration/snapshot/snapshot.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "devices/block/node-info.h"
#include "devices/block/node.h"
#include "devices/block/qcow2/qcow2.h"
#include "migration/outgoing/modes.h"
#include "migration/ram/lazy/page-index.h"
#include "migration/snapshot/chain.h"
#include "migration/snapshot/engine.h"
#include "migration/snapshot/nodes.h"
#include "migration/snapshot/replace.h"
#include "migration/snapshot/space.h"
#include "migration/snapshot/stopped.h"
#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/base/log.h"
#include "vmm/base/units.h"
#include "vmm/blocker.h"
#include "vmm/machine.h"
#include "vmm/memory/missing.h"
#include "vmm/memory/userfault.h"

#define TAG_MAX_BYTES 255U
#define NS_PER_S      INT64_C(1000000000)

struct saver {
	struct snapshots *s;
	const struct snapshot_request *r;
	struct job *j; /* NULL: none */
	struct snapshot_nodes nodes;
	struct qcow2_saving **saving; /* owned; a node each; NULL: not begun, or over */
	struct snapshot_engine engine;
	struct outgoing_snapshot hook;
	struct page_index *index;   /* owned; of the memory's stream */
	struct qcow2_snapshot what; /* of the instant */
	uint64_t total, reported;   /* bytes of memory that go, and of progress */
	uint8_t index_is[PAGE_INDEX_IDENTITY];
	struct parent_mark parent; /* with r->parent: on which it stands */
	struct buf mark;           /* ... as the stream says it */
	bool background;           /* the guest runs on from the instant */
	int64_t pause_ns;
};

static int job_cancel_fd(const struct job *j)
{
	return j ? j->cancel_fd : -1;
}

static struct qcow2 *vmstate_image(const struct saver *sv)
{
	return snapshot_node_image(sv->nodes.v[sv->nodes.vmstate]);
}

/* ---- check: machine lock held ---- */

static int check_tags(const struct saver *sv, struct err *err)
{
	const struct snapshot_nodes *ns = &sv->nodes;

	if (strlen(sv->r->tag) > TAG_MAX_BYTES)
		return err_set(err, EINVAL, "the tag has more than %u bytes", TAG_MAX_BYTES);
	for (size_t i = 0; i < ns->n; i++)
		if (!sv->r->replace && snapshot_node_find(ns->v[i], sv->r->tag))
			return err_set(err, EEXIST,
				       "Snapshot '%s' already exists in one or more devices ('%s' "
				       "has it)",
				       sv->r->tag, snapshot_node_name(ns->v[i]));
	return 0;
}

static int check_left_out(const struct saver *sv, struct err *err)
{
	const struct buf *b = &sv->nodes.left_out;

	if (!b->len)
		return 0;
	if (sv->r->complete)
		return err_set(err, EINVAL,
			       "the guest can write to %.*s, which 'devices' leaves out "
			       "(x-minivmm-complete)",
			       (int)b->len, (const char *)b->data);
	log_warn("snapshot '%s' is made without %.*s, to which the guest can write: their content "
		 "will not be of that instant",
		 sv->r->tag, (int)b->len, (const char *)b->data);
	return 0;
}

static int check_machine(struct machine *m, struct err *err)
{
	list_for_each (b, &m->blockers, struct blocker, link)
		return err_set(err, ENOTSUP, "%s", b->reason);
	if (memory_check_complete(&m->mem, err) < 0) /* of what is not there yet nothing is known */
		return -EBUSY;
	return machine_check_holdable(m, HOLD_SAVE, err);
}

static int save_check(struct saver *sv, struct err *err)
{
	int ret = check_machine(sv->s->m, err);

	if (ret == 0)
		ret = snapshot_nodes_find(&sv->nodes, sv->r, true, err);
	if (ret == 0)
		ret = check_tags(sv, err);
	if (ret == 0 && sv->r->parent) {
		ret = track_check_parent(&sv->s->track, vmstate_image(sv), sv->r->parent, err);
		sv->parent = sv->s->track.since;
	}
	return ret == 0 ? check_left_out(sv, err) : ret;
}

/* What other snapshots say of it, which has to be read: no lock. */
static int check_chains(const struct saver *sv, struct err *err)
{
	struct qcow2 *q = vmstate_image(sv);
	struct snapshot_chain chain = {0};
	int ret = sv->r->replace ? replace_check(&sv->nodes, sv->r->tag, err) : 0;

	if (ret < 0 || !sv->r->parent)
		return ret;
	ret = snapshot_chain_find(&chain, q, snapshot_find_marked(q, &sv->parent), err);
	if (ret == 0 && chain.n == SNAPSHOT_CHAIN_MAX)
		ret = err_set(
		    err, E2BIG,
		    "snapshot '%.100s' stands on %u others, and one more is too many: make it "
		    "whole first (minivmm-img snapshot --merge)",
		    sv->r->parent, SNAPSHOT_CHAIN_MAX - 1);
	snapshot_chain_fini(&chain);
	return ret;
}

/* ---- the instant ---- */

static void note_time(struct saver *sv)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_REALTIME, &now);
	sv->what = (struct qcow2_snapshot){
	    .name = sv->r->tag,
	    .date_s = (uint32_t)now.tv_sec,
	    .date_ns = (uint32_t)now.tv_nsec,
	    .vm_clock_ns = (uint64_t)MAX(vclock_now_ns(&sv->s->m->vclock), 0),
	    .icount = QCOW2_NO_ICOUNT,
	};
}

/* The guest stands still and no request is in flight.  Machine lock held. */
static int save_instant(void *opaque, struct err *err)
{
	struct saver *sv = opaque;
	struct snapshot_nodes *ns = &sv->nodes;

	note_time(sv);
	for (size_t i = 0; i < ns->n; i++) {
		int ret = qcow2_saving_begin(snapshot_node_image(ns->v[i]), &sv->saving[i], err);

		if (ret < 0)
			return err_prefix(err, ret, "disk '%s'", snapshot_node_name(ns->v[i]));
	}
	sv->engine.area.saving = sv->saving[ns->vmstate];
	return 0;
}

/* ---- what the guest writes, from instant to instant ---- */

static int track_begin_fn(void *opaque, struct err *err)
{
	return track_begin(&((struct saver *)opaque)->s->track, err);
}

static int track_near_fn(void *opaque, struct ram_save *ram, struct err *err)
{
	const struct saver *sv = opaque;

	return track_near(&sv->s->track, sv->r->parent ? ram : NULL, err);
}

static int choose_fn(void *opaque, struct ram_save *ram, struct err *err)
{
	struct saver *sv = opaque;
	uint64_t pages;
	int ret = track_instant(&sv->s->track, sv->r->parent ? ram : NULL, &pages, err);

	if (ret < 0 || !sv->r->parent)
		return ret;
	sv->total = sv->engine.total_bytes = pages * PAGE_BYTES;
	if (sv->j)
		job_set_total(sv->j, MAX(sv->total, 1));
	return 0;
}

static void set_hook(struct saver *sv)
{
	sv->hook =
	    (struct outgoing_snapshot){.instant = save_instant, .opaque = sv, .index = sv->index};
	if (!sv->r->track && !sv->r->parent)
		return;
	sv->hook.begin = track_begin_fn;
	sv->hook.near = track_near_fn;
	sv->hook.choose = choose_fn;
	if (!sv->r->parent)
		return;
	parent_mark_put(&sv->parent, &sv->mark);
	sv->index->layer = true;
	memcpy(sv->index->parent, sv->s->track.index, sizeof(sv->index->parent));
	sv->hook.mark = &sv->mark;
}

/* ---- memory ---- */

/* Before each write into the image: the job's pauses, its cancel and its progress. */
static int save_goes_on(void *opaque)
{
	struct saver *sv = opaque;
	uint64_t done = snapshot_engine_done(&sv->engine);

	if (!sv->j)
		return 0;
	if (done > sv->reported)
		job_add_done(sv->j, done - sv->reported);
	sv->reported = MAX(done, sv->reported);
	return job_pause_point(sv->j);
}

static int save_memory(struct saver *sv, struct err *err)
{
	struct machine *m = sv->s->m;
	char *where = xasprintf("snapshot '%.255s'", sv->r->tag);
	int ret;

	sv->index = page_index_new(&m->mem);
	memcpy(sv->index_is, sv->index->identity, sizeof(sv->index_is));
	set_hook(sv);
	ret = snapshot_engine_init(&sv->engine, m, sv->s->ram_section_id, &sv->hook,
				   job_cancel_fd(sv->j), where, err);
	sv->engine.area.go_on = save_goes_on;
	sv->engine.area.opaque = sv;
	if (ret == 0)
		ret = snapshot_engine_run(&sv->engine,
					  sv->background ? &background_mode : &stopped_mode, err);
	sv->what.vmstate_bytes = sv->engine.area.bytes;
	sv->pause_ns = snapshot_engine_pause_ns(&sv->engine);
	snapshot_engine_fini(&sv->engine);
	page_index_free(sv->index);
	sv->index = NULL;
	free(where);
	return ret;
}

/* ---- commit ---- */

static int commit_node(struct saver *sv, size_t i, struct err *err)
{
	struct qcow2_snapshot what = sv->what;
	int ret;

	if (i != sv->nodes.vmstate)
		what.vmstate_bytes = 0;
	ret = qcow2_saving_commit(sv->saving[i], &what, err);
	if (ret == 0)
		sv->saving[i] = NULL;
	block_node_refresh(sv->nodes.v[i]);
	return ret < 0 ? err_prefix(err, ret, "disk '%s'", snapshot_node_name(sv->nodes.v[i])) : 0;
}

/* The first 'n' in the order of the commit have it: they are to forget it again. */
static void take_back(struct saver *sv, const size_t *order, size_t n, struct err *err)
{
	for (size_t k = 0; k < n; k++) {
		struct block_node *node = sv->nodes.v[order[k]];
		const struct qcow2_snapshot *snap = snapshot_node_find(node, sv->r->tag);
		char *id = snap ? xstrdup(snap->id) : NULL;
		struct err why = {0};
		int ret = id ? snapshot_node_delete(sv->s->m, node, id, &why) : 0;

		free(id);
		if (ret < 0)
			(void)err_prefix(err, 0, "disk '%s' keeps a useless snapshot '%s' (%s)",
					 snapshot_node_name(node), sv->r->tag, why.msg);
	}
}

static int save_commit(struct saver *sv, struct err *err)
{
	size_t n = sv->nodes.n, k = 0;
	size_t *order = xcalloc(n, sizeof(*order));
	int ret = 0;

	for (size_t i = 0; i < n; i++)
		if (i != sv->nodes.vmstate)
			order[k++] = i;
	order[k] = sv->nodes.vmstate;
	for (k = 0; ret == 0 && k < n; k++)
		ret = commit_node(sv, order[k], err);
	if (ret < 0)
		take_back(sv, order, k - 1, err);
	free(order);
	return ret;
}

/* In BLOCK_CALL: 'arg' is the saving. */
static int abort_fn(struct block_node *n, uint64_t arg, struct err *err)
{
	(void)n;
	(void)err;
	/* NOLINTNEXTLINE(performance-no-int-to-ptr): a pointer, for block_node_call() */
	qcow2_saving_abort((struct qcow2_saving *)(uintptr_t)arg);
	return 0;
}

/*
 * Clusters that the guest has written anew since the instant are let go, and a read of one may be
 * in flight: so it is done alone.  When the program ends it is done later, or by the image's end.
 */
static void abort_node(struct saver *sv, size_t i)
{
	struct machine *m = sv->s->m;
	struct qcow2_saving *s = sv->saving[i];
	int ret;

	if (!s)
		return;
	sv->saving[i] = NULL;
	machine_lock(m);
	ret = block_node_call(sv->nodes.v[i], m, abort_fn, (uint64_t)(uintptr_t)s, NULL);
	machine_unlock(m);
	if (ret < 0 && ret != -ECANCELED) /* it could not be asked for */
		qcow2_saving_leave(s);
}

static void save_abort(struct saver *sv)
{
	for (size_t i = 0; i < sv->nodes.n; i++)
		abort_node(sv, i);
}

/* ---- all of it ---- */

static int save_all(struct saver *sv, struct err *err)
{
	int ret = save_memory(sv, err);

	if (ret == 0 && sv->j)
		ret = job_commit_point(sv->j);
	if (ret == 0)
		ret = save_commit(sv, err);
	save_abort(sv);
	if (ret == 0 && sv->r->replace)
		replace_delete_older(sv->s->m, &sv->nodes, sv->r->tag);
	return ret;
}

/* The guest stands still until all is done. */
static int save_held(struct saver *sv, struct err *err)
{
	struct machine *m = sv->s->m;
	int64_t since = host_now_ns();
	struct err why = {0};
	int ret;

	machine_lock(m);
	ret = machine_hold(m, HOLD_SAVE, job_cancel_fd(sv->j), err);
	machine_unlock(m);
	if (ret < 0)
		return ret;
	ret = save_all(sv, err);
	machine_lock(m);
	if (machine_let_go(m, &why) < 0 && ret == 0)
		log_error("snapshot '%s' is saved, but %s", sv->r->tag, why.msg);
	machine_unlock(m);
	sv->pause_ns = host_now_ns() - since;
	return ret;
}

/* Can the guest run on meanwhile?  Machine lock held. */
static bool can_run_on(const struct saver *sv)
{
	struct err why = {0};

	if (sv->r->stopped)
		return false;
	if (userfault_probe(&sv->s->m->mem, USERFAULT_WP, &why) == 0)
		return true;
	log_info("the guest is stopped while snapshot '%s' is saved: %s", sv->r->tag, why.msg);
	return false;
}

static void report(const struct saver *sv, int ret, int64_t ns, const struct err *err)
{
	double s = (double)ns / (double)NS_PER_S;

	machine_lock(sv->s->m);
	if (ret == 0 && sv->j)
		job_set_figures(sv->j, &(struct job_figures){
					   .vmstate_bytes = sv->what.vmstate_bytes,
					   .memory_bytes = sv->total,
					   .pause_us = (uint64_t)sv->pause_ns / 1000,
					   .total_us = (uint64_t)ns / 1000,
				       });
	machine_unlock(sv->s->m);
	if (ret == 0)
		log_notice("snapshot '%s' is saved: %.1f MiB of VM state in '%s', %.3f s, paused "
			   "for %.1f ms",
			   sv->r->tag, (double)sv->what.vmstate_bytes / MiB,
			   snapshot_node_name(sv->nodes.v[sv->nodes.vmstate]), s,
			   (double)sv->pause_ns / 1e6);
	else if (ret == -ECANCELED)
		log_notice("saving snapshot '%s' was cancelled after %.3f s", sv->r->tag, s);
	else
		log_notice("saving snapshot '%s' has failed after %.3f s: %s", sv->r->tag, s,
			   err->msg);
}

/* The progress ends where it was to end, also when it failed (qcow2-vmstate 4). */
static void end_progress(struct saver *sv)
{
	uint64_t total = MAX(sv->total, 1);

	if (sv->j && total > sv->reported)
		job_add_done(sv->j, total - sv->reported);
}

/* Is it the one that may be a parent now? */
static void end_tracking(struct saver *sv, bool saved)
{
	struct machine *m = sv->s->m;

	machine_lock(m);
	track_end(&sv->s->track, saved ? &sv->what : NULL, sv->index_is);
	if (saved && sv->r->untrack)
		track_forget(&sv->s->track, "it was said not to be noted (x-minivmm-track)");
	machine_unlock(m);
	buf_free(&sv->mark);
}

static int save_guest(struct saver *sv, struct err *err)
{
	int64_t since = host_now_ns();
	uint64_t total = memory_total_bytes(&sv->s->m->mem);
	struct err why = {0};
	int ret = check_chains(sv, &why);

	sv->total = total;
	if (sv->j)
		job_set_total(sv->j, total);
	if (ret == 0)
		ret = sv->background ? save_all(sv, &why) : save_held(sv, &why);
	end_tracking(sv, ret == 0);
	end_progress(sv);
	report(sv, ret, host_now_ns() - since, &why);
	if (ret < 0 && ret != -ECANCELED && err)
		*err = why;
	return ret;
}

int snapshot_save(struct snapshots *s, const struct snapshot_request *r, struct job *j,
		  struct err *err)
{
	CLEANUP(cleanup_free) struct saver *sv = NEW(struct saver);
	struct machine *m = s->m;
	int ret;

	sv->s = s;
	sv->r = r;
	sv->j = j;
	machine_lock(m);
	ret = snapshots_claim(s, j, err);
	if (ret < 0) {
		machine_unlock(m);
		return ret;
	}
	ret = save_check(sv, err);
	sv->background = ret == 0 && can_run_on(sv);
	machine_unlock(m);
	sv->saving = xcalloc(sv->nodes.n + 1, sizeof(struct qcow2_saving *));
	if (ret == 0 && !r->parent) /* how much of it goes is known at the instant */
		ret = snapshot_check_space(&m->mem, sv->nodes.v[sv->nodes.vmstate], err);
	if (ret == 0)
		ret = save_guest(sv, err);
	machine_lock(m);
	snapshots_release(s);
	snapshot_nodes_fini(&sv->nodes);
	machine_unlock(m);
	free(sv->saving);
	return ret;
}
