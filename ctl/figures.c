/* figures.c - members of query-migrate, each looked at for its kind before it is taken */
#include "ctl/figures.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "qmp/json.h"
#include "vmm/base/units.h"

static bool get_uint(const struct json_object *o, const char *key, uint64_t *v)
{
	struct json_object *m;

	if (!json_get(o, key, &m))
		return false;
	if (json_kind(m) == JSON_UINT) {
		*v = json_uint(m);
		return true;
	}
	if (json_kind(m) != JSON_INT || json_int(m) < 0)
		return false;
	*v = (uint64_t)json_int(m);
	return true;
}

static double get_number(const struct json_object *o, const char *key)
{
	struct json_object *m;
	double v;

	if (!json_get(o, key, &m))
		return 0;
	switch (json_kind(m)) {
	case JSON_INT:
	case JSON_UINT:
	case JSON_DOUBLE:
		v = json_double(m);
		return v > 0 && v < 1e15 ? v : 0;
	default:
		return 0;
	}
}

static bool get_text(const struct json_object *o, const char *key, char *out, size_t n)
{
	struct json_object *m;

	if (!json_get(o, key, &m) || json_kind(m) != JSON_STRING)
		return false;
	(void)snprintf(out, n, "%s", json_str(m));
	return true;
}

static const struct json_object *get_object(const struct json_object *o, const char *key)
{
	struct json_object *m;

	return json_get(o, key, &m) && json_kind(m) == JSON_OBJECT ? m : NULL;
}

/* A row: a number that is taken as it is. */
struct number {
	const char *key;
	size_t offset;
};

#define NUMBER(key, member)                                                                        \
	{                                                                                          \
		key, offsetof(struct figures, member)                                              \
	}

static const struct number ram_numbers[] = {
    NUMBER("transferred", transferred),
    NUMBER("remaining", remaining),
    NUMBER("total", total),
    NUMBER("normal", normal),
    NUMBER("duplicate", duplicate),
    NUMBER("page-size", page_bytes),
    NUMBER("dirty-pages-rate", dirty_pages_rate),
    NUMBER("dirty-sync-count", passes),
    NUMBER("precopy-bytes", precopy_bytes),
    NUMBER("downtime-bytes", downtime_bytes),
    NUMBER("postcopy-bytes", postcopy_bytes),
    NUMBER("multifd-bytes", multifd_bytes),
    NUMBER("postcopy-requests", postcopy_requests),
};

static const struct number lazy_numbers[] = {
    NUMBER("resume-us", lazy_resume_us), NUMBER("resident-us", lazy_resident_us),
    NUMBER("total", lazy_total),         NUMBER("remaining", lazy_remaining),
    NUMBER("faults", lazy_faults),
};

static void get_numbers(struct figures *f, const struct json_object *o, const struct number *rows,
			size_t n)
{
	for (size_t i = 0; i < n; i++)
		(void)get_uint(o, rows[i].key, (uint64_t *)(void *)((char *)f + rows[i].offset));
}

static void read_progress(struct figures *f, const struct json_object *o)
{
	const struct json_object *step = get_object(o, "cheapest-step");
	struct json_object *m;
	uint64_t percent = 0;

	f->has_progress = true;
	(void)get_text(o, "phase", f->phase, sizeof(f->phase));
	(void)get_uint(o, "percent", &percent);
	f->percent = (unsigned)MIN(percent, 100U);
	f->has_eta = get_uint(o, "eta", &f->eta_ms);
	(void)get_uint(o, "predicted-downtime", &f->predicted_ms);
	f->converges = json_get(o, "converges", &m) && json_kind(m) == JSON_BOOL && json_is_true(m);
	f->has_step = step && get_text(step, "text", f->step, sizeof(f->step));
}

static void read_dist(struct figures *f, const struct json_object *info)
{
	struct json_object *list;

	if (!json_get(info, "postcopy-latency-dist", &list) || json_kind(list) != JSON_ARRAY)
		return;
	f->has_dist = true;
	for (size_t i = 0; i < MIN(json_len(list), (size_t)FIGURES_BUCKETS); i++) {
		const struct json_object *v = json_at(list, i);

		if (json_kind(v) == JSON_INT && json_int(v) > 0)
			f->dist[i] = (uint64_t)json_int(v);
	}
}

void figures_read(struct figures *f, const struct json_object *info)
{
	const struct json_object *o;
	uint64_t throttle;

	*f = (struct figures){.status = "none", .page_bytes = PAGE_BYTES};
	if (json_kind(info) != JSON_OBJECT)
		return;
	(void)get_text(info, "status", f->status, sizeof(f->status));
	(void)get_text(info, "error-desc", f->error, sizeof(f->error));
	f->has_total_time = get_uint(info, "total-time", &f->total_ms);
	f->has_setup = get_uint(info, "setup-time", &f->setup_ms);
	f->has_expected = get_uint(info, "expected-downtime", &f->expected_ms);
	f->has_downtime = get_uint(info, "downtime", &f->downtime_ms);
	f->has_latency = get_uint(info, "postcopy-latency", &f->latency_ns);
	f->has_blocktime = get_uint(info, "postcopy-blocktime", &f->blocktime_ms);
	f->has_throttle = get_uint(info, "cpu-throttle-percentage", &throttle);
	if (f->has_throttle)
		f->throttle_percent = (unsigned)MIN(throttle, 100U);
	read_dist(f, info);
	o = get_object(info, "ram");
	f->has_ram = o;
	if (o) {
		get_numbers(f, o, ram_numbers, ARRAY_LEN(ram_numbers));
		f->mbps = get_number(o, "mbps");
	}
	if (!f->page_bytes || f->page_bytes > 1 * GiB)
		f->page_bytes = PAGE_BYTES;
	o = get_object(info, "x-minivmm");
	if (o)
		read_progress(f, o);
	o = get_object(info, "x-minivmm-lazy");
	f->has_lazy = o;
	if (o)
		get_numbers(f, o, lazy_numbers, ARRAY_LEN(lazy_numbers));
}

bool figures_ended(const struct figures *f)
{
	return strcmp(f->status, "completed") == 0 || strcmp(f->status, "failed") == 0 ||
	       strcmp(f->status, "cancelled") == 0;
}

uint64_t figures_waits(const struct figures *f)
{
	uint64_t n = 0;

	for (size_t i = 0; i < FIGURES_BUCKETS; i++)
		n += MIN(f->dist[i], UINT64_MAX - n);
	return n;
}
