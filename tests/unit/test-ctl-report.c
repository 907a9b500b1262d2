/*
 * minivmm-ctl's report: figures from query-migrate, what is kept of a long move, sentences, pages.
 *
 * With REPORT_OUT=DIR the pages are left in that directory, for tests/ctl to look at them.
 */
#include <math.h>
#include <string.h>
#include <unistd.h>

#include "ctl/report-internal.h"
#include "qmp/json.h"
#include "tests/unit/check-main.h"
#include "vmm/base/alloc.h"
#include "vmm/base/buf.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"

#define MS 1000000ULL

/* The tree of a text; the caller's. */
static struct json_object *tree(const char *text)
{
	struct json_reader *reader = json_reader_new();
	struct json_object *v = NULL;
	struct err err;
	size_t used;
	enum json_event event =
	    json_reader_feed(reader, (const uint8_t *)text, strlen(text), &used, &v, &err);

	if (event == JSON_MORE)
		event = json_reader_end(reader, &v, &err);
	ck_assert_msg(event == JSON_VALUE, "%s", text);
	json_reader_free(reader);
	return v;
}

static struct figures read_text(const char *text)
{
	struct json_object *v = tree(text);
	struct figures f;

	figures_read(&f, v);
	json_free(v);
	return f;
}

START_TEST(figures)
{
	struct figures f = read_text(
	    "{'status': 'active', 'total-time': 1200, 'setup-time': 3, 'expected-downtime': 44,"
	    " 'cpu-throttle-percentage': 20, 'postcopy-latency': 7000,"
	    " 'postcopy-latency-dist': [1, 2, 3],"
	    " 'ram': {'transferred': 18446744073709551615, 'remaining': 5, 'total': 6, 'mbps': 1.5,"
	    " 'page-size': 4096, 'dirty-sync-count': 7},"
	    " 'x-minivmm': {'phase': 'pass', 'percent': 40, 'eta': 9, 'converges': true,"
	    " 'predicted-downtime': 12, 'cheapest-step': {'text': 'raise it'}}}");

	ck_assert_str_eq(f.status, "active");
	ck_assert(f.has_ram && f.has_total_time && f.has_expected && f.has_throttle && f.has_dist);
	ck_assert(!f.has_downtime && !f.has_blocktime && !f.has_lazy);
	ck_assert_uint_eq(f.transferred, UINT64_MAX);
	ck_assert_uint_eq(f.passes, 7);
	ck_assert_double_eq(f.mbps, 1.5);
	ck_assert_uint_eq(figures_waits(&f), 6);
	ck_assert(f.converges && f.has_eta && f.has_step);
	ck_assert_str_eq(f.step, "raise it");
	ck_assert(!figures_ended(&f));
}
END_TEST

/* Whatever a peer says, nothing but "absent" comes of what has another kind. */
START_TEST(hostile_figures)
{
	struct figures f = read_text(
	    "{'status': 5, 'total-time': -1, 'ram': [], 'x-minivmm': 'no', 'downtime': 'x',"
	    " 'cpu-throttle-percentage': 18446744073709551615, 'postcopy-latency-dist': ["
	    "1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,-5,null,'x'], 'error-desc': "
	    "{}}");

	ck_assert_str_eq(f.status, "none");
	ck_assert(!f.has_ram && !f.has_total_time && !f.has_progress && !f.has_downtime);
	ck_assert_uint_eq(f.throttle_percent, 100);
	ck_assert_uint_eq(figures_waits(&f), FIGURES_BUCKETS);
	f = read_text("{'ram': {'page-size': 0, 'mbps': 1e999, 'remaining': 1.5}}");
	ck_assert_uint_eq(f.page_bytes, 4096);
	ck_assert_double_eq(f.mbps, 0);
	figures_read(&f, NULL);
	ck_assert_str_eq(f.status, "none");
}
END_TEST

/* ---- moves that never were ---- */

static struct report *report_in(const char *dir, const char *name)
{
	CLEANUP(cleanup_free) char *file = xasprintf("%s/%s", dir, name);
	struct err err;
	struct report *r = report_new(file, &err);

	ck_assert_msg(r != NULL, "%s", err.msg);
	return r;
}

static void set_status(struct figures *f, const char *status, const char *phase)
{
	(void)snprintf(f->status, sizeof(f->status), "%.*s", (int)sizeof(f->status) - 1, status);
	(void)snprintf(f->phase, sizeof(f->phase), "%.*s", (int)sizeof(f->phase) - 1, phase);
}

/*
 * 8 GiB at about 900 MiB/s beside a guest that writes 700 MiB/s until it is throttled. Looks each
 * 100 ms; returns when it ended, in ns.
 */
static uint64_t play_precopy(struct report *r, uint64_t begin_ns, double limit_ms)
{
	struct figures f = {.has_ram = true,
			    .total = 8 * GiB,
			    .remaining = 8 * GiB,
			    .page_bytes = 4096,
			    .has_total_time = true,
			    .has_setup = true,
			    .setup_ms = 12};
	double left = (double)f.total, dirty = 0, written = 700.0 * (double)MiB;
	uint64_t t = 0;

	report_event(r, REPORT_SOURCE, begin_ns, "MIGRATION", "setup");
	set_status(&f, "setup", "setup");
	report_sample(r, REPORT_SOURCE, begin_ns, &f);
	set_status(&f, "active", "pass");
	f.passes = 1;
	f.has_progress = f.has_expected = true;
	for (t = 100 * MS; t < 200000 * MS; t += 100 * MS) {
		double rate =
		    (900 + 60 * sin((double)t / 1e9) + 25 * cos((double)t / 1.7e8)) * (double)MiB;
		double sent = MIN(rate / 10, left);

		left -= sent;
		dirty =
		    MIN(dirty + written * (1 - f.throttle_percent / 100.0) / 10, 3.0 * (double)GiB);
		f.transferred += (uint64_t)sent;
		f.total_ms = t / MS;
		if (left < 1) { /* a pass has ended */
			f.passes++;
			left = dirty;
			dirty = 0;
			f.dirty_pages_rate =
			    (uint64_t)(written * (1 - f.throttle_percent / 100.0) / 4096);
			if (f.passes > 4)
				f.has_throttle = true,
				f.throttle_percent =
				    MIN(f.throttle_percent ? f.throttle_percent + 10 : 20, 80U);
			if (left / rate * 1e3 < limit_ms)
				break;
		}
		f.remaining = (uint64_t)left;
		f.predicted_ms = (uint64_t)(MAX(left, dirty) / rate * 1e3) + 1;
		report_sample(r, REPORT_SOURCE, begin_ns + t, &f);
		report_event(r, REPORT_SOURCE, begin_ns + t, "MIGRATION_PASS", "");
	}
	report_event(r, REPORT_SOURCE, begin_ns + t, "STOP", "");
	set_status(&f, "device", "switchover");
	report_sample(r, REPORT_SOURCE, begin_ns + t, &f);
	t += 212 * MS;
	report_event(r, REPORT_PEER, begin_ns + t, "RESUME", "");
	set_status(&f, "completed", "ended");
	f.remaining = 0;
	f.throttle_percent = 0;
	f.has_throttle = false;
	f.has_downtime = true;
	f.downtime_ms = 212;
	f.total_ms = t / MS;
	report_sample(r, REPORT_SOURCE, begin_ns + t, &f);
	report_event(r, REPORT_SOURCE, begin_ns + t, "MIGRATION", "completed");
	return begin_ns + t;
}

/* A pass, a switch, and then pages as they are asked for. */
static void play_postcopy(struct report *r)
{
	struct figures f = {
	    .has_ram = true, .total = 4 * GiB, .page_bytes = 4096, .has_total_time = true};
	struct figures d = {.has_dist = true, .has_latency = true, .page_bytes = 4096};
	uint64_t t;

	set_status(&f, "setup", "setup");
	set_status(&d, "active", "");
	for (t = 0; t <= 9000 * MS; t += 100 * MS) {
		f.total_ms = t / MS;
		if (t > 0)
			set_status(&f, "active", "pass");
		f.passes = 1;
		if (t == 3600 * MS) {
			report_event(r, REPORT_SOURCE, t, "STOP", "");
			report_event(r, REPORT_PEER, t + 21 * MS, "RESUME", "");
		}
		if (t >= 3600 * MS) {
			double age = (double)(t - 3600 * MS) / 5.4e9;

			set_status(&f, "postcopy-active", "postcopy");
			set_status(&d, "postcopy-active", "");
			f.has_downtime = true;
			f.downtime_ms = 21;
			f.postcopy_bytes += 60 * MiB;
			f.postcopy_requests += 80;
			for (int b = 4; b < 14; b++)
				d.dist[b] += (uint64_t)(90 * exp(-pow(b - 7.3 - 2 * age, 2) / 2.5) *
							(1.05 - age));
			d.latency_ns = 340000;
		}
		f.transferred = (uint64_t)(700.0 * (double)MiB * (double)t / 1e9);
		f.remaining = f.total > f.transferred ? f.total - f.transferred : 0;
		report_sample(r, REPORT_SOURCE, t, &f);
		report_sample(r, REPORT_PEER, t, &d);
	}
	set_status(&f, "completed", "ended");
	set_status(&d, "completed", "");
	f.remaining = 0;
	report_sample(r, REPORT_SOURCE, t, &f);
	report_sample(r, REPORT_PEER, t, &d);
}

/* ---- where they are written ---- */

struct place {
	char dir[256];
	bool keep;
};

static struct place place_new(void)
{
	struct place p = {.dir = "/tmp/test-ctl-report.XXXXXX"};
	const char *out = getenv("REPORT_OUT");

	p.keep = out;
	if (out)
		(void)snprintf(p.dir, sizeof(p.dir), "%s", out);
	else
		ck_assert(mkdtemp(p.dir) != NULL);
	return p;
}

/* U+00A0, which stands between a number and its unit, as a space. */
static void plain_spaces(char *text)
{
	char *to = text;

	for (const char *at = text; *at; at++) {
		bool space = strncmp(at, "\xc2\xa0", 2) == 0;

		*to++ = space ? ' ' : *at;
		at += space;
	}
	*to = '\0';
}

/* Finishes the report; its text, which the caller frees. */
static char *finish(const struct place *p, struct report *r)
{
	CLEANUP(cleanup_free) char *file = xstrdup(r->file);
	struct err err = {0};
	char *text = xcalloc(1, 1 << 20);
	FILE *in;
	size_t n;

	ck_assert_msg(report_finish(r, &err) == 0, "%s", err.msg);
	report_free(r);
	in = fopen(file, "r");
	ck_assert(in != NULL);
	n = fread(text, 1, (1 << 20) - 1, in);
	ck_assert_uint_gt(n, 100);
	(void)fclose(in);
	plain_spaces(text);
	if (!p->keep)
		ck_assert(unlink(file) == 0);
	return text;
}

static void place_end(const struct place *p)
{
	if (!p->keep)
		ck_assert_msg(rmdir(p->dir) == 0, "something was left in %s", p->dir);
}

static void has(const char *text, const char *part)
{
	ck_assert_msg(strstr(text, part) != NULL, "no '%s' in: %.3000s", part, text);
}

static void has_not(const char *text, const char *part)
{
	ck_assert_msg(strstr(text, part) == NULL, "'%s' is in it", part);
}

static void describe(struct report *r)
{
	report_about(r, REPORT_SOURCE, "db1", "minivmm 0.1.0");
	report_about(r, REPORT_PEER, "db1 on host b", "minivmm 0.1.0");
	report_move(r, "tcp:192.0.2.7:4444", "auto-converge, 2 multifd channels");
	report_limit(r, 300);
}

START_TEST(page_of_precopy)
{
	struct place p = place_new();
	struct report *r = report_in(p.dir, "precopy.html");
	char *text;

	describe(r);
	(void)play_precopy(r, 5000 * MS, 300);
	text = finish(&p, r);
	has(text, "<h1>The guest moved in ");
	has(text, "and stood still for 212 ms.</h1>");
	has(text, "db1 (minivmm 0.1.0) \xe2\x86\x92 db1 on host b (minivmm 0.1.0), by "
		  "tcp:192.0.2.7:4444");
	has(text, "<h2>Throttle</h2>");
	has(text, "No thread waited for a missing page");
	has_not(text, "<script");
	has_not(text, "http");
	free(text);
	place_end(&p);
}
END_TEST

START_TEST(page_of_postcopy)
{
	struct place p = place_new();
	struct report *r = report_in(p.dir, "postcopy.html");
	char *text;

	describe(r);
	play_postcopy(r);
	text = finish(&p, r);
	has(text, "it ran at the destination after 3.62 s, and stood still for 21 ms.</h1>");
	has(text, "The guest was not throttled.");
	has(text, "counted at the destination: half took less than ");
	has_not(text, "<script");
	free(text);
	place_end(&p);
}
END_TEST

START_TEST(pictures)
{
	struct place p = place_new();
	struct report *r = report_in(p.dir, "precopy.svg");
	char *text;

	describe(r);
	(void)play_precopy(r, 0, 300);
	text = finish(&p, r);
	has(text, "<svg xmlns=\"http://www.w3.org/2000/svg\"");
	has(text, ">pause 212 ms</text>");
	free(text);
	r = report_in(p.dir, "postcopy.svg");
	describe(r);
	play_postcopy(r);
	text = finish(&p, r);
	has(text, "waits for pages that had not come yet");
	free(text);
	place_end(&p);
}
END_TEST

/* A name, an error and an event from outside are text, whatever is in them. */
START_TEST(hostile_texts)
{
	static const char bad[] = "<script>alert(1)</script>\"'&\x01\xff\xed\xa0\x80 end";
	struct place p = place_new();
	const char *const names[] = {"hostile.html", "hostile.svg"};

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		struct report *r = report_in(p.dir, names[i]);
		struct figures f = {.total_ms = 3100, .has_total_time = true};
		char *text;

		report_about(r, REPORT_SOURCE, bad, bad);
		report_move(r, bad, bad);
		report_event(r, REPORT_PEER, 1, bad, bad);
		set_status(&f, "active", bad);
		report_sample(r, REPORT_SOURCE, 1, &f);
		report_sample(r, REPORT_SOURCE, 1000 * MS, &f);
		set_status(&f, "failed", "ended");
		(void)snprintf(f.error, sizeof(f.error), "%s", bad);
		report_sample(r, REPORT_SOURCE, 2000 * MS, &f);
		text = finish(&p, r);
		has(text, "The move failed after 3.10 s, and the guest runs on at the source: "
			  "&lt;script&gt;");
		has_not(text, "<script");
		has_not(text, "\x01");
		has_not(text, "\xff");
		free(text);
	}
	place_end(&p);
}
END_TEST

/* Any numbers give a page: none, one look, a time of nothing, the largest there are. */
START_TEST(extreme_figures)
{
	struct place p = place_new();
	struct figures f = {
	    .has_ram = true, .has_downtime = true, .has_expected = true, .has_throttle = true};
	struct report *r = report_in(p.dir, "none.html");
	char *text = finish(&p, r);

	has(text, "No migration has begun.");
	free(text);
	memset(f.dist, 0xff, sizeof(f.dist));
	f.transferred = f.remaining = f.total = f.dirty_pages_rate = f.total_ms = UINT64_MAX;
	f.expected_ms = f.downtime_ms = f.latency_ns = f.passes = f.predicted_ms = UINT64_MAX;
	f.page_bytes = 1 * GiB;
	set_status(&f, "active", "");
	r = report_in(p.dir, "extreme.html");
	for (int i = 0; i < 3; i++) {
		report_sample(r, REPORT_SOURCE, 7, &f);
		report_sample(r, REPORT_PEER, 7, &f);
		f.transferred--;
	}
	set_status(&f, "completed", "");
	report_sample(r, REPORT_SOURCE, 7, &f);
	text = finish(&p, r);
	has_not(text, "nan");
	has_not(text, "inf\"");
	free(text);
	place_end(&p);
}
END_TEST

/* A report of a single look says what is known, and how to get the rest. */
START_TEST(one_look)
{
	struct place p = place_new();
	struct report *r = report_in(p.dir, "last.html");
	struct figures f = {.has_ram = true,
			    .total = 4 * GiB,
			    .transferred = 5 * GiB,
			    .has_downtime = true,
			    .downtime_ms = 17,
			    .has_total_time = true,
			    .total_ms = 8123};
	char *text;

	set_status(&f, "completed", "");
	report_sample(r, REPORT_SOURCE, 99, &f);
	text = finish(&p, r);
	has(text, "The guest moved in 8.12 s, and stood still for 17 ms.");
	has(text, "move URI --report FILE.html");
	has_not(text, "<figure>");
	free(text);
	place_end(&p);
}
END_TEST

/* However long it takes: first and last looks are there, times rise, memory is bounded. */
START_TEST(long_moves)
{
	struct report *r = report_in("/tmp", "long.html");
	const struct report_side *s = &r->side[REPORT_SOURCE];
	struct figures f = {.has_ram = true};

	set_status(&f, "active", "");
	for (uint64_t i = 0; i < 100000; i++) {
		f.transferred = i;
		report_sample(r, REPORT_SOURCE, i * MS, &f);
		report_event(r, REPORT_SOURCE, i * MS, "MIGRATION_PASS", "");
		ck_assert_uint_le(s->n, REPORT_SAMPLES);
	}
	set_status(&f, "completed", "");
	report_sample(r, REPORT_SOURCE, 100000 * MS, &f);
	ck_assert_uint_eq(r->n_notes, REPORT_EVENTS);
	ck_assert_uint_gt(s->n, REPORT_SAMPLES / 3);
	ck_assert_double_eq(s->looks[0].t, 0);
	ck_assert_str_eq(s->looks[s->n - 1].f.status, "completed");
	for (size_t i = 1; i < s->n; i++)
		ck_assert_double_gt(s->looks[i].t, s->looks[i - 1].t);
	report_free(r);
}
END_TEST

START_TEST(refused_files)
{
	struct err err;

	ck_assert(!report_new("/tmp/report.pdf", &err));
	ck_assert_str_eq(err.msg, "a report is a page or a picture: '/tmp/report.pdf' ends with "
				  "neither .html nor .svg");
	ck_assert(!report_new("/nowhere/at/all.html", &err));
	ck_assert_str_eq(err.msg,
			 "the report '/nowhere/at/all.html' cannot be written: No such file "
			 "or directory");
	report_sample(NULL, REPORT_SOURCE, 0, NULL); /* no report was asked for */
	report_event(NULL, REPORT_SOURCE, 0, "STOP", "");
	ck_assert_int_eq(report_finish(NULL, &err), 0);
}
END_TEST

static void seconds(double v, const char *want)
{
	char text[64];

	words_seconds(text, sizeof(text), v);
	plain_spaces(text);
	ck_assert_str_eq(text, want);
}

static void bytes(double v, const char *want)
{
	char text[64];

	words_bytes(text, sizeof(text), v);
	plain_spaces(text);
	ck_assert_str_eq(text, want);
}

START_TEST(words)
{
	seconds(0, "0 ms");
	seconds(0.0384, "38 ms");
	seconds(0.99951, "1.00 s");
	seconds(12.44, "12.4 s");
	seconds(119.9, "120 s");
	seconds(200, "3 min 20 s");
	seconds(7260, "2 h 1 min");
	bytes(0, "0 B");
	bytes(812.3 * (double)MiB, "812 MiB");
	bytes(1000.0 * (double)MiB, "0.98 GiB");
	bytes((double)(4 * GiB), "4.00 GiB");
}
END_TEST

START_TEST(axes)
{
	ck_assert_double_eq(plot_step(10, 10), 1);
	ck_assert_double_eq(plot_step(37, 10), 5);
	ck_assert_double_eq_tol(plot_step(0.13, 10), 0.02, 1e-12);
	ck_assert_double_eq(plot_step(0, 4), 1);
	ck_assert_double_eq(plot_step(INFINITY, 4), 1);
	ck_assert_double_eq(plot_top(0, 4), 1);
	ck_assert_double_eq(plot_top(913, 4), 1000);
	ck_assert_double_eq(plot_top(1000, 4), 1000);
}
END_TEST

CHECK_MAIN("ctl-report", figures, hostile_figures, page_of_precopy, page_of_postcopy, pictures,
	   hostile_texts, extreme_figures, one_look, long_moves, refused_files, words, axes)
