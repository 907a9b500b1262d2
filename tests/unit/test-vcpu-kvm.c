/* What is pushed into KVM comes back: reset state, random state, the vCPUs of a real stream. */
#include <linux/kvm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "arch/x86/internal.h"
#include "arch/x86/x86.h"
#include "tests/unit/check-main.h"
#include "tests/unit/stream-sections.h"
#include "vmm/base/units.h"
#include "vmm/machine.h"
#include "vmm/options/config.h"

#define CPUS 2

struct rig {
	struct config cfg;
	struct machine *m;
	struct x86 *x;
};

static bool kvm_usable(void)
{
	if (access("/dev/kvm", R_OK | W_OK) == 0)
		return true;
	skip_test("no usable /dev/kvm");
	return false;
}

static struct rig *rig_new(void)
{
	const struct ram_backend be = {.kind = RAM_ANONYMOUS, .fd = -1};
	struct rig *r = NEW(struct rig);
	struct ram_block *ram;
	struct err err = {0};

	r->cfg = (struct config){.cpus = CPUS,
				 .maxcpus = CPUS,
				 .sockets = 1,
				 .dies = 1,
				 .cores = CPUS,
				 .threads = 1,
				 .acpi = true,
				 .pic = true,
				 .pit = true,
				 .ram_bytes = 96 * MiB};
	r->m = machine_new(&r->cfg, &err);
	ck_assert_msg(r->m != NULL, "%s", err.msg);
	machine_lock(r->m);
	ck_assert_msg(x86_create(r->m, &err) == 0, "%s", err.msg);
	/* some MSRs name guest memory, which must be there when they are set */
	ram = memory_add_block(&r->m->mem, "microvm.ram", r->cfg.ram_bytes, &be, &err);
	ck_assert_msg(ram && memory_map_block(&r->m->mem, ram, 0, 0, ram->bytes, &err) == 0, "%s",
		      err.msg);
	ck_assert_msg(machine_add_vcpus(r->m, CPUS, &err) == 0, "%s", err.msg);
	r->x = r->m->arch_state;
	return r;
}

static void rig_free(struct rig *r)
{
	machine_unlock(r->m);
	machine_free(r->m);
	free(r);
}

static struct x86_vcpu *cpu(struct rig *r, unsigned i)
{
	return x86_vcpu(r->m->vcpus[i]);
}

static struct buf saved(const struct vms_desc *d, void *dev)
{
	struct buf b = {0};

	ck_assert_int_eq(vms_save(d, dev, &b, NULL, NULL), 0);
	return b;
}

static void same(const struct buf *a, const struct buf *b, const char *what, unsigned i)
{
	for (size_t k = 0; k < a->len && k < b->len; k++)
		ck_assert_msg(a->data[k] == b->data[k], "%s %u: byte %zu is %02x, was %02x", what,
			      i, k, b->data[k], a->data[k]);
	ck_assert_uint_eq(a->len, b->len);
}

/* Push; forget; fetch; nothing may be lost. */
static void there_and_back(struct rig *r)
{
	struct buf before[CPUS][2], after;
	struct err err = {0};
	uint64_t bv[CPUS];

	for (unsigned i = 0; i < CPUS; i++) {
		bv[i] = cpu(r, i)->cpu.xstate_bv;
		before[i][0] = saved(&cpu_vmstate, &cpu(r, i)->cpu);
		before[i][1] = saved(&apic_vmstate, &cpu(r, i)->apic);
	}
	ck_assert_msg(r->m->arch->push(r->m, &err) == 0, "%s", err.msg);
	for (unsigned i = 0; i < CPUS; i++) {
		struct cpu_state *s = &cpu(r, i)->cpu;

		/* fields that KVM is asked for; the others are constant or held */
		memset(s->regs, 0xee, sizeof(s->regs));
		s->rip = s->rflags = s->cr0 = s->cr3 = s->efer = 0;
		memset(s->segs, 0xee, sizeof(s->segs));
		memset(s->zmm, 0xee, 16 * sizeof(s->zmm[0]));
		for (unsigned k = 0; k < 16; k++)
			memset(&s->zmm[k].q[2], 0, 48);
		memset(s->fpregs, 0xee, sizeof(s->fpregs));
		s->hflags = 0;
		s->star = s->lstar = s->kernelgsbase = s->pat = 0;
		s->mp_state = 77;
		memset(s->dr, 0xee, sizeof(s->dr));
	}
	ck_assert_msg(r->m->arch->fetch(r->m, &err) == 0, "%s", err.msg);
	for (unsigned i = 0; i < CPUS; i++) {
		/* The processor may find that x87 and SSE are as after a reset, and say so. */
		cpu(r, i)->cpu.xstate_bv |= bv[i] & 3;
		after = saved(&cpu_vmstate, &cpu(r, i)->cpu);
		same(&before[i][0], &after, "cpu", i);
		buf_free(&after);
		after = saved(&apic_vmstate, &cpu(r, i)->apic);
		same(&before[i][1], &after, "apic", i);
		buf_free(&after);
		buf_free(&before[i][0]);
		buf_free(&before[i][1]);
	}
}

START_TEST(test_reset)
{
	struct rig *r;
	struct err err = {0};

	if (!kvm_usable())
		return;
	r = rig_new();
	ck_assert_msg(r->m->arch->reset(r->m, &err) == 0, "%s", err.msg);
	there_and_back(r);
	ck_assert_uint_eq(cpu(r, 0)->cpu.mp_state, KVM_MP_STATE_RUNNABLE);
	ck_assert_uint_eq(cpu(r, 1)->cpu.mp_state, KVM_MP_STATE_UNINITIALIZED);
	ck_assert_uint_eq(cpu(r, 0)->apic.apicbase, 0xfee00900);
	ck_assert_uint_eq(cpu(r, 1)->apic.apicbase, 0xfee00800);
	rig_free(r);
}
END_TEST

static uint64_t random64(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

static struct x86_segment random_segment(uint64_t *seed, uint32_t flags)
{
	return (struct x86_segment){.selector = (uint32_t)(random64(seed) & 0xfff8) | 3,
				    .base = random64(seed) & 0x7fffffffffff,
				    .limit = (uint32_t)random64(seed) | 0x100fff, /* in pages */
				    .flags = flags};
}

#define CANONICAL 0x7fffffffffffULL

/* A processor in 64-bit user mode with everything at random that may be. */
static void randomise(struct cpu_state *s, uint64_t *seed)
{
	for (unsigned i = 0; i < GPR_COUNT; i++)
		s->regs[i] = random64(seed);
	s->rip = random64(seed) & CANONICAL;
	s->rflags = (random64(seed) & 0xcd5) | RFLAGS_SET | 0x200;
	s->rflags &= ~RFLAGS_TF;
	for (unsigned i = 0; i < SEG_COUNT; i++)
		s->segs[i] = random_segment(seed, 0x00c0f300);
	s->segs[SEG_CS].flags = 0x00a0fb00;
	s->tr = random_segment(seed, 0x00008b00);
	s->tr.limit = 0x67;
	s->gdt.base = random64(seed) & CANONICAL;
	s->gdt.limit = (uint32_t)random64(seed) & 0xffff;
	s->cr0 = 0x80050033;
	s->cr2 = random64(seed) & CANONICAL;
	s->cr3 = random64(seed) & 0xfff000;
	s->cr4 = 0x6b0;
	s->efer = 0xd01;
	s->star = random64(seed);
	s->lstar = random64(seed) & CANONICAL;
	s->cstar = random64(seed) & CANONICAL;
	s->fmask = random64(seed) & 0xffffffff;
	s->kernelgsbase = random64(seed) & CANONICAL;
	s->sysenter_cs = (uint32_t)random64(seed) & 0xfff8;
	s->sysenter_esp = random64(seed) & 0x7fffffff; /* all that AMD keeps */
	s->sysenter_eip = random64(seed) & 0x7fffffff;
	for (unsigned i = 0; i < 4; i++)
		s->dr[i] = random64(seed) & CANONICAL;
	s->mtrr_deftype = 0xc06;
	s->mtrr_var[3] =
	    (struct x86_mtrr_var){.base = 0x80000006, .mask = s->mtrr_var[3].mask | 0xffff80000800};
	for (unsigned i = 0; i < 11; i++)
		s->mtrr_fixed[i] = 0x0606060606060606;
	s->fpus = 0x3800;
	s->fptag = 0x80;
	for (unsigned i = 0; i < 8; i++)
		s->fpregs[i] = (struct x86_fpreg){.mant = random64(seed) | 1ULL << 63,
						  .exp = (uint16_t)random64(seed) & 0x3fff};
	for (unsigned i = 0; i < 16; i++)
		s->zmm[i].q[0] = random64(seed), s->zmm[i].q[1] = random64(seed);
	s->mce_banks[5] = 0;
	s->mp_state = KVM_MP_STATE_RUNNABLE;
	s->hflags = cpu_state_hflags(s);
}

START_TEST(test_random)
{
	uint64_t seed = 88172645463325252ULL;
	struct rig *r;
	struct err err = {0};

	if (!kvm_usable())
		return;
	r = rig_new();
	for (unsigned round = 0; round < 50; round++) {
		ck_assert_msg(r->m->arch->reset(r->m, &err) == 0, "%s", err.msg);
		for (unsigned i = 0; i < CPUS; i++) {
			randomise(&cpu(r, i)->cpu, &seed);
			cpu(r, i)->apic.tpr = (uint8_t)(seed & 0xf0);
			cpu(r, i)->apic.spurious_vec = 0x1ff;
			cpu(r, i)->apic.log_dest = (uint8_t)(1U << i);
			cpu(r, i)->apic.irr[3] = 1U << (round % 32);
		}
		there_and_back(r);
	}
	rig_free(r);
}
END_TEST

/* The vCPUs of a running Linux: x2APIC, kvmclock, PV EOI, steal time. */
START_TEST(test_real_stream)
{
	struct rig *r;
	struct err err = {0};

	if (!kvm_usable())
		return;
	r = rig_new();
	ck_assert_msg(r->m->arch->reset(r->m, &err) == 0, "%s", err.msg);
	for (unsigned i = 0; i < CPUS; i++) {
		struct section s = section_open("linux2", "cpu", i);

		section_load(&s, &cpu_vmstate, &cpu(r, i)->cpu);
		section_close(&s);
		s = section_open("linux2", "apic", i);
		section_load(&s, &apic_vmstate, &cpu(r, i)->apic);
		section_close(&s);
		/* another clock: this host cannot give that rate */
		cpu(r, i)->cpu.tsc_khz = r->x->tsc_khz;
		/* the timers tell it by the clock of the stream; the physical width is another */
		cpu(r, i)->apic.initial_count_load_time = vclock_now_ns(&r->m->vclock);
		cpu(r, i)->apic.next_time = cpu(r, i)->apic.timer_expiry =
		    cpu(r, i)->apic.initial_count_load_time +
		    (((int64_t)cpu(r, i)->apic.initial_count + 1) << 4);
		for (unsigned k = 0; k < 8; k++)
			cpu(r, i)->cpu.mtrr_var[k].mask = (1ULL << 52) - (1ULL << r->x->phys_bits);
	}
	ck_assert_msg(r->m->arch->push(r->m, &err) == 0, "%s", err.msg);
	ck_assert_msg(r->m->arch->fetch(r->m, &err) == 0, "%s", err.msg);
	ck_assert_uint_eq(cpu(r, 0)->cpu.rip, 0xffffffff91a17a0b);
	ck_assert_uint_eq(cpu(r, 0)->cpu.mp_state, KVM_MP_STATE_HALTED);
	ck_assert_uint_eq(cpu(r, 0)->common.halted, 1);
	ck_assert_uint_eq(cpu(r, 0)->cpu.pv_eoi_en_msr, 0x5a33041);
	ck_assert_uint_eq(cpu(r, 0)->cpu.system_time_msr, 0x3601001);
	ck_assert_uint_eq(cpu(r, 0)->cpu.hflags, 0x40c2b0);
	ck_assert_uint_eq(cpu(r, 1)->cpu.hflags, 0x40c2b3);
	ck_assert_uint_eq(cpu(r, 1)->apic.apicbase, 0xfee00c00);
	ck_assert_uint_eq(cpu(r, 1)->apic.id, 1);
	/* the TSC waits for the start */
	ck_assert_uint_eq(cpu(r, 0)->cpu.tsc, 0xcf833c68c);
	rig_free(r);
}
END_TEST

static uint64_t kvmclock(struct rig *r)
{
	struct kvm_clock_data now = {0};

	ck_assert_int_eq(ioctl(r->m->vm_fd, KVM_GET_CLOCK, &now), 0);
	return now.clock;
}

static uint64_t live_tsc(struct rig *r, unsigned i)
{
	struct cpu_state *s = &cpu(r, i)->cpu;
	uint64_t keep = s->tsc, now;

	ck_assert_int_eq(x86_msrs_fetch(r->x, cpu(r, i), MSR_TSC, NULL), 0);
	now = s->tsc;
	s->tsc = keep;
	return now;
}

/* 14 years at 2.5 GHz: no host has come there by itself */
#define TSC_START   (1ULL << 60)
#define CLOCK_START 123456789000ULL

/* The guest's clocks go on from what was loaded, stand still at a stop, and go on from there. */
START_TEST(test_clocks)
{
	const struct timespec nap = {.tv_nsec = 300000000};
	struct rig *r;
	struct err err = {0};
	uint64_t tsc, least, clock, before, after;

	if (!kvm_usable())
		return;
	r = rig_new();
	ck_assert_msg(r->m->arch->reset(r->m, &err) == 0, "%s", err.msg);
	for (unsigned i = 0; i < CPUS; i++) /* as a sender that read them one after the other */
		cpu(r, i)->cpu.tsc = TSC_START + 100000 * i;
	r->x->clock.clock_ns = CLOCK_START;
	before = (uint64_t)host_now_ns();
	r->m->arch->starting(r->m);
	ck_assert(!r->x->clock.tsc_held && !r->x->clock.clock_held);
	clock = kvmclock(r);
	ck_assert_uint_ge(clock, CLOCK_START);
	ck_assert_uint_le(clock - CLOCK_START, 2 * ((uint64_t)host_now_ns() - before));

	/* a KVM without offsets may ignore a written TSC: then it counts on from the host's */
	least = r->x->have_tsc_offset ? TSC_START : live_tsc(r, 0);
	r->m->arch->stopped(r->m);
	ck_assert(r->x->clock.clock_held && r->x->irqchip.pit_held);
	tsc = cpu(r, 0)->cpu.tsc;
	clock = r->x->clock.clock_ns;
	ck_assert_uint_ge(tsc, least);
	if (r->x->have_tsc_offset)
		ck_assert_uint_eq(cpu(r, 1)->cpu.tsc, tsc);
	/* what was read at the stop is what is saved, however late */
	(void)nanosleep(&nap, NULL);
	ck_assert_msg(r->m->arch->fetch(r->m, &err) == 0, "%s", err.msg);
	ck_assert_uint_eq(cpu(r, 0)->cpu.tsc, tsc);
	ck_assert_uint_eq(r->x->clock.clock_ns, clock);

	before = (uint64_t)host_now_ns();
	r->m->arch->starting(r->m);
	ck_assert(!r->x->irqchip.pit_held);
	ck_assert_uint_ge(kvmclock(r), clock);
	ck_assert_uint_ge(live_tsc(r, 0), tsc);
	after = (uint64_t)host_now_ns();
	/* no more has passed for the guest than since the start, the nap least of all */
	ck_assert_uint_le(kvmclock(r) - clock, 2 * ((uint64_t)host_now_ns() - before));
	if (r->x->have_tsc_offset) {
		uint64_t ran = (live_tsc(r, 1) - tsc) * 1000000 / (uint64_t)r->x->tsc_khz;

		ck_assert_uint_le(ran, (uint64_t)host_now_ns() - before + 1000000);
	}
	ck_assert_uint_ge(after, before);
	rig_free(r);
}
END_TEST

/* A state that no processor can have is refused with a sentence. */
START_TEST(test_impossible_state)
{
	struct rig *r;
	struct err err = {0};

	if (!kvm_usable())
		return;
	r = rig_new();
	ck_assert_msg(r->m->arch->reset(r->m, &err) == 0, "%s", err.msg);
	cpu(r, 1)->cpu.cr4 = ~0ULL;
	ck_assert_int_lt(r->m->arch->push(r->m, &err), 0);
	ck_assert_str_eq(err.msg,
			 "vCPU 1: KVM refuses to take the special registers: Invalid argument");
	rig_free(r);
}
END_TEST

CHECK_MAIN("vcpu-kvm", test_reset, test_random, test_real_stream, test_clocks,
	   test_impossible_state)
