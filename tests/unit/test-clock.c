/* The clocks of a guest that was loaded: how far they go, and how one knows. */
#include <errno.h>

#include "arch/x86/internal.h"
#include "tests/unit/check-main.h"
#include "tests/unit/described-machine.h"
#include "vmm/describe.h"

#define SECOND    1000000000ULL
#define SAVED_AT  (1795401114 * SECOND)
#define CLOCK_NS  (5000 * SECOND)
#define TSC_START 1000000ULL

static struct described *stopped(void)
{
	struct described *d = described_new();

	d->x.clock = (struct x86_clock){
	    .clock_ns = CLOCK_NS, .realtime_ns = SAVED_AT, .clock_held = true, .tsc_held = true};
	d->xv.cpu.tsc = TSC_START;
	d->xv.cpu.tsc_khz = 2000000;
	return d;
}

/* What 'from' says of its clock reaches 'to'; everything else is left out. */
static void tell(struct described *from, struct described *to)
{
	struct buf out = {0}, diff = {0};
	struct src in;
	unsigned found = 0;

	x86_describe(&from->m, &out);
	in = src_mem(out.data, out.len);
	while (in.at < in.len) {
		uint16_t kind, length;
		struct src body;

		ck_assert(src_be16(&in, &kind) == 0 && src_be16(&in, &length) == 0);
		body = src_mem(src_take(&in, length), length);
		if (kind != DESC_CLOCK)
			continue;
		found++;
		ck_assert_int_eq(x86_compare(&to->m, kind, &body, &diff), 0);
	}
	ck_assert_uint_eq(found, 1);
	ck_assert_uint_eq(diff.len, 0);
	buf_free(&out);
}

/* As the section leaves it. */
static void load(struct described *d, uint64_t clock_ns)
{
	struct buf out = {0};
	struct src in;
	struct x86_clock c = {.clock_ns = clock_ns};

	ck_assert_int_eq(vms_save(&kvmclock_vmstate, &c, &out, NULL, NULL), 0);
	in = src_mem(out.data, out.len);
	ck_assert_int_eq(vms_load(&kvmclock_vmstate, &d->x.clock, &in, 1, NULL), 0);
	buf_free(&out);
}

START_TEST(ticks)
{
	ck_assert_uint_eq(x86_clock_ticks(SECOND, 2500000), 2500000000ULL);
	ck_assert_uint_eq(x86_clock_ticks(3, 2500000), 7);
	ck_assert_uint_eq(x86_clock_ticks(SECOND, 0), 0);
	ck_assert_uint_eq(x86_clock_ticks(SECOND, -1), 0);
	/* sixty years: the product has more than 64 bits */
	ck_assert_uint_eq(x86_clock_ticks(1892160000 * SECOND, 4000000), 7568640000000000000ULL);
}
END_TEST

/* kvmclock and TSC by the same time. */
START_TEST(advance)
{
	struct described *d = stopped();

	ck_assert_int_eq(x86_clock_advance(&d->m, 0), 0);
	x86_clock_put_forward(&d->m, SAVED_AT + 25 * SECOND);
	ck_assert_uint_eq(d->x.clock.clock_ns, CLOCK_NS + 25 * SECOND);
	ck_assert_uint_eq(d->xv.cpu.tsc, TSC_START + 50 * SECOND);
	ck_assert_uint_eq(d->x.clock.advance_from_ns, 0);
	/* whoever keeps the file knows better */
	ck_assert_int_eq(x86_clock_advance(&d->m, SAVED_AT + 10 * SECOND), 0);
	x86_clock_put_forward(&d->m, SAVED_AT + 11 * SECOND);
	ck_assert_uint_eq(d->x.clock.clock_ns, CLOCK_NS + 26 * SECOND);
	described_free(d);
}
END_TEST

/* Hosts whose clocks disagree: it does not go back. */
START_TEST(from_the_future)
{
	struct described *d = stopped();

	ck_assert_int_eq(x86_clock_advance(&d->m, 0), 0);
	x86_clock_put_forward(&d->m, SAVED_AT - 1);
	ck_assert_uint_eq(d->x.clock.clock_ns, CLOCK_NS);
	ck_assert_uint_eq(d->xv.cpu.tsc, TSC_START);
	described_free(d);
}
END_TEST

/* The description may come before the section (a file) or behind it (a pipe). */
START_TEST(told)
{
	for (int late = 0; late < 2; late++) {
		struct described *from = stopped(), *to = described_new();

		if (!late)
			tell(from, to);
		load(to, CLOCK_NS);
		if (late) {
			ck_assert_int_eq(x86_clock_advance(&to->m, 0), -ENODATA);
			tell(from, to);
		}
		ck_assert_uint_eq(x86_clock_realtime(&to->x.clock), SAVED_AT);
		ck_assert_int_eq(x86_clock_advance(&to->m, 0), 0);
		ck_assert_uint_eq(to->x.clock.advance_from_ns, SAVED_AT);
		/* saved again before it has run, it says the same */
		tell(to, from);
		ck_assert_uint_eq(from->x.clock.told_realtime_ns, SAVED_AT);
		described_free(from);
		described_free(to);
	}
}
END_TEST

/* What was said of another stop, or by a machine that runs, is not of this one. */
START_TEST(not_told)
{
	struct described *from = stopped(), *to = described_new();

	tell(from, to);
	load(to, CLOCK_NS + 1);
	ck_assert_int_eq(x86_clock_advance(&to->m, 0), -ENODATA);
	from->x.clock.clock_held = false;
	tell(from, to);
	ck_assert_uint_eq(to->x.clock.told_realtime_ns, 0);
	load(to, CLOCK_NS);
	ck_assert_int_eq(x86_clock_advance(&to->m, 0), -ENODATA);
	described_free(from);
	described_free(to);
}
END_TEST

/* A load that fails leaves nothing for the next one. */
START_TEST(forgotten)
{
	struct described *d = stopped();

	ck_assert_int_eq(x86_clock_advance(&d->m, SAVED_AT), 0);
	load(d, CLOCK_NS);
	ck_assert_uint_eq(d->x.clock.advance_from_ns, 0);
	ck_assert_int_eq(x86_clock_advance(&d->m, 0), -ENODATA);
	described_free(d);
}
END_TEST

CHECK_MAIN("clock", ticks, advance, from_the_future, told, not_told, forgotten)
