/*
 * lapic.c - the local APIC: KVM's page of registers to section "apic" and back
 *
 * KVM says how much of the timer's count is left; the stream says when the
 * timer was loaded, on the virtual clock.  One is computed from the other with
 * the divider (count_shift), wrapping for a periodic timer.  A one-shot timer
 * that has run out is pushed as never loaded, for KVM would fire it again.
 */
#include "arch/x86/lapic.h"

#include <errno.h>
#include <linux/kvm.h>
#include <string.h>

#include "vmm/base/bytes.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"
#include "vmm/vmstate.h"

/* Register numbers; each has 16 bytes of the page. */
enum {
	APIC_ID = 0x02,
	APIC_TPR = 0x08,
	APIC_ARB = 0x09,
	APIC_LDR = 0x0d,
	APIC_DFR = 0x0e,
	APIC_SVR = 0x0f,
	APIC_ISR = 0x10,
	APIC_TMR = 0x18,
	APIC_IRR = 0x20,
	APIC_ESR = 0x28,
	APIC_ICR = 0x30,
	APIC_LVT = 0x32, /* timer; thermal, performance, LINT0, LINT1, error follow */
	APIC_INITIAL_COUNT = 0x38,
	APIC_CURRENT_COUNT = 0x39,
	APIC_DIVIDE = 0x3e
};

#define LVT_MASKED   (1U << 16)
#define LVT_MODE     (3U << 17) /* of the timer */
#define LVT_PERIODIC (1U << 17)
#define SVR_RESET    0xff

static uint32_t reg_get(const struct kvm_lapic_state *page, unsigned reg)
{
	return get_le32(page->regs + (size_t)reg * 16);
}

static void reg_set(struct kvm_lapic_state *page, unsigned reg, uint32_t v)
{
	put_le32(page->regs + (size_t)reg * 16, v);
}

/* The timer counts once in 1 << shift ns. */
static int32_t count_shift(uint32_t divide_conf)
{
	uint32_t v = (divide_conf & 3) | (divide_conf >> 1 & 4);

	return (int32_t)((v + 1) & 7);
}

void apic_state_reset(struct apic_state *a, unsigned id, bool bsp)
{
	memset(a, 0, sizeof(*a));
	a->apicbase = APIC_BASE_RESET | (bsp ? APIC_BASE_BSP : 0);
	a->id = (uint8_t)id;
	a->spurious_vec = SVR_RESET;
	a->dest_mode = 0xf;
	for (unsigned i = 0; i < ARRAY_LEN(a->lvt); i++)
		a->lvt[i] = LVT_MASKED;
	a->count_shift = count_shift(0);
	a->timer_expiry = -1;
}

/*
 * How far the timer has counted since it was loaded, in counts, told by the
 * load time; wraps for a periodic one.  Times come from the stream.
 */
static uint32_t counted(const struct apic_state *a, int64_t now_ns)
{
	int64_t since;

	if (__builtin_sub_overflow(now_ns, a->initial_count_load_time, &since) || since <= 0)
		return 0;
	since >>= count_shift(a->divide_conf);
	if ((a->lvt[0] & LVT_MODE) == LVT_PERIODIC && a->initial_count > 0)
		since %= (int64_t)a->initial_count;
	return since < a->initial_count ? (uint32_t)since : a->initial_count;
}

/* When the timer fires next, as other users of the section tell it. */
static void tell_expiry(struct apic_state *a, int64_t now_ns)
{
	a->timer_expiry = -1;
	if ((a->lvt[0] & LVT_MASKED) || (a->lvt[0] & LVT_MODE) > LVT_PERIODIC ||
	    a->initial_count == 0 || counted(a, now_ns) >= a->initial_count)
		return;
	a->next_time =
	    a->initial_count_load_time + (((int64_t)a->initial_count + 1) << a->count_shift);
	a->timer_expiry = a->next_time;
}

void apic_from_kvm(struct apic_state *a, const struct kvm_lapic_state *page, int64_t now_ns)
{
	bool x2apic = a->apicbase & APIC_BASE_X2APIC;
	uint32_t current = reg_get(page, APIC_CURRENT_COUNT);

	a->id = (uint8_t)(x2apic ? reg_get(page, APIC_ID) : reg_get(page, APIC_ID) >> 24);
	a->arb_id = (uint8_t)reg_get(page, APIC_ARB);
	a->tpr = (uint8_t)reg_get(page, APIC_TPR);
	a->spurious_vec = reg_get(page, APIC_SVR);
	a->log_dest = (uint8_t)(reg_get(page, APIC_LDR) >> 24);
	a->dest_mode = (uint8_t)(reg_get(page, APIC_DFR) >> 28);
	for (unsigned i = 0; i < 8; i++) {
		a->isr[i] = reg_get(page, APIC_ISR + i);
		a->tmr[i] = reg_get(page, APIC_TMR + i);
		a->irr[i] = reg_get(page, APIC_IRR + i);
	}
	for (unsigned i = 0; i < ARRAY_LEN(a->lvt); i++)
		a->lvt[i] = reg_get(page, APIC_LVT + i);
	a->esr = reg_get(page, APIC_ESR);
	a->icr[0] = reg_get(page, APIC_ICR);
	a->icr[1] = reg_get(page, APIC_ICR + 1);
	a->divide_conf = reg_get(page, APIC_DIVIDE);
	a->count_shift = count_shift(a->divide_conf);
	a->initial_count = reg_get(page, APIC_INITIAL_COUNT);
	a->initial_count_load_time = now_ns;
	if (current < a->initial_count)
		a->initial_count_load_time -= (int64_t)(a->initial_count - current)
					      << a->count_shift;
	tell_expiry(a, now_ns);
	a->sipi_vector = 0;
	a->wait_for_sipi = 0;
}

/* The logical id of an x2APIC follows from its id. */
static uint32_t x2apic_ldr(unsigned id)
{
	return (id & ~0xfU) << 12 | 1U << (id & 0xf);
}

void apic_to_kvm(const struct apic_state *a, struct kvm_lapic_state *page, unsigned id,
		 int64_t now_ns)
{
	bool x2apic = a->apicbase & APIC_BASE_X2APIC;
	uint32_t left = a->initial_count - counted(a, now_ns);

	memset(page, 0, sizeof(*page));
	if (x2apic) {
		reg_set(page, APIC_ID, id);
		reg_set(page, APIC_LDR, x2apic_ldr(id));
	} else {
		reg_set(page, APIC_ID, (uint32_t)a->id << 24);
		reg_set(page, APIC_LDR, (uint32_t)a->log_dest << 24);
	}
	reg_set(page, APIC_TPR, a->tpr);
	reg_set(page, APIC_DFR, (uint32_t)a->dest_mode << 28 | 0x0fffffff);
	reg_set(page, APIC_SVR, a->spurious_vec);
	for (unsigned i = 0; i < 8; i++) {
		reg_set(page, APIC_ISR + i, a->isr[i]);
		reg_set(page, APIC_TMR + i, a->tmr[i]);
		reg_set(page, APIC_IRR + i, a->irr[i]);
	}
	for (unsigned i = 0; i < ARRAY_LEN(a->lvt); i++)
		reg_set(page, APIC_LVT + i, a->lvt[i]);
	reg_set(page, APIC_ESR, a->esr);
	reg_set(page, APIC_ICR, a->icr[0]);
	reg_set(page, APIC_ICR + 1, a->icr[1]);
	reg_set(page, APIC_DIVIDE, a->divide_conf);
	/* KVM would fire a one-shot timer that has run out once more, but not one that was never
	 * loaded. */
	reg_set(page, APIC_INITIAL_COUNT, left > 0 ? a->initial_count : 0);
	reg_set(page, APIC_CURRENT_COUNT, left);
}

static int apic_pre_load(void *dev, struct err *err)
{
	struct apic_state *a = dev;

	(void)err;
	a->sipi_vector = 0;
	a->wait_for_sipi = 0;
	return 0;
}

static int apic_post_load(void *dev, uint32_t version, struct err *err)
{
	struct apic_state *a = dev;

	(void)version;
	/* It moves the registers away from where this machine has them; KVM would follow. */
	if ((a->apicbase & 0xfffff000) != 0xfee00000)
		return err_set(err, EINVAL, "local APIC at 0x%x, not at 0xfee00000",
			       a->apicbase & 0xfffff000);
	a->count_shift = count_shift(a->divide_conf);
	return 0;
}

static bool sipi_needed(void *dev)
{
	return ((struct apic_state *)dev)->wait_for_sipi != 0;
}

static const struct vms_field sipi_fields[] = {
    VMS_S32(struct apic_state, sipi_vector, "sipi_vector"),
    VMS_S32(struct apic_state, wait_for_sipi, "wait_for_sipi"),
    VMS_LAST,
};
static const struct vms_desc sipi_desc = {.name = "apic_sipi",
					  .version = 1,
					  .min_version = 1,
					  .fields = sipi_fields,
					  .needed = sipi_needed};
static const struct vms_desc *const apic_subs[] = {&sipi_desc, NULL};

#define U32(m)  VMS_U32(struct apic_state, m, #m)
#define U8(m)   VMS_U8(struct apic_state, m, #m)
#define S64(m)  VMS_S64(struct apic_state, m, #m)
#define U32S(m) VMS_ARRAY(uint32_t, struct apic_state, m, #m)

static const struct vms_field apic_fields[] = {
    U32(apicbase),
    U8(id),
    U8(arb_id),
    U8(tpr),
    U32(spurious_vec),
    U8(log_dest),
    U8(dest_mode),
    U32S(isr),
    U32S(tmr),
    U32S(irr),
    U32S(lvt),
    U32(esr),
    U32S(icr),
    U32(divide_conf),
    VMS_S32(struct apic_state, count_shift, "count_shift"),
    U32(initial_count),
    S64(initial_count_load_time),
    S64(next_time),
    S64(timer_expiry),
    VMS_LAST,
};

const struct vms_desc apic_vmstate = {
    .name = "apic",
    .version = 3,
    .min_version = 3,
    .fields = apic_fields,
    .subs = apic_subs,
    .pre_load = apic_pre_load,
    .post_load = apic_post_load,
};
