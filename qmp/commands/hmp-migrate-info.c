/* hmp-migrate-info.c - the human monitor's info about migration and memory, in QEMU's words */
#include <inttypes.h>
#include <string.h>

#include "migration/dirty/limit.h"
#include "migration/dirty/rate.h"
#include "migration/migration.h"
#include "qmp/command.h"
#include "qmp/hmp.h"
#include "vmm/base/buf.h"
#include "vmm/base/units.h"
#include "vmm/machine.h"

/* ---- info migrate ---- */

static uint64_t kib(uint64_t bytes)
{
	return bytes / KiB;
}

struct line {
	const char *name, *unit;
	uint64_t v;
	bool hidden;
};

static void show_lines(const struct line *rows, size_t n, struct buf *out)
{
	for (size_t i = 0; i < n; i++)
		if (!rows[i].hidden)
			buf_printf(out, "%s: %" PRIu64 "%s\n", rows[i].name, rows[i].v,
				   rows[i].unit);
}

static void show_ram(const struct migration_ram_stats *ram, struct buf *out)
{
	const struct line rows[] = {
	    {"remaining ram",                     " kbytes", kib(ram->remaining),              false                  },
	    {"total ram",                         " kbytes", kib(ram->total),                  false                  },
	    {"duplicate",                         " pages",  ram->duplicate,                   false                  },
	    {"skipped",			   " pages",  ram->skipped,                     false                  },
	    {"normal",			    " pages",  ram->normal,                      false                  },
	    {"normal bytes",                      " kbytes", kib(ram->normal_bytes),           false                  },
	    {"dirty sync count",                  "",        ram->dirty_sync_count,            false                  },
	    {"page size",                         " kbytes", kib(ram->page_size),              false                  },
	    {"multifd bytes",                     " kbytes", kib(ram->multifd_bytes),          false                  },
	    {"pages-per-second",                  "",        ram->pages_per_second,            false                  },
	    {"dirty pages rate",                  " pages",  ram->dirty_pages_rate,            !ram->dirty_pages_rate },
	    {"postcopy request count",            "",        ram->postcopy_requests,           !ram->postcopy_requests},
	    {"precopy ram",                       " kbytes", kib(ram->precopy_bytes),          !ram->precopy_bytes    },
	    {"downtime ram",                      " kbytes", kib(ram->downtime_bytes),         !ram->downtime_bytes   },
	    {"postcopy ram",                      " kbytes", kib(ram->postcopy_bytes),         !ram->postcopy_bytes   },
	    {"Zero-copy-send fallbacks happened", " times",  ram->dirty_sync_missed_zero_copy,
	     !ram->dirty_sync_missed_zero_copy									},
	};

	buf_printf(out, "transferred ram: %" PRIu64 " kbytes\n", kib(ram->transferred));
	buf_printf(out, "throughput: %0.2f mbps\n", ram->mbps);
	show_lines(rows, ARRAY_LEN(rows), out);
}

static void show_xbzrle(const struct migration_xbzrle_stats *x, struct buf *out)
{
	buf_printf(out,
		   "cache size: %" PRIu64 " bytes\n"
		   "xbzrle transferred: %" PRIu64 " kbytes\n"
		   "xbzrle pages: %" PRIu64 " pages\n"
		   "xbzrle cache miss: %" PRIu64 " pages\n"
		   "xbzrle cache miss rate: %0.2f\n"
		   "xbzrle encoding rate: %0.2f\n"
		   "xbzrle overflow: %" PRIu64 "\n",
		   x->cache_size, kib(x->bytes), x->pages, x->cache_miss, x->cache_miss_rate,
		   x->encoding_rate, x->overflow);
}

static void show_compression(const struct migration_compression_stats *c, struct buf *out)
{
	buf_printf(out,
		   "compression pages: %" PRIu64 " pages\n"
		   "compression busy: %" PRIu64 "\n"
		   "compression busy rate: %0.2f\n"
		   "compressed size: %" PRIu64 " kbytes\n"
		   "compression rate: %0.2f\n",
		   c->pages, c->busy, c->busy_rate, kib(c->compressed_size), c->compression_rate);
}

static void show_times(const struct migration_info *i, struct buf *out)
{
	const struct line rows[] = {
	    {"total time",        " ms", i->total_time_ms,        !i->has_times   },
	    {"expected downtime", " ms", i->expected_downtime_ms, !i->has_expected},
	    {"downtime",          " ms", i->downtime_ms,          !i->has_downtime},
	    {"setup",             " ms", i->setup_time_ms,        !i->has_setup   },
	};

	show_lines(rows, ARRAY_LEN(rows), out);
}

static int info_migrate(struct qmp_call *call, const struct hmp_args *args, struct buf *out,
			struct err *err)
{
	struct migration_info *i = qmp_alloc(call->pool, 1, sizeof(*i));

	(void)args;
	(void)err;
	migration_query(call->mg, i);
	if (i->status == MIG_NONE)
		return 0;
	buf_printf(out, "Migration status: %s", migration_status_name(i->status));
	if (*i->error_desc)
		buf_printf(out, " (%s)", i->error_desc);
	buf_printf(out, "\n");
	show_times(i, out);
	if (i->has_ram)
		show_ram(&i->ram, out);
	if (i->has_xbzrle)
		show_xbzrle(&i->xbzrle, out);
	if (i->has_compression)
		show_compression(&i->compression, out);
	if (i->throttle_percent)
		buf_printf(out, "cpu throttle percentage: %" PRIu32 "\n", i->throttle_percent);
	return 0;
}

/* ---- info migrate_capabilities, migrate_parameters ---- */

static int info_capabilities(struct qmp_call *call, const struct hmp_args *args, struct buf *out,
			     struct err *err)
{
	(void)args;
	(void)err;
	for (int c = 0; c < CAP_COUNT; c++)
		if (!migration_capabilities[c].unlisted)
			buf_printf(out, "%s: %s\n", migration_capabilities[c].name,
				   migration_get_capability(call->mg, (enum migration_capability)c)
				       ? "on"
				       : "off");
	return 0;
}

static const char *unit_of(const char *name)
{
	static const struct {
		const char *name, *unit;
	} units[] = {
	    {"announce-initial",           " ms"          },
	    {"announce-max",               " ms"          },
	    {"announce-step",              " ms"          },
	    {"downtime-limit",             " ms"          },
	    {"x-checkpoint-delay",         " ms"          },
	    {"x-vcpu-dirty-limit-period",  " ms"          },
	    {"vcpu-dirty-limit",           " MB/s"        },
	    {"max-bandwidth",              " bytes/second"},
	    {"avail-switchover-bandwidth", " bytes/second"},
	    {"xbzrle-cache-size",          " bytes"       },
	};

	for (size_t i = 0; i < ARRAY_LEN(units); i++)
		if (!strcmp(units[i].name, name))
			return units[i].unit;
	return "";
}

static int info_parameters(struct qmp_call *call, const struct hmp_args *args, struct buf *out,
			   struct err *err)
{
	const struct migration_params *p = migration_get_params(call->mg);

	(void)args;
	(void)err;
	for (int i = 0; migration_param_table[i].name; i++) {
		const struct migration_param_info *r = &migration_param_table[i];
		uint64_t v = migration_params_number(p, i);

		if (r->kind == PARAM_STR_OR_NULL)
			buf_printf(out, "%s: '%s'\n", r->name, (const char *)p + r->offset);
		else if (r->kind == PARAM_BOOL)
			buf_printf(out, "%s: %s\n", r->name, v ? "on" : "off");
		else if (r->kind == PARAM_ENUM)
			buf_printf(out, "%s: %s\n", r->name, r->values[v]);
		else
			buf_printf(out, "%s: %" PRIu64 "%s\n", r->name, v, unit_of(r->name));
	}
	return 0;
}

/* ---- info dirty_rate, vcpu_dirty_limit ---- */

static int info_dirty_rate(struct qmp_call *call, const struct hmp_args *args, struct buf *out,
			   struct err *err)
{
	struct dirty_rate_info i;

	(void)args;
	(void)err;
	dirty_rate_query(migration_dirty_rate(call->mg), &i);
	buf_printf(out,
		   "Status: %s\n"
		   "Start Time: %" PRId64 " (ms)\n"
		   "Sample Pages: %" PRIu64 " (per GB)\n"
		   "Period: %" PRId64 " (sec)\n"
		   "Mode: %s\n"
		   "Dirty rate: ",
		   dirty_rate_status_name(i.status), i.start_time_s, i.sample_pages, i.calc_time_s,
		   dirty_rate_mode_name(i.mode));
	if (i.status != DIRTY_RATE_MEASURED) {
		buf_printf(out, "(not ready)\n");
		return 0;
	}
	buf_printf(out, "%" PRId64 " (MB/s)\n", i.rate_mb_s);
	for (unsigned v = 0; i.vcpu_rate_mb_s && v < i.n_vcpus; v++)
		buf_printf(out, "vcpu[%u], Dirty rate: %" PRId64 " (MB/s)\n", v,
			   i.vcpu_rate_mb_s[v]);
	return 0;
}

static int info_limits(struct qmp_call *call, const struct hmp_args *args, struct buf *out,
		       struct err *err)
{
	struct dirty_limits *l = migration_dirty_limits(call->mg);

	(void)args;
	(void)err;
	for (unsigned v = 0; v < call->m->n_vcpus; v++) {
		uint64_t current, limit = dirty_limits_get(l, v, &current);

		if (limit)
			buf_printf(out,
				   "vcpu[%u], limit rate %" PRIu64 " (MB/s),"
				   " current rate %" PRIu64 " (MB/s)\n",
				   v, limit, current);
	}
	if (!out->len)
		buf_printf(out, "Dirty page limit not enabled!\n");
	return 0;
}

const struct hmp_command hmp_migrate_info_commands[] = {
    {"info migrate",			 NULL, "show migration status", info_migrate, false},
    {"info migrate_capabilities",               NULL, "show current migration capabilities", info_capabilities,
     false},
    {"info migrate_parameters",				 NULL, "show current migration parameters", info_parameters, false},
    {"info dirty_rate",            NULL, "show dirty rate information", info_dirty_rate, false},
    {"info vcpu_dirty_limit", NULL, "show dirty page limit information of all vCPU", info_limits,
     false},
    {0				 },
};
