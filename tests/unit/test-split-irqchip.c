/* The interrupt controllers and the timer that KVM does not emulate: IOAPIC, 8259 pair, 8254. */
#include <string.h>

#include "arch/x86/ioapic.h"
#include "arch/x86/pic.h"
#include "arch/x86/pit-counter.h"
#include "tests/unit/check-main.h"
#include "vmm/base/units.h"

/* ---- IOAPIC ---- */

#define LEVEL  (1ULL << 15)
#define REMOTE (1ULL << 14)
#define MASKED (1ULL << 16)

static void select_and_write(struct ioapic_state *s, uint8_t index, uint32_t val, uint32_t sends)
{
	bool changed;

	ck_assert_uint_eq(ioapic_write(s, 0, index, &changed), 0);
	ck_assert(!changed);
	ck_assert_uint_eq(ioapic_write(s, 0x10, val, &changed), sends);
	ck_assert(changed == (index >= 0x10));
}

static uint32_t select_and_read(struct ioapic_state *s, uint8_t index)
{
	bool changed;

	(void)ioapic_write(s, 0, index, &changed);
	return ioapic_read(s, 0x10);
}

static struct ioapic_state ioapic_reset_state(void)
{
	struct ioapic_state s = {0};

	for (unsigned i = 0; i < IOAPIC_PINS; i++)
		s.ioredtbl[i] = MASKED;
	return s;
}

START_TEST(ioapic_registers)
{
	struct ioapic_state s = ioapic_reset_state();
	bool changed;

	ck_assert_uint_eq(select_and_read(&s, 1), 0x00170020);
	select_and_write(&s, 0, 0xff000000, 0);
	ck_assert_uint_eq(select_and_read(&s, 0), 0x0f000000);
	ck_assert_uint_eq(select_and_read(&s, 2), 0x0f000000);
	ck_assert_uint_eq(select_and_read(&s, 0x10), 0x10000);
	select_and_write(&s, 0x10 + 2 * 23 + 1, 0x05000000, 0);
	select_and_write(&s, 0x10 + 2 * 23, 0xa0ff | 1U << 12 | 1U << 14, 0); /* not those two */
	ck_assert_uint_eq(s.ioredtbl[23], 0x050000000000a0ffULL);
	/* beyond the table, and off the registers */
	(void)ioapic_write(&s, 0, 0x40, &changed);
	ck_assert_uint_eq(ioapic_write(&s, 0x10, 0x55, &changed), 0);
	ck_assert(!changed);
	ck_assert_uint_eq(ioapic_read(&s, 0x10), 0);
	ck_assert_uint_eq(ioapic_read(&s, 0x20), 0);
	ck_assert_uint_eq(ioapic_read(&s, 0), 0x40);
}
END_TEST

START_TEST(ioapic_level)
{
	struct ioapic_state s = ioapic_reset_state();
	uint32_t lines = 0;

	select_and_write(&s, 0x10 + 2 * 5, 0x8045, 0);
	ck_assert_uint_eq(ioapic_set_line(&s, &lines, 5, true), 1U << 5);
	ck_assert_uint_eq(s.ioredtbl[5], 0x8045 | REMOTE);
	ck_assert_uint_eq(ioapic_set_line(&s, &lines, 5, true), 0); /* it waits for the end */
	ck_assert_uint_eq(ioapic_eoi(&s, 0x46), 0);
	ck_assert_uint_eq(ioapic_eoi(&s, 0x45), 1U << 5); /* still high: once more */
	ck_assert_uint_eq(ioapic_set_line(&s, &lines, 5, false), 0);
	ck_assert_uint_eq(s.irr, 0);
	ck_assert_uint_eq(ioapic_eoi(&s, 0x45), 0);
	ck_assert_uint_eq(s.ioredtbl[5], 0x8045);
	/* masked: pending until it is not */
	select_and_write(&s, 0x10 + 2 * 5, 0x8045 | MASKED, 0);
	ck_assert_uint_eq(ioapic_set_line(&s, &lines, 5, true), 0);
	select_and_write(&s, 0x10 + 2 * 5, 0x8045, 1U << 5);
	/* the EOI register ends it, too; a change to edges as well */
	s.irr = 0;
	bool changed;
	(void)ioapic_write(&s, 0x40, 0x45, &changed);
	ck_assert_uint_eq(s.ioredtbl[5], 0x8045);
	s.ioredtbl[5] |= REMOTE;
	select_and_write(&s, 0x10 + 2 * 5, 0x45, 0);
	ck_assert_uint_eq(s.ioredtbl[5], 0x45);
}
END_TEST

START_TEST(ioapic_edge)
{
	struct ioapic_state s = ioapic_reset_state();
	uint32_t lines = 0;

	select_and_write(&s, 0x10 + 2 * 4, 0x44, 0);
	ck_assert_uint_eq(ioapic_set_line(&s, &lines, 4, true), 1U << 4);
	ck_assert_uint_eq(s.irr, 0);
	ck_assert_uint_eq(ioapic_set_line(&s, &lines, 4, true), 0);
	ck_assert_uint_eq(ioapic_set_line(&s, &lines, 4, false), 0);
	ck_assert_uint_eq(ioapic_set_line(&s, &lines, 4, true), 1U << 4);
	(void)ioapic_set_line(&s, &lines, 4, false);
	select_and_write(&s, 0x10 + 2 * 4, 0x44 | MASKED, 0);
	ck_assert_uint_eq(ioapic_set_line(&s, &lines, 4, true), 0);
	(void)ioapic_set_line(&s, &lines, 4, false);
	select_and_write(&s, 0x10 + 2 * 4, 0x44, 1U << 4); /* kept */
}
END_TEST

static bool has_45(void *opaque, uint8_t vector)
{
	(void)opaque;
	return vector == 0x45;
}

START_TEST(ioapic_messages_and_lost_ends)
{
	struct ioapic_state s = ioapic_reset_state();
	struct ioapic_message m = ioapic_message(0x0700000000008945ULL);

	ck_assert_uint_eq(m.address, 0xfee07004);
	ck_assert_uint_eq(m.data, 0xc145); /* level, asserted, lowest priority */
	m = ioapic_message(0x1200000000000033ULL);
	ck_assert_uint_eq(m.address, 0xfee12000);
	ck_assert_uint_eq(m.data, 0x4033);

	s.ioredtbl[1] = 0x8045 | REMOTE;
	s.ioredtbl[2] = 0x8046 | REMOTE;
	ioapic_heal(&s, has_45, NULL);
	ck_assert_uint_eq(s.ioredtbl[1], 0x8045 | REMOTE);
	ck_assert_uint_eq(s.ioredtbl[2], 0x8046);
}
END_TEST

/* ---- 8259 ---- */

static void pic_set_up(struct pic_state p[2], uint8_t icw4)
{
	memset(p, 0, 2 * sizeof(p[0]));
	for (unsigned c = 0; c < 2; c++) {
		pic_write(p, c, 0, 0x11);
		pic_write(p, c, 1, (uint8_t)(0x30 + 8 * c));
		pic_write(p, c, 1, c ? 2 : 4);
		pic_write(p, c, 1, icw4);
		ck_assert_uint_eq(p[c].init_state, 0);
		ck_assert_uint_eq(p[c].imr, 0);
	}
}

START_TEST(pic_priorities)
{
	struct pic_state p[2];

	pic_set_up(p, 1);
	ck_assert(!pic_intr(p));
	pic_set_line(p, 4, true);
	pic_set_line(p, 1, true);
	ck_assert(pic_intr(p));
	ck_assert_uint_eq(pic_acknowledge(p), 0x31);
	ck_assert(!pic_intr(p)); /* 4 has a lower priority than what is in service */
	pic_set_line(p, 0, true);
	ck_assert_uint_eq(pic_acknowledge(p), 0x30);
	pic_write(p, 0, 0, 0x20); /* EOI of the most urgent */
	ck_assert_uint_eq(p[0].isr, 1 << 1);
	pic_write(p, 0, 0, 0x61); /* of line 1 by name */
	ck_assert_uint_eq(p[0].isr, 0);
	pic_write(p, 0, 0, 0x0b);
	ck_assert_uint_eq(pic_read(p, 0, 0), 0); /* ISR */
	pic_write(p, 0, 0, 0x0a);
	ck_assert_uint_eq(pic_read(p, 0, 0), 1 << 4); /* IRR */
	pic_write(p, 0, 1, 1 << 4);
	ck_assert_uint_eq(pic_read(p, 0, 1), 1 << 4);
	ck_assert(!pic_intr(p));
	ck_assert_uint_eq(pic_acknowledge(p), 0x37); /* there was none */
	pic_write(p, 0, 1, 0);
	ck_assert_uint_eq(pic_acknowledge(p), 0x34);
	pic_write(p, 0, 0, 0xa0); /* EOI, and 4 is the least urgent now */
	pic_set_line(p, 4, false);
	pic_set_line(p, 5, true);
	pic_set_line(p, 4, true);
	ck_assert_uint_eq(pic_acknowledge(p), 0x35);
}
END_TEST

START_TEST(pic_slave)
{
	struct pic_state p[2];

	pic_set_up(p, 1);
	pic_set_line(p, 8, true);
	pic_set_line(p, 12, true);
	ck_assert_uint_eq(pic_acknowledge(p), 0x38);
	ck_assert_uint_eq(p[0].isr, 1 << 2);
	ck_assert(!pic_intr(p));
	pic_write(p, 1, 0, 0x20);
	pic_write(p, 0, 0, 0x20);
	ck_assert(pic_intr(p)); /* the other one is still there */
	ck_assert_uint_eq(pic_acknowledge(p), 0x3c);
	pic_write(p, 1, 0, 0x20);
	pic_write(p, 0, 0, 0x20);
	/* one that is masked between request and acknowledge is spurious */
	pic_set_line(p, 8, false);
	pic_set_line(p, 8, true);
	ck_assert(pic_intr(p));
	p[1].imr = 0xff;
	ck_assert_uint_eq(pic_acknowledge(p), 0x3f);
}
END_TEST

START_TEST(pic_levels_and_auto_eoi)
{
	struct pic_state p[2];

	pic_set_up(p, 3); /* auto EOI */
	pic_write_elcr(p, 0, 0xff);
	pic_write_elcr(p, 1, 0xff);
	ck_assert_uint_eq(p[0].elcr, 0xf8);
	ck_assert_uint_eq(p[1].elcr, 0xde);
	pic_set_line(p, 5, true);
	ck_assert_uint_eq(pic_acknowledge(p), 0x35);
	ck_assert_uint_eq(p[0].isr, 0);
	ck_assert(pic_intr(p)); /* the level is still high */
	pic_set_line(p, 5, false);
	ck_assert(!pic_intr(p));
	pic_set_line(p, 1, true); /* an edge, once */
	pic_write(p, 0, 0, 0x0c); /* poll */
	ck_assert_uint_eq(pic_read(p, 0, 0), 0x81);
	ck_assert(!pic_intr(p));
	pic_write(p, 0, 0, 0x0c);
	ck_assert_uint_eq(pic_read(p, 0, 1), 0);
	/* special mask mode: what is in service and masked holds nobody up */
	pic_set_up(p, 1);
	pic_set_line(p, 1, true);
	(void)pic_acknowledge(p);
	pic_set_line(p, 6, true);
	ck_assert(!pic_intr(p));
	pic_write(p, 0, 1, 1 << 1);
	pic_write(p, 0, 0, 0x68);
	ck_assert_uint_eq(pic_acknowledge(p), 0x36);
}
END_TEST

/* ---- 8254 ---- */

#define TICK(n) (((int64_t)(n)*1000000000 + 1193181) / 1193182)

static struct pit_state pit_at_reset(void)
{
	struct pit_state p = {0};

	for (unsigned i = 0; i < 3; i++)
		p.channels[i] = (struct pit_channel){.count = 0x10000, .mode = 3, .gate = i != 2};
	return p;
}

static void load(struct pit_state *p, unsigned channel, unsigned mode, unsigned count, int64_t now)
{
	pit_write(p, 3, (uint8_t)(channel << 6 | 3 << 4 | mode << 1), now);
	pit_write(p, channel, (uint8_t)count, now);
	pit_write(p, channel, (uint8_t)(count >> 8), now);
}

static unsigned read_count(struct pit_state *p, unsigned channel, int64_t now)
{
	unsigned low;

	pit_write(p, 3, (uint8_t)(channel << 6), now); /* latch */
	low = pit_read(p, channel, now + TICK(5));
	return low | (unsigned)pit_read(p, channel, now + TICK(7)) << 8;
}

START_TEST(pit_rate)
{
	struct pit_state p = pit_at_reset();
	const struct pit_channel *c = &p.channels[0];
	int64_t t = 77;

	load(&p, 0, 2, 1000, t);
	ck_assert(pit_out(c, t));
	ck_assert_int_eq(pit_next_change(c, t), t + TICK(999));
	ck_assert(!pit_out(c, t + TICK(999)));
	ck_assert_int_eq(pit_next_change(c, t + TICK(999)), t + TICK(1000));
	ck_assert_int_eq(pit_next_rise(c, t), t + TICK(1000));
	ck_assert_int_eq(pit_next_rise(c, t + TICK(1000)), t + TICK(2000));
	ck_assert_uint_eq(read_count(&p, 0, t + TICK(1)), 999);
	ck_assert_uint_eq(read_count(&p, 0, t + TICK(1003)), 997);
}
END_TEST

START_TEST(pit_square)
{
	struct pit_state p = pit_at_reset();
	const struct pit_channel *c = &p.channels[0];

	load(&p, 0, 3, 101, 0);
	ck_assert(pit_out(c, TICK(50)));
	ck_assert(!pit_out(c, TICK(51)));
	ck_assert_int_eq(pit_next_change(c, 0), TICK(51));
	ck_assert_int_eq(pit_next_change(c, TICK(51)), TICK(101));
	ck_assert_int_eq(pit_next_rise(c, TICK(3)), TICK(101));
	/* never programmed: 18.2 times a second */
	p = pit_at_reset();
	ck_assert_int_eq(pit_next_rise(c, 0), TICK(0x10000));
}
END_TEST

START_TEST(pit_once)
{
	struct pit_state p = pit_at_reset();
	const struct pit_channel *c = &p.channels[0];

	load(&p, 0, 0, 10, 0);
	ck_assert(!pit_out(c, TICK(9)));
	ck_assert(pit_out(c, TICK(10)));
	ck_assert_int_eq(pit_next_rise(c, 0), TICK(10));
	ck_assert_int_eq(pit_next_rise(c, TICK(10)), PIT_NEVER);
	load(&p, 0, 4, 10, 0);
	ck_assert_int_eq(pit_next_change(c, 0), TICK(10));
	ck_assert_int_eq(pit_next_change(c, TICK(10)), TICK(11));
	ck_assert_int_eq(pit_next_change(c, TICK(11)), PIT_NEVER);
	for (unsigned mode = 1; mode <= 5; mode += 4) {
		load(&p, 0, mode, 10, 0); /* its gate never rises */
		ck_assert(pit_out(c, TICK(20)));
		ck_assert_int_eq(pit_next_change(c, 0), PIT_NEVER);
	}
}
END_TEST

START_TEST(pit_bytes)
{
	struct pit_state p = pit_at_reset();

	pit_write(&p, 3, 0x54, 0); /* channel 1, low byte, mode 2 */
	pit_write(&p, 1, 0x12, 0);
	ck_assert_int_eq(p.channels[1].count, 0x12);
	ck_assert_uint_eq(pit_read(&p, 1, 0), 0x12);
	ck_assert_uint_eq(pit_read(&p, 1, 0), 0x12);
	pit_write(&p, 3, 0x64, 0); /* high byte */
	pit_write(&p, 1, 0x12, 0);
	ck_assert_uint_eq(pit_read(&p, 1, 0), 0x12);
	load(&p, 1, 2, 0, 0);
	ck_assert_int_eq(p.channels[1].count, 0x10000);
	load(&p, 1, 2, 0x1234, 0);
	ck_assert_uint_eq(pit_read(&p, 1, 0), 0x34);
	ck_assert_uint_eq(pit_read(&p, 1, 0), 0x12);
	/* read-back: status, then count, of channel 1 */
	pit_write(&p, 3, 0xc4, 0);
	ck_assert_uint_eq(pit_read(&p, 1, 0), 0x80 | 3 << 4 | 2 << 1);
	ck_assert_uint_eq(pit_read(&p, 1, TICK(9)), 0x34);
	ck_assert_uint_eq(pit_read(&p, 1, TICK(9)), 0x12);
	ck_assert_uint_eq(p.channels[1].count_latched, 0);
}
END_TEST

/* Times of a stream may be anything. */
START_TEST(pit_any_time)
{
	static const int64_t times[] = {INT64_MIN, -1, 0, 1, INT64_MAX};

	for (size_t i = 0; i < ARRAY_LEN(times); i++)
		for (size_t j = 0; j < ARRAY_LEN(times); j++)
			for (uint8_t mode = 0; mode < 8; mode++) {
				struct pit_channel c = {
				    .count = 1, .mode = mode, .count_load_time = times[i]};

				(void)pit_out(&c, times[j]);
				(void)pit_next_rise(&c, times[j]);
				(void)pit_next_change(&c, times[j]);
				c.count = 0;
				(void)pit_next_change(&c, times[j]);
			}
}
END_TEST

CHECK_MAIN("split-irqchip", ioapic_registers, ioapic_level, ioapic_edge,
	   ioapic_messages_and_lost_ends, pic_priorities, pic_slave, pic_levels_and_auto_eoi,
	   pit_rate, pit_square, pit_once, pit_bytes, pit_any_time)
