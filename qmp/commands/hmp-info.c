/* hmp-info.c - topics of the human monitor's info, in QEMU's words */
#include <inttypes.h>

#include "devices/microvm.h"
#include "devices/vmgenid.h"
#include "migration/migration.h"
#include "qmp/command.h"
#include "qmp/commands/version.h"
#include "qmp/hmp.h"
#include "vmm/base/buf.h"
#include "vmm/base/units.h"
#include "vmm/base/uuid.h"
#include "vmm/machine.h"
#include "vmm/options/config.h"

/* ---- the machine ---- */

static int info_status(struct qmp_call *call, const struct hmp_args *args, struct buf *out,
		       struct err *err)
{
	const struct machine *m = call->m;

	(void)args;
	(void)err;
	if (machine_running(m))
		buf_printf(out, "VM status: running\n");
	else if (m->state == RS_PAUSED)
		buf_printf(out, "VM status: paused\n");
	else
		buf_printf(out, "VM status: paused (%s)\n", runstate_name(m->state));
	return 0;
}

static int info_version(struct qmp_call *call, const struct hmp_args *args, struct buf *out,
			struct err *err)
{
	const struct qmp_version_triple *v = &qmp_version.qemu;

	(void)call;
	(void)args;
	(void)err;
	buf_printf(out, "%" PRId64 ".%" PRId64 ".%" PRId64 "%s\n", v->major, v->minor, v->micro,
		   qmp_version.package);
	return 0;
}

static int info_name(struct qmp_call *call, const struct hmp_args *args, struct buf *out,
		     struct err *err)
{
	(void)args;
	(void)err;
	if (call->m->cfg->name)
		buf_printf(out, "%s\n", call->m->cfg->name);
	return 0;
}

static int info_uuid(struct qmp_call *call, const struct hmp_args *args, struct buf *out,
		     struct err *err)
{
	(void)args;
	(void)err;
	buf_printf(out, "%s\n", uuid_text(call->m->cfg->uuid).s);
	return 0;
}

static int info_generation(struct qmp_call *call, const struct hmp_args *args, struct buf *out,
			   struct err *err)
{
	const struct vmgenid *v = vmgenid_find(call->m);

	(void)args;
	(void)err;
	if (v)
		buf_printf(out, "%s\n", uuid_text(v->guid).s);
	return 0;
}

/* ---- disks ---- */

static void show_disk(const struct block_node *b, struct buf *out)
{
	const struct device *d = b->user;
	bool named = b->drive_id && *b->drive_id;

	buf_printf(out, "%s%s%s%s: %s (%s%s)\n", named ? b->drive_id : "", named ? " (" : "",
		   b->name, named ? ")" : "", b->filename, b->format,
		   b->readonly ? ", read-only" : "");
	if (d)
		buf_printf(out, "    Attached to:      %s\n",
			   d->id && *d->id ? d->id : d->ops->name);
	buf_printf(out, "    Cache mode:       %s%s%s\n",
		   b->writeback ? "writeback" : "writethrough", b->direct ? ", direct" : "",
		   b->no_flush ? ", ignore flushes" : "");
}

static int info_block(struct qmp_call *call, const struct hmp_args *args, struct buf *out,
		      struct err *err)
{
	const struct block_nodes *bs = &call->be->blocks;

	(void)args;
	(void)err;
	for (size_t i = 0; i < bs->n; i++) {
		const struct block_node *b = bs->v[i];

		if (b->user || (b->drive_id && *b->drive_id)) {
			if (out->len)
				buf_printf(out, "\n");
			show_disk(b, out);
		}
	}
	return 0;
}

/* ---- migration ---- */

static void show_ram(const struct migration_ram_stats *ram, struct buf *out)
{
	const struct {
		const char *name, *unit;
		uint64_t v;
	} rows[] = {
	    {"transferred ram",  " kbytes", ram->transferred / KiB },
	    {"remaining ram",    " kbytes", ram->remaining / KiB   },
	    {"total ram",        " kbytes", ram->total / KiB       },
	    {"duplicate",        " pages",  ram->duplicate         },
	    {"skipped",          " pages",  ram->skipped           },
	    {"normal",           " pages",  ram->normal            },
	    {"normal bytes",     " kbytes", ram->normal_bytes / KiB},
	    {"dirty sync count", "",        ram->dirty_sync_count  },
	    {"page size",        " kbytes", ram->page_size / KiB   },
	};

	buf_printf(out, "throughput: %0.2f mbps\n", ram->mbps);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		buf_printf(out, "%s: %" PRIu64 "%s\n", rows[i].name, rows[i].v, rows[i].unit);
}

static int info_migrate(struct qmp_call *call, const struct hmp_args *args, struct buf *out,
			struct err *err)
{
	struct migration_info *i = qmp_alloc(call->pool, 1, sizeof(*i));

	(void)args;
	(void)err;
	migration_query(call->mg, i);
	if (i->status == MIG_NONE)
		return 0;
	buf_printf(out, "Migration status: %s", migration_status_name(i->status));
	if (*i->error_desc)
		buf_printf(out, " (%s)", i->error_desc);
	buf_printf(out, "\n");
	if (i->has_times)
		buf_printf(out, "total time: %" PRIu64 " ms\n", i->total_time_ms);
	if (i->has_expected)
		buf_printf(out, "expected downtime: %" PRIu64 " ms\n", i->expected_downtime_ms);
	if (i->has_downtime)
		buf_printf(out, "downtime: %" PRIu64 " ms\n", i->downtime_ms);
	if (i->has_setup)
		buf_printf(out, "setup: %" PRIu64 " ms\n", i->setup_time_ms);
	if (i->has_ram)
		show_ram(&i->ram, out);
	return 0;
}

const struct hmp_command hmp_info_commands[] = {
    {"info block",		      NULL, "show info of all block devices", info_block},
    {"info migrate", NULL, "show migration status", info_migrate},
    {"info name",				 NULL, "show the current VM name", info_name},
    {"info status",			     NULL, "show the current VM status (running|paused)", info_status},
    {"info uuid",		     NULL, "show the current VM UUID", info_uuid},
    {"info version",		       NULL, "show the version of minivmm", info_version},
    {"info vm-generation-id",       NULL, "Show Virtual Machine Generation ID", info_generation},
    {0				},
};
