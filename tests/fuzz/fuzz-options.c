/*
 * Any words after the program's name are options or are refused in words, and
 * what was built is freed.  The input is split at newlines.
 */
#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "devices/device-table.h"
#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/base/log.h"
#include "vmm/options/config.h"
#include "vmm/options/options.h"

#define MAX_WORDS 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* The texts of -help and the like are not what is looked at. */
__attribute__((constructor)) static void silence(void)
{
	log_set_level(LOG_ERROR);
	if (!freopen("/dev/null", "w", stdout))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	char program[] = "minivmm";
	char *argv[MAX_WORDS + 1] = {program};
	char *text = xcalloc(len + 1, 1), *rest = text, *word;
	struct config cfg;
	struct err err = {0};
	int argc = 1, ret;

	if (len)
		memcpy(text, data, len);
	while (argc < MAX_WORDS && (word = strsep(&rest, "\n")) != NULL)
		argv[argc++] = word;
	ret = options_parse(&cfg, &device_table, argc, argv, &err);
	assert(ret <= 1 && (ret >= 0 || (err.msg[0] && err.errnum == -ret)));
	config_fini(&cfg);
	free(text);
	return 0;
}
