/* Percent, time left, predicted pause and the cheapest step, from figures. */
#include <string.h>

#include "migration/forecast.h"
#include "tests/unit/check-main.h"
#include "vmm/base/units.h"

#define MBPS            1000000ULL
#define MAX_DOWNTIME_MS 2000000ULL

/* A guest whose passes leave 'left' bytes, over a channel of so many bytes/s without a limit. */
static struct forecast_figures endless(uint64_t left, uint64_t bandwidth)
{
	return (struct forecast_figures){
	    .phase = MIG_PHASE_PASS,
	    .passes = 5,
	    .total = 1000 * MBPS,
	    .remaining = left / 2,
	    .pass_bytes = left,
	    .dirty = bandwidth,
	    .bandwidth = bandwidth,
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

START_TEST(test_converges)
{
	struct forecast_figures f = endless(100 * MBPS, 100 * MBPS);
	uint64_t ms = 7;

	ck_assert(!forecast_converges(&f) && !forecast_eta_ms(&f, &ms));
	ck_assert_uint_eq(ms, 7);
	ck_assert_uint_eq(forecast_downtime_ms(&f), 1010);
	f.limit_ms = 1010; /* what a pass leaves fits */
	ck_assert(forecast_converges(&f) && forecast_eta_ms(&f, &ms));
	f.limit_ms = 300;
	f.shrinks = true;
	f.dirty = 50 * MBPS;
	ck_assert(forecast_converges(&f) && forecast_eta_ms(&f, &ms));
	ck_assert_uint_eq(forecast_downtime_ms(&f), 505);
	/* half a pass, and 50.5 MB at 50 MB/s net */
	ck_assert_uint_eq(ms, 500 + 1010);
	/* the guest is not known yet */
	f.shrinks = false;
	f.passes = 1;
	ck_assert(forecast_converges(&f) && forecast_eta_ms(&f, &ms));
	ck_assert_uint_eq(forecast_downtime_ms(&f), 300);
	ck_assert_uint_eq(ms, 500);
	f.bandwidth = 0;
	ck_assert(!forecast_eta_ms(&f, &ms));
	/* stopped: what is left, and no more */
	f = endless(100 * MBPS, 100 * MBPS);
	f.phase = MIG_PHASE_SWITCHOVER;
	ck_assert_uint_eq(forecast_downtime_ms(&f), 500);
	/* never more than there is */
	f = endless(900 * MBPS, 10 * MBPS);
	f.dirty = 5000 * MBPS;
	ck_assert_uint_eq(forecast_downtime_ms(&f), 100000);
}
END_TEST

START_TEST(test_percent)
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
	f.phase = MIG_PHASE_PASS;
	f.passes = 1;
	f.remaining = f.total;
	ck_assert_uint_eq(forecast_percent(&f), 0);
	f.remaining = f.total / 2;
	ck_assert_uint_eq(forecast_percent(&f), 45);
	f.remaining = 0;
	ck_assert_uint_eq(forecast_percent(&f), 90);
	f.passes = 2;
	ck_assert_uint_eq(forecast_percent(&f), 91); /* 30 of 100 MB fit */
	f.pass_bytes = 0;
	ck_assert_uint_eq(forecast_percent(&f), 90);
	f.remaining = f.total + 1; /* figures of different moments */
	f.passes = 0;
	ck_assert_uint_eq(forecast_percent(&f), 0);
	f.total = 0;
	ck_assert_uint_eq(forecast_percent(&f), 90);
}
END_TEST

static void bound(struct forecast_figures *f)
{
	f->max_bandwidth = f->bandwidth;
}

static void bound_by_much(struct forecast_figures *f)
{
	bound(f);
	f->dirty *= 10;
}

static void not_bound(struct forecast_figures *f)
{
	f->max_bandwidth = f->bandwidth * 2;
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

/* What is changed in endless(), and what is recommended. */
static const struct {
	const char *name;
	uint64_t left, bandwidth;
	void (*change)(struct forecast_figures *f);
	enum migration_action action;
	uint64_t value; /* 0: none */
} table[] = {
  /* 30.9 MB and a margin fit into 300 ms at 113 MB/s */
    {"bound",		       30 * MBPS,   90 * MBPS,  bound,         MIG_ACT_MAX_BANDWIDTH,  109 * MiB },
    {"bound by much",               300 * MBPS,  100 * MBPS, bound_by_much, MIG_ACT_MAX_BANDWIDTH,  1193 * MiB},
    {"not bound",		   40 * MBPS,   100 * MBPS, not_bound,     MIG_ACT_DOWNTIME_LIMIT, 520       },
    {"a small step",                40 * MBPS,   100 * MBPS, NULL,          MIG_ACT_DOWNTIME_LIMIT, 520       },
    {"slow link",		   400 * MBPS,  50 * MBPS,  NULL,          MIG_ACT_COMPRESS,       0         },
    {"slow link, multifd",          400 * MBPS,  50 * MBPS,  multifd,       MIG_ACT_COMPRESS,       0         },
    {"fast link",		   5000 * MBPS, 900 * MBPS, sockets,       MIG_ACT_MULTIFD,        2         },
    {"fast link, one channel only", 900 * MBPS,  900 * MBPS, NULL,          MIG_ACT_DOWNTIME_LIMIT, 1270      },
    {"slow link, coded",            400 * MBPS,  50 * MBPS,  coded,         MIG_ACT_AUTO_CONVERGE,  0         },
    {"ring",			800 * MBPS,  90 * MBPS,  ring,          MIG_ACT_DIRTY_LIMIT,    21        },
    {"throttling",                  800 * MBPS,  90 * MBPS,  throttling,    MIG_ACT_WAIT,           0         },
    {"throttled out",               80 * MBPS,   90 * MBPS,  throttled_out, MIG_ACT_DOWNTIME_LIMIT, 1130      },
    {"hours",		       999 * MBPS,  200000,     no_throttle,   MIG_ACT_STOP,           0         },
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
		struct migration_step s;

		f.limit_ms = 0;
		f.coded = f.throttles = true;
		f.throttle = f.throttle_max = 20;
		ck_assert(forecast_step(&f, &s));
		ck_assert_int_eq(s.action, MIG_ACT_DOWNTIME_LIMIT);
		ck_assert_uint_le(s.value, MAX_DOWNTIME_MS);
		f.limit_ms = s.value;
		ck_assert(forecast_converges(&f) && !forecast_step(&f, &s));
		/* the same by bandwidth: the guest's pages are no more than those left */
		f.limit_ms = 50;
		bound(&f);
		if (forecast_converges(&f))
			continue;
		ck_assert(forecast_step(&f, &s));
		ck_assert_int_eq(s.action, MIG_ACT_MAX_BANDWIDTH);
		ck_assert_uint_gt(s.value, f.max_bandwidth);
	}
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

CHECK_MAIN("forecast", test_shrinks, test_converges, test_percent, test_steps, test_steps_help,
	   test_no_step)
