/* check-main.h - the main() of a Check program: one suite of test cases, run in verbose-on-failure
 * mode */
#ifndef MINIVMM_TESTS_CHECK_MAIN_H
#define MINIVMM_TESTS_CHECK_MAIN_H

#include <check.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* A test that cannot run on this machine says why and returns, before it allocates.  scripts/check
 * counts the line; in CI the reason has to be in tests/skips. */
static inline __attribute__((format(printf, 1, 2))) void skip_test(const char *why, ...)
{
	va_list args;

	va_start(args, why);
	(void)fputs("SKIP ", stdout);
	(void)vprintf(why, args);
	(void)putchar('\n');
	va_end(args);
}

static inline int check_main(const char *name, const TTest *const *tests, size_t n)
{
	Suite *s = suite_create(name);
	TCase *tc = tcase_create(name);
	SRunner *r;
	int failed;

	tcase_set_timeout(tc, 300); /* a guard against hangs, not a speed limit */
	for (size_t i = 0; i < n; i++)
		tcase_add_test(tc, tests[i]);
	suite_add_tcase(s, tc);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}

/* CHECK_MAIN("name", test_a, test_b, ...) at the end of a test program */
#define CHECK_MAIN(name, ...)                                                                      \
	int main(void)                                                                             \
	{                                                                                          \
		const TTest *const tests[] = {__VA_ARGS__};                                        \
		return check_main(name, tests, sizeof(tests) / sizeof(tests[0]));                  \
	}

#endif
