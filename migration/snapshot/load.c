/*
 * load.c - a snapshot is loaded: disks and memory go back to its instant
 *
 *     check     the nodes and their snapshots, and the whole stream (stream.c); a refusal leaves
 *               the guest running and its disks as they are
 *     hold      the guest stands still, its disks are drained
 *     disks     each image becomes that of the snapshot
 *     load      the devices are reset, RAM and their states are loaded, and pushed into KVM; what
 *               tells a copy from the guest itself is done (incoming/copy.h)
 *     let go    what ran runs on; what did not keeps its run state, whatever was saved
 *
 * Where userfaultfd can be had the load leaves the pages where they are, and they come while the
 * guest runs (session.h).  An index behind the stream tells where that is (ram/lazy/page-index.h);
 * of a stream without one the check takes notes.
 *
 * From 'disks' on there is no way back: what fails then leaves no guest, and 'cont' is refused
 * until a snapshot has been loaded or the machine has been reset.
 */
#include "migration/snapshot/snapshot.h"

#include <errno.h>
#include <stdlib.h>

#include "devices/block/image.h"
#include "devices/block/node-info.h"
#include "devices/block/node.h"
#include "devices/block/qcow2/qcow2.h"
#include "migration/channel/channel.h"
#include "migration/channel/vmstate.h"
#include "migration/incoming/copy.h"
#include "migration/incoming/lazy.h"
#include "migration/settings/settings.h"
#include "migration/snapshot/nodes.h"
#include "migration/snapshot/stream.h"
#include "migration/stream/globalstate.h"
#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/base/log.h"
#include "vmm/base/units.h"
#include "vmm/machine.h"
#include "vmm/memory/missing.h"

#define NS_PER_S UINT64_C(1000000000)

struct restorer {
	struct snapshots *s;
	const struct snapshot_request *r;
	struct job *j; /* NULL: none */
	struct snapshot_nodes nodes;
	char **ids;      /* owned; of the snapshot, in each node's image */
	uint64_t *bytes; /* owned; of each disk in the snapshot */
	struct snapshot_source source;
	uint64_t saved_ns; /* since 1970 */
	bool no_way_back;
	bool lazily; /* pages come later */
	int64_t begun_ns, pause_ns;
};

static int restorer_cancel_fd(const struct restorer *rs)
{
	return rs->j ? rs->j->cancel_fd : -1;
}

/* ---- check ---- */

/* One that has another size now gets that of the snapshot, and the guest is told so. */
static int check_disk(const struct block_node *n, const struct qcow2_snapshot *snap,
		      struct err *err)
{
	int ret;

	if (snap->disk_bytes % BLOCK_SECTOR_BYTES)
		return err_set(err, ENOTSUP,
			       "disk '%s' had %llu bytes in snapshot '%s', which is no multiple of "
			       "%d",
			       snapshot_node_name(n), (unsigned long long)snap->disk_bytes,
			       snap->name, BLOCK_SECTOR_BYTES);
	ret = qcow2_snapshot_check_apply(snapshot_node_image(n), snap->id, err);
	return ret < 0 ? err_prefix(err, ret, "disk '%s'", snapshot_node_name(n)) : 0;
}

/* Machine lock held. */
static int check_snapshots(struct restorer *rs, struct err *err)
{
	const struct snapshot_nodes *ns = &rs->nodes;

	rs->ids = xcalloc(ns->n + 1, sizeof(*rs->ids));
	rs->bytes = xcalloc(ns->n + 1, sizeof(*rs->bytes));
	for (size_t i = 0; i < ns->n; i++) {
		const struct qcow2_snapshot *snap = snapshot_node_find(ns->v[i], rs->r->tag);
		int ret;

		if (!snap)
			return err_set(err, ENOENT,
				       "Snapshot '%.200s' does not exist in one or more devices "
				       "('%s' lacks it)",
				       rs->r->tag, snapshot_node_name(ns->v[i]));
		ret = check_disk(ns->v[i], snap, err);
		if (ret < 0)
			return ret;
		rs->ids[i] = xstrdup(snap->id);
		rs->bytes[i] = snap->disk_bytes;
		if (i == ns->vmstate) {
			rs->source.from.off = snap->vmstate_off;
			rs->source.from.bytes = snap->vmstate_bytes;
		}
		rs->saved_ns = snap->date_s * NS_PER_S + snap->date_ns;
	}
	rs->source.from.q = snapshot_node_image(ns->v[ns->vmstate]);
	rs->source.from.id = rs->ids[ns->vmstate];
	if (!rs->r->eager && rs->s->set->params.lazy_load)
		rs->source.lazily_from = ns->v[ns->vmstate];
	if (!rs->source.from.bytes)
		return err_set(
		    err, EINVAL,
		    "This is a disk-only snapshot. Revert to it  offline using qemu-img");
	return 0;
}

/* What the machine's description says of the disks' sizes: as in the snapshot, or as it is. */
static void describe_sizes(const struct restorer *rs, bool as_saved)
{
	machine_lock(rs->s->m);
	for (size_t i = 0; i < rs->nodes.n; i++) {
		struct block_node *n = rs->nodes.v[i];

		if (n->user && n->describe)
			n->describe(n->user, as_saved ? rs->bytes[i] : block_node_bytes(n));
	}
	machine_unlock(rs->s->m);
}

/* Machine lock held. */
static int load_check(struct restorer *rs, struct err *err)
{
	int ret = machine_check_holdable(rs->s->m, HOLD_LOAD, err);

	if (ret == 0) /* what still comes would come on top of it */
		ret = memory_check_complete(&rs->s->m->mem, err);
	if (ret == 0)
		ret = snapshot_nodes_find(&rs->nodes, rs->r, true, err);
	if (ret == 0)
		ret = check_snapshots(rs, err);
	if (ret == 0 && rs->nodes.left_out.len)
		log_warn("snapshot '%s' is loaded without %.*s, to which the guest can write: they "
			 "stay as they are",
			 rs->r->tag, (int)rs->nodes.left_out.len,
			 (const char *)rs->nodes.left_out.data);
	return ret;
}

/* ---- disks and guest ---- */

static void load_size(struct restorer *rs, size_t i)
{
	struct block_node *n = rs->nodes.v[i];

	if (block_node_bytes(n) == rs->bytes[i])
		return;
	log_notice("disk '%s' has %llu bytes again, as in snapshot '%s'", snapshot_node_name(n),
		   (unsigned long long)rs->bytes[i], rs->r->tag);
	__atomic_store_n(&n->img->bytes, rs->bytes[i], __ATOMIC_RELAXED);
	machine_lock(rs->s->m);
	block_node_size_changed(n, rs->s->m, rs->bytes[i]);
	machine_unlock(rs->s->m);
}

/* No request is in flight. */
static int load_disks(struct restorer *rs, struct err *err)
{
	rs->no_way_back = true;
	for (size_t i = 0; i < rs->nodes.n; i++) {
		struct block_node *n = rs->nodes.v[i];
		int ret = qcow2_snapshot_apply(snapshot_node_image(n), rs->ids[i], err);

		block_node_refresh(n);
		if (ret < 0)
			return err_prefix(err, ret, "disk '%s'", snapshot_node_name(n));
		load_size(rs, i);
	}
	return 0;
}

/* From now on guest memory may be touched.  Whatever came later of an older guest has come. */
static int load_begin_pages(struct restorer *rs, struct err *err)
{
	struct lazy *lazy = rs->source.lazy;
	char *from;
	int ret;

	if (!lazy) {
		incoming_lazy_forget(rs->s->in);
		return 0;
	}
	rs->source.lazy = NULL;
	rs->lazily = true;
	from = xasprintf("snapshot '%.255s'", rs->r->tag);
	ret = incoming_lazy_adopt(rs->s->in, lazy, from, rs->begun_ns, err);
	free(from);
	return ret;
}

static int load_guest(struct restorer *rs, struct err *err)
{
	struct machine *m = rs->s->m;
	int ret;

	machine_lock(m);
	track_forget(&rs->s->track, "a snapshot has been loaded");
	ret = machine_reset(m, err);
	machine_unlock(m);
	if (ret == 0)
		ret = snapshot_source_load(&rs->source, m, err);
	if (ret == 0)
		ret = load_begin_pages(rs, err);
	if (ret < 0)
		return ret;
	machine_lock(m);
	ret = m->arch->push(m, err);
	machine_unlock(m);
	if (ret == 0)
		ret = copy_loaded(m, rs->s->set, rs->saved_ns, err);
	machine_lock(m);
	if (ret == 0)
		ret = incoming_lazy_run(rs->s->in, err);
	if (ret == 0) {
		m->needs_boot = false;
		m->broken.errnum = 0;
	}
	rs->s->globalstate->received = false; /* whether it ran when it was saved does not matter */
	machine_unlock(m);
	return ret;
}

/* ---- all of it ---- */

static void say_broken(const struct restorer *rs, struct err *err)
{
	struct err why = *err;

	(void)err_set(err, why.errnum,
		      "snapshot '%.100s' could not be loaded, and there is no guest to run until "
		      "one is loaded or the machine is reset: " ERR_WITHIN,
		      rs->r->tag, why.msg);
}

static int load_held(struct restorer *rs, struct err *err)
{
	struct machine *m = rs->s->m;
	int64_t since = host_now_ns();
	int ret;

	machine_lock(m);
	ret = machine_hold(m, HOLD_LOAD, restorer_cancel_fd(rs), err);
	machine_unlock(m);
	if (ret < 0)
		return ret;
	ret = rs->j ? job_commit_point(rs->j) : 0;
	if (ret == 0)
		ret = load_disks(rs, err);
	if (ret == 0)
		ret = load_guest(rs, err);
	machine_lock(m);
	if (ret < 0 && rs->no_way_back) {
		machine_unlock(m);
		incoming_lazy_abort(rs->s->in);
		machine_lock(m);
		say_broken(rs, err);
		machine_let_go_broken(m, err);
	} else {
		int kept = machine_let_go(m, ret < 0 ? NULL : err);

		ret = ret < 0 ? ret : kept;
		if (ret == 0 && rs->lazily)
			incoming_lazy_resumed(rs->s->in);
	}
	machine_unlock(m);
	rs->pause_ns = host_now_ns() - since;
	return ret;
}

static void report_figures(const struct restorer *rs, uint64_t us)
{
	struct machine *m = rs->s->m;
	struct job_figures f = {
	    .vmstate_bytes = rs->source.from.bytes,
	    .memory_bytes = memory_total_bytes(&m->mem),
	    .pause_us = (uint64_t)rs->pause_ns / 1000,
	    .total_us = us,
	    .has_resume_us = true,
	    .resume_us = us,
	    .has_resident_us = !rs->lazily,
	    .resident_us = us,
	};

	machine_lock(m);
	if (rs->lazily)
		f.load = incoming_lazy_number(rs->s->in, &f.has_resident_us, &f.resident_us);
	if (f.has_resident_us)
		f.resident_us = MAX(f.resident_us, f.resume_us);
	job_set_figures(rs->j, &f);
	machine_unlock(m);
}

static void report(const struct restorer *rs, int ret, int64_t ns, const struct err *err)
{
	double s = (double)ns / 1e9;

	if (ret == 0 && rs->j)
		report_figures(rs, (uint64_t)ns / 1000);
	if (ret == 0)
		log_notice("snapshot '%s' is loaded: %.3f s%s", rs->r->tag, s,
			   rs->lazily ? ", and its memory comes as it is touched" : "");
	else if (ret == -ECANCELED)
		log_notice("loading snapshot '%s' was cancelled", rs->r->tag);
	else if (rs->no_way_back)
		log_notice("%s", err->msg);
	else
		log_notice("snapshot '%s' is not loaded, guest and disks are as they were: %s",
			   rs->r->tag, err->msg);
}

static int restorer_run(struct restorer *rs, struct err *err)
{
	struct err why = {0};
	int ret;

	describe_sizes(rs, true);
	ret = snapshot_source_check(&rs->source, rs->s->m, rs->j, &why);
	if (ret == 0)
		ret = load_held(rs, &why);
	describe_sizes(rs, false); /* where it was not loaded */
	snapshot_source_end(&rs->source);
	report(rs, ret, host_now_ns() - rs->begun_ns, &why);
	if (ret < 0 && ret != -ECANCELED && err)
		*err = why;
	return ret;
}

int snapshot_load(struct snapshots *s, const struct snapshot_request *r, struct job *j,
		  struct err *err)
{
	struct restorer rs = {.s = s, .r = r, .j = j, .begun_ns = host_now_ns()};
	struct machine *m = s->m;
	int ret;

	machine_lock(m);
	ret = snapshots_claim(s, j, err);
	if (ret < 0) {
		machine_unlock(m);
		return ret;
	}
	ret = load_check(&rs, err);
	machine_unlock(m);
	if (ret == 0)
		ret = restorer_run(&rs, err);
	for (size_t i = 0; rs.ids && i < rs.nodes.n; i++)
		free(rs.ids[i]);
	free(rs.ids);
	free(rs.bytes);
	machine_lock(m);
	snapshots_release(s);
	snapshot_nodes_fini(&rs.nodes);
	machine_unlock(m);
	return ret;
}
