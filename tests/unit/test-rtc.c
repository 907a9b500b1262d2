/* The RTC against a clock that the test moves. */
#include <check.h>

#include "devices/rtc.h"
#include "tests/unit/bare-machine.h"
#include "tests/unit/check-main.h"
#include "vmm/base/units.h"

#define S 1000000000LL
/* 2026-11-23 02:31:54 UTC, a Monday */
#define START (1795401114LL * S + S / 4)

static const struct config cfg;
static struct machine *m;
static struct rtc r;
static int64_t now;

static int64_t test_clock(void)
{
	return now;
}

static void setup(void)
{
	m = bare_machine_new(&cfg);
	now = START;
	r = (struct rtc){0};
	rtc_init(&r, m, test_clock);
	rtc_run(&r, true);
}

static void teardown(void)
{
	bare_machine_free(m);
}

static uint8_t get(uint8_t reg)
{
	rtc_write(&r, 0, reg);
	return rtc_read(&r, 1);
}

static void put(uint8_t reg, uint8_t val)
{
	rtc_write(&r, 0, reg);
	rtc_write(&r, 1, val);
}

static void pass(int64_t ns)
{
	now += ns;
	rtc_poll(&r);
}

START_TEST(power_on)
{
	setup();
	ck_assert_uint_eq(rtc_read(&r, 0), 0xff);
	ck_assert_uint_eq(get(RTC_A), 0x26);
	ck_assert_uint_eq(get(RTC_B), 0x02);
	ck_assert_uint_eq(get(RTC_C), 0x00);
	ck_assert_uint_eq(get(RTC_D), 0x80);
	ck_assert_uint_eq(get(RTC_SECONDS), 0x54);
	ck_assert_uint_eq(get(RTC_MINUTES), 0x31);
	ck_assert_uint_eq(get(RTC_HOURS), 0x02);
	ck_assert_uint_eq(get(RTC_WEEKDAY), 0x02);
	ck_assert_uint_eq(get(RTC_DAY), 0x23);
	ck_assert_uint_eq(get(RTC_MONTH), 0x11);
	ck_assert_uint_eq(get(RTC_YEAR), 0x26);
	ck_assert_uint_eq(get(RTC_CENTURY), 0x20);
	ck_assert_uint_eq(get(RTC_CENTURY_PS2), 0x20);
	put(RTC_D, 0);
	ck_assert_uint_eq(get(RTC_D), 0x80); /* read only */
	put(0x7f, 0x5a);
	ck_assert_uint_eq(get(0xff), 0x5a); /* bit 7 is the NMI mask's */
	teardown();
}
END_TEST

START_TEST(memory_size)
{
	setup();
	rtc_set_memory(&r, 128 * MiB);
	ck_assert_uint_eq(get(0x15) | get(0x16) << 8, 640);
	ck_assert_uint_eq(get(0x17) | get(0x18) << 8, 0xffff);
	ck_assert_uint_eq(get(0x30) | get(0x31) << 8, 0xffff);
	ck_assert_uint_eq(get(0x34) | get(0x35) << 8, 0x0700);
	ck_assert_uint_eq(get(0x5b) | get(0x5c) << 8 | get(0x5d) << 16, 0);
	rtc_set_memory(&r, 4 * GiB);
	ck_assert_uint_eq(get(0x34) | get(0x35) << 8, 0xbf00);
	ck_assert_uint_eq(get(0x5b) | get(0x5c) << 8 | get(0x5d) << 16, 0x4000);
	rtc_set_memory(&r, 8 * MiB);
	ck_assert_uint_eq(get(0x30) | get(0x31) << 8, 7168);
	ck_assert_uint_eq(get(0x34) | get(0x35) << 8, 0);
	teardown();
}
END_TEST

START_TEST(update_in_progress)
{
	setup();
	ck_assert_uint_eq(get(RTC_A), 0x26);
	now += S * 3 / 4 - 200000;
	ck_assert_uint_eq(get(RTC_A), 0xa6);
	now += 200000;
	ck_assert_uint_eq(get(RTC_A), 0x26);
	ck_assert_uint_eq(get(RTC_SECONDS), 0x55);
	teardown();
}
END_TEST

START_TEST(guest_sets_the_time)
{
	setup();
	put(RTC_B, 0x82);
	put(RTC_YEAR, 0x30);
	put(RTC_MONTH, 0x02);
	put(RTC_DAY, 0x28);
	put(RTC_HOURS, 0x23);
	put(RTC_MINUTES, 0x59);
	put(RTC_SECONDS, 0x59);
	now += 100 * S; /* the clock stands */
	ck_assert_uint_eq(get(RTC_SECONDS), 0x59);
	put(RTC_B, 0x02);
	now += S;
	ck_assert_uint_eq(get(RTC_SECONDS), 0x00);
	ck_assert_uint_eq(get(RTC_DAY), 0x01);
	ck_assert_uint_eq(get(RTC_MONTH), 0x03);
	ck_assert_uint_eq(get(RTC_WEEKDAY), 0x06);
	teardown();
}
END_TEST

START_TEST(binary_and_12_hours)
{
	setup();
	now += 12 * 3600 * S; /* 14:31:54 */
	put(RTC_B, 0x04);
	ck_assert_uint_eq(get(RTC_HOURS), 0x82); /* 2 PM */
	ck_assert_uint_eq(get(RTC_MINUTES), 31);
	now -= 2 * 3600 * S;
	ck_assert_uint_eq(get(RTC_HOURS), 0x8c); /* 12 PM is noon */
	now += 12 * 3600 * S;
	ck_assert_uint_eq(get(RTC_HOURS), 0x0c); /* 12 AM is midnight */
	put(RTC_HOURS, 0x81);                    /* 1 PM */
	put(RTC_B, 0x06);
	ck_assert_uint_eq(get(RTC_HOURS), 13);
	teardown();
}
END_TEST

START_TEST(update_interrupt)
{
	setup();
	put(RTC_B, 0x12);
	pass(S / 2);
	ck_assert_uint_eq(get(RTC_C), 0);
	pass(S / 2);
	ck_assert_int_eq(r.irq_level, true);
	ck_assert_uint_eq(get(RTC_C), 0x90);
	ck_assert_int_eq(r.irq_level, false);
	ck_assert_uint_eq(get(RTC_C), 0x00);
	pass(S);
	ck_assert_uint_eq(get(RTC_C), 0x90);
	teardown();
}
END_TEST

/* Without a reader the timer rests until the alarm. */
START_TEST(alarm_interrupt)
{
	setup();
	put(RTC_SECONDS_ALARM, 0x10);
	put(RTC_MINUTES_ALARM, 0x33);
	put(RTC_HOURS_ALARM, 0xff); /* any */
	put(RTC_B, 0x22);
	pass(S);
	ck_assert_int_eq(r.irq_level, false);
	ck_assert_int_eq(r.update_timer, START - S / 4 + 76 * S); /* 02:33:10 */
	pass(74 * S);
	ck_assert_int_eq(r.irq_level, false);
	pass(S);
	ck_assert_int_eq(r.irq_level, true);
	ck_assert_int_eq(r.update_timer, -1); /* nothing can change before C is read */
	ck_assert_uint_eq(get(RTC_C), 0xb0);
	ck_assert_int_eq(r.update_timer, START - S / 4 + 77 * S);
	teardown();
}
END_TEST

START_TEST(alarm_search)
{
	uint8_t cmos[RTC_CMOS_BYTES] = {[RTC_B] = RTC_B_24H};

	ck_assert_int_eq(rtc_alarm_in(cmos, 0), 86400); /* 00:00:00, a day ahead */
	ck_assert_int_eq(rtc_alarm_in(cmos, 86399), 1);
	cmos[RTC_SECONDS_ALARM] = cmos[RTC_MINUTES_ALARM] = cmos[RTC_HOURS_ALARM] = 0xff;
	ck_assert_int_eq(rtc_alarm_in(cmos, 12345), 1);
	cmos[RTC_SECONDS_ALARM] = 0x30;
	ck_assert_int_eq(rtc_alarm_in(cmos, 30), 60);
	cmos[RTC_SECONDS_ALARM] = 0x79; /* no such second */
	ck_assert_int_eq(rtc_alarm_in(cmos, 30), 0);
	cmos[RTC_SECONDS_ALARM] = 0;
	ck_assert_int_eq(rtc_alarm_in(cmos, -1), 1); /* before 1970 */
}
END_TEST

START_TEST(periodic_interrupt)
{
	setup();
	put(RTC_A, 0x2f); /* 2 Hz */
	put(RTC_B, 0x42);
	ck_assert_uint_eq(r.period, 16384);
	ck_assert_int_eq(r.periodic_timer, now + S / 2);
	pass(S / 2);
	ck_assert_uint_eq(get(RTC_C) & 0xc0, 0xc0);
	pass(S / 4);
	ck_assert_uint_eq(get(RTC_C) & 0xc0, 0);
	pass(S / 4);
	ck_assert_uint_eq(get(RTC_C) & 0xc0, 0xc0);
	pass(10 * S); /* a host that was away: one, not twenty */
	ck_assert_uint_eq(get(RTC_C) & 0xc0, 0xc0);
	rtc_poll(&r);
	ck_assert_uint_eq(get(RTC_C) & 0xc0, 0);
	put(RTC_B, 0x02);
	ck_assert_int_eq(r.periodic_timer, -1);
	teardown();
}
END_TEST

START_TEST(divider_reset)
{
	setup();
	put(RTC_A, 0x76);
	now += 50 * S;
	ck_assert_uint_eq(get(RTC_SECONDS), 0x54);
	ck_assert_int_eq(r.update_timer, -1);
	put(RTC_A, 0x26); /* the first update comes half a second later */
	now += S / 2 - 1;
	ck_assert_uint_eq(get(RTC_SECONDS), 0x54);
	now += 1;
	ck_assert_uint_eq(get(RTC_SECONDS), 0x55);
	teardown();
}
END_TEST

static int64_t change;

static void on_change(void *opaque, const struct notification *n)
{
	(void)opaque;
	if (n->kind == NOTIFY_RTC_CHANGE)
		change = n->number;
}

START_TEST(tells_a_change)
{
	struct notify_listener l = {.fn = on_change};

	setup();
	notify_subscribe(&m->notify, &l);
	put(RTC_MINUTES, 0x32);
	ck_assert_int_eq(change, 60);
	teardown();
}
END_TEST

START_TEST(reset_keeps_time)
{
	setup();
	put(RTC_MINUTES, 0x00);
	put(RTC_A, 0x2f);
	put(RTC_B, 0x7a);
	rtc_reset(&r);
	ck_assert_uint_eq(get(RTC_B), 0x02);
	ck_assert_uint_eq(get(RTC_C), 0x00);
	ck_assert_uint_eq(get(RTC_MINUTES), 0x00);
	ck_assert_int_eq(r.periodic_timer, -1);
	teardown();
}
END_TEST

CHECK_MAIN("rtc", power_on, memory_size, update_in_progress, guest_sets_the_time,
	   binary_and_12_hours, update_interrupt, alarm_interrupt, alarm_search, periodic_interrupt,
	   divider_reset, tells_a_change, reset_keeps_time)
