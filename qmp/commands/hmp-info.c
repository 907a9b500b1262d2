/* hmp-info.c - topics of the human monitor's info, in QEMU's words */
#include <errno.h>
#include <inttypes.h>

#include "devices/microvm.h"
#include "devices/virtio/virtio-devices.h"
#include "devices/vmgenid.h"
#include "qmp/command.h"
#include "qmp/commands/version.h"
#include "qmp/hmp.h"
#include "vmm/base/buf.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"
#include "vmm/base/uuid.h"
#include "vmm/machine.h"
#include "vmm/options/config.h"
#include "vmm/vcpu.h"

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

/* ---- processors, chardevs, memory ---- */

static int info_kvm(struct qmp_call *call, const struct hmp_args *args, struct buf *out,
		    struct err *err)
{
	(void)call;
	(void)args;
	(void)err;
	buf_printf(out, "kvm support: enabled\n");
	return 0;
}

static int info_cpus(struct qmp_call *call, const struct hmp_args *args, struct buf *out,
		     struct err *err)
{
	const struct machine *m = call->m;

	(void)args;
	(void)err;
	for (unsigned i = 0; i < m->n_vcpus; i++)
		buf_printf(out, "%c CPU #%u: thread_id=%d\n", i ? ' ' : '*', i,
			   (int)m->vcpus[i]->tid);
	return 0;
}

static int info_chardev(struct qmp_call *call, const struct hmp_args *args, struct buf *out,
			struct err *err)
{
	const struct chardevs *cs = &call->be->chardevs;

	(void)args;
	(void)err;
	pthread_mutex_lock(&call->m->control_lock); /* some are the control thread's */
	for (size_t i = 0; i < cs->n; i++)
		buf_printf(out, "%s: filename=%s\n", cs->v[i]->id,
			   cs->v[i]->filename ? cs->v[i]->filename : cs->v[i]->ops->type);
	pthread_mutex_unlock(&call->m->control_lock);
	return 0;
}

static int info_memory(struct qmp_call *call, const struct hmp_args *args, struct buf *out,
		       struct err *err)
{
	(void)args;
	(void)err;
	buf_printf(out, "base memory: %" PRIu64 "\nplugged memory: 0\n", call->m->cfg->ram_bytes);
	return 0;
}

static int info_balloon(struct qmp_call *call, const struct hmp_args *args, struct buf *out,
			struct err *err)
{
	struct balloon *b = balloon_find(call->m);

	(void)args;
	if (!b)
		return err_set(err, ENODEV, "No balloon device has been activated");
	buf_printf(out, "balloon: actual=%llu\n",
		   (unsigned long long)balloon_actual_bytes(b) / MiB);
	return 0;
}

/* Where RAM and devices are in the guest's address spaces. */
static int info_mtree(struct qmp_call *call, const struct hmp_args *args, struct buf *out,
		      struct err *err)
{
	const struct machine *m = call->m;

	(void)args;
	(void)err;
	buf_printf(out, "address-space: memory\n");
	for (size_t i = 0; i < m->mem.n_slots; i++) {
		const struct mem_slot *s = &m->mem.slots[i];

		buf_printf(out, "  %016" PRIx64 "-%016" PRIx64 " (prio 0, ram): %s\n", s->gpa,
			   s->gpa + s->bytes - 1, s->block->name);
	}
	return 0;
}

const struct hmp_command hmp_info_commands[] = {
    {"info block",				   NULL, "show info of all block devices", info_block, false},
    {"info name",              NULL, "show the current VM name", info_name, false},
    {"info status",					 NULL, "show the current VM status (running|paused)", info_status, false},
    {"info uuid",				    NULL, "show the current VM UUID", info_uuid, false},
    {"info version",                    NULL, "show the version of minivmm", info_version, false},
    {"info vm-generation-id",					 NULL, "Show Virtual Machine Generation ID", info_generation, false},
    {"info kvm",				  NULL, "show KVM information", info_kvm, false},
    {"info cpus", NULL, "show infos for each CPU", info_cpus, false},
    {"info chardev",					 NULL, "show the character devices", info_chardev, false},
    {"info memory_size_summary",				    NULL, "show the amount of memory", info_memory, false},
    {"info balloon",                    NULL, "show balloon information", info_balloon, false},
    {"info mtree",					 NULL, "show where memory is", info_mtree, false},
    {0				},
};
