/* The decisions that slow a guest down, blockers, a migration_new() that fails. */
#include "migration/dirty/limit.h"
#include "migration/outgoing/auto-converge.h"
#include "tests/unit/check-main.h"
#include "tests/unit/migration-rig.h"
#include "vmm/blocker.h"
#include "vmm/throttle.h"

static const struct convergence_params usual = {
    .trigger = 50, .initial = 20, .increment = 10, .max = 99};

START_TEST(test_due)
{
	struct convergence c = {0};

	/* half of what was sent is tolerated; the second period above that counts */
	ck_assert(!convergence_due(&c, 50, 500, 1000));
	ck_assert(!convergence_due(&c, 50, 501, 1000));
	ck_assert(!convergence_due(&c, 50, 10, 1000));
	ck_assert(convergence_due(&c, 50, 5000, 1000));
	ck_assert(!convergence_due(&c, 50, 5000, 1000));
	ck_assert(convergence_due(&c, 50, 5000, 0));
	ck_assert(!convergence_due(&c, 50, 0, 0));
}
END_TEST

START_TEST(test_steps)
{
	struct convergence c = {0};
	static const uint32_t wanted[] = {20, 30, 40, 50, 60, 70, 80, 90, 99, 99};

	for (size_t i = 0; i < ARRAY_LEN(wanted); i++)
		ck_assert_uint_eq(convergence_step(&c, &usual, 1000, 1000), wanted[i]);
}
END_TEST

START_TEST(test_tailslow)
{
	struct convergence_params p = usual;
	struct convergence c = {0};

	p.tailslow = true;
	p.max = 60;
	ck_assert_uint_eq(convergence_step(&c, &p, 4000, 1000), 20);
	/* 80 % of the time dirty 1000, 500 are tolerated: 40 % is needed, a step is 10 */
	ck_assert_uint_eq(convergence_step(&c, &p, 1000, 1000), 30);
	/* 70 % dirty 520: 68 % would do */
	ck_assert_uint_eq(convergence_step(&c, &p, 520, 1000), 33);
	ck_assert_uint_eq(convergence_step(&c, &p, 4000, 1000), 43);
	ck_assert_uint_eq(convergence_step(&c, &p, 4000, 1000), 53);
	ck_assert_uint_eq(convergence_step(&c, &p, 4000, 1000), 60);
	ck_assert_uint_eq(convergence_step(&c, &p, 0, 1000), 60);
}
END_TEST

START_TEST(test_limit)
{
	ck_assert_uint_eq(dirty_limit_adjust(0, 5, 10), 0);
	ck_assert_uint_eq(dirty_limit_adjust(0, 100, 10), 900);
	ck_assert_uint_eq(dirty_limit_adjust(900, 10.3, 10), 900);
	ck_assert_uint_eq(dirty_limit_adjust(900, 20, 10), 950);
	ck_assert_uint_eq(dirty_limit_adjust(900, 1, 10), 800); /* no leaps */
	ck_assert_uint_eq(dirty_limit_adjust(900, 0, 10), 800);
	ck_assert_uint_eq(dirty_limit_adjust(0, 1e12, 1), THROTTLE_MAX);
	ck_assert_uint_eq(dirty_limit_adjust(THROTTLE_MAX, 1e12, 1), THROTTLE_MAX);
	ck_assert_uint_eq(dirty_limit_adjust(400, 0, 10), 0);
}
END_TEST

START_TEST(test_blockers)
{
	struct rig *r = rig_new(RS_PRELAUNCH);
	struct blocker a = {.reason = "a cannot move"}, b = {.reason = "nor can b"};
	const char *const *reasons;
	struct err err = {0};
	size_t n;

	machine_lock(&r->m);
	ck_assert_int_eq(blocker_add(&r->m, &a, &err), 0);
	ck_assert_int_eq(blocker_add(&r->m, &b, &err), 0);
	reasons = migration_blockers(r->mg, &n);
	ck_assert_uint_eq(n, 2);
	ck_assert_str_eq(reasons[0], a.reason);
	ck_assert_str_eq(reasons[1], b.reason);
	machine_unlock(&r->m);
	ck_assert_int_lt(rig_migrate(r, "unix:/nowhere", &err), 0);
	ck_assert_str_eq(err.msg, a.reason);
	ck_assert_int_eq(rig_query(r).status, MIG_NONE);
	machine_lock(&r->m);
	blocker_del(&a);
	blocker_del(&b);
	blocker_del(&b);
	(void)migration_blockers(r->mg, &n);
	ck_assert_uint_eq(n, 0);
	r->cfg.only_migratable = true;
	ck_assert_int_lt(blocker_add(&r->m, &a, &err), 0);
	ck_assert_str_eq(err.msg,
			 "disallowing migration blocker (--only-migratable) for: a cannot move");
	machine_unlock(&r->m);
	rig_free(r);
}
END_TEST

static void refused_global(void *opaque)
{
	struct err err = {0};

	ck_assert_ptr_null(migration_new(opaque, &err));
	ck_assert_str_eq(err.msg, "-global migration.nosuch=on: there is no such property");
}

/* As main.c calls it: with the machine locked. */
START_TEST(test_refused_global)
{
	struct rig *r = rig_new(RS_PRELAUNCH);

	keyvals_add(&r->cfg.migration_globals, "nosuch", "on");
	loop_call(r->m.loop, refused_global, &r->m);
	keyvals_fini(&r->cfg.migration_globals);
	rig_free(r);
}
END_TEST

CHECK_MAIN("control", test_due, test_steps, test_tailslow, test_limit, test_blockers,
	   test_refused_global)
