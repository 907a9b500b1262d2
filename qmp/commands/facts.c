/* facts.c - what this machine is: name, uuid, processors, what it could be (qmp-surface 5.1, 5.2)
 */
#include <errno.h>
#include <string.h>

#include "devices/vmgenid.h"
#include "qmp/command.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"
#include "vmm/base/uuid.h"
#include "vmm/machine.h"
#include "vmm/options/config.h"
#include "vmm/vcpu.h"

#define MAX_CPUS                                                                                   \
	255 /* the highest APIC id that fits the interrupt controllers' 8 bits, less one           \
	     */

/* ---- query-name, query-uuid ---- */

struct name {
	const char *name;
};

static const struct qmp_member name_members[] = {
    QMP_SET(struct name, name, "name"),
    {0},
};
static const struct qmp_type name_type = QMP_OBJECT_TYPE(struct name, "NameInfo", name_members);

static int query_name(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	(void)arg;
	(void)err;
	((struct name *)ret)->name = call->m->cfg->name;
	return 0;
}

struct uuid {
	const char *uuid;
};

static const struct qmp_member uuid_members[] = {
    QMP_REQ(struct uuid, uuid, "UUID"),
    {0},
};
static const struct qmp_type uuid_type = QMP_OBJECT_TYPE(struct uuid, "UuidInfo", uuid_members);

static int query_uuid(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	(void)arg;
	(void)err;
	((struct uuid *)ret)->uuid = qmp_printf(call->pool, "%s", uuid_text(call->m->cfg->uuid).s);
	return 0;
}

/* ---- query-vm-generation-id ---- */

static const struct qmp_member generation_members[] = {
    QMP_REQ(struct uuid, uuid, "guid"),
    {0},
};
static const struct qmp_type generation_type =
    QMP_OBJECT_TYPE(struct uuid, "GuidInfo", generation_members);

static int query_generation(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	const struct vmgenid *v = vmgenid_find(call->m);

	(void)arg;
	if (!v)
		return err_set(err, ENODEV, "VM Generation ID device not found");
	((struct uuid *)ret)->uuid = qmp_printf(call->pool, "%s", uuid_text(v->guid).s);
	return 0;
}

/* ---- query-kvm ---- */

struct kvm {
	bool enabled, present;
};

static const struct qmp_member kvm_members[] = {
    QMP_REQ(struct kvm, enabled, "enabled"),
    QMP_REQ(struct kvm, present, "present"),
    {0},
};
static const struct qmp_type kvm_type = QMP_OBJECT_TYPE(struct kvm, "KvmInfo", kvm_members);

static int query_kvm(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	(void)call;
	(void)arg;
	(void)err;
	*(struct kvm *)ret = (struct kvm){true, true};
	return 0;
}

/* ---- query-accelerators ---- */

struct accelerators {
	int enabled;
	struct qmp_array present;
};

static const char *const accelerators[] = {"kvm", NULL};
static const struct qmp_type accelerator_enum = QMP_ENUM_TYPE("Accelerator", accelerators);
static const struct qmp_type accelerator_list = QMP_ARRAY_TYPE(&accelerator_enum);
static const struct qmp_member accelerators_members[] = {
    QMP_REQ_T(struct accelerators, enabled, "enabled", &accelerator_enum),
    QMP_REQ_T(struct accelerators, present, "present", &accelerator_list),
    {0},
};
static const struct qmp_type accelerators_type =
    QMP_OBJECT_TYPE(struct accelerators, "AcceleratorInfo", accelerators_members);

static int query_accelerators(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	(void)arg;
	(void)err;
	((struct accelerators *)ret)->present =
	    (struct qmp_array){qmp_alloc(call->pool, 1, sizeof(int)), 1};
	return 0;
}

/* ---- query-cpus-fast ---- */

struct topology {
	int64_t socket, die, core, thread;
	bool has_die;
};

struct cpu {
	int64_t index, thread_id;
	const char *path;
	struct topology props;
	int target;
};

/* All that the interface names; this one is the first. */
static const char *const targets[] = {
    "x86_64",      "aarch64", "alpha",        "arm",     "avr",     "hppa",     "i386",
    "loongarch64", "m68k",    "microblaze",   "mips",    "mips64",  "mips64el", "mipsel",
    "or1k",        "ppc",     "ppc64",        "riscv32", "riscv64", "rx",       "s390x",
    "sh4",         "sh4eb",   "sparc",        "sparc64", "tricore", "xtensa",   "xtensaeb",
    "cris",        "nios2",   "microblazeel", /* a newer QEMU has dropped these */
};
#define OLD_TARGETS 3U

static const char *target_at(const struct qmp_type *t, size_t i, unsigned *features)
{
	(void)t;
	*features = i + OLD_TARGETS >= ARRAY_LEN(targets) ? QMP_DEPRECATED : 0;
	return i < ARRAY_LEN(targets) ? targets[i] : NULL;
}

static const struct qmp_type target_enum = {
    .kind = QMP_KIND_ENUM, .name = "SysEmuTarget", .size = sizeof(int), .value_at = target_at};
#define PROP(m, wire) QMP_MEMBER_(struct topology, m, wire, &qmp_i64, QMP_ALWAYS)
static const struct qmp_member topology_members[] = {
    QMP_NONE("node-id", &qmp_i64),
    PROP(socket, "socket-id"),
    QMP_OPT(struct topology, die, "die-id"),
    QMP_NONE("cluster-id", &qmp_i64),
    PROP(core, "core-id"),
    PROP(thread, "thread-id"),
    {0},
};
static const struct qmp_type topology_type =
    QMP_OBJECT_TYPE(struct topology, "CpuInstanceProperties", topology_members);
static const struct qmp_member cpu_members[] = {
    QMP_REQ(struct cpu, thread_id, "thread-id"),
    QMP_MEMBER_(struct cpu, props, "props", &topology_type, QMP_ALWAYS),
    QMP_REQ(struct cpu, path, "qom-path"),
    QMP_REQ(struct cpu, index, "cpu-index"),
    QMP_REQ_T(struct cpu, target, "target", &target_enum),
    {0},
};
static const struct qmp_type cpu_type = QMP_OBJECT_TYPE(struct cpu, "CpuInfoFast", cpu_members);
static const struct qmp_type cpu_list = QMP_ARRAY_TYPE(&cpu_type);

static struct topology vcpu_topology(const struct config *cfg, unsigned index)
{
	unsigned threads = MAX(cfg->threads, 1u), cores = MAX(cfg->cores, 1u);
	unsigned dies = MAX(cfg->dies, 1u);

	return (struct topology){
	    .thread = index % threads,
	    .core = index / threads % cores,
	    .die = index / threads / cores % dies,
	    .socket = index / threads / cores / dies,
	    .has_die = dies > 1,
	};
}

static int query_cpus(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	const struct machine *m = call->m;
	struct cpu *cpus = qmp_alloc(call->pool, m->n_vcpus, sizeof(*cpus));

	(void)arg;
	(void)err;
	for (unsigned i = 0; i < m->n_vcpus; i++) {
		cpus[i] = (struct cpu){
		    .index = i,
		    .thread_id = m->vcpus[i]->tid,
		    .path = qmp_printf(call->pool, "/machine/unattached/device[%u]", i),
		    .props = vcpu_topology(m->cfg, i),
		};
	}
	*(struct qmp_array *)ret = (struct qmp_array){cpus, m->n_vcpus};
	return 0;
}

/* ---- query-target, query-machines, query-current-machine ---- */

struct target {
	int arch;
};

static const struct qmp_member target_members[] = {
    QMP_REQ_T(struct target, arch, "arch", &target_enum),
    {0},
};
static const struct qmp_type target_type =
    QMP_OBJECT_TYPE(struct target, "TargetInfo", target_members);

static int query_target(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	(void)call;
	(void)arg;
	(void)ret; /* the only one */
	(void)err;
	return 0;
}

struct machine_info {
	const char *name, *cpu_type, *ram_id;
	bool has_is_default, is_default;
	int64_t cpu_max;
	bool hotpluggable_cpus, numa, deprecated, acpi;
};

static const struct qmp_member machine_members[] = {
    QMP_REQ(struct machine_info, name, "name"),
    QMP_OPT(struct machine_info, is_default, "is-default"),
    QMP_REQ(struct machine_info, cpu_max, "cpu-max"),
    QMP_REQ(struct machine_info, hotpluggable_cpus, "hotpluggable-cpus"),
    QMP_REQ(struct machine_info, numa, "numa-mem-supported"),
    QMP_REQ(struct machine_info, deprecated, "deprecated"),
    QMP_SET(struct machine_info, cpu_type, "default-cpu-type"),
    QMP_SET(struct machine_info, ram_id, "default-ram-id"),
    QMP_REQ(struct machine_info, acpi, "acpi"),
    {0},
};
static const struct qmp_type machine_type =
    QMP_OBJECT_TYPE(struct machine_info, "MachineInfo", machine_members);
static const struct qmp_type machine_list = QMP_ARRAY_TYPE(&machine_type);

static int query_machines(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	static const struct machine_info machines[] = {
	    {.name = "none",      .cpu_max = 1},
	    { .name = "microvm",
	     .cpu_type = "host-x86_64-cpu",
	     .ram_id = "microvm.ram",
	     .has_is_default = true,
	     .is_default = true,
	     .cpu_max = MAX_CPUS,
	     .acpi = true},
	};
	struct machine_info *v = qmp_alloc(call->pool, ARRAY_LEN(machines), sizeof(*v));

	(void)arg;
	(void)err;
	memcpy(v, machines, sizeof(machines));
	*(struct qmp_array *)ret = (struct qmp_array){v, ARRAY_LEN(machines)};
	return 0;
}

struct current_machine {
	bool wakeup;
};

static const struct qmp_member current_members[] = {
    QMP_REQ(struct current_machine, wakeup, "wakeup-suspend-support"),
    {0},
};
static const struct qmp_type current_type =
    QMP_OBJECT_TYPE(struct current_machine, "CurrentMachineParams", current_members);

static int query_current_machine(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	(void)call;
	(void)arg;
	(void)ret; /* it cannot suspend */
	(void)err;
	return 0;
}

/* ---- query-iothreads: the list is empty, and so say clients that ask ---- */

struct iothread {
	const char *id;
	int64_t thread_id;
};

static const struct qmp_member iothread_members[] = {
    QMP_REQ(struct iothread, id, "id"),
    QMP_REQ(struct iothread, thread_id, "thread-id"),
    {0},
};
static const struct qmp_type iothread_type =
    QMP_OBJECT_TYPE(struct iothread, "IOThreadInfo", iothread_members);
static const struct qmp_type iothread_list = QMP_ARRAY_TYPE(&iothread_type);

/* There is no -object iothread. */
static int query_none(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	(void)call;
	(void)arg;
	(void)ret;
	(void)err;
	return 0;
}

const struct qmp_command qmp_facts_commands[] = {
    {"query-name",             NULL, &name_type, query_name, 0},
    {"query-uuid",              NULL, &uuid_type, query_uuid, 0},
    {"query-vm-generation-id",                       NULL, &generation_type, query_generation, 0},
    {"query-kvm",             NULL, &kvm_type, query_kvm, QMP_DEPRECATED},
    {"query-accelerators",              NULL, &accelerators_type, query_accelerators, 0},
    {"query-cpus-fast",                       NULL, &cpu_list, query_cpus, 0},
    {"query-target", NULL, &target_type, query_target, 0},
    {"query-machines",        NULL, &machine_list, query_machines, 0},
    {"query-current-machine",                       NULL, &current_type, query_current_machine, 0},
    {"query-iothreads",              NULL, &iothread_list, query_none, 0},
    {0	      },
};
