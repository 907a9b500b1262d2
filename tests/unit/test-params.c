/* Parameters and capabilities: defaults, ranges and their words, all or nothing, text. */
#include <string.h>

#include "migration/settings/capabilities.h"
#include "migration/settings/params.h"
#include "tests/unit/check-main.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"

static const struct {
	const char *name, *value, *error; /* NULL: accepted */
} cases[] = {
    {"max-bandwidth",        "0",                    NULL							     },
    {"max-bandwidth",        "18446744073709551615", NULL							     },
    {"max-bandwidth",        "2G",                   NULL							     },
    {"downtime-limit",       "2000000",              NULL							     },
    {"downtime-limit",       "2000001",
     "Parameter 'downtime_limit' expects an integer in the range of 0 to (2000 * 1000) ms"                            },
    {"announce-initial",     "100000",               NULL							     },
    {"announce-initial",     "100001",
     "Parameter 'announce_initial' expects a value between 0 and 100000"                                              },
    {"announce-step",        "0",                    "Parameter 'announce_step' expects a value between 1 and 10000"  },
    {"announce-rounds",      "1001",                 "Parameter 'announce_rounds' expects a value between 0 and 1000" },
    {"compress-level",       "10",                   "Parameter 'compress_level' expects a value between 0 and 9"     },
    {"compress-level",       "1",                    NULL							     },
    {"compress-level",       "2",                    NULL							     },
    {"cpu-throttle-initial", "100",
     "Parameter 'cpu_throttle_initial' expects an integer in the range of 1 to 99"                                    },
    {"max-cpu-throttle",     "19",                   NULL							     },
    {"max-cpu-throttle",     "100",
     "Parameter 'max_cpu_throttle' expects an integer in the range of cpu_throttle_initial to 99"                     },
    {"xbzrle-cache-size",    "5000",
     "Parameter 'xbzrle_cache_size' expects a power of two no less than the target page size"                         },
    {"xbzrle-cache-size",    "2048",
     "Parameter 'xbzrle_cache_size' expects a power of two no less than the target page size"                         },
    {"xbzrle-cache-size",    "64M",                  NULL							     },
    {"multifd-zlib-level",   "10",                   "Parameter 'multifd_zlib_level' expects a value between 0 and 9" },
    {"multifd-zstd-level",   "21",                   "Parameter 'multifd_zstd_level' expects a value between 0 and 20"},
    {"multifd-channels",     "256",                  "Parameter 'multifd-channels' does not accept value '256'"       },
    {"multifd-compression",  "lz4",                  "Parameter 'multifd-compression' does not accept value 'lz4'"    },
    {"multifd-compression",  "none",                 NULL							     },
    {"tls-creds",            "",                     NULL							     },
    {"tls-creds",            "x",                    NULL							     },
    {"compress-wait-thread", "perhaps",
     "Parameter 'compress-wait-thread' does not accept value 'perhaps'"                                               },
};

static int set_text(struct migration_params *p, const char *name, const char *value,
		    struct err *err)
{
	struct migration_params_set set = {0};
	int row = migration_params_find(name);

	ck_assert_msg(row >= 0, "%s", name);
	if (migration_params_parse(&set, row, value, err) < 0)
		return -1;
	return migration_params_apply(p, &set, err);
}

START_TEST(test_values)
{
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct migration_params p, before;
		struct err err = {0};
		int ret;

		migration_params_init(&p);
		before = p;
		ret = set_text(&p, cases[i].name, cases[i].value, &err);
		if (!cases[i].error) {
			ck_assert_msg(ret == 0, "%s=%s: %s", cases[i].name, cases[i].value,
				      err.msg);
			continue;
		}
		ck_assert_int_lt(ret, 0);
		ck_assert_str_eq(err.msg, cases[i].error);
		ck_assert_mem_eq(&p, &before, sizeof(p));
	}
}
END_TEST

START_TEST(test_defaults)
{
	struct migration_params p;
	struct err err = {0};

	migration_params_init(&p);
	ck_assert_uint_eq(p.max_bandwidth, 134217728);
	ck_assert_uint_eq(p.downtime_limit, 300);
	ck_assert_uint_eq(p.max_cpu_throttle, 99);
	ck_assert_uint_eq(p.xbzrle_cache_size, 67108864);
	ck_assert_uint_eq(p.x_checkpoint_delay, 20000);
	ck_assert(p.compress_wait_thread && !p.block_incremental);
	/* What is read back may always be set. */
	for (int i = 0; migration_param_table[i].name; i++) {
		struct migration_params_set set = {.value = p};

		set.given[i] = true;
		ck_assert_msg(migration_params_apply(&p, &set, &err) == 0, "%s", err.msg);
		ck_assert_int_eq(migration_params_find(migration_param_table[i].name), i);
	}
	ck_assert_int_eq(migration_params_find("zz"), -1);
}
END_TEST

START_TEST(test_all_or_nothing)
{
	struct migration_params p, before;
	struct migration_params_set set = {0};
	struct err err = {0};

	migration_params_init(&p);
	before = p;
	ck_assert_int_eq(
	    migration_params_parse(&set, migration_params_find("max-bandwidth"), "5", &err), 0);
	ck_assert_int_eq(
	    migration_params_parse(&set, migration_params_find("downtime-limit"), "2000001", &err),
	    0);
	ck_assert_int_lt(migration_params_apply(&p, &set, &err), 0);
	ck_assert_mem_eq(&p, &before, sizeof(p));
}
END_TEST

START_TEST(test_capabilities)
{
	for (int c = 0; c < CAP_COUNT; c++)
		ck_assert_int_eq(capability_parse(migration_capabilities[c].name), c);
	ck_assert_int_eq(capability_parse("zz"), -1);
}
END_TEST

CHECK_MAIN("params", test_values, test_defaults, test_all_or_nothing, test_capabilities)
