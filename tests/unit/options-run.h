/* options-run.h - run options_parse() on a line of words, for the option tests */
#ifndef MINIVMM_TESTS_OPTIONS_RUN_H
#define MINIVMM_TESTS_OPTIONS_RUN_H

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "devices/device-table.h"
#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/options/config.h"
#include "vmm/options/options.h"

#define RUN_MAX_WORDS 128

/* Words are separated by single spaces, so two spaces make an empty one. */
static inline int run_options(struct config *cfg, const char *line, struct err *err)
{
	char *copy = xstrdup(line), *rest = copy, *word;
	char program[] = "minivmm";
	char *argv[RUN_MAX_WORDS + 1] = {program};
	int argc = 1, ret;

	while (*line && argc < RUN_MAX_WORDS && (word = strsep(&rest, " ")) != NULL)
		argv[argc++] = word;
	ret = options_parse(cfg, &device_table, argc, argv, err);
	free(copy);
	return ret;
}

static inline int run_suite(Suite *s)
{
	SRunner *sr = srunner_create(s);
	int failed;

	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}

#endif
