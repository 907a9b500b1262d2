/*
 * params.c - MigrationParameters as one table (qmp-surface 3.2)
 *
 * Values sit in struct migration_params at the row's offset; all but the
 * strings are read and written as numbers.
 */
#include "migration/settings/params.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/error.h"
#include "vmm/base/units.h"

static const char *const compressions[] = {"none", "zlib", "zstd", NULL};
static const char *const detections[] = {"none", "legacy", "multifd", NULL};
static const char *const modes[] = {"normal", NULL}; /* no cpr-reboot, cpr-transfer, cpr-exec */
static const char *const load_clocks[] = {"freeze", "advance", NULL};
static const char *const policies[] = {"cancel", "force", "postcopy", NULL};

#define AT(m)         .offset = offsetof(struct migration_params, m)
#define RANGE(a, b)   .min = (a), .max = (b)
#define INITIAL(v)    .initial = (v)
#define PERCENT       RANGE(1, 99), .phrase = "an integer in the range of 1 to 99"
#define ABSENT(words) .offered = false, .instead = (words)

#define YEAR_S 31536000 /* 365 days */

/* It would align one column of every other row. */
/* clang-format off */
const struct migration_param_info migration_param_table[] = {
    {"announce-initial", PARAM_SIZE, AT(announce_initial), RANGE(0, 100000), INITIAL(50),
     .phrase = "a value between 0 and 100000", .offered = true,
     .help = "ms until the guest is announced to the network a second time"},
    {"announce-max", PARAM_SIZE, AT(announce_max), RANGE(0, 100000), INITIAL(550),
     .phrase = "a value between 0 and 100000", .offered = true,
     .help = "ms between two announcements at most"},
    {"announce-rounds", PARAM_SIZE, AT(announce_rounds), RANGE(0, 1000), INITIAL(5),
     .phrase = "a value between 0 and 1000", .offered = true,
     .help = "announcements"},
    {"announce-step", PARAM_SIZE, AT(announce_step), RANGE(1, 10000), INITIAL(100),
     .phrase = "a value between 1 and 10000", .offered = true,
     .help = "ms by which the time between two announcements grows"},
    {"compress-level", PARAM_U8, AT(compress_level), RANGE(0, 9), INITIAL(1),
     .phrase = "a value between 0 and 9", .deprecated = true, .offered = true,
     .help = "of compress: 0 none, 1 fast, 9 small"},
    {"compress-threads", PARAM_U8, AT(compress_threads), RANGE(1, 255), INITIAL(8),
     .phrase = "a value between 1 and 255", .deprecated = true, .offered = true,
     .help = "threads that compress (source)"},
    {"compress-wait-thread", PARAM_BOOL, AT(compress_wait_thread), RANGE(0, 1), INITIAL(1),
     .deprecated = true, .offered = true,
     .help = "wait for a thread when all are busy, instead of sending the page as it is"},
    {"decompress-threads", PARAM_U8, AT(decompress_threads), RANGE(1, 255), INITIAL(2),
     .phrase = "a value between 1 and 255", .deprecated = true, .offered = true,
     .help = "threads that decompress (destination)"},
    {"throttle-trigger-threshold", PARAM_U8, AT(throttle_trigger_threshold), RANGE(1, 100),
     INITIAL(50), .phrase = "an integer in the range of 1 to 100", .offered = true,
     .help = "percent of what a pass sends; auto-converge acts when more was written meanwhile"},
    {"cpu-throttle-initial", PARAM_U8, AT(cpu_throttle_initial), PERCENT, INITIAL(20),
     .offered = true,
     .help = "percent of the vCPUs' time that auto-converge takes at first"},
    {"cpu-throttle-increment", PARAM_U8, AT(cpu_throttle_increment), PERCENT, INITIAL(10),
     .offered = true,
     .help = "percent that it takes more each time"},
    {"cpu-throttle-tailslow", PARAM_BOOL, AT(cpu_throttle_tailslow), RANGE(0, 1), INITIAL(0),
     .offered = true,
     .help = "take smaller steps towards the end"},
    {"tls-creds", PARAM_STR_OR_NULL, AT(tls_creds), .offered = true,
     .help = "the object tls-creds-* that the migration is encrypted with; \"\": it is not"},
    {"tls-hostname", PARAM_STR_OR_NULL, AT(tls_hostname), .offered = true,
     .help = "what the destination's certificate must name; \"\": the host of the address"},
    {"tls-authz", PARAM_STR_OR_NULL, AT(tls_authz), .offered = true,
     .help = "the object authz-* that lets a source in by its certificate's name (destination)"},
    {"max-bandwidth", PARAM_SIZE, AT(max_bandwidth), RANGE(0, UINT64_MAX), INITIAL(128 * MiB),
     .offered = true,
     .help = "bytes a second; 0: no limit"},
    {"downtime-limit", PARAM_U64, AT(downtime_limit), RANGE(0, 2000000), INITIAL(300),
     .phrase = "an integer in the range of 0 to (2000 * 1000) ms", .offered = true,
     .help = "ms for which the guest may stand still at most"},
    {"x-checkpoint-delay", PARAM_U32, AT(x_checkpoint_delay), RANGE(0, UINT32_MAX), INITIAL(20000),
     .unstable = true, ABSENT(NULL)},
    {"block-incremental", PARAM_BOOL, AT(block_incremental), RANGE(0, 1), INITIAL(0),
     .deprecated = true,
     ABSENT("copy the disks first, or share them")},
    {"multifd-channels", PARAM_U8, AT(multifd_channels), RANGE(1, 255), INITIAL(2),
     .phrase = "a value between 1 and 255", .offered = true,
     .help = "connections of multifd, besides the main one (both ends)"},
    {"xbzrle-cache-size", PARAM_SIZE, AT(xbzrle_cache_size), RANGE(PAGE_BYTES, UINT64_MAX),
     INITIAL(64 * MiB), .phrase = "a power of two no less than the target page size",
     .offered = true,
     .help = "bytes of the cache of xbzrle"},
    {"max-postcopy-bandwidth", PARAM_SIZE, AT(max_postcopy_bandwidth), RANGE(0, UINT64_MAX),
     INITIAL(0), .offered = true,
     .help = "bytes a second of postcopy that are not waited for; 0: no limit"},
    {"max-cpu-throttle", PARAM_U8, AT(max_cpu_throttle), RANGE(1, 99), INITIAL(99),
     .phrase = "an integer in the range of cpu_throttle_initial to 99", .offered = true,
     .help = "percent that auto-converge takes at most"},
    {"multifd-compression", PARAM_ENUM, AT(multifd_compression), RANGE(0, MULTIFD_ZSTD),
     INITIAL(MULTIFD_NONE), .values = compressions, .offered = true,
     .help = "how multifd represents pages (both ends)"},
    {"multifd-zlib-level", PARAM_U8, AT(multifd_zlib_level), RANGE(0, 9), INITIAL(1),
     .phrase = "a value between 0 and 9", .offered = true,
     .help = "0 none, 1 fast, 9 small"},
    {"multifd-zstd-level", PARAM_U8, AT(multifd_zstd_level), RANGE(0, 20), INITIAL(1),
     .phrase = "a value between 0 and 20", .offered = true,
     .help = "0 the default of zstd, 1 fast, 20 small"},
    {"zero-page-detection", PARAM_ENUM, AT(zero_page_detection), RANGE(0, ZERO_PAGES_MULTIFD),
     INITIAL(ZERO_PAGES_MULTIFD), .values = detections, .offered = true,
     .help = "who looks for zero pages: nobody, the migration thread, or multifd's channels"},
    {"x-vcpu-dirty-limit-period", PARAM_U64, AT(x_vcpu_dirty_limit_period), RANGE(1, 1000),
     INITIAL(1000), .phrase = "a value between 1 and 1000", .unstable = true, .offered = true,
     .help = "ms over which dirty-limit measures"},
    {"vcpu-dirty-limit", PARAM_U64, AT(vcpu_dirty_limit), RANGE(1, UINT64_MAX / MiB), INITIAL(1),
     .phrase = "at least 1, in MB/s", .offered = true,
     .help = "MB/s that dirty-limit lets each vCPU write"},
    {"mode", PARAM_ENUM, AT(mode), RANGE(0, MODE_NORMAL), INITIAL(MODE_NORMAL), .values = modes,
     .offered = true,
     .help = "what becomes of the guest: it moves"},
    {"avail-switchover-bandwidth", PARAM_SIZE, AT(avail_switchover_bandwidth),
     RANGE(0, UINT64_MAX), INITIAL(0), .offered = true,
     .help = "bytes a second that the switchover can count on, to judge what fits downtime-limit; "
	     "0: as measured"},
    {"direct-io", PARAM_BOOL, AT(direct_io), RANGE(0, 1), INITIAL(0), .offered = true,
     .help = "keep pages of mapped-ram out of the host's page cache (both ends)"},
    {"x-minivmm-deadline", PARAM_U32, AT(deadline), RANGE(0, YEAR_S), INITIAL(0),
     .phrase = "a value between 0 and 31536000, in seconds", .unstable = true, .offered = true,
     .help = "seconds after which the migration is given up, forced or goes to postcopy; 0: none"},
    {"x-minivmm-deadline-policy", PARAM_ENUM, AT(deadline_policy), RANGE(0, DEADLINE_POSTCOPY),
     INITIAL(DEADLINE_CANCEL), .values = policies, .unstable = true, .offered = true,
     .help = "what happens then: give it up, stop the guest and complete, or go to postcopy"},
    {"x-minivmm-peer-timeout", PARAM_U32, AT(peer_timeout), RANGE(0, YEAR_S), INITIAL(0),
     .phrase = "a value between 0 and 31536000, in seconds", .unstable = true, .offered = true,
     .help = "seconds in which the destination does nothing, after which the migration fails; 0: for ever"},
    {"x-minivmm-checksum", PARAM_BOOL, AT(checksum), RANGE(0, 1), INITIAL(0), .unstable = true,
     .offered = true, .help = "put a checksum at the end of a saved guest"},
    {"x-minivmm-load-clock", PARAM_ENUM, AT(load_clock), RANGE(0, LOAD_CLOCK_ADVANCE),
     INITIAL(LOAD_CLOCK_FREEZE), .values = load_clocks, .unstable = true, .offered = true,
     .help = "the clock of a guest that is loaded from a file: goes on from where it stood, or by the time that has passed"},
    {"x-minivmm-lazy-load", PARAM_BOOL, AT(lazy_load), RANGE(0, 1), INITIAL(1), .unstable = true,
     .offered = true,
     .help = "run a guest from a snapshot or a mapped-ram file at once, and bring its pages as it "
	     "touches them"},
    {"x-minivmm-lazy-rate", PARAM_SIZE, AT(lazy_rate), RANGE(0, UINT64_MAX), INITIAL(0),
     .unstable = true, .offered = true,
     .help = "bytes a second of pages that a lazy load brings before they are touched; 0: no limit"},
    {.name = NULL},
};
/* clang-format on */

_Static_assert(ARRAY_LEN(migration_param_table) - 1 <= MIGRATION_MAX_PARAMS,
	       "migration_params_set has room for every row");

#define STRING_BYTES sizeof(((struct migration_params *)0)->tls_creds)

static const void *member(const struct migration_params *p, int row)
{
	return (const uint8_t *)p + migration_param_table[row].offset;
}

static uint64_t get_number(const void *at, enum param_kind kind)
{
	uint32_t v32;
	uint64_t v64;

	switch (kind) {
	case PARAM_BOOL:
		return *(const bool *)at;
	case PARAM_U8:
	case PARAM_ENUM:
		return *(const uint8_t *)at;
	case PARAM_U32:
		memcpy(&v32, at, sizeof(v32));
		return v32;
	case PARAM_U64:
	case PARAM_SIZE:
		memcpy(&v64, at, sizeof(v64));
		return v64;
	case PARAM_STR_OR_NULL:
		break;
	}
	return 0;
}

static void put_number(void *at, enum param_kind kind, uint64_t v)
{
	uint32_t v32 = (uint32_t)v;

	switch (kind) {
	case PARAM_BOOL:
		*(bool *)at = v != 0;
		break;
	case PARAM_U8:
	case PARAM_ENUM:
		*(uint8_t *)at = (uint8_t)v;
		break;
	case PARAM_U32:
		memcpy(at, &v32, sizeof(v32));
		break;
	case PARAM_U64:
	case PARAM_SIZE:
		memcpy(at, &v, sizeof(v));
		break;
	case PARAM_STR_OR_NULL:
		break;
	}
}

uint64_t migration_params_number(const struct migration_params *p, int row)
{
	return get_number(member(p, row), migration_param_table[row].kind);
}

void migration_params_init(struct migration_params *p)
{
	*p = (struct migration_params){0};
	for (const struct migration_param_info *r = migration_param_table; r->name; r++)
		put_number((uint8_t *)p + r->offset, r->kind, r->initial);
}

int migration_params_find(const char *name)
{
	for (int i = 0; migration_param_table[i].name; i++)
		if (!strcmp(migration_param_table[i].name, name))
			return i;
	return -1;
}

/* ---- checks ---- */

static int err_range(const struct migration_param_info *r, struct err *err)
{
	char name[64];

	(void)snprintf(name, sizeof(name), "%s", r->name);
	for (char *c = name; *c; c++)
		if (*c == '-')
			*c = '_';
	return err_set(err, EINVAL, "Parameter '%s' expects %s", name,
		       r->phrase ? r->phrase : "another value");
}

/* What a value may be by itself; which go together is in rules.c. */
static bool param_fits(const struct migration_param_info *r, uint64_t v)
{
	if (v < r->min || v > r->max)
		return false;
	if (r->offset == offsetof(struct migration_params, xbzrle_cache_size))
		return (v & (v - 1)) == 0;
	return true;
}

static int err_not_offered(const struct migration_param_info *r, struct err *err)
{
	return err_set(err, ENOTSUP,
		       "Parameter '%s' is not supported by this version of minivmm, beyond its "
		       "default%s%s",
		       r->name, r->instead ? ": " : "", r->instead ? r->instead : "");
}

static int check_row(const struct migration_param_info *r, const struct migration_params *p,
		     struct err *err)
{
	const void *at = (const uint8_t *)p + r->offset;
	uint64_t v;

	if (r->kind == PARAM_STR_OR_NULL)
		return !r->offered && *(const char *)at ? err_not_offered(r, err) : 0;
	v = get_number(at, r->kind);
	if (!param_fits(r, v))
		return err_range(r, err);
	return !r->offered && v != r->initial ? err_not_offered(r, err) : 0;
}

static void copy_row(int row, struct migration_params *to, const struct migration_params *from)
{
	const struct migration_param_info *r = &migration_param_table[row];
	void *at = (uint8_t *)to + r->offset;

	if (r->kind == PARAM_STR_OR_NULL)
		memcpy(at, member(from, row), STRING_BYTES);
	else
		put_number(at, r->kind, migration_params_number(from, row));
}

int migration_params_apply(struct migration_params *p, const struct migration_params_set *set,
			   struct err *err)
{
	struct migration_params next = *p;
	const struct migration_param_info *r = migration_param_table;

	for (int i = 0; r[i].name; i++)
		if (set->given[i])
			copy_row(i, &next, &set->value);
	for (int i = 0; r[i].name; i++) {
		int ret = set->given[i] ? check_row(&r[i], &next, err) : 0;

		if (ret < 0)
			return ret;
	}
	*p = next;
	return 0;
}

/* ---- text ---- */

static int parse_bool(const char *text, uint64_t *v)
{
	static const char *const words[] = {"off", "on", "no", "yes", "false", "true", "n", "y"};

	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		if (!strcmp(words[i], text)) {
			*v = i & 1;
			return 0;
		}
	return -EINVAL;
}

static int parse_enum(const char *const *values, const char *text, uint64_t *v)
{
	for (uint64_t i = 0; values[i]; i++)
		if (!strcmp(values[i], text)) {
			*v = i;
			return 0;
		}
	return -EINVAL;
}

/* Digits, with a suffix of 1024s where the row is a size. */
static int parse_number(const char *text, bool size, uint64_t *v)
{
	static const char suffixes[] = "kMGTPE";
	char *end;
	const char *s;

	if (*text < '0' || *text > '9')
		return -EINVAL;
	errno = 0;
	*v = strtoull(text, &end, 0);
	if (errno)
		return -ERANGE;
	if (size && *end && !end[1] && (s = strchr(suffixes, *end == 'K' ? 'k' : *end))) {
		unsigned shift = 10U * (unsigned)(s - suffixes + 1);

		if (*v > UINT64_MAX >> shift)
			return -ERANGE;
		*v <<= shift;
		end++;
	}
	return *end ? -EINVAL : 0;
}

static uint64_t kind_max(enum param_kind kind)
{
	return kind == PARAM_U8 ? UINT8_MAX : kind == PARAM_U32 ? UINT32_MAX : UINT64_MAX;
}

int migration_params_parse(struct migration_params_set *set, int row, const char *text,
			   struct err *err)
{
	const struct migration_param_info *r = &migration_param_table[row];
	uint8_t *at = (uint8_t *)&set->value + r->offset;
	uint64_t v = 0;
	int ret;

	if (r->kind == PARAM_STR_OR_NULL) {
		ret = strlen(text) < STRING_BYTES ? 0 : -ENAMETOOLONG;
		if (ret == 0)
			(void)snprintf((char *)at, STRING_BYTES, "%s", text);
	} else if (r->kind == PARAM_BOOL) {
		ret = parse_bool(text, &v);
	} else if (r->kind == PARAM_ENUM) {
		ret = parse_enum(r->values, text, &v);
	} else {
		ret = parse_number(text, r->kind == PARAM_SIZE, &v);
	}
	if (ret == 0 && v > kind_max(r->kind))
		ret = -ERANGE;
	if (ret < 0)
		return err_set(err, EINVAL, "Parameter '%s' does not accept value '%s'", r->name,
			       text);
	put_number(at, r->kind, v);
	set->given[row] = true;
	return 0;
}
