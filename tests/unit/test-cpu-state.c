/* Sections of the processor side: those of real streams come back byte for byte; hostile ones are
 * refused. */
#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>

#include "arch/x86/internal.h"
#include "tests/unit/check-main.h"
#include "tests/unit/stream-sections.h"
#include "vmm/base/bytes.h"
#include "vmm/base/units.h"

static const char *const streams[] = {"mod", "irqk1", "linux2"};

static void round_trip(const char *stream, const char *idstr, unsigned instance,
		       const struct vms_desc *d, size_t bytes)
{
	struct section s = section_open(stream, idstr, instance);
	void *dev = xcalloc(1, bytes);

	memset(dev, 0xa5, bytes); /* nothing may depend on what was there */
	if (d == &cpu_vmstate)
		((struct cpu_state *)dev)->exposes = 0;
	section_load(&s, d, dev);
	section_compare(&s, d, dev, idstr, instance);
	free(dev);
	section_close(&s);
}

START_TEST(test_real_cpus)
{
	for (size_t i = 0; i < ARRAY_LEN(streams); i++)
		for (unsigned n = 0; n < 2; n++) {
			round_trip(streams[i], "cpu_common", n, &cpu_common_vmstate,
				   sizeof(struct cpu_common));
			round_trip(streams[i], "cpu", n, &cpu_vmstate, sizeof(struct cpu_state));
			round_trip(streams[i], "apic", n, &apic_vmstate, sizeof(struct apic_state));
		}
}
END_TEST

START_TEST(test_real_chips)
{
	for (size_t i = 0; i < ARRAY_LEN(streams); i++) {
		const char *s = streams[i];

		round_trip(s, "kvm-tpr-opt", 0, &tpr_opt_vmstate, sizeof(struct tpr_opt_state));
		round_trip(s, "ioapic", 0, &ioapic_vmstate, sizeof(struct ioapic_state));
		round_trip(s, "kvmclock", 0, &kvmclock_vmstate, sizeof(struct x86_clock));
		round_trip(s, "i8259", 0, &pic_vmstate, sizeof(struct pic_state));
		round_trip(s, "i8259", 1, &pic_vmstate, sizeof(struct pic_state));
		round_trip(s, "i8254", 0, &pit_vmstate, sizeof(struct pit_state));
	}
	round_trip("mod", "ioapic", 1, &ioapic_vmstate, sizeof(struct ioapic_state));
	for (unsigned i = 0; i < 2; i++) {
		round_trip("stock", "ioapic", i, &ioapic_vmstate, sizeof(struct ioapic_state));
		round_trip("stock", "i8259", i, &pic_vmstate, sizeof(struct pic_state));
	}
	round_trip("stock", "i8254", 0, &pit_vmstate, sizeof(struct pit_state));
}
END_TEST

/* Each LAPIC of a real stream through KVM's page of registers and back. */
START_TEST(test_lapic_page)
{
	for (size_t i = 0; i < ARRAY_LEN(streams); i++)
		for (unsigned n = 0; n < 2; n++) {
			struct section s = section_open(streams[i], "apic", n);
			struct apic_state a, b = {0};
			struct kvm_lapic_state page;

			section_load(&s, &apic_vmstate, &a);
			apic_to_kvm(&a, &page, n, a.initial_count_load_time);
			b.apicbase = a.apicbase;
			b.arb_id = a.arb_id;
			apic_from_kvm(&b, &page, a.initial_count_load_time);
			if (a.apicbase & APIC_BASE_X2APIC)
				b.log_dest = a.log_dest; /* it follows from the id there */
			if (a.timer_expiry == -1)
				b.next_time = a.next_time;
			section_compare(&s, &apic_vmstate, &b, "apic", n);
			section_close(&s);
		}
}
END_TEST

START_TEST(test_lapic_timer)
{
	struct apic_state a = {.initial_count = 1000, .divide_conf = 0xb}; /* 1 ns a count */
	struct apic_state b = {0};
	struct kvm_lapic_state page;

	a.initial_count_load_time = 5000;
	apic_to_kvm(&a, &page, 0, 5400);
	ck_assert_uint_eq(get_le32(page.regs + 0x390), 600);
	apic_from_kvm(&b, &page, 5400);
	ck_assert_int_eq(b.initial_count_load_time, 5000);
	ck_assert_int_eq(b.timer_expiry, 6001);
	/* run out: it must not fire again */
	apic_to_kvm(&a, &page, 0, 7000);
	ck_assert_uint_eq(get_le32(page.regs + 0x380), 0);
	/* periodic: it wraps */
	a.lvt[0] = 1U << 17;
	apic_to_kvm(&a, &page, 0, 7250);
	ck_assert_uint_eq(get_le32(page.regs + 0x390), 750);
	/* times from a stream may be anything */
	a.initial_count_load_time = INT64_MIN;
	apic_to_kvm(&a, &page, 0, INT64_MAX);
	a.initial_count_load_time = INT64_MAX;
	apic_to_kvm(&a, &page, 0, 0);
	ck_assert_uint_eq(get_le32(page.regs + 0x390), 1000);
}
END_TEST

START_TEST(test_pit_times)
{
	struct kvm_pit_state2 k = {0}, back;
	struct pit_state p;

	for (unsigned i = 0; i < 3; i++) {
		k.channels[i].count = 0x10000;
		k.channels[i].mode = 3;
		k.channels[i].count_load_time = 1000000 + i;
	}
	pit_from_kvm(&p, &k, -400000);
	ck_assert_int_eq(p.channels[1].count_load_time, 600001);
	ck_assert_int_eq(p.irq_timer, 600000 + 0x8000LL * 1000000000 / 1193182);
	pit_to_kvm(&p, &back, -400000);
	ck_assert_mem_eq(&k, &back, sizeof(k));
}
END_TEST

/* ---- subsections ---- */

/* A state in which every subsection that is ever sent is needed. */
static struct cpu_state *full_state(void)
{
	struct cpu_state *s = NEW(struct cpu_state);
	uint8_t *p = (uint8_t *)s;

	cpu_state_reset(s, 0x60fb1, 40, true);
	for (size_t i = offsetof(struct cpu_state, exception_pending); i < sizeof(*s); i++)
		p[i] = (uint8_t)(i * 7 % 251 + 1);
	for (unsigned i = 0; i < 32; i++)
		memset(&s->zmm[i], (int)i + 1, sizeof(s->zmm[i]));
	memset(&s->hv, 0, sizeof(s->hv));
	s->exposes = UINT32_MAX;
	s->hflags2 |= HF2_NPT;
	s->exception_pending = 0;
	s->exception_injected = 0;
	s->exception_has_payload = 0;
	s->exception_payload = 0;
	s->pdptrs_valid = 1;
	s->hwcr = 0;
	s->error_code = 0;
	return s;
}

START_TEST(test_all_subsections)
{
	struct cpu_state *s = full_state(), *t = NEW(struct cpu_state);
	struct buf one = {0}, two = {0}, json = {0};
	struct err err = {0};
	struct src in;

	ck_assert_int_eq(vms_save(&cpu_vmstate, s, &one, &json, &err), 0);
	in = src_mem(one.data, one.len);
	memset(t, 0x5a, sizeof(*t));
	t->exposes = UINT32_MAX;
	ck_assert_msg(vms_load(&cpu_vmstate, t, &in, 12, &err) == 0, "%s", err.msg);
	ck_assert_uint_eq(in.at, in.len);
	ck_assert_int_eq(vms_save(&cpu_vmstate, t, &two, NULL, &err), 0);
	ck_assert_uint_eq(one.len, two.len);
	ck_assert_mem_eq(one.data, two.data, one.len);
	for (const struct vms_desc *const *sub = cpu_vmstate_subs; *sub; sub++) {
		const char *name = (*sub)->name;
		bool unsent = strstr(name, "hyperv") || strstr(name, "nested_state") ||
			      strstr(name, "hwcr") || strstr(name, "exception_info");

		buf_u8(&json, 0);
		json.len--;
		ck_assert_msg(unsent == !strstr((char *)json.data, name), "%s", name);
	}
	buf_free(&one);
	buf_free(&two);
	buf_free(&json);
	free(s);
	free(t);
}
END_TEST

START_TEST(test_every_cut)
{
	struct cpu_state *s = full_state(), *t = NEW(struct cpu_state);
	struct buf one = {0};
	struct err err = {0};

	ck_assert_int_eq(vms_save(&cpu_vmstate, s, &one, NULL, &err), 0);
	/* a body may end between subsections, and only there */
	for (size_t cut = 0; cut < 1817; cut += 13) {
		struct src in = src_mem(one.data, cut);

		ck_assert_int_lt(vms_load(&cpu_vmstate, t, &in, 12, &err), 0);
	}
	for (size_t cut = 1817; cut < one.len; cut += 7) {
		struct src in = src_mem(one.data, cut);
		int ret = vms_load(&cpu_vmstate, t, &in, 12, &err);

		ck_assert(ret < 0 || in.at <= in.len);
	}
	buf_free(&one);
	free(s);
	free(t);
}
END_TEST

/* Append a subsection to a plain state and load it: the refusal. */
static const char *refusal(const char *name, const void *body, size_t bytes, size_t patch_at,
			   uint32_t patch)
{
	static struct err err;
	struct cpu_state *s = NEW(struct cpu_state), *t = NEW(struct cpu_state);
	struct buf b = {0};
	struct src in;
	int ret;

	cpu_state_reset(s, 0x60fb1, 40, true);
	ck_assert_int_eq(vms_save(&cpu_vmstate, s, &b, NULL, NULL), 0);
	if (patch_at)
		put_be32(b.data + patch_at, patch);
	if (name) {
		buf_u8(&b, 5);
		buf_str8(&b, name);
		buf_be32(&b, 1);
		buf_put(&b, body, bytes);
	}
	in = src_mem(b.data, b.len);
	memset(&err, 0, sizeof(err));
	ret = vms_load(&cpu_vmstate, t, &in, 12, &err);
	buf_free(&b);
	free(s);
	free(t);
	return ret < 0 ? err.msg : "loaded";
}

START_TEST(test_refusals)
{
	static const uint8_t one[64] = {[7] = 1};

	ck_assert_str_eq(refusal(NULL, NULL, 0, 0, 0), "loaded");
	ck_assert_ptr_nonnull(strstr(refusal("cpu/nested_state", one, 8, 0, 0), "virtualisation"));
	ck_assert_ptr_nonnull(strstr(refusal("cpu/msr_hyperv_vapic", one, 8, 0, 0), "Hyper-V"));
	ck_assert_ptr_nonnull(strstr(refusal("cpu/unheard_of", one, 8, 0, 0), "cpu/unheard_of"));
	ck_assert_str_eq(refusal("cpu/msr_hwcr", one, 8, 0, 0), "loaded");
	/* offsets are those of machine-microvm 3.6; fpregs_format is the low half */
	ck_assert_ptr_nonnull(strstr(refusal(NULL, NULL, 0, 152, 1), "format 1"));
	ck_assert_ptr_nonnull(strstr(refusal(NULL, NULL, 0, 144, HF_GUEST), "nested guest"));
	ck_assert_ptr_nonnull(strstr(refusal(NULL, NULL, 0, 1149, 256), "256 is not a vector"));
	ck_assert_ptr_nonnull(strstr(refusal(NULL, NULL, 0, 1153, 99), "mp_state 99"));
	ck_assert_ptr_nonnull(strstr(refusal(NULL, NULL, 0, 1165, 32), "exception 32"));
	ck_assert_ptr_nonnull(strstr(refusal(NULL, NULL, 0, 1181, 99), "99 machine check banks"));
}
END_TEST

START_TEST(test_chip_refusals)
{
	struct tpr_opt_state t = {.state = 1};
	struct apic_state a;
	struct pit_state p = {0};
	struct buf b = {0};
	struct err err = {0};
	struct src in;

	ck_assert_int_eq(vms_save(&tpr_opt_vmstate, &t, &b, NULL, NULL), 0);
	ck_assert_uint_eq(b.len, 144);
	in = src_mem(b.data, b.len);
	ck_assert_int_lt(vms_load(&tpr_opt_vmstate, &t, &in, 1, &err), 0);
	ck_assert_ptr_nonnull(strstr(err.msg, "state 1"));

	buf_clear(&b);
	apic_state_reset(&a, 0, true);
	a.apicbase = 0x12345900;
	ck_assert_int_eq(vms_save(&apic_vmstate, &a, &b, NULL, NULL), 0);
	in = src_mem(b.data, b.len);
	ck_assert_int_lt(vms_load(&apic_vmstate, &a, &in, 3, &err), 0);
	ck_assert_ptr_nonnull(strstr(err.msg, "0x12345000"));

	buf_clear(&b);
	p.channels[2].count = -1;
	ck_assert_int_eq(vms_save(&pit_vmstate, &p, &b, NULL, NULL), 0);
	in = src_mem(b.data, b.len);
	ck_assert_int_lt(vms_load(&pit_vmstate, &p, &in, 3, &err), 0);
	ck_assert_ptr_nonnull(strstr(err.msg, "count -1 of channel 2"));
	buf_free(&b);
}
END_TEST

/* ---- what the registers imply ---- */

START_TEST(test_hflags)
{
	for (size_t i = 0; i < ARRAY_LEN(streams); i++)
		for (unsigned n = 0; n < 2; n++) {
			struct section s = section_open(streams[i], "cpu", n);
			struct cpu_state *c = NEW(struct cpu_state);
			uint32_t sent;

			section_load(&s, &cpu_vmstate, c);
			sent = c->hflags;
			c->hflags = 0;
			ck_assert_uint_eq(cpu_state_hflags(c), sent);
			free(c);
			section_close(&s);
		}
}
END_TEST

/* The reset state is that of a processor that has not run yet. */
START_TEST(test_reset_state)
{
	for (unsigned n = 0; n < 2; n++) {
		struct section s = section_open("irqk1", "cpu", n);
		struct cpu_state *c = NEW(struct cpu_state), *r = NEW(struct cpu_state);

		section_load(&s, &cpu_vmstate, c);
		r->mcg_cap = c->mcg_cap;
		r->tsc_khz = c->tsc_khz;
		cpu_state_reset(r, 0x60fb1, 48, n == 0);
		r->tsc = c->tsc;
		r->poll_control_msr = c->poll_control_msr;
		r->xstate_bv = c->xstate_bv;
		section_compare(&s, &cpu_vmstate, r, "cpu", n);
		free(c);
		free(r);
		section_close(&s);
	}
}
END_TEST

START_TEST(test_pending_exception_is_sent_as_injected)
{
	struct cpu_state *s = NEW(struct cpu_state);
	struct buf b = {0};

	cpu_state_reset(s, 0, 40, true);
	s->exception_pending = s->exception_has_payload = 1;
	s->exception_nr = 14;
	s->exception_payload = 0xabc000;
	ck_assert_int_eq(vms_save(&cpu_vmstate, s, &b, NULL, NULL), 0);
	ck_assert(s->exception_injected && !s->exception_pending);
	ck_assert_uint_eq(s->cr2, 0xabc000);
	buf_free(&b);
	free(s);
}
END_TEST

/* ---- XSAVE ---- */

START_TEST(test_xsave)
{
	static const uint32_t comps[][3] = {
	    {2,  256,  576 },
            {3,  64,   960 },
            {4,  64,   1024},
            {5,  64,   1088},
            {6,  512,  1152},
	    {7,  1024, 1664},
            {9,  8,    2688},
            {18, 8192, 2752}
        }; /* the last does not fit */
	struct kvm_cpuid2 *sup = xcalloc(1, sizeof(*sup) + 16 * sizeof(sup->entries[0]));
	struct cpu_state *s = full_state(), *t = NEW(struct cpu_state);
	static uint8_t area[4096], again[4096];

	for (size_t i = 0; i < ARRAY_LEN(comps); i++)
		sup->entries[sup->nent++] =
		    (struct kvm_cpuid_entry2){.function = 0xd,
					      .index = comps[i][0],
					      .flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
					      .eax = comps[i][1],
					      .ebx = comps[i][2]};
	s->fpuc = 0x37f;
	s->fpus = 0x3800;
	s->fptag = 0x81;
	s->fpregs[7] = (struct x86_fpreg){.mant = 0x8000000000000000, .exp = 0x3fff};
	xsave_from_state(area, sizeof(area), sup, s);
	xsave_to_state(area, sizeof(area), sup, t);
	xsave_from_state(again, sizeof(again), sup, t);
	ck_assert_mem_eq(area, again, sizeof(area));
	ck_assert_uint_eq(t->fptag, 0x81);
	ck_assert_uint_eq(t->fpregs[7].exp, 0x3fff);
	ck_assert_mem_eq(s->zmm, t->zmm, sizeof(s->zmm));
	ck_assert_mem_eq(s->opmask, t->opmask, sizeof(s->opmask));
	ck_assert_uint_eq(s->pkru, t->pkru);
	ck_assert_uint_eq(t->xtiledata[0], 0);
	free(sup);
	free(s);
	free(t);
}
END_TEST

CHECK_MAIN("cpu-state", test_real_cpus, test_real_chips, test_lapic_page, test_lapic_timer,
	   test_pit_times, test_all_subsections, test_every_cut, test_refusals, test_chip_refusals,
	   test_hflags, test_reset_state, test_pending_exception_is_sent_as_injected, test_xsave)
