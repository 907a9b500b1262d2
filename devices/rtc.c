/*
 * rtc.c - MC146818
 *
 * The clock bytes are not counted up: they are computed from the host's clock
 * whenever they are read.  Three things need a timer.  The periodic
 * interrupt has tick_timer.  The flags UF (a second has ended) and AF (the
 * alarm matched) share flag_timer, which is armed only for the next moment at
 * which a flag that is now clear would be set: the next second while UF is
 * clear, the next alarm once UF is set, nothing when both are.  So a guest
 * that never reads register C costs one wake-up, not one a second.
 *
 * Both moments are in the stream, as host time, and are kept as they came
 * until something changes them.
 */
#include "devices/rtc.h"

#include "vmm/base/units.h"
#include "vmm/loop.h"
#include "vmm/machine.h"

#define SECOND_NS 1000000000LL
#define MS_NS     1000000LL

#define A_UIP          0x80
#define A_DIVIDER      0x70
#define A_DIVIDER_RUN  0x20 /* at and below this the 32768 Hz chain runs */
#define A_DIVIDER_HELD 0x60
#define A_RATE         0x0f
#define B_SET          0x80
#define B_PIE          0x40
#define B_AIE          0x20
#define B_UIE          0x10
#define B_SQWE         0x08
#define C_PF           0x40
#define C_AF           0x20
#define C_UF           0x10

#define UIP_NS         (8 * SECOND_NS / RTC_TICKS_HZ) /* register A announces an update so early */
#define HALF_SECOND_NS (SECOND_NS / 2)                /* first update after the divider starts */
#define MAX_SLEEP_MS   60000 /* look at the host's clock at least so often: it may be set */

/* ---- time ---- */

static int64_t now_ns(const struct rtc *r)
{
	return r->clock_ns();
}

/* Unsigned: a stream may hold any numbers, and these must wrap, not trap. */
static int64_t guest_ns(const struct rtc *r)
{
	return (int64_t)(r->base_rtc * (uint64_t)SECOND_NS + (uint64_t)now_ns(r) - r->last_update +
			 (uint64_t)r->offset);
}

static int64_t floor_seconds(int64_t ns)
{
	return ns / SECOND_NS - (ns % SECOND_NS < 0);
}

static int64_t second_part_ns(int64_t ns)
{
	return ns - floor_seconds(ns) * SECOND_NS;
}

static bool clock_counts(const struct rtc *r)
{
	return !(r->cmos[RTC_B] & B_SET) && (r->cmos[RTC_A] & A_DIVIDER) <= A_DIVIDER_RUN;
}

void rtc_refresh(struct rtc *r)
{
	if (clock_counts(r))
		rtc_time_store(r->cmos, floor_seconds(guest_ns(r)));
}

/* The guest's clock goes on from what the bytes say. */
static void adopt_bytes(struct rtc *r)
{
	struct notification n = {.kind = NOTIFY_RTC_CHANGE};
	int64_t now = now_ns(r);

	r->base_rtc = (uint64_t)rtc_time_fetch(r->cmos);
	r->last_update = (uint64_t)now;
	n.number = (int64_t)(r->base_rtc - (uint64_t)floor_seconds(now));
	notify_publish(&r->dev.m->notify, &n);
}

/* ---- flags and timers ---- */

static void set_irq(struct rtc *r, bool level)
{
	if (r->irq_level == level)
		return;
	r->irq_level = level;
	machine_irq(r->dev.m, BOARD_GSI_RTC, level);
}

static void raise_flags(struct rtc *r, uint8_t flags)
{
	uint8_t fresh = flags & (uint8_t)~r->cmos[RTC_C];

	r->cmos[RTC_C] |= flags;
	if (fresh & r->cmos[RTC_B]) {
		r->cmos[RTC_C] |= RTC_C_IRQF;
		set_irq(r, true);
	}
}

static void arm(const struct rtc *r, struct loop_timer *t, int64_t at_ns)
{
	int64_t ms;

	if (!t)
		return;
	if (!r->running || at_ns < 0) {
		loop_timer_cancel(t);
		return;
	}
	ms = (int64_t)((uint64_t)at_ns - (uint64_t)now_ns(r)) / MS_NS + 1;
	loop_timer_arm_ms(t, (uint64_t)(ms < 0 ? 0 : MIN(ms, MAX_SLEEP_MS)));
}

/* Ticks of the periodic interrupt that the guest has programmed, 0: none. */
static uint32_t programmed_period(const struct rtc *r)
{
	unsigned rate = r->cmos[RTC_A] & A_RATE;

	if (!(r->cmos[RTC_B] & B_PIE) || !rate)
		return 0;
	return 1U << ((rate <= 2 ? rate + 7 : rate) - 1);
}

static int64_t period_ns(const struct rtc *r)
{
	return (int64_t)r->period * SECOND_NS / RTC_TICKS_HZ;
}

static void schedule_tick(struct rtc *r)
{
	uint32_t period = programmed_period(r);

	if (period != r->period || (period && r->periodic_timer < 0)) {
		r->period = period;
		r->periodic_timer = -1;
		if (period)
			r->periodic_timer = r->next_periodic_time = now_ns(r) + period_ns(r);
	}
	arm(r, r->tick_timer, r->periodic_timer);
}

static void schedule_flags(struct rtc *r)
{
	int64_t guest = guest_ns(r), alarm, next;

	if ((r->cmos[RTC_A] & A_DIVIDER_HELD) == A_DIVIDER_HELD) {
		r->update_timer = -1;
		arm(r, r->flag_timer, -1);
		return;
	}
	next = now_ns(r) + SECOND_NS - second_part_ns(guest);
	alarm = rtc_alarm_in(r->cmos, floor_seconds(guest));
	r->next_alarm_time = alarm ? (uint64_t)(next + (alarm - 1) * SECOND_NS) : UINT64_MAX;
	if (r->cmos[RTC_C] & C_UF) {
		if (r->cmos[RTC_B] & B_SET || r->cmos[RTC_C] & C_AF)
			next = -1;
		else
			next = (int64_t)r->next_alarm_time; /* never is -1, not armed */
	}
	r->update_timer = next;
	arm(r, r->flag_timer, next);
}

static void poll_tick(struct rtc *r)
{
	int64_t now = now_ns(r);

	if (r->periodic_timer >= 0 && now >= r->periodic_timer) {
		r->next_periodic_time = r->periodic_timer + period_ns(r);
		if (r->next_periodic_time <= now)
			r->next_periodic_time = now + period_ns(r);
		r->periodic_timer = r->period ? r->next_periodic_time : -1;
		raise_flags(r, C_PF);
	}
	arm(r, r->tick_timer, r->periodic_timer);
}

static void poll_flags(struct rtc *r)
{
	int64_t now = now_ns(r);

	if (r->update_timer < 0 || now < r->update_timer) {
		arm(r, r->flag_timer, r->update_timer);
		return;
	}
	if (!(r->cmos[RTC_B] & B_SET)) /* while it is set the time stands still */
		raise_flags(r, (uint64_t)now >= r->next_alarm_time ? C_UF | C_AF : C_UF);
	else
		r->cmos[RTC_C] |= C_UF;
	schedule_flags(r);
}

void rtc_poll(struct rtc *r)
{
	poll_tick(r);
	poll_flags(r);
}

/* ---- registers ---- */

static void write_a(struct rtc *r, uint8_t val)
{
	uint8_t old = r->cmos[RTC_A];

	if ((val & A_DIVIDER_HELD) == A_DIVIDER_HELD) {
		rtc_refresh(r);
	} else if ((old & A_DIVIDER_HELD) == A_DIVIDER_HELD && (val & A_DIVIDER) <= A_DIVIDER_RUN &&
		   !(r->cmos[RTC_B] & B_SET)) {
		r->offset = HALF_SECOND_NS;
		adopt_bytes(r);
	}
	r->cmos[RTC_A] = val & (uint8_t)~A_UIP;
	schedule_tick(r);
	schedule_flags(r);
}

static void write_b(struct rtc *r, uint8_t val)
{
	if (val & B_SET) {
		rtc_refresh(r);
		val &= (uint8_t)~B_UIE;
	} else if (r->cmos[RTC_B] & B_SET && (r->cmos[RTC_A] & A_DIVIDER) <= A_DIVIDER_RUN) {
		r->offset = second_part_ns(guest_ns(r));
		r->cmos[RTC_B] = val; /* says how the bytes are to be read */
		adopt_bytes(r);
	}
	r->cmos[RTC_B] = val;
	if (val & r->cmos[RTC_C] & (C_PF | C_AF | C_UF)) {
		r->cmos[RTC_C] |= RTC_C_IRQF;
		set_irq(r, true);
	} else {
		r->cmos[RTC_C] &= (uint8_t)~RTC_C_IRQF;
		set_irq(r, false);
	}
	schedule_tick(r);
	schedule_flags(r);
}

static void write_clock(struct rtc *r, uint8_t reg, uint8_t val)
{
	bool counts = clock_counts(r);

	rtc_refresh(r);
	r->cmos[reg] = val;
	if (!counts)
		return;
	r->offset = second_part_ns(guest_ns(r)); /* the divider goes on */
	adopt_bytes(r);
	schedule_flags(r);
}

static void write_data(struct rtc *r, uint8_t val)
{
	switch (r->index) {
	case RTC_SECONDS_ALARM:
	case RTC_MINUTES_ALARM:
	case RTC_HOURS_ALARM:
		r->cmos[r->index] = val;
		schedule_flags(r);
		break;
	case RTC_SECONDS:
	case RTC_MINUTES:
	case RTC_HOURS:
	case RTC_WEEKDAY:
	case RTC_DAY:
	case RTC_MONTH:
	case RTC_YEAR:
	case RTC_CENTURY:
		write_clock(r, r->index, val);
		break;
	case RTC_A:
		write_a(r, val);
		break;
	case RTC_B:
		write_b(r, val);
		break;
	case RTC_C:
	case RTC_D:
		break; /* read only */
	default:
		r->cmos[r->index] = val;
		break;
	}
}

static uint8_t read_a(const struct rtc *r)
{
	bool soon = clock_counts(r) && second_part_ns(guest_ns(r)) >= SECOND_NS - UIP_NS;

	return (r->cmos[RTC_A] & (uint8_t)~A_UIP) | (soon ? A_UIP : 0);
}

static uint8_t read_c(struct rtc *r)
{
	uint8_t val = r->cmos[RTC_C];

	r->cmos[RTC_C] = 0;
	set_irq(r, false);
	if (val & (C_UF | C_AF))
		schedule_flags(r);
	return val;
}

void rtc_write(struct rtc *r, unsigned port, uint8_t val)
{
	if (port == 0)
		r->index = (val & 0x7f) == RTC_CENTURY_PS2 ? RTC_CENTURY : val & 0x7f;
	else
		write_data(r, val);
}

uint8_t rtc_read(struct rtc *r, unsigned port)
{
	if (port == 0)
		return 0xff;
	switch (r->index) {
	case RTC_SECONDS:
	case RTC_MINUTES:
	case RTC_HOURS:
	case RTC_WEEKDAY:
	case RTC_DAY:
	case RTC_MONTH:
	case RTC_YEAR:
	case RTC_CENTURY:
		rtc_refresh(r);
		return r->cmos[r->index];
	case RTC_A:
		return read_a(r);
	case RTC_C:
		return read_c(r);
	default:
		return r->cmos[r->index];
	}
}

/* ---- power-on, reset, stop ---- */

static void put_cmos16(struct rtc *r, unsigned at, uint64_t val)
{
	uint64_t v = MIN(val, 0xffff);

	r->cmos[at] = (uint8_t)v;
	r->cmos[at + 1] = (uint8_t)(v >> 8);
}

void rtc_set_memory(struct rtc *r, uint64_t ram_bytes)
{
	uint64_t low = MIN(ram_bytes, BOARD_LOWMEM_LIMIT);
	uint64_t high = ram_bytes - low;

	put_cmos16(r, 0x15, MIN(low / KiB, 640));
	put_cmos16(r, 0x17, low > MiB ? (low - MiB) / KiB : 0);
	put_cmos16(r, 0x30, low > MiB ? (low - MiB) / KiB : 0);
	put_cmos16(r, 0x34, low > 16 * MiB ? (low - 16 * MiB) / (64 * KiB) : 0);
	r->cmos[0x5b] = (uint8_t)(high >> 16);
	r->cmos[0x5c] = (uint8_t)(high >> 24);
	r->cmos[0x5d] = (uint8_t)(high >> 32);
}

void rtc_init(struct rtc *r, struct machine *m, int64_t (*clock_ns)(void))
{
	int64_t now = clock_ns();

	r->dev.m = m;
	r->clock_ns = clock_ns;
	r->cmos[RTC_A] = 0x26;
	r->cmos[RTC_B] = RTC_B_24H;
	r->cmos[RTC_D] = 0x80;
	r->periodic_timer = -1;
	r->base_rtc = (uint64_t)(now / SECOND_NS);
	r->last_update = (uint64_t)now;
	r->offset = now % SECOND_NS;
	rtc_refresh(r);
	schedule_flags(r);
}

void rtc_reset(struct rtc *r)
{
	r->cmos[RTC_B] &= (uint8_t) ~(B_PIE | B_AIE | B_UIE | B_SQWE);
	r->cmos[RTC_C] = 0;
	set_irq(r, false);
	schedule_tick(r);
	schedule_flags(r);
}

void rtc_run(struct rtc *r, bool running)
{
	int64_t now = now_ns(r);

	r->running = running;
	/* After a long stop, or on a host whose clock differs, the beat starts anew. */
	if (running && r->periodic_timer >= 0 &&
	    (r->periodic_timer > now + period_ns(r) || r->periodic_timer < now - SECOND_NS))
		r->periodic_timer = r->next_periodic_time = now + period_ns(r);
	arm(r, r->tick_timer, r->periodic_timer);
	arm(r, r->flag_timer, r->update_timer);
}
