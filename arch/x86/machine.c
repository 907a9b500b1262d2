/*
 * machine.c - the x86 side of a machine: capabilities, vCPU set-up, reset, state
 *
 *     x86_create      required capabilities, CPU model, interrupt controllers
 *     x86_vcpu_init   per vCPU: TSC rate, machine check banks, CPUID, sections
 *     fetch, push     all vCPUs and controllers between KVM and the state structs
 *
 * KVM fixes some of it at the first vCPU (identity map, TSS, x2APIC ids,
 * in-kernel irqchip), hence the order.  The guest's files are staged with the
 * machine lock given up, because writing guest memory may block.
 */
#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "arch/x86/internal.h"
#include "arch/x86/x86.h"
#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/base/log.h"
#include "vmm/base/units.h"
#include "vmm/machine.h"
#include "vmm/options/config.h"

/* Three pages and one that KVM takes for itself, below the firmware and off the board's devices. */
#define IDENTITY_MAP_GPA 0xfeffc000ULL
#define TSS_GPA          0xfeffd000ULL

#define SUPPORTED_MAX 256
#define MCG_CAP       (1ULL << 24 | 1ULL << 8 | MCE_BANKS) /* software recovery, MCG_CTL */
#define MODEL_DEFAULT "qemu64"

/* ---- vCPUs ---- */

static int set_tsc_frequency(const struct x86 *x, const struct vcpu *v, struct err *err)
{
	unsigned long khz = (unsigned long)(x->model.tsc_hz / 1000);

	if (khz == 0 || ioctl(v->fd, KVM_SET_TSC_KHZ, khz) == 0 ||
	    ioctl(v->fd, KVM_GET_TSC_KHZ, 0) == (long)khz)
		return 0;
	return err_set(err, ENOTSUP, "KVM cannot give the guest a TSC of %lu kHz: %s", khz,
		       err_text(errno));
}

static int setup_mce(const struct x86 *x, const struct vcpu *v, struct err *err)
{
	uint64_t cap = x->mcg_cap;

	if (cap == 0 || ioctl(v->fd, KVM_X86_SETUP_MCE, &cap) == 0)
		return 0;
	return err_set(err, errno, "KVM refuses machine check banks: %s", err_text(errno));
}

static int setup_cpuid(struct x86 *x, struct x86_vcpu *xv, struct err *err)
{
	const struct config *cfg = x->m->cfg;
	const struct cpu_topology topo = {.cores = MAX(cfg->cores, 1U) * MAX(cfg->dies, 1U),
					  .threads = MAX(cfg->threads, 1U)};
	const struct cpu_host host = {.supported = x->supported};
	long khz = ioctl(xv->v->fd, KVM_GET_TSC_KHZ, 0);

	xv->cpu.tsc_khz = khz > 0 ? khz : 0;
	if (xv->v->index == 0) {
		x->tsc_khz = xv->cpu.tsc_khz;
		x->have_tsc_offset = x86_clock_has_tsc_offset(xv->v);
	}
	xv->cpuid = cpuid_build(&x->model, &topo, xv->v->index, (uint32_t)xv->cpu.tsc_khz, &host);
	if (ioctl(xv->v->fd, KVM_SET_CPUID2, xv->cpuid) < 0)
		return err_set(err, errno, "KVM refuses the CPUID table of model '%s': %s",
			       x->model.name, err_text(errno));
	return 0;
}

static struct kvm_msrs *one_msr(uint32_t number)
{
	struct kvm_msrs *msr = xcalloc(1, sizeof(*msr) + sizeof(msr->entries[0]));

	msr->nmsrs = 1;
	msr->entries[0].index = number;
	return msr;
}

/* A named model promises what it lists, whatever else the host's processor is not prone to. */
static void set_arch_caps(const struct x86 *x, const struct vcpu *v)
{
	CLEANUP(cleanup_free) struct kvm_msrs *msr = one_msr(MSR_ARCH_CAPS);

	msr->entries[0].data = x->model.features[FEAT_ARCH_CAPS];
	if (!(x->model.features[FEAT_7_EDX] & F7_EDX_ARCH_CAPS) || !x->model.named)
		return;
	if (ioctl(v->fd, KVM_SET_MSRS, msr) != 1 && v->index == 0)
		log_warn(
		    "KVM refuses MSR 0x%x: the guest sees what the host's processor says of its "
		    "mitigations",
		    MSR_ARCH_CAPS);
}

static void register_vcpu(struct x86_vcpu *xv)
{
	struct x86 *x = xv->v->m->arch_state;
	struct vms_registry *r = &xv->v->m->vmstate;
	unsigned i = xv->v->index;

	vms_register(r, VMS_RANK_CPU, "cpu_common", i, -1, &cpu_common_vmstate, &xv->common);
	vms_register(r, VMS_RANK_CPU, "cpu", i, -1, &cpu_vmstate, &xv->cpu);
	if (i == 0)
		vms_register(r, VMS_RANK_CPU, "kvm-tpr-opt", 0, -1, &tpr_opt_vmstate,
			     &x->irqchip.tpr_opt);
	vms_register(r, VMS_RANK_CPU, "apic", i, -1, &apic_vmstate, &xv->apic);
}

static void reset_state(const struct x86 *x, struct x86_vcpu *xv)
{
	bool bsp = xv->v->index == 0;

	memset(&xv->common, 0, sizeof(xv->common));
	cpu_state_reset(&xv->cpu, x->model.signature, x->phys_bits, bsp);
	apic_state_reset(&xv->apic, xv->v->index, bsp);
}

static void x86_vcpu_fini(struct vcpu *v)
{
	struct x86_vcpu *xv = v->arch;

	if (!xv)
		return;
	free(xv->cpuid);
	free(xv);
	v->arch = NULL;
}

static int x86_vcpu_init(struct vcpu *v, struct err *err)
{
	struct x86 *x = v->m->arch_state;
	struct x86_vcpu *xv = NEW(struct x86_vcpu);
	int ret;

	xv->v = v;
	v->arch = xv;
	ret = set_tsc_frequency(x, v, err);
	if (ret == 0)
		ret = setup_mce(x, v, err);
	if (ret == 0)
		ret = setup_cpuid(x, xv, err);
	if (ret == 0)
		set_arch_caps(x, v);
	if (ret < 0) {
		x86_vcpu_fini(v);
		return ret;
	}
	xv->cpu.mcg_cap = x->mcg_cap;
	xv->cpu.exposes = cpu_model_exposes(&x->model);
	reset_state(x, xv);
	register_vcpu(xv);
	return 0;
}

/* ---- the machine ---- */

static int push_all(struct machine *m, struct err *err)
{
	struct x86 *x = m->arch_state;

	for (unsigned i = 0; i < m->n_vcpus; i++) {
		int ret = x86_vcpu_push(x, x86_vcpu(m->vcpus[i]), err);

		if (ret < 0)
			return ret;
	}
	x->clock.tsc_held = true;
	return x->irqchip.ops->push(m, &x->irqchip, err);
}

static int x86_reset(struct machine *m, struct err *err)
{
	struct x86 *x = m->arch_state;

	for (unsigned i = 0; i < m->n_vcpus; i++)
		reset_state(x, x86_vcpu(m->vcpus[i]));
	irqchip_reset(&x->irqchip);
	x->clock.advance_from_ns = 0;
	return push_all(m, err);
}

static int x86_stage_boot(struct machine *m, struct err *err)
{
	struct x86 *x = m->arch_state;
	struct x86_vcpu *bsp = x86_vcpu(m->vcpus[0]);
	CLEANUP(cleanup_free) struct cpu_state *cpu = NEW(struct cpu_state);
	bool first = !x->booted;
	int ret;

	*cpu = bsp->cpu;
	boot_refresh(&x->boot, &m->board);
	machine_unlock(m);
	ret = boot_stage(m, &x->boot, first, cpu, err);
	machine_lock(m);
	if (ret < 0)
		return ret;
	bsp->cpu = *cpu;
	x->booted = true;
	bsp->cpu.hflags = cpu_state_hflags(&bsp->cpu);
	return x86_vcpu_push(x, bsp, err);
}

static int x86_fetch(struct machine *m, struct err *err)
{
	struct x86 *x = m->arch_state;

	for (unsigned i = 0; i < m->n_vcpus; i++) {
		int ret = x86_vcpu_fetch(x, x86_vcpu(m->vcpus[i]), err);

		if (ret < 0)
			return ret;
	}
	return x->irqchip.ops->fetch(m, &x->irqchip, err);
}

static int x86_push(struct machine *m, struct err *err)
{
	struct x86 *x = m->arch_state;
	int64_t khz = (int64_t)(x->model.tsc_hz / 1000);

	x->booted = true;
	for (unsigned i = 0; i < m->n_vcpus; i++) {
		int64_t got = x86_vcpu(m->vcpus[i])->cpu.tsc_khz;

		if (khz != 0 && got != khz)
			return err_set(err, EINVAL,
				       "the guest's TSC runs at %lld kHz, but "
				       "tsc-frequency= asks for %lld kHz",
				       (long long)got, (long long)khz);
	}
	return push_all(m, err);
}

/* A guest in PAE mode has four words at CR3, and Linux a page with the time of its start. */
static void x86_touch(const struct machine *m)
{
	uint64_t word;

	for (unsigned i = 0; i < m->n_vcpus; i++) {
		const struct cpu_state *cpu = &x86_vcpu(m->vcpus[i])->cpu;

		(void)memory_read(&m->mem, cpu->cr3 & ~0x1fULL, &word, sizeof(word));
		if (cpu->wall_clock_msr)
			(void)memory_read(&m->mem, cpu->wall_clock_msr & ~1ULL, &word,
					  sizeof(word));
	}
}

static int x86_unknown_exit(struct vcpu *v)
{
	if (v->run->exit_reason == KVM_EXIT_IOAPIC_EOI && x86_split_eoi(v) == 0)
		return 0;
	log_error("vCPU %u: KVM exit %u, which nothing here can handle", v->index,
		  v->run->exit_reason);
	return -ENOTSUP;
}

static void x86_fini(struct machine *m)
{
	struct x86 *x = m->arch_state;

	if (!x)
		return;
	blocker_del(&x->invtsc);
	irqchip_destroy(&x->irqchip);
	boot_free(&x->boot);
	x86_msrs_fini(x);
	free(x->supported);
	free(x);
	m->arch_state = NULL;
}

static void x86_irq_line(struct machine *m, unsigned gsi, bool level)
{
	const struct x86 *x = m->arch_state;

	if (x->irqchip.ops->irq_line)
		x->irqchip.ops->irq_line(m, gsi, level);
	else
		machine_kvm_irq_line(m, gsi, level);
}

static void x86_before_run(struct vcpu *v)
{
	const struct x86 *x = v->m->arch_state;

	if (x->irqchip.ops->before_run)
		x->irqchip.ops->before_run(v);
}

static const struct arch_ops x86_ops = {
    .vcpu_init = x86_vcpu_init,
    .vcpu_fini = x86_vcpu_fini,
    .reset = x86_reset,
    .stage_boot = x86_stage_boot,
    .stopped = x86_clock_stopped,
    .starting = x86_clock_starting,
    .advance = x86_clock_advance,
    .fetch = x86_fetch,
    .push = x86_push,
    .touch = x86_touch,
    .describe = x86_describe,
    .compare = x86_compare,
    .unknown_exit = x86_unknown_exit,
    .irq_line = x86_irq_line,
    .before_run = x86_before_run,
    .fini = x86_fini,
};

/* ---- creation ---- */

struct kvm_cpuid2 *x86_supported_cpuid(const struct machine *m, struct err *err)
{
	struct kvm_cpuid2 *c = xcalloc(1, sizeof(*c) + SUPPORTED_MAX * sizeof(c->entries[0]));

	c->nent = SUPPORTED_MAX;
	if (ioctl(m->kvm_fd, KVM_GET_SUPPORTED_CPUID, c) == 0)
		return c;
	(void)err_set(err, errno, "KVM does not tell the CPUID that it supports: %s",
		      err_text(errno));
	free(c);
	return NULL;
}

static uint64_t get_arch_caps(const struct machine *m)
{
	CLEANUP(cleanup_free) struct kvm_msrs *msr = one_msr(MSR_ARCH_CAPS);

	if (machine_kvm_cap(m, KVM_CAP_GET_MSR_FEATURES) <= 0 ||
	    ioctl(m->kvm_fd, KVM_GET_MSRS, msr) != 1)
		return 0;
	return msr->entries[0].data;
}

void x86_identify_host(const struct machine *m, const struct kvm_cpuid2 *supported,
		       struct cpu_host *host)
{
	*host = (struct cpu_host){.supported = supported};
	host_identify(host);
	host->tsc_deadline = machine_kvm_cap(m, KVM_CAP_TSC_DEADLINE_TIMER) > 0;
	host->arch_caps = get_arch_caps(m);
}

static void warn_missing(void *opaque, const char *what)
{
	(void)opaque;
	log_warn("host doesn't support requested feature: %s", what);
}

static int make_model(struct x86 *x, struct err *err)
{
	const struct config *cfg = x->m->cfg;
	const char *name = cfg->cpu_model ? cfg->cpu_model : MODEL_DEFAULT;
	struct cpu_host host;
	int ret;

	x86_identify_host(x->m, x->supported, &host);
	x->phys_bits = host.phys_bits;
	ret = cpu_model_make(&x->model, name, cfg->cpu_features, &host, warn_missing, NULL, err);
	if (ret < 0)
		return err_prefix(err, ret, "-cpu %.64s%s%.160s", name,
				  cfg->cpu_features ? "," : "",
				  cfg->cpu_features ? cfg->cpu_features : "");
	return 0;
}

/* A guest that was promised a TSC of constant rate would find another rate elsewhere. */
static int block_invtsc(struct x86 *x, struct err *err)
{
	const struct cpu_model *model = &x->model;

	if (!(model->features[FEAT_8000_0007_EDX] & F87_EDX_INVTSC) || model->tsc_hz ||
	    model->xlevel < 0x80000007)
		return 0;
	x->invtsc.reason = "the guest's processor has 'invtsc', a TSC whose rate is this host's: "
			   "leave it out, or set the rate with -cpu ...,tsc-frequency=HZ";
	return blocker_add(x->m, &x->invtsc, err);
}

/* APIC ids are the vCPUs' numbers; that holds while no bits of an id are left unused. */
static int check_topology(const struct config *cfg, struct err *err)
{
	unsigned cores = MAX(cfg->cores, 1U) * MAX(cfg->dies, 1U), threads = MAX(cfg->threads, 1U);
	bool gaps = (threads & (threads - 1)) && cfg->cpus > threads;

	gaps |= (cores & (cores - 1)) && cfg->cpus > cores * threads;
	if (gaps)
		return err_set(err, ENOTSUP,
			       "-smp cores=%u,threads=%u on several sockets is not "
			       "supported: a power of two is needed",
			       cores, threads);
	return 0;
}

static void probe_caps(struct x86 *x)
{
	struct machine *m = x->m;
	int xsave2 = machine_kvm_cap(m, KVM_CAP_XSAVE2);

	x->have_sregs2 = machine_kvm_cap(m, KVM_CAP_SREGS2) > 0;
	x->have_smm = machine_kvm_cap(m, KVM_CAP_X86_SMM) > 0;
	x->have_xcrs = machine_kvm_cap(m, KVM_CAP_XCRS) > 0;
	x->have_reliable_clock = machine_kvm_cap(m, KVM_CAP_ADJUST_CLOCK) & KVM_CLOCK_TSC_STABLE;
	x->xsave_bytes = MAX(sizeof(struct kvm_xsave), xsave2 > 0 ? (size_t)xsave2 : 0);
	if (machine_kvm_cap(m, KVM_CAP_MCE) > 0) {
		uint64_t cap = 0;

		if (ioctl(m->kvm_fd, KVM_X86_GET_MCE_CAP_SUPPORTED, &cap) == 0)
			x->mcg_cap = MCG_CAP & (cap | 0xff);
	}
}

static bool enable_cap(struct machine *m, uint32_t number, uint64_t arg)
{
	struct kvm_enable_cap cap = {.cap = number, .args = {arg}};

	return machine_kvm_cap(m, number) > 0 && ioctl(m->vm_fd, KVM_ENABLE_CAP, &cap) == 0;
}

/* What KVM requires before the first vCPU exists. */
static int setup_vm(struct x86 *x, struct err *err)
{
	struct machine *m = x->m;
	uint64_t identity = IDENTITY_MAP_GPA;
	uint64_t x2apic = KVM_X2APIC_API_USE_32BIT_IDS;

	if (ioctl(m->vm_fd, KVM_SET_IDENTITY_MAP_ADDR, &identity) < 0 ||
	    ioctl(m->vm_fd, KVM_SET_TSS_ADDR, (unsigned long)TSS_GPA) < 0)
		return err_set(err, errno, "KVM refuses the place of its own pages: %s",
			       err_text(errno));
	if (m->cfg->cpus > UINT8_MAX)
		x2apic |= KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK;
	if (!enable_cap(m, KVM_CAP_X2APIC_API, x2apic))
		return err_set(err, ENOTSUP, "KVM lacks KVM_CAP_X2APIC_API");
	x->have_triple_fault = enable_cap(m, KVM_CAP_X86_TRIPLE_FAULT_EVENT, 1);
	return irqchip_create(m, &x->irqchip, err);
}

static int check_required(struct machine *m, struct err *err)
{
	static const struct {
		long cap;
		const char *name;
	} required[] = {
	    {KVM_CAP_IRQCHIP,               "KVM_CAP_IRQCHIP"              },
	    {KVM_CAP_PIT2,                  "KVM_CAP_PIT2"                 },
	    {KVM_CAP_XSAVE,                 "KVM_CAP_XSAVE"                },
	    {KVM_CAP_VCPU_EVENTS,           "KVM_CAP_VCPU_EVENTS"          },
	    {KVM_CAP_DEBUGREGS,             "KVM_CAP_DEBUGREGS"            },
	    {KVM_CAP_ADJUST_CLOCK,          "KVM_CAP_ADJUST_CLOCK"         },
	    {KVM_CAP_MP_STATE,              "KVM_CAP_MP_STATE"             },
	    {KVM_CAP_EXT_CPUID,             "KVM_CAP_EXT_CPUID"            },
	    {KVM_CAP_SET_IDENTITY_MAP_ADDR, "KVM_CAP_SET_IDENTITY_MAP_ADDR"},
	};

	for (size_t i = 0; i < ARRAY_LEN(required); i++)
		if (machine_kvm_cap(m, required[i].cap) <= 0)
			return err_set(err, ENOTSUP, "KVM lacks %s", required[i].name);
	return 0;
}

int x86_create(struct machine *m, struct err *err)
{
	struct x86 *x = NEW(struct x86);
	int ret;

	x->m = m;
	m->arch = &x86_ops;
	m->arch_state = x;
	x->clock.clock_held = true; /* kvmclock starts at 0 when the guest starts */
	x->clock.tsc_held = true;
	ret = check_required(m, err);
	if (ret == 0)
		ret = check_topology(m->cfg, err);
	if (ret == 0)
		x->supported = x86_supported_cpuid(m, err);
	if (ret == 0 && !x->supported)
		ret = -EIO;
	if (ret == 0)
		ret = make_model(x, err);
	if (ret == 0)
		ret = block_invtsc(x, err);
	if (ret == 0) {
		probe_caps(x);
		ret = x86_msrs_init(x, err);
	}
	if (ret == 0)
		ret = setup_vm(x, err);
	if (ret < 0) {
		x86_fini(m);
		m->arch = NULL;
		return ret;
	}
	irqchip_reset(&x->irqchip);
	x->clock.clock_is_reliable = x->have_reliable_clock;
	vms_register(&m->vmstate, VMS_RANK_KVMCLOCK, "kvmclock", 0, -1, &kvmclock_vmstate,
		     &x->clock);
	return 0;
}

int x86_load_boot_files(struct machine *m, struct err *err)
{
	struct x86 *x = m->arch_state;

	return boot_load(m, &x->boot, err);
}

void x86_list_cpu_models(FILE *out)
{
	cpu_model_list(out);
}
