/* The run-state table, move by move (qmp-surface 4.2). */
#include <string.h>

#include "tests/unit/check-main.h"
#include "vmm/runstate.h"

/* from: to, to, ...; QEMU's moves, and to internal-error when a reset fails */
static const char *const table[] = {
    "prelaunch: running finish-migrate inmigrate internal-error",
    "inmigrate: running paused prelaunch postmigrate finish-migrate shutdown suspended watchdog "
    "guest-panicked io-error internal-error colo",
    "running: paused finish-migrate restore-vm save-vm shutdown suspended debug watchdog "
    "guest-panicked "
    "io-error internal-error colo",
    /* with what ended it in the moment in which it was paused */
    "paused: running finish-migrate postmigrate prelaunch colo shutdown internal-error "
    "guest-panicked",
    "postmigrate: running finish-migrate prelaunch internal-error",
    /* and where a 'stop' during a snapshot leads */
    "save-vm: running paused",
    "restore-vm: running prelaunch paused",
    "shutdown: paused finish-migrate prelaunch colo internal-error",
    "suspended: running finish-migrate prelaunch colo internal-error",
    "watchdog: running finish-migrate prelaunch colo internal-error",
    "guest-panicked: running finish-migrate prelaunch internal-error",
    "io-error: running finish-migrate prelaunch internal-error",
    "debug: running suspended finish-migrate prelaunch internal-error",
    "internal-error: paused finish-migrate prelaunch",
    "colo: running prelaunch shutdown",
    /* with the ways back to where a failed switchover came from */
    "finish-migrate: running paused postmigrate prelaunch colo debug internal-error io-error "
    "shutdown "
    "suspended watchdog guest-panicked",
};

static bool listed(const char *row, const char *state)
{
	const char *p = strchr(row, ':');
	size_t n = strlen(state);

	while ((p = strstr(p + 1, state)))
		if (p[-1] == ' ' && (p[n] == ' ' || p[n] == 0))
			return true;
	return false;
}

START_TEST(test_every_pair)
{
	ck_assert_uint_eq(sizeof(table) / sizeof(table[0]), RS_COUNT);
	for (size_t i = 0; i < RS_COUNT; i++) {
		char name[32] = {0};
		int from;

		memcpy(name, table[i], (size_t)(strchr(table[i], ':') - table[i]));
		from = runstate_parse(name);
		ck_assert_int_ge(from, 0);
		for (int to = 0; to < RS_COUNT; to++) {
			const char *to_name = runstate_name((enum runstate)to);

			ck_assert_msg(runstate_legal((enum runstate)from, (enum runstate)to) ==
					  (from == to || listed(table[i], to_name)),
				      "%s -> %s", name, to_name);
		}
	}
}
END_TEST

START_TEST(test_names)
{
	for (int s = 0; s < RS_COUNT; s++)
		ck_assert_int_eq(runstate_parse(runstate_name((enum runstate)s)), s);
	ck_assert_int_eq(runstate_parse("nope"), -1);
	ck_assert_int_eq(runstate_parse(""), -1);
}
END_TEST

CHECK_MAIN("runstate", test_every_pair, test_names)
