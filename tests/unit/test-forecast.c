/* Percent, time left, predicted pause and the cheapest step, from figures; pages a second. */
#include <string.h>

#include "migration/outgoing/forecast.h"
#include "migration/outgoing/page-rate.h"
#include "tests/unit/check-main.h"
#include "vmm/base/units.h"

#define MBPS 1000000ULL

/* A guest whose passes leave 'left' bytes, over a channel of so many bytes/s without a limit, as
 * they are. */
static struct forecast_figures endless(uint64_t left, uint64_t speed)
{
	return (struct forecast_figures){
	    .phase = MIG_PHASE_PASS,
	    .passes = 5,
	    .total = 1000 * MBPS,
	    .remaining = left / 2,
	    .pass_bytes = left,
	    .dirty = speed,
	    .speed = speed,
	    .wire = speed,
	    .page_bytes = PAGE_BYTES,
	    .limit_ms = 300,
	    .elapsed_ms = 20000,
	    .throttle_initial = 20,
	    .throttle_increment = 10,
	    .throttle_max = 99,
	    .throttle_trigger = 50,
	    .vcpus = 1,
	    .multifd_channels = 2,
	};
}

START_TEST(test_shrinks)
{
	ck_assert(forecast_shrinks(0, 0) == false && forecast_shrinks(0, 1));
	ck_assert(forecast_shrinks(94, 100) && !forecast_shrinks(95, 100));
	ck_assert(!forecast_shrinks(500, 100));
}
END_TEST

#define NO_ETA UINT64_MAX

static void check(const struct forecast_figures *f, bool converges, uint64_t downtime_ms,
		  uint64_t eta_ms)
{
	uint64_t ms = NO_ETA;
	bool has = forecast_eta_ms(f, &ms);

	ck_assert_int_eq(forecast_converges(f), converges);
	ck_assert_uint_eq(forecast_downtime_ms(f), downtime_ms);
	ck_assert_uint_eq(ms, eta_ms);
	ck_assert_int_eq(has, ms != NO_ETA);
}

START_TEST(test_converges)
{
	struct forecast_figures f = endless(100 * MBPS, 100 * MBPS);

	check(&f, false, 1000, NO_ETA);
	f.limit_ms = 1000; /* what a pass leaves fits */
	check(&f, true, 1000, 1500);
	f.limit_ms = 300;
	f.shrinks = true;
	f.dirty = 50 * MBPS;
	check(&f, true, 500, 500 + 1000); /* half a pass, and 50.05 MB at 50 MB/s net */
	/* the guest is not known yet */
	f.shrinks = false;
	f.passes = 1;
	check(&f, true, 300, 500);
	f.speed = 0;
	check(&f, true, 300, NO_ETA);
	/* stopped: what is left, and no more */
	f = endless(100 * MBPS, 100 * MBPS);
	f.phase = MIG_PHASE_SWITCHOVER;
	f.shrinks = true;
	check(&f, true, 500, 500);
	f.phase = MIG_PHASE_ENDED;
	check(&f, true, 500, NO_ETA);
	/* what is said of the switchover counts for it, and not for the passes */
	f = endless(100 * MBPS, 100 * MBPS);
	f.switchover = 400 * MBPS;
	check(&f, true, 250, 1500);
	f.switchover = 50 * MBPS;
	check(&f, false, 2001, NO_ETA);
	/* never more than there is */
	f = endless(900 * MBPS, 10 * MBPS);
	f.dirty = 5000 * MBPS;
	check(&f, false, 100000, NO_ETA);
}
END_TEST

START_TEST(test_percent_of_phases)
{
	static const enum migration_phase phases[] = {
	    MIG_PHASE_CONNECT,    MIG_PHASE_SETUP,   MIG_PHASE_PASS,     MIG_PHASE_PAUSE,
	    MIG_PHASE_SWITCHOVER, MIG_PHASE_DEVICES, MIG_PHASE_HAND_OVER};
	struct forecast_figures f = endless(100 * MBPS, 100 * MBPS);
	unsigned last = 0;

	for (size_t i = 0; i < ARRAY_LEN(phases); i++) {
		f.phase = phases[i];
		ck_assert_uint_ge(forecast_percent(&f), last);
		last = forecast_percent(&f);
	}
	ck_assert_uint_eq(last, 99);
}
END_TEST

START_TEST(test_percent)
{
	static const struct {
		uint64_t passes, total, remaining, pass_bytes;
		unsigned percent;
	} rows[] = {
	    {0, 1000, 1000, 1000, 0 },
            {1, 1000, 1000, 1000, 0 },
            {1, 1000, 500,  1000, 45},
	    {1, 1000, 0,    1000, 90},
            {2, 1000, 0,    100,  91}, /* 30 of 100 MB fit */
	    {9, 1000, 100,  100,  91},
            {2, 1000, 0,    20,   95},
            {2, 1000, 0,    0,    90},
	    {0, 1000, 1001, 1000, 0 }, /* figures of different moments */
	    {0, 0,    1,    0,    90},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct forecast_figures f = endless(rows[i].pass_bytes * MBPS, 100 * MBPS);

		f.passes = rows[i].passes;
		f.total = rows[i].total * MBPS;
		f.remaining = rows[i].remaining * MBPS;
		ck_assert_msg(forecast_percent(&f) == rows[i].percent, "row %zu: %u", i,
			      forecast_percent(&f));
	}
}
END_TEST

static void bound(struct forecast_figures *f)
{
	f->max_bandwidth = f->wire;
	f->held = true;
}

static void bound_by_much(struct forecast_figures *f)
{
	bound(f);
	f->dirty *= 10;
}

static void not_bound(struct forecast_figures *f)
{
	f->max_bandwidth = f->wire * 2;
	f->coded = true;
}

static void coded(struct forecast_figures *f)
{
	f->coded = true;
}

static void ring(struct forecast_figures *f)
{
	f->ring = true;
	f->coded = true;
	f->vcpus = 2;
}

static void throttling(struct forecast_figures *f)
{
	f->throttles = f->coded = true;
	f->throttle = 40;
}

static void throttled_out(struct forecast_figures *f)
{
	throttling(f);
	f->throttle = f->throttle_max = 40;
}

static void sockets(struct forecast_figures *f)
{
	f->multifd_possible = true;
}

static void multifd(struct forecast_figures *f)
{
	f->multifd_possible = f->multifd = true;
}

static void no_throttle(struct forecast_figures *f)
{
	f->coded = true;
	f->throttle_max = f->throttle_initial;
}

static void postcopy(struct forecast_figures *f)
{
	no_throttle(f);
	f->postcopy = true;
}

static void postcopy_over(struct forecast_figures *f)
{
	no_throttle(f);
	f->postcopy_possible = true;
}

static void postcopy_bound(struct forecast_figures *f)
{
	bound(f);
	f->postcopy = true;
}

/* What is changed in endless(), and what is recommended. */
static const struct {
	const char *name;
	uint64_t left, bandwidth;
	void (*change)(struct forecast_figures *f);
	enum migration_action action;
	uint64_t value; /* 0: none */
} table[] = {
  /* 30.03 MB and a margin fit into 300 ms at 113 MB/s */
    {"bound",		       30 * MBPS,   90 * MBPS,  bound,          MIG_ACT_MAX_BANDWIDTH,       108 * MiB },
    {"bound by much",               300 * MBPS,  100 * MBPS, bound_by_much,  MIG_ACT_MAX_BANDWIDTH,       1193 * MiB},
    {"not bound",		   40 * MBPS,   100 * MBPS, not_bound,      MIG_ACT_DOWNTIME_LIMIT,      510       },
    {"a small step",                40 * MBPS,   100 * MBPS, NULL,           MIG_ACT_DOWNTIME_LIMIT,      510       },
    {"slow link",		   400 * MBPS,  50 * MBPS,  NULL,           MIG_ACT_COMPRESS,            0         },
    {"slow link, multifd",          400 * MBPS,  50 * MBPS,  multifd,        MIG_ACT_MULTIFD_COMPRESSION, 0         },
    {"fast link",		   5000 * MBPS, 900 * MBPS, sockets,        MIG_ACT_MULTIFD,             2         },
    {"fast link, one channel only", 900 * MBPS,  900 * MBPS, NULL,           MIG_ACT_DOWNTIME_LIMIT,      1260      },
    {"slow link, coded",            400 * MBPS,  50 * MBPS,  coded,          MIG_ACT_AUTO_CONVERGE,       0         },
    {"ring",			800 * MBPS,  90 * MBPS,  ring,           MIG_ACT_DIRTY_LIMIT,         21        },
    {"throttling",                  800 * MBPS,  90 * MBPS,  throttling,     MIG_ACT_WAIT,                0         },
    {"throttled out",               80 * MBPS,   90 * MBPS,  throttled_out,  MIG_ACT_DOWNTIME_LIMIT,      1120      },
    {"postcopy",		    800 * MBPS,  90 * MBPS,  postcopy,       MIG_ACT_POSTCOPY,            0         },
    {"postcopy, to start over",     800 * MBPS,  90 * MBPS,  postcopy_over,  MIG_ACT_POSTCOPY_RAM,        0         },
    {"postcopy, but bound",         300 * MBPS,  100 * MBPS, postcopy_bound, MIG_ACT_MAX_BANDWIDTH,
     191 * MiB												      },
    {"hours",		       999 * MBPS,  200000,     no_throttle,    MIG_ACT_STOP,                0         },
};

START_TEST(test_steps)
{
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		struct forecast_figures f = endless(table[i].left, table[i].bandwidth);
		struct migration_step s = {0};

		f.total = 10 * table[i].left;
		if (table[i].change)
			table[i].change(&f);
		ck_assert_msg(forecast_step(&f, &s), "%s: nothing", table[i].name);
		ck_assert_msg(s.action == table[i].action && s.value == table[i].value &&
				  s.has_value == (table[i].value != 0),
			      "%s: action %d, value %llu, cost %llu: %s", table[i].name,
			      (int)s.action, (unsigned long long)s.value,
			      (unsigned long long)s.cost_ms, s.text);
		ck_assert_msg(strlen(s.text) > 10 && strlen(s.text) < sizeof(s.text) - 1, "%s: %s",
			      table[i].name, s.text);
	}
}
END_TEST

/* The step is enough: with it, the same figures converge. */
START_TEST(test_steps_help)
{
	for (uint64_t left = MBPS; left < 900 * MBPS; left = left * 3 / 2) {
		struct forecast_figures f = endless(left, 100 * MBPS);
		struct migration_step s = {0};

		f.limit_ms = 0;
		throttled_out(&f);
		ck_assert(forecast_step(&f, &s));
		ck_assert_int_eq(s.action, MIG_ACT_DOWNTIME_LIMIT);
		f.limit_ms = s.value;
		ck_assert(forecast_converges(&f));
		ck_assert(!forecast_step(&f, &s));
	}
}
END_TEST

/* What postcopy costs: a round trip a page that is touched, but not more time than the pages take.
 */
START_TEST(test_postcopy_cost)
{
	struct forecast_figures f = endless(400 * MBPS, 100 * MBPS);
	struct migration_step s = {0};

	postcopy(&f);
	ck_assert(forecast_step(&f, &s));
	ck_assert_int_eq(s.action, MIG_ACT_POSTCOPY);
	ck_assert_uint_eq(s.cost_ms, 60 + 6001); /* 600.1 MB, all of which may be touched */
	f.dirty = MBPS; /* nearly all is sent: 24 MB in 240 ms, of which 59 pages are touched */
	f.remaining = 20 * MBPS;
	f.limit_ms = 10;
	ck_assert(forecast_step(&f, &s));
	ck_assert_int_eq(s.action, MIG_ACT_POSTCOPY);
	ck_assert_uint_eq(s.cost_ms, 60 + 29);
	f.remaining = f.total = UINT64_MAX;
	ck_assert(forecast_step(&f, &s));
}
END_TEST

/* A guest that goes over so many pages needs them to fit; the value does that, or is a good step.
 */
START_TEST(test_bandwidth_helps)
{
	for (uint64_t left = 10 * MBPS; left < 900 * MBPS; left = left * 3 / 2) {
		struct forecast_figures f = endless(left, 100 * MBPS);
		struct migration_step s = {0};

		f.limit_ms = 50;
		bound(&f);
		ck_assert(forecast_step(&f, &s));
		ck_assert_int_eq(s.action, MIG_ACT_MAX_BANDWIDTH);
		ck_assert(s.value >= 2 * f.max_bandwidth || s.value * 50 / 1000 >= left);
		ck_assert_uint_gt(s.value, f.max_bandwidth);
	}
}
END_TEST

/* Ten bytes of memory go with one on the wire: time counts memory, limits and links count the wire.
 */
START_TEST(test_shrunk_pages)
{
	struct forecast_figures f = endless(40 * MBPS, 1000 * MBPS), plain;
	struct migration_step s = {0};

	f.wire = 100 * MBPS;
	f.page_bytes = PAGE_BYTES / 10.0;
	f.coded = true;
	f.limit_ms = 20;
	check(&f, false, 41, NO_ETA);
	ck_assert(forecast_step(&f, &s));
	ck_assert_int_eq(s.action, MIG_ACT_DOWNTIME_LIMIT);
	ck_assert_uint_eq(s.value, 60);
	f.limit_ms = 300; /* on the wire it would be 30 MB of 40 */
	check(&f, true, 41, 20 + 41);
	/* a limit on the wire: a tenth of what the same memory would need as it is */
	f.limit_ms = 20;
	plain = f;
	plain.page_bytes = PAGE_BYTES;
	bound(&f);
	bound(&plain);
	ck_assert(forecast_step(&f, &s));
	ck_assert_int_eq(s.action, MIG_ACT_MAX_BANDWIDTH);
	ck_assert_uint_eq(s.value, ALIGN_UP(200 * MBPS, MiB));
	plain.max_bandwidth = 1000 * MBPS;
	ck_assert(forecast_step(&plain, &s));
	ck_assert_uint_eq(s.value, ALIGN_UP(2000 * MBPS, MiB));
}
END_TEST

#define NS_PER_MS 1000000LL

/* pages, of them zero, bytes on the wire, ms */
static void sent(struct page_rate *r, uint64_t pages, uint64_t zero, uint64_t bytes, int64_t ms)
{
	struct page_sum s = {pages, zero, bytes, ms * NS_PER_MS};

	page_rate_sent(r, &s);
}

START_TEST(test_page_rate)
{
	struct page_rate r = {0};

	ck_assert_uint_eq(page_rate_under(&r, 0), 0);
	/* the first pass, as it goes on: all that went */
	sent(&r, 9000, 8000, 4000 * 1000, 50);
	sent(&r, 1000, 1000, 0, 50);
	ck_assert_uint_eq(page_rate_under(&r, 0), 100000);
	/* ... and at its end: as if zeros took no time */
	page_rate_pass(&r, true, true);
	ck_assert_uint_eq(page_rate_under(&r, 0), 10000);
	/* too short to tell */
	sent(&r, 9, 0, 9, 9);
	page_rate_pass(&r, false, true);
	ck_assert_uint_eq(page_rate_under(&r, 0), 10000);
	/* the two together are better than the first pass */
	sent(&r, 991, 0, 9991, 1);
	page_rate_pass(&r, false, true);
	ck_assert_uint_eq(page_rate_under(&r, 0), 100000);
	/* from then on it takes 100 ms, in one pass or in several */
	sent(&r, 50, 0, 50, 50);
	page_rate_pass(&r, false, true);
	ck_assert_uint_eq(page_rate_under(&r, 0), 100000);
	sent(&r, 50, 0, 50, 50);
	page_rate_pass(&r, false, true);
	ck_assert_uint_eq(page_rate_under(&r, 0), 1000);
	/* the bandwidth limit is one on bytes */
	ck_assert_uint_eq(page_rate_under(&r, 100), 100);
	ck_assert_uint_eq(page_rate_under(&r, UINT64_MAX), 1000);
}
END_TEST

/* Compressible pages, then some that are not: no part of a pass speaks for all of it. */
START_TEST(test_page_rate_of_a_mix)
{
	struct page_rate r = {0};

	sent(&r, 1000, 0, 1000, 1000);
	page_rate_pass(&r, true, true);
	for (int i = 0; i < 10; i++) {
		sent(&r, 18500, 0, 740000, 100); /* this pass ends early */
		page_rate_pass(&r, false, false);
	}
	ck_assert_uint_eq(page_rate_under(&r, 0), 1000);
	sent(&r, 18500, 0, 740000, 100);
	sent(&r, 1600, 0, 1600 * PAGE_BYTES, 200);
	page_rate_pass(&r, false, true);
	ck_assert_uint_eq(page_rate_under(&r, 0), 20100 * 1000 / 300);
	/* nothing but zeros in the first pass tells little: what it has put on the wire */
	r = (struct page_rate){0};
	sent(&r, 1 << 20, 1 << 20, 9 << 20, 1000);
	page_rate_pass(&r, true, true);
	ck_assert_uint_eq(page_rate_under(&r, 0), (9 << 20) / PAGE_BYTES);
	/* nothing at all */
	r = (struct page_rate){0};
	page_rate_pass(&r, true, true);
	page_rate_pass(&r, false, true);
	ck_assert_uint_eq(page_rate_under(&r, 1), 0);
}
END_TEST

START_TEST(test_no_step)
{
	struct forecast_figures f = endless(100 * MBPS, 100 * MBPS);
	struct migration_step s;

	ck_assert(forecast_step(&f, &s));
	f.passes = 1;
	ck_assert(!forecast_step(&f, &s));
	f = endless(100 * MBPS, 100 * MBPS);
	f.phase = MIG_PHASE_SWITCHOVER;
	ck_assert(!forecast_step(&f, &s));
	f = endless(100 * MBPS, 0);
	ck_assert(!forecast_step(&f, &s));
	/* extremes of every figure: no arithmetic trap, a sentence that is whole */
	f = endless(UINT64_MAX, UINT64_MAX);
	f.total = f.max_bandwidth = f.elapsed_ms = f.limit_ms = UINT64_MAX;
	f.limit_ms = 0;
	(void)forecast_step(&f, &s);
	f.throttle_increment = f.vcpus = f.throttle_trigger = 0;
	f.ring = true;
	(void)forecast_step(&f, &s);
}
END_TEST

CHECK_MAIN("forecast", test_shrinks, test_converges, test_percent_of_phases, test_percent,
	   test_steps, test_steps_help, test_bandwidth_helps, test_shrunk_pages, test_page_rate,
	   test_page_rate_of_a_mix, test_no_step, test_postcopy_cost)
