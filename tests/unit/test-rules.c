/* Which capabilities and parameters go together, in which order rules speak; -global migration.X.
 */
#include <string.h>

#include "migration/settings/globals.h"
#include "migration/settings/rules.h"
#include "migration/settings/settings.h"
#include "tests/unit/check-main.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"
#include "vmm/options/config.h"

#define ZERO_COPY "Zero copy only available for non-compressed non-TLS multifd migration"
#define TRANSPORT "multifd is not supported by current protocol"
#define COMPRESS  "Multifd is not compatible with compress"
#define XBZRLE    "Multifd sends whole pages, so xbzrle has nothing to do: switch one of them off"
#define RING                                                                                       \
	"Capability 'dirty-limit' needs the dirty ring: start with -accel kvm,dirty-ring-size=N"
#define THROTTLES                                                                                  \
	"Capabilities 'dirty-limit' and 'auto-converge' exclude each other: one of them slows "    \
	"the guest down"
#define MAXIMUM                                                                                    \
	"Parameter 'max_cpu_throttle' expects an integer in the range of cpu_throttle_initial to " \
	"99"
#define ACK         "Capability 'switchover-ack' requires capability 'return-path'"
#define SEEKABLE    "Migration requires seekable transport (e.g. file)"
#define MF_PLAIN    "Mapped-ram only available for non-compressed non-TLS multifd migration"
#define MF_XBZRLE   "Mapped-ram migration is incompatible with xbzrle"
#define MF_COMPRESS "Mapped-ram migration is incompatible with compression"
#define RDMA                                                                                       \
	"Capability 'rdma-pin-all' is not supported by this version of minivmm: use tcp: or unix:"

static void plain(struct migration_params *p)
{
	(void)p;
}

static void zstd(struct migration_params *p)
{
	p->multifd_compression = MULTIFD_ZSTD;
}

static void tls(struct migration_params *p)
{
	(void)strcpy(p->tls_creds, "x");
}

static void low_maximum(struct migration_params *p)
{
	p->max_cpu_throttle = 19;
}

static void just_enough(struct migration_params *p)
{
	p->max_cpu_throttle = p->cpu_throttle_initial;
}

static void late_postcopy(struct migration_params *p)
{
	p->deadline = 5;
	p->deadline_policy = DEADLINE_POSTCOPY;
}

static void no_deadline(struct migration_params *p)
{
	p->deadline_policy = DEADLINE_POSTCOPY;
}

#define NO_RING 1U
#define ONE     2U /* connection */
#define PLACES  4U /* a file */

static const struct {
	const char *caps; /* separated by blanks */
	void (*params)(struct migration_params *p);
	unsigned how;
	const char *set, *start, *channel; /* the sentence at each moment; NULL: allowed */
} cases[] = {
    {"",				plain,         ONE,          NULL,        NULL,                NULL     },
    {"multifd zero-copy-send",          plain,         0,            NULL,        NULL,                NULL     },
    {"zero-copy-send",                  plain,         0,            ZERO_COPY,   ZERO_COPY,           NULL     },
    {"multifd zero-copy-send",          zstd,          0,            ZERO_COPY,   ZERO_COPY,           NULL     },
    {"multifd zero-copy-send",          tls,           0,            ZERO_COPY,   ZERO_COPY,           NULL     },
    {"multifd zero-copy-send xbzrle",   plain,         0,            ZERO_COPY,   ZERO_COPY,           NULL     },
    {"multifd",			 zstd,          0,            NULL,        NULL,                NULL     },
    {"multifd",			 plain,         ONE,          TRANSPORT,   NULL,                TRANSPORT},
    {"multifd compress",                plain,         0,            COMPRESS,    COMPRESS,            NULL     },
    {"multifd xbzrle",                  plain,         0,            NULL,        XBZRLE,              NULL     },
    {"xbzrle compress",                 zstd,          ONE,          NULL,        NULL,                NULL     },
    {"dirty-limit",		     plain,         0,            NULL,        NULL,                NULL     },
    {"dirty-limit",		     plain,         NO_RING,      RING,        RING,                NULL     },
    {"dirty-limit auto-converge",       plain,         0,            THROTTLES,   THROTTLES,           NULL     },
    {"mapped-ram",		      plain,         ONE | PLACES, NULL,        NULL,                NULL     },
    {"mapped-ram",		      plain,         ONE,          NULL,        NULL,                SEEKABLE },
    {"mapped-ram",		      zstd,          ONE | PLACES, NULL,        NULL,                NULL     },
    {"mapped-ram multifd",              plain,         ONE | PLACES, NULL,        NULL,                NULL     },
    {"mapped-ram multifd",              plain,         0,            NULL,        NULL,                SEEKABLE },
    {"mapped-ram multifd",              zstd,          PLACES,       MF_PLAIN,    MF_PLAIN,            NULL     },
    {"mapped-ram multifd",              tls,           PLACES,       MF_PLAIN,    MF_PLAIN,            NULL     },
    {"mapped-ram xbzrle",               plain,         PLACES,       MF_XBZRLE,   MF_XBZRLE,           NULL     },
    {"mapped-ram compress",             plain,         PLACES,       MF_COMPRESS, MF_COMPRESS,         NULL     },
    {"",				low_maximum,   0,            MAXIMUM,     MAXIMUM,             NULL     },
    {"",				just_enough,   0,            NULL,        NULL,                NULL     },
    {"switchover-ack",                  plain,         0,            ACK,         ACK,                 NULL     },
    {"switchover-ack return-path",      plain,         0,            NULL,        NULL,                NULL     },
    {"",				late_postcopy, 0,            NULL,        RULES_LATE_POSTCOPY, NULL     },
    {"",				no_deadline,   0,            NULL,        NULL,                NULL     },
 /* two are broken: which one speaks */
    {"rdma-pin-all zero-copy-send",     plain,         0,            RDMA,        RDMA,                RDMA     },
    {"multifd zero-copy-send compress", plain,         ONE,          ZERO_COPY,   ZERO_COPY,           TRANSPORT},
    {"multifd compress",                plain,         ONE,          TRANSPORT,   COMPRESS,            TRANSPORT},
    {"multifd compress xbzrle",         plain,         0,            COMPRESS,    COMPRESS,            NULL     },
    {"multifd compress dirty-limit",    plain,         NO_RING,      COMPRESS,    COMPRESS,            NULL     },
    {"dirty-limit auto-converge",       plain,         NO_RING,      RING,        RING,                NULL     },
};

static void caps_of(const char *names, bool caps[CAP_COUNT])
{
	char copy[128], *save = NULL;

	(void)snprintf(copy, sizeof(copy), "%s", names);
	for (char *s = strtok_r(copy, " ", &save); s; s = strtok_r(NULL, " ", &save)) {
		ck_assert_int_ge(capability_parse(s), 0);
		caps[capability_parse(s)] = true;
	}
}

static void asked(size_t row, enum rules_moment moment, const struct rules_subject *s,
		  const char *words)
{
	struct err err = {0};
	int ret = rules_check(moment, s, &err);

	ck_assert_msg((ret < 0) == (words != NULL) && ret == -err.errnum, "row %zu, moment %d: %d",
		      row, moment, ret);
	ck_assert_msg(strcmp(err.msg, words ? words : "") == 0, "row %zu, moment %d: '%s'", row,
		      moment, err.msg);
}

START_TEST(test_rules)
{
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		bool caps[CAP_COUNT] = {false};
		struct migration_params p;
		struct rules_subject s = {
		    .caps = caps,
		    .params = &p,
		    .dirty_ring = !(cases[i].how & NO_RING),
		    .one_connection = cases[i].how & ONE,
		    .seekable = cases[i].how & PLACES,
		};

		caps_of(cases[i].caps, caps);
		migration_params_init(&p);
		cases[i].params(&p);
		asked(i, RULES_SET, &s, cases[i].set);
		asked(i, RULES_START, &s, cases[i].start);
		s.params = NULL;
		asked(i, RULES_CHANNEL, &s, cases[i].channel);
	}
}
END_TEST

/* In the order of QEMU's list: each is named when it is on, and those behind it too. */
START_TEST(test_background_excludes)
{
	static const char *const excluded[] = {
	    "late-block-activate", "return-path",   "multifd",  "pause-before-switchover",
	    "auto-converge",       "release-ram",   "compress", "xbzrle",
	    "validate-uuid",       "zero-copy-send"};
	bool caps[CAP_COUNT] = {[CAP_BACKGROUND_SNAPSHOT] = true,
				[CAP_EVENTS] = true,
				[CAP_MAPPED_RAM] = true,
				[CAP_X_IGNORE_SHARED] = true};
	struct migration_params p;
	struct rules_subject s = {.caps = caps, .params = &p, .seekable = true};
	char words[128];

	migration_params_init(&p);
	asked(0, RULES_SET, &s, NULL);
	for (size_t i = ARRAY_LEN(excluded); i-- > 0;) {
		caps[capability_parse(excluded[i])] = true;
		(void)snprintf(words, sizeof(words),
			       "Background-snapshot is not compatible with %s", excluded[i]);
		asked(i, RULES_SET, &s, words);
		asked(i, RULES_START, &s, words);
	}
}
END_TEST

/* Whatever is not offered is refused by its name, whatever else is on. */
START_TEST(test_not_offered)
{
	struct migration_params p;

	migration_params_init(&p);
	for (int c = 0; c < CAP_COUNT; c++) {
		bool caps[CAP_COUNT] = {[CAP_EVENTS] = true};
		struct rules_subject s = {.caps = caps, .params = &p};
		struct err err = {0};

		if (migration_capabilities[c].offered)
			continue;
		caps[c] = true;
		ck_assert_int_lt(rules_check(RULES_SET, &s, &err), 0);
		ck_assert_ptr_nonnull(strstr(err.msg, migration_capabilities[c].name));
	}
}
END_TEST

/* ---- -global ---- */

#define CHANNELS                                                                                   \
	"-global migration.x-multifd-channels=many: Parameter 'multifd-channels' does not accept " \
	"value 'many'"
#define LEVEL                                                                                      \
	"-global migration.compress-level=10: Parameter 'compress_level' expects a value between " \
	"0 and 9"

#define START_WORD                                                                                 \
	"-global migration.send-switchover-start=2: Parameter 'send-switchover-start' expects "    \
	"'on' or 'off'"

static const struct {
	const char *text; /* NAME=VALUE, separated by blanks */
	const char *words;
} globals[] = {
  /* in an order in which the first alone would be refused */
    {"x-zero-copy-send=on x-multifd=on",            NULL								    },
    {"max-cpu-throttle=15 cpu-throttle-initial=10", NULL								    },
    {"x-multifd=on compress=on multifd=off",        NULL								    },
    {"send-configuration=on",                       NULL								    },
    {"send-switchover-start=on",                    NULL								    },
    {"x-switchover-ack=on return-path=on",          NULL								    },
    {"xbzrle-cache-size=4M x-downtime-limit=7",     NULL								    },
    {"x-zero-copy-send=on",                         "-global migration: " ZERO_COPY                                         },
    {"multifd=on compress=yes",                     "-global migration: " COMPRESS                                          },
    {"max-cpu-throttle=15",                         "-global migration: " MAXIMUM                                           },
    {"rdma-pin-all=true",			   "-global migration: " RDMA                                              },
    {"multifd=2",				   "-global migration.multifd=2: Parameter 'multifd' expects 'on' or 'off'"},
    {"x-multifd-channels=many",                     CHANNELS								},
    {"compress-level=10",			   LEVEL								   },
    {"send-configuration=off",                      "-global migration.send-configuration=off: only 'on' is supported"      },
    {"send-switchover-start=2",                     START_WORD							      },
    {"x-switchover-ack=on",                         "-global migration: " ACK                                               },
    {"nosuch=on",				   "-global migration.nosuch=on: there is no such property"                },
};

static void globals_of(const char *text, struct keyvals *kv)
{
	char copy[256], *save = NULL;

	(void)snprintf(copy, sizeof(copy), "%s", text);
	for (char *s = strtok_r(copy, " ", &save); s; s = strtok_r(NULL, " ", &save)) {
		char *is = strchr(s, '=');

		*is = 0;
		keyvals_add(kv, s, is + 1);
	}
}

START_TEST(test_globals)
{
	for (size_t i = 0; i < ARRAY_LEN(globals); i++) {
		struct migration_settings s = {0}, before;
		struct keyvals kv = {0};
		struct err err = {0};
		int ret;

		settings_init(&s, false);
		before = s;
		globals_of(globals[i].text, &kv);
		ret = globals_apply(&s, &kv, &err);
		ck_assert_str_eq(err.msg, globals[i].words ? globals[i].words : "");
		ck_assert_int_eq(ret, -err.errnum);
		if (ret < 0)
			ck_assert_mem_eq(&s, &before, sizeof(s));
		keyvals_fini(&kv);
	}
}
END_TEST

/* The last of a name wins; what was set before stays. */
START_TEST(test_globals_taken)
{
	struct migration_settings s = {0};
	struct keyvals kv = {0};

	settings_init(&s, false);
	s.caps[CAP_EVENTS] = true;
	globals_of("x-multifd=on multifd-channels=3 multifd-channels=5 xbzrle=on xbzrle=off "
		   "send-switchover-start=on switchover-ack-legacy=on switchover-ack-legacy=off "
		   "x-minivmm-fault-float=on x-minivmm-postcopy-1g=on",
		   &kv);
	ck_assert_int_eq(globals_apply(&s, &kv, NULL), 0);
	ck_assert(s.caps[CAP_EVENTS] && s.caps[CAP_MULTIFD] && !s.caps[CAP_XBZRLE]);
	ck_assert(s.send_switchover_start && !s.switchover_ack_legacy);
	ck_assert(s.fault_float && s.postcopy_1g);
	ck_assert_uint_eq(s.params.multifd_channels, 5);
	ck_assert_uint_eq(s.params.downtime_limit, 300);
	keyvals_fini(&kv);
}
END_TEST

CHECK_MAIN("rules", test_rules, test_background_excludes, test_not_offered, test_globals,
	   test_globals_taken)
