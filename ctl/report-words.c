/* report-words.c - numbers as people say them, and the sentences of a report */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "ctl/report-internal.h"
#include "vmm/base/units.h"

#define NBSP "\xc2\xa0"

/* Three digits that matter. */
static void three_digits(char *out, size_t n, double v)
{
	(void)snprintf(out, n, "%.*f", v < 9.995 ? 2 : v < 99.95 ? 1 : 0, v);
}

void words_seconds(char *out, size_t n, double seconds)
{
	char number[32];

	if (seconds < 0.9995) {
		(void)snprintf(out, n, "%.0f" NBSP "ms", seconds * 1e3);
	} else if (seconds < 120) {
		three_digits(number, sizeof(number), seconds);
		(void)snprintf(out, n, "%s" NBSP "s", number);
	} else if (seconds < 7200) {
		(void)snprintf(out, n, "%.0f" NBSP "min %.0f" NBSP "s", floor(seconds / 60),
			       fmod(seconds, 60));
	} else if (seconds < 1e9) {
		(void)snprintf(out, n, "%.0f" NBSP "h %.0f" NBSP "min", floor(seconds / 3600),
			       floor(fmod(seconds, 3600) / 60));
	} else {
		(void)snprintf(out, n, "%.3g" NBSP "h", seconds / 3600);
	}
}

void words_count(char *out, size_t n, uint64_t count)
{
	if (count < 100000000)
		(void)snprintf(out, n, "%llu", (unsigned long long)count);
	else
		(void)snprintf(out, n, "%.3g", (double)count);
}

void words_bytes(char *out, size_t n, double bytes)
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	size_t unit = 0;
	char number[32];

	for (; bytes >= 999.5 && unit + 1 < ARRAY_LEN(units); unit++)
		bytes /= 1024;
	three_digits(number, sizeof(number), bytes);
	if (unit)
		(void)snprintf(out, n, "%s" NBSP "%s", number, units[unit]);
	else
		(void)snprintf(out, n, "%.0f" NBSP "B", bytes);
}

void words_ns(char *out, size_t n, double ns)
{
	char number[32];

	if (ns >= 999.5e6) {
		words_seconds(out, n, ns / 1e9);
		return;
	}
	three_digits(number, sizeof(number), ns < 999.5e3 ? ns / 1e3 : ns / 1e6);
	(void)snprintf(out, n, "%s" NBSP "%s", number, ns < 999.5e3 ? "\xc2\xb5s" : "ms");
}

static bool is_file(const char *uri)
{
	return uri && (strncmp(uri, "file:", 5) == 0 || strncmp(uri, "exec:", 5) == 0);
}

/* How long it took: the source's own figure, or what was seen. */
static double took_seconds(const struct report *r)
{
	const struct figures *f = report_last(r, REPORT_SOURCE);

	return f->has_total_time ? (double)f->total_ms / 1e3 : report_seconds(r);
}

static void completed(const struct report *r, char *out, size_t n)
{
	const struct figures *f = report_last(r, REPORT_SOURCE);
	const struct report_pause pause = report_pause(r);
	const char *did = is_file(r->uri) ? "was saved" : "moved";
	char took[48], still[48], ran[48];

	words_seconds(took, sizeof(took), took_seconds(r));
	words_seconds(still, sizeof(still), pause.ms / 1e3);
	words_seconds(ran, sizeof(ran), pause.to);
	if (!pause.known)
		(void)snprintf(out, n, "The guest %s in %s.", did, took);
	else if (f->postcopy_bytes && report_find(r, REPORT_PEER, "RESUME", NULL))
		(void)snprintf(
		    out, n,
		    "The guest moved in %s: it ran at the destination after %s, and stood "
		    "still for %s.",
		    took, ran, still);
	else
		(void)snprintf(out, n, "The guest %s in %s, and stood still for %s.", did, took,
			       still);
}

void words_result(const struct report *r, char *out, size_t n)
{
	const struct figures *f = report_last(r, REPORT_SOURCE);
	const char *runs = report_find(r, REPORT_SOURCE, "STOP", NULL) &&
				   !report_find(r, REPORT_SOURCE, "RESUME", NULL)
			       ? ""
			       : ", and the guest runs on at the source";
	char took[48];

	words_seconds(took, sizeof(took), took_seconds(r));
	if (strcmp(f->status, "completed") == 0)
		completed(r, out, n);
	else if (strcmp(f->status, "failed") == 0)
		(void)snprintf(out, n, "The move failed after %s%s%s%s", took, runs,
			       *f->error ? ": " : ".", f->error);
	else if (strcmp(f->status, "cancelled") == 0)
		(void)snprintf(out, n, "The move was cancelled after %s%s.", took, runs);
	else if (strcmp(f->status, "none") == 0)
		(void)snprintf(out, n, "No migration has begun.");
	else
		(void)snprintf(out, n, "The move is under way for %s (%s).", took, f->status);
}

static const char *or_else(const char *text, const char *otherwise)
{
	return text && *text ? text : otherwise;
}

void words_way(const struct report *r, char *out, size_t n)
{
	const struct report_side *from = &r->side[REPORT_SOURCE], *to = &r->side[REPORT_PEER];
	int at = snprintf(out, n, "%s%s%s%s", or_else(from->name, "the source"),
			  from->program ? " (" : "", or_else(from->program, ""),
			  from->program ? ")" : "");

	if (at > 0 && (size_t)at < n && (to->name || r->uri))
		at += snprintf(out + at, n - (size_t)at, " \xe2\x86\x92 %s%s%s%s",
			       or_else(to->name, or_else(r->uri, "")), to->program ? " (" : "",
			       or_else(to->program, ""), to->program ? ")" : "");
	if (at > 0 && (size_t)at < n && to->name && r->uri)
		at += snprintf(out + at, n - (size_t)at, ", by %s", r->uri);
	if (at > 0 && (size_t)at < n && r->options && *r->options)
		(void)snprintf(out + at, n - (size_t)at, "; %s", r->options);
}
