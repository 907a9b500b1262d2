/*
 * rules.c - which capabilities and parameters go together: a row a rule
 *
 * The first broken rule is reported.  The order is QEMU's (qmp-surface 3.1), so that a
 * client reads the same sentence from both; the rules that QEMU does not have come
 * last.  The capabilities that a background snapshot excludes are a list of their own.  What
 * one parameter may hold by itself is in params.c.
 */
#include "migration/settings/rules.h"

#include <errno.h>

#include "migration/settings/capabilities.h"
#include "migration/settings/params.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"

/* In QEMU's order: the first that is on is named. */
static const enum migration_capability not_in_background[] = {
    CAP_POSTCOPY_RAM,
    CAP_DIRTY_BITMAPS,
    CAP_POSTCOPY_BLOCKTIME,
    CAP_LATE_BLOCK_ACTIVATE,
    CAP_RETURN_PATH,
    CAP_MULTIFD,
    CAP_PAUSE_BEFORE_SWITCHOVER,
    CAP_AUTO_CONVERGE,
    CAP_RELEASE_RAM,
    CAP_RDMA_PIN_ALL,
    CAP_COMPRESS,
    CAP_XBZRLE,
    CAP_X_COLO,
    CAP_VALIDATE_UUID,
    CAP_ZERO_COPY_SEND,
};

static int check_background(enum rules_moment moment, const struct rules_subject *s,
			    struct err *err)
{
	if (moment == RULES_CHANNEL || !s->caps[CAP_BACKGROUND_SNAPSHOT])
		return 0;
	for (size_t i = 0; i < ARRAY_LEN(not_in_background); i++)
		if (s->caps[not_in_background[i]])
			return err_set(err, EINVAL, "Background-snapshot is not compatible with %s",
				       migration_capabilities[not_in_background[i]].name);
	return 0;
}

static bool zero_copy_not_plain(const struct rules_subject *s)
{
	return s->caps[CAP_ZERO_COPY_SEND] &&
	       (!s->caps[CAP_MULTIFD] || s->caps[CAP_COMPRESS] || s->caps[CAP_XBZRLE] ||
		s->params->multifd_compression != MULTIFD_NONE || s->params->tls_creds[0]);
}

static bool multifd_on_one_connection(const struct rules_subject *s)
{
	return s->caps[CAP_MULTIFD] && s->one_connection && !s->caps[CAP_MAPPED_RAM];
}

static bool multifd_and_compress(const struct rules_subject *s)
{
	return s->caps[CAP_MULTIFD] && s->caps[CAP_COMPRESS];
}

static bool throttle_above_its_maximum(const struct rules_subject *s)
{
	return s->params->cpu_throttle_initial > s->params->max_cpu_throttle;
}

static bool dirty_limit_without_ring(const struct rules_subject *s)
{
	return s->caps[CAP_DIRTY_LIMIT] && !s->dirty_ring;
}

static bool postcopy_and_shared(const struct rules_subject *s)
{
	return s->caps[CAP_POSTCOPY_RAM] && s->caps[CAP_X_IGNORE_SHARED];
}

static bool preempt_alone(const struct rules_subject *s)
{
	return s->caps[CAP_POSTCOPY_PREEMPT] && !s->caps[CAP_POSTCOPY_RAM];
}

static bool preempt_and_compress(const struct rules_subject *s)
{
	return s->caps[CAP_POSTCOPY_PREEMPT] && s->caps[CAP_COMPRESS];
}

static bool preempt_on_one_connection(const struct rules_subject *s)
{
	return s->caps[CAP_POSTCOPY_PREEMPT] && s->one_connection;
}

static bool mapped_and_postcopy(const struct rules_subject *s)
{
	return s->caps[CAP_MAPPED_RAM] && s->caps[CAP_POSTCOPY_RAM];
}

static bool two_throttles(const struct rules_subject *s)
{
	return s->caps[CAP_DIRTY_LIMIT] && s->caps[CAP_AUTO_CONVERGE];
}

static bool late_postcopy_without_it(const struct rules_subject *s)
{
	return s->params->deadline && s->params->deadline_policy == DEADLINE_POSTCOPY &&
	       !s->caps[CAP_POSTCOPY_RAM];
}

static bool multifd_and_xbzrle(const struct rules_subject *s)
{
	return s->caps[CAP_MULTIFD] && s->caps[CAP_XBZRLE];
}

static bool ack_without_return_path(const struct rules_subject *s)
{
	return s->caps[CAP_SWITCHOVER_ACK] && !s->caps[CAP_RETURN_PATH];
}

static bool mapped_not_plain(const struct rules_subject *s)
{
	return s->caps[CAP_MAPPED_RAM] && s->caps[CAP_MULTIFD] &&
	       (s->params->multifd_compression != MULTIFD_NONE || s->params->tls_creds[0]);
}

static bool mapped_and_xbzrle(const struct rules_subject *s)
{
	return s->caps[CAP_MAPPED_RAM] && s->caps[CAP_XBZRLE];
}

static bool mapped_and_compress(const struct rules_subject *s)
{
	return s->caps[CAP_MAPPED_RAM] && s->caps[CAP_COMPRESS];
}

static bool mapped_without_places(const struct rules_subject *s)
{
	return s->caps[CAP_MAPPED_RAM] && !s->seekable;
}

#define AT(moment) (1U << (moment))
#define SET        (AT(RULES_SET) | AT(RULES_START))
#define START      AT(RULES_START)
#define CHANNEL    (AT(RULES_SET) | AT(RULES_CHANNEL))

/* QEMU looks at this one in front of background-snapshot. */
static int check_postcopy(enum rules_moment moment, const struct rules_subject *s, struct err *err)
{
	if (moment == RULES_CHANNEL || !postcopy_and_shared(s))
		return 0;
	return err_set(err, EINVAL, "Postcopy is not compatible with ignore-shared");
}

static const struct rule {
	unsigned moments; /* AT(...) */
	int errnum;
	bool (*broken)(const struct rules_subject *s);
	const char *words;
} rules[] = {
    {SET,	       EINVAL,  zero_copy_not_plain,
     "Zero copy only available for non-compressed non-TLS multifd migration"                                        },
    {CHANNEL,           EINVAL,  multifd_on_one_connection,  "multifd is not supported by current protocol"         },
    {SET,	       EINVAL,  preempt_alone,              "Postcopy preempt requires postcopy-ram"               },
    {SET,	       EINVAL,  preempt_and_compress,       "Postcopy preempt not compatible with compress"        },
    {CHANNEL,           EINVAL,  preempt_on_one_connection,
     "postcopy-preempt needs a second connection, which only tcp: and unix: have"                                   },
    {SET,	       EINVAL,  mapped_and_postcopy,        "Mapped-ram migration is incompatible with postcopy"   },
    {SET,	       EINVAL,  multifd_and_compress,       "Multifd is not compatible with compress"              },
    {SET,	       EINVAL,  throttle_above_its_maximum,
     "Parameter 'max_cpu_throttle' expects an integer in the range of cpu_throttle_initial to 99"                   },
    {SET,	       EINVAL,  mapped_and_xbzrle,          "Mapped-ram migration is incompatible with xbzrle"     },
    {SET,	       EINVAL,  mapped_and_compress,        "Mapped-ram migration is incompatible with compression"},
    {SET,	       EINVAL,  mapped_not_plain,
     "Mapped-ram only available for non-compressed non-TLS multifd migration"                                       },
    {AT(RULES_CHANNEL), EINVAL,  mapped_without_places,
     "Migration requires seekable transport (e.g. file)"							    },
    {SET,	       ENOTSUP, dirty_limit_without_ring,
     "Capability 'dirty-limit' needs the dirty ring: start with -accel kvm,dirty-ring-size=N"                       },
    {SET,	       EINVAL,  two_throttles,
     "Capabilities 'dirty-limit' and 'auto-converge' exclude each other: one of them slows the "
     "guest down"												   },
    {SET,	       EINVAL,  ack_without_return_path,
     "Capability 'switchover-ack' requires capability 'return-path'"                                                },
    {START,	     EINVAL,  multifd_and_xbzrle,
     "Multifd sends whole pages, so xbzrle has nothing to do: switch one of them off"                               },
    {START,	     EINVAL,  late_postcopy_without_it,   RULES_LATE_POSTCOPY                                    },
};

static int check_offered(const bool *caps, struct err *err)
{
	for (int c = 0; c < CAP_COUNT; c++) {
		const struct migration_capability_info *info = &migration_capabilities[c];

		if (caps[c] && !info->offered)
			return err_set(err, ENOTSUP,
				       "Capability '%s' is not supported by this version of "
				       "minivmm%s%s",
				       info->name, info->instead ? ": " : "",
				       info->instead ? info->instead : "");
	}
	return 0;
}

int rules_check(enum rules_moment moment, const struct rules_subject *s, struct err *err)
{
	int ret = check_offered(s->caps, err);

	if (ret == 0) /* in front of the table, as in QEMU */
		ret = check_postcopy(moment, s, err);
	if (ret == 0)
		ret = check_background(moment, s, err);

	for (size_t i = 0; ret == 0 && i < ARRAY_LEN(rules); i++)
		if ((rules[i].moments & AT(moment)) && rules[i].broken(s))
			ret = err_set(err, rules[i].errnum, "%s", rules[i].words);
	return ret;
}
