/* hmp-snapshot.c - savevm, loadvm, delvm, info snapshots: of all disks that the guest can write to
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "devices/block/node-info.h"
#include "devices/block/qcow2/qcow2.h"
#include "devices/microvm.h"
#include "migration/migration.h"
#include "migration/snapshot/snapshot.h"
#include "qmp/command.h"
#include "qmp/hmp.h"
#include "vmm/base/alloc.h"
#include "vmm/base/buf.h"
#include "vmm/base/error.h"
#include "vmm/base/list.h"
#include "vmm/base/thread.h"
#include "vmm/base/units.h"
#include "vmm/base/wake.h"
#include "vmm/machine.h"

#define NS_PER_MS UINT64_C(1000000)

typedef int snapshot_fn(struct snapshots *s, const struct snapshot_request *r, struct job *j,
			struct err *err);

struct snapshot_call {
	struct snapshots *s;
	struct snapshot_request r;
	snapshot_fn *fn;
	int done_fd; /* eventfd: it is done */
	int ret;
	struct err err;
};

static void *snapshot_thread(void *opaque)
{
	struct snapshot_call *c = opaque;

	c->ret = c->fn(c->s, &c->r, NULL, &c->err);
	wake_set(c->done_fd);
	return NULL;
}

/* Machine lock held; given up. */
static void do_requests_until(struct machine *m, int done_fd, int asked_fd)
{
	struct pollfd p[] = {
	    {.fd = done_fd,  .events = POLLIN},
	    {.fd = asked_fd, .events = POLLIN},
	};

	machine_stand_in(m, asked_fd);
	while (!p[0].revents) {
		wake_clear(asked_fd);
		machine_do_requests(m);
		machine_unlock(m);
		(void)poll(p, ARRAY_LEN(p), -1);
		machine_lock(m);
	}
	machine_stand_in(m, -1);
}

/*
 * On a thread of its own, because it may wait for what the guest has asked for (requests.h),
 * which this one, the work loop, carries out meanwhile.  Machine lock held; given up.
 */
static int snapshot_run(struct qmp_call *call, snapshot_fn *fn, const char *tag, struct err *err)
{
	CLEANUP(cleanup_close) int done_fd = wake_open();
	struct snapshot_call c = {
	    .s = migration_snapshots(call->mg),
	    .r = {.blocks = &call->be->blocks, .tag = tag, .replace = true},
	    .fn = fn,
	    .done_fd = done_fd,
	};
	struct thread thread = {0};
	CLEANUP(cleanup_close) int asked_fd = wake_open();
	int ret;

	if (done_fd < 0 || asked_fd < 0)
		return err_set(err, EMFILE, "cannot make an eventfd: %s", err_text(EMFILE));
	ret = thread_start(&thread, "snapshot", THREAD_MIGRATION, snapshot_thread, &c, err);
	if (ret < 0)
		return ret;
	do_requests_until(call->m, done_fd, asked_fd);
	thread_join(&thread);
	if (c.ret < 0)
		return err_set(err, -c.ret, "%s", c.err.errnum ? c.err.msg : err_text(-c.ret));
	return 0;
}

static int hmp_savevm(struct qmp_call *call, const struct hmp_args *args, struct buf *out,
		      struct err *err)
{
	time_t now = time(NULL);
	char name[32];
	struct tm tm;

	(void)out;
	(void)localtime_r(&now, &tm);
	(void)strftime(name, sizeof(name), "vm-%Y%m%d%H%M%S", &tm);
	return snapshot_run(call, snapshot_save, args->v[0] ? args->v[0] : name, err);
}

static int hmp_loadvm(struct qmp_call *call, const struct hmp_args *args, struct buf *out,
		      struct err *err)
{
	(void)out;
	return snapshot_run(call, snapshot_load, args->v[0], err);
}

static int hmp_delvm(struct qmp_call *call, const struct hmp_args *args, struct buf *out,
		     struct err *err)
{
	(void)out;
	return snapshot_run(call, snapshot_delete, args->v[0], err);
}

/* ---- info snapshots ---- */

static bool has_snapshot(struct block_node *n, const char *name)
{
	bool found = false;

	pthread_mutex_lock(&n->info_mutex);
	for (size_t i = 0; n->info && i < n->info->n_snapshots; i++)
		found = found || !strcmp(n->info->snapshots[i].name, name);
	pthread_mutex_unlock(&n->info_mutex);
	return found;
}

static bool is_snapshot_disk(const struct block_node *n)
{
	return n->user && !n->readonly && n->img;
}

static bool all_have(const struct block_nodes *bs, const char *name)
{
	for (size_t i = 0; i < bs->n; i++)
		if (is_snapshot_disk(bs->v[i]) && !has_snapshot(bs->v[i], name))
			return false;
	return true;
}

/* "195 KiB": three digits, as qemu-img writes it. */
static void put_size(char *to, size_t n, uint64_t bytes)
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
	double v = (double)bytes;
	size_t u = 0;

	while (v >= 1000 && u + 1 < ARRAY_LEN(units)) {
		v /= 1024;
		u++;
	}
	(void)snprintf(to, n, "%.3g %s", v, units[u]);
}

static void put_row(struct buf *out, const char *id, const struct qcow2_snapshot *s)
{
	uint64_t ms = s->vm_clock_ns / NS_PER_MS;
	time_t when = s->date_s;
	char size[24], date[24], clock[24], icount[24] = "";
	struct tm tm;

	put_size(size, sizeof(size), s->vmstate_bytes);
	(void)localtime_r(&when, &tm);
	(void)strftime(date, sizeof(date), "%Y-%m-%d %H:%M:%S", &tm);
	(void)snprintf(clock, sizeof(clock), "%02u:%02u:%02u.%03u", (unsigned)(ms / 3600000),
		       (unsigned)(ms / 60000 % 60), (unsigned)(ms / 1000 % 60),
		       (unsigned)(ms % 1000));
	if (s->icount != QCOW2_NO_ICOUNT)
		(void)snprintf(icount, sizeof(icount), "%llu", (unsigned long long)s->icount);
	buf_printf(out, "%-9s %-16s %8s%20s%13s%11s\n", id, s->name, size, date, clock, icount);
}

static const char head[] =
    "ID        TAG               VM SIZE                DATE     VM CLOCK     ICOUNT\n";

/* A snapshot of a list that may change at any time: copied. */
struct row {
	struct qcow2_snapshot s;
	char *id, *name; /* owned */
};

static struct row *copy_rows(struct block_node *n, size_t *count)
{
	struct row *rows = NULL;

	*count = 0;
	pthread_mutex_lock(&n->info_mutex);
	if (n->info && n->info->n_snapshots) {
		*count = n->info->n_snapshots;
		rows = xcalloc(*count, sizeof(*rows));
		for (size_t i = 0; i < *count; i++) {
			rows[i].s = n->info->snapshots[i];
			rows[i].s.id = rows[i].id = xstrdup(rows[i].s.id);
			rows[i].s.name = rows[i].name = xstrdup(rows[i].s.name);
		}
	}
	pthread_mutex_unlock(&n->info_mutex);
	return rows;
}

static void free_rows(struct row *rows, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		free(rows[i].id);
		free(rows[i].name);
	}
	free(rows);
}

/* Those of a disk that all have, or that not all have. */
static size_t put_rows(struct buf *out, const struct block_nodes *bs, struct block_node *n,
		       bool whole, const char *title)
{
	size_t count, shown = 0;
	struct row *rows = copy_rows(n, &count);

	for (size_t i = 0; i < count; i++) {
		const struct qcow2_snapshot *snap = &rows[i].s;

		if (all_have(bs, snap->name) != whole)
			continue;
		if (shown++ == 0)
			buf_printf(out, "%s%s", title, head);
		put_row(out, whole ? "--" : snap->id, snap);
	}
	free_rows(rows, count);
	return shown;
}

static int hmp_info_snapshots(struct qmp_call *call, const struct hmp_args *args, struct buf *out,
			      struct err *err)
{
	const struct block_nodes *bs = &call->be->blocks;
	struct block_node *first = NULL;

	(void)args;
	(void)err;
	for (size_t i = 0; i < bs->n && !first; i++)
		if (is_snapshot_disk(bs->v[i]))
			first = bs->v[i];
	buf_printf(out, "List of snapshots present on all disks:\n");
	if (!first || !put_rows(out, bs, first, true, ""))
		buf_printf(out, "None\n");
	for (size_t i = 0; i < bs->n; i++) {
		char title[160];

		(void)snprintf(title, sizeof(title),
			       "\nList of partial (non-loadable) snapshots on '%.100s':\n",
			       *bs->v[i]->drive_id ? bs->v[i]->drive_id : bs->v[i]->name);
		if (is_snapshot_disk(bs->v[i]))
			(void)put_rows(out, bs, bs->v[i], false, title);
	}
	return 0;
}

const struct hmp_command hmp_snapshot_commands[] = {
    {"savevm",						     "[tag]", "save a snapshot of the guest, instead of one of that name", hmp_savevm,
     true},
    {"loadvm", "tag", "go back to a snapshot", hmp_loadvm, true},
    {"delvm",							 "tag", "delete a snapshot", hmp_delvm, true},
    {"info snapshots",						     NULL, "show the snapshots", hmp_info_snapshots, false},
    {0				    },
};
