/*
 * report-faults.c - how long threads waited for pages that were missing
 *
 * The end that has the faults counts waits in buckets of powers of two microseconds, from the
 * beginning on. The difference of two looks is what came between them; it is spread evenly over
 * that time, as columns of the left plot need it. The right plot is the sum.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "ctl/report-internal.h"
#include "ctl/svg.h"
#include "vmm/base/alloc.h"
#include "vmm/base/units.h"

#define COLUMNS    64U
#define HEIGHT     190.0
#define ROW_HEIGHT 17.0
#define ROWS_MIN   6
#define SUM_WIDTH  190.0
#define SUM_GAP    24.0

/* Buckets low..high are shown. */
struct rows {
	int low, high;
};

static bool has_faults(const struct report *r)
{
	return report_waited(r) != REPORT_ENDS;
}

static struct rows rows_of(const struct figures *f)
{
	struct rows x = {FIGURES_BUCKETS, -1};

	for (int i = 0; i < FIGURES_BUCKETS; i++)
		if (f->dist[i]) {
			x.low = MIN(x.low, i);
			x.high = i;
		}
	while (x.high - x.low + 1 < ROWS_MIN) {
		if (x.low > 0)
			x.low--;
		if (x.high + 1 < FIGURES_BUCKETS)
			x.high++;
	}
	return x;
}

/* "1 us", "512 us", "4 ms", "8 s": where a bucket begins. */
static void bucket_text(char *out, size_t n, int bucket)
{
	double us = ldexp(1, bucket);

	if (us < 1000)
		(void)snprintf(out, n, "%.0f\xc2\xa0\xc2\xb5s", us);
	else if (us < 1e6)
		(void)snprintf(out, n, "%.0f\xc2\xa0ms", us / 1e3);
	else
		(void)snprintf(out, n, "%.0f\xc2\xa0s", us / 1e6);
}

static double row_y(const struct plot *p, const struct rows *x, int bucket)
{
	return p->y + p->h * (x->high + 1 - bucket) / (x->high + 1 - x->low);
}

static void draw_rows(const struct plot *p, const struct rows *x)
{
	for (int b = x->low; b <= x->high + 1; b++) {
		char text[32];

		bucket_text(text, sizeof(text), b);
		svg_line(p->out, p->x, row_y(p, x, b), p->x + p->w, row_y(p, x, b), "grid");
		svg_text(p->out, p->x - 8, row_y(p, x, b) + 4, "tick", "end", "%s", text);
	}
}

/* Waits of one bucket in each column of time. */
static void spread(const struct report_side *s, double seconds, int bucket, double sum[COLUMNS])
{
	double width = seconds / COLUMNS;

	memset(sum, 0, COLUMNS * sizeof(*sum));
	for (size_t i = 0; i < s->n; i++) {
		double from = i ? s->looks[i - 1].t : 0, to = MAX(s->looks[i].t, from + 1e-9);
		uint64_t before = i ? s->looks[i - 1].f.dist[bucket] : 0;
		uint64_t now = s->looks[i].f.dist[bucket];

		if (now <= before)
			continue;
		for (unsigned c = (unsigned)MIN(from / width, COLUMNS - 1.0); c < COLUMNS; c++) {
			double a = MAX(from, c * width);
			double b = c + 1 < COLUMNS ? MIN(to, (c + 1) * width) : to;

			if (b <= a)
				break;
			sum[c] += (double)(now - before) * (b - a) / (to - from);
		}
	}
}

/* The darkest cell is the column and bucket with most waits; shades go by the logarithm. */
static void draw_cells(const struct plot *p, const struct report_side *s, const struct rows *x)
{
	CLEANUP(cleanup_free)
	double *cells = xcalloc((size_t)FIGURES_BUCKETS * COLUMNS, sizeof(*cells));
	double most = 0, w = p->w / COLUMNS;

	for (int b = x->low; b <= x->high; b++) {
		spread(s, p->seconds, b, cells + (size_t)b * COLUMNS);
		for (unsigned c = 0; c < COLUMNS; c++)
			most = MAX(most, cells[(size_t)b * COLUMNS + c]);
	}
	for (int b = x->low; b <= x->high; b++)
		for (unsigned c = 0; c < COLUMNS; c++) {
			double y = row_y(p, x, b + 1), h = row_y(p, x, b) - y;
			double waits = cells[(size_t)b * COLUMNS + c];
			char hint[64];

			if (waits < 0.05)
				continue;
			(void)snprintf(hint, sizeof(hint), "%.0f waits", ceil(waits));
			svg_cell(p->out, p->x + c * w + 0.5, y + 0.5, w - 1, h - 1, "fill faults",
				 0.15 + 0.85 * log1p(waits) / log1p(most), hint);
		}
}

static void draw_sum(const struct plot *p, const struct figures *f, const struct rows *x)
{
	uint64_t most = 1;

	for (int b = x->low; b <= x->high; b++)
		most = MAX(most, f->dist[b]);
	svg_line(p->out, p->x, p->y, p->x, p->y + p->h, "axis");
	for (int b = x->low; b <= x->high; b++) {
		double y = row_y(p, x, b + 1), h = row_y(p, x, b) - y;
		double w = (p->w - 64) * (double)f->dist[b] / (double)most;
		char text[32];

		if (!f->dist[b])
			continue;
		svg_rect(p->out, p->x, y + 1.5, MAX(w, 1.0), h - 3, "fill faults", NULL);
		words_count(text, sizeof(text), f->dist[b]);
		svg_text(p->out, p->x + MAX(w, 1.0) + 6, y + h / 2 + 4, "tick", "start", "%s",
			 text);
	}
	(void)plot_key(p, p->x, "fill faults", "waits in all");
}

static void draw_faults(const struct report *r, struct plot *p)
{
	enum report_end end = report_waited(r);
	const struct report_side *s = &r->side[end];
	const struct figures *f = report_last(r, end);
	struct rows x = rows_of(f);
	struct plot sum = *p;

	if (s->n > 1) {
		p->w -= SUM_WIDTH + SUM_GAP;
		sum.x = p->x + p->w + SUM_GAP;
		sum.w = SUM_WIDTH;
		draw_rows(p, &x);
		report_draw_pause(r, p);
		draw_cells(p, s, &x);
		(void)plot_key(p, p->x, "fill faults", "waits that ended then, by their length");
		plot_time_axis(p, true);
	} else {
		draw_rows(p, &x);
	}
	draw_sum(&sum, f, &x);
}

/* Each row has room for its number. */
static double more_height(const struct report *r)
{
	struct rows x = rows_of(report_last(r, report_waited(r)));

	return MAX(0.0, ROW_HEIGHT * (x.high + 1 - x.low) - HEIGHT);
}

/* The bucket's end below which a part of all waits were. */
static void quantile(const struct figures *f, double part, char *out, size_t n)
{
	double want = part * (double)figures_waits(f), sum = 0;
	int b = 0;

	for (; b < FIGURES_BUCKETS - 1; b++) {
		sum += (double)f->dist[b];
		if (sum >= want)
			break;
	}
	bucket_text(out, n, b + 1);
}

static void caption_faults(const struct report *r, char *out, size_t n)
{
	enum report_end end = report_waited(r);
	const struct figures *f = report_last(r, end);
	char half[32], most[32], mean[48], count[32], text[80] = "";

	words_count(count, sizeof(count), figures_waits(f));
	quantile(f, 0.5, half, sizeof(half));
	quantile(f, 0.99, most, sizeof(most));
	words_ns(mean, sizeof(mean), (double)f->latency_ns);
	if (f->has_latency)
		(void)snprintf(text, sizeof(text), "; the mean is %s", mean);
	(void)snprintf(
	    out, n,
	    "%s wait%s for pages that had not come yet, counted at the %s: half took less "
	    "than %s, 99 %% less than %s%s.",
	    count, figures_waits(f) == 1 ? "" : "s", end == REPORT_PEER ? "destination" : "source",
	    half, most, text);
}

const struct report_panel report_faults = {
    .title = "Fault latency",
    .height = REPORT_ABOVE + HEIGHT + REPORT_BELOW,
    .more = more_height,
    .has = has_faults,
    .draw = draw_faults,
    .caption = caption_faults,
    .absent = "No thread waited for a missing page, or the end that would know does not say.",
};
