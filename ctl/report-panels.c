/*
 * report-panels.c - plots over time: remaining, rates, throttle, expected pause
 *
 * A rate is the difference of what two looks say was transferred, over a window that is wide enough
 * for the steps in which programs count. How fast the guest writes is known from the second pass
 * on.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/report-internal.h"
#include "ctl/svg.h"
#include "vmm/base/alloc.h"
#include "vmm/base/units.h"

#define RATE_WINDOW 0.1 /* seconds, at least */

static const struct report_side *source_of(const struct report *r)
{
	return &r->side[REPORT_SOURCE];
}

/* ---- remaining ---- */

static double byte_unit(double most, const char **name, const char **rate)
{
	static const char *const names[][2] = {
	    {"KiB", "KiB/s"},
            {"MiB", "MiB/s"},
            {"GiB", "GiB/s"},
	    {"TiB", "TiB/s"},
            {"PiB", "PiB/s"},
	};
	double unit = (double)KiB;
	size_t i = 0;

	for (; i + 1 < ARRAY_LEN(names) && most >= 2 * unit * (double)KiB; i++)
		unit *= (double)KiB;
	*name = names[i][0];
	*rate = names[i][1];
	return unit;
}

static bool has_memory(const struct report *r)
{
	return report_last(r, REPORT_SOURCE)->has_ram;
}

static void draw_remaining(const struct report *r, struct plot *p)
{
	const struct report_side *s = source_of(r);
	size_t n = report_under_way(s), m = 0;
	CLEANUP(cleanup_free) struct plot_point *v = xcalloc(n + 1, sizeof(*v));
	const char *unit, *rate;
	double most = 0, scale;

	for (size_t i = 0; i < n; i++)
		if (s->looks[i].f.has_ram) {
			v[m++] =
			    (struct plot_point){s->looks[i].t, (double)s->looks[i].f.remaining};
			most = MAX(most, v[m - 1].v);
		}
	scale = byte_unit(most, &unit, &rate);
	for (size_t i = 0; i < m; i++)
		v[i].v /= scale;
	p->high = plot_top(most / scale, 4);
	plot_value_axis(p, unit);
	report_draw_pause(r, p);
	plot_area(p, v, m, false, "area");
	plot_line(p, v, m, false, "line left");
	(void)plot_key(p, p->x, "fill left", "memory still to be sent");
	plot_time_axis(p, true);
}

static void caption_remaining(const struct report *r, char *out, size_t n)
{
	const struct figures *f = report_last(r, REPORT_SOURCE);
	char total[32], sent[32];

	words_bytes(total, sizeof(total), (double)f->total);
	words_bytes(sent, sizeof(sent), (double)f->transferred);
	(void)snprintf(
	    out, n,
	    "Each rise is a pass that has ended: what the guest wrote meanwhile is still to "
	    "be sent. The guest has %s of memory; %s were transferred.",
	    total, sent);
}

/* ---- rates ---- */

/* The guest is not here any more: what it writes, and a pause to come, are of the past. */
static bool is_behind(const struct report *r, const struct report_look *look)
{
	const struct report_pause pause = report_pause(r);

	return pause.known && look->t > pause.from;
}

struct rates {
	struct plot_point *sent, *dirty; /* owned; bytes a second */
	size_t n_sent, n_dirty;
	double most_sent, most_dirty;
};

static void rates_free(struct rates *x)
{
	free(x->sent);
	free(x->dirty);
}

static void rates_of(const struct report *r, struct rates *x)
{
	const struct report_side *s = source_of(r);
	size_t n = report_under_way(s);
	double window = MAX(RATE_WINDOW, report_seconds(r) / 25);

	*x = (struct rates){.sent = xcalloc(n + 1, sizeof(*x->sent)),
			    .dirty = xcalloc(n + 1, sizeof(*x->dirty))};
	for (size_t i = 0, from = 0; i < n; i++) {
		const struct report_look *now = &s->looks[i], *then;
		double rate;

		while (from + 1 < i && now->t - s->looks[from + 1].t >= window)
			from++;
		then = &s->looks[from];
		if (now->f.has_ram && now->t > then->t &&
		    now->f.transferred >= then->f.transferred) {
			rate =
			    (double)(now->f.transferred - then->f.transferred) / (now->t - then->t);
			x->sent[x->n_sent++] = (struct plot_point){now->t, rate};
			x->most_sent = MAX(x->most_sent, rate);
		}
		rate = (double)now->f.dirty_pages_rate * (double)now->f.page_bytes;
		if (!figures_ended(&now->f) && !is_behind(r, now) && (x->n_dirty || rate > 0)) {
			x->dirty[x->n_dirty++] = (struct plot_point){now->t, rate};
			x->most_dirty = MAX(x->most_dirty, rate);
		}
	}
}

static void scale_points(struct plot_point *v, size_t n, double by)
{
	for (size_t i = 0; i < n; i++)
		v[i].v /= by;
}

static void draw_rate(const struct report *r, struct plot *p)
{
	CLEANUP(rates_free) struct rates x;
	const char *unit, *rate;
	double scale, at;

	rates_of(r, &x);
	scale = byte_unit(MAX(x.most_sent, x.most_dirty), &unit, &rate);
	scale_points(x.sent, x.n_sent, scale);
	scale_points(x.dirty, x.n_dirty, scale);
	p->high = plot_top(MAX(x.most_sent, x.most_dirty) / scale, 4);
	plot_value_axis(p, rate);
	report_draw_pause(r, p);
	plot_line(p, x.sent, x.n_sent, false, "line sent");
	plot_line(p, x.dirty, x.n_dirty, true, "line dirty");
	at = plot_key(p, p->x, "fill sent", "sent");
	if (x.n_dirty > 1)
		(void)plot_key(p, at, "fill dirty", "written by the guest");
	plot_time_axis(p, true);
}

static void caption_rate(const struct report *r, char *out, size_t n)
{
	const struct figures *f = report_last(r, REPORT_SOURCE);
	CLEANUP(rates_free) struct rates x;
	char most[32], dirty[32], mean[32];
	double seconds = f->total_ms ? (double)f->total_ms / 1e3 : report_seconds(r);

	rates_of(r, &x);
	words_bytes(most, sizeof(most), x.most_sent);
	words_bytes(mean, sizeof(mean), (double)f->transferred / seconds);
	words_bytes(dirty, sizeof(dirty), x.most_dirty);
	if (x.n_dirty < 2)
		(void)snprintf(out, n,
			       "Sent: %s/s on average, %s/s at most. How fast the guest writes is "
			       "known from the second pass on.",
			       mean, most);
	else
		(void)snprintf(
		    out, n,
		    "Sent: %s/s on average, %s/s at most. The guest wrote up to %s/s of "
		    "pages, as counted at the end of each pass. While it writes faster than "
		    "the source sends, passes do not get shorter.",
		    mean, most, dirty);
}

/* ---- throttle ---- */

static unsigned most_throttle(const struct report *r)
{
	const struct report_side *s = source_of(r);
	unsigned most = 0;

	for (size_t i = 0; i < s->n; i++)
		most = MAX(most, s->looks[i].f.throttle_percent);
	return most;
}

static bool has_throttle(const struct report *r)
{
	return most_throttle(r) > 0;
}

static void draw_throttle(const struct report *r, struct plot *p)
{
	const struct report_side *s = source_of(r);
	size_t n = report_under_way(s);
	CLEANUP(cleanup_free) struct plot_point *v = xcalloc(n + 1, sizeof(*v));

	for (size_t i = 0; i < n; i++)
		v[i] = (struct plot_point){s->looks[i].t, s->looks[i].f.throttle_percent};
	p->high = 100;
	plot_value_axis(p, "%");
	report_draw_pause(r, p);
	plot_area(p, v, n, true, "area throttle");
	plot_line(p, v, n, true, "line throttle");
	(void)plot_key(p, p->x, "fill throttle", "time taken from the vCPUs");
	plot_time_axis(p, true);
}

static void caption_throttle(const struct report *r, char *out, size_t n)
{
	(void)snprintf(
	    out, n,
	    "auto-converge took up to %u %% of their time from the vCPUs, so that the guest "
	    "wrote less than was sent.",
	    most_throttle(r));
}

/* ---- expected pause ---- */

static double expected_ms(const struct report *r, const struct report_look *look)
{
	const struct figures *f = &look->f;

	/* in the first pass it is only the limit that was set */
	if (figures_ended(f) || f->passes < 2 || is_behind(r, look))
		return 0;
	if (f->has_progress && f->predicted_ms)
		return (double)f->predicted_ms;
	return f->has_expected ? (double)f->expected_ms : 0;
}

static bool has_expected(const struct report *r)
{
	const struct report_side *s = source_of(r);

	for (size_t i = 0; i < s->n; i++)
		if (expected_ms(r, &s->looks[i]) > 0)
			return true;
	return report_pause(r).known;
}

/* 'before_ms': what was expected last. */
static void draw_real_pause(const struct report *r, const struct plot *p, double before_ms)
{
	const struct report_pause pause = report_pause(r);
	char text[64];
	double x, y;
	bool left, below;

	if (!pause.known)
		return;
	words_seconds(text, sizeof(text), pause.ms / 1e3);
	x = plot_x(p, (pause.from + pause.to) / 2);
	y = plot_y(p, pause.ms);
	/* on the side with more room, and on that of the dot where the line is not */
	left = x > p->x + p->w / 2;
	below = before_ms >= pause.ms && y + 24 < p->y + p->h;
	svg_dot(p->out, x, y, 4.5, "dot");
	svg_text(p->out, left ? x - 8 : x + 8, below ? y + 18 : MAX(y - 9, p->y + 12), "alarm halo",
		 left ? "end" : "start", "it was %s", text);
}

static void draw_expected(const struct report *r, struct plot *p)
{
	const struct report_side *s = source_of(r);
	size_t n = report_under_way(s), m = 0;
	CLEANUP(cleanup_free) struct plot_point *v = xcalloc(n + 1, sizeof(*v));
	double pause_ms = report_pause(r).ms, most = MAX(pause_ms, (double)r->limit_ms), at;

	for (size_t i = 0; i < n; i++) {
		double ms = expected_ms(r, &s->looks[i]);

		if (ms > 0) {
			v[m++] = (struct plot_point){s->looks[i].t, ms};
			most = MAX(most, ms);
		}
	}
	p->logarithmic = true;
	p->low = 1;
	p->high = pow(10, MAX(1.0, ceil(log10(MAX(most, 1.0)) + 0.1)));
	plot_ms_axis(p);
	report_draw_pause(r, p);
	if (r->limit_ms)
		svg_line(p->out, p->x, plot_y(p, (double)r->limit_ms), p->x + p->w,
			 plot_y(p, (double)r->limit_ms), "limit");
	plot_line(p, v, m, true, "line expected");
	at = m > 1 ? plot_key(p, p->x, "fill expected", "pause, were the guest stopped now") : p->x;
	if (r->limit_ms)
		at = plot_key(p, at, "fill limit", "downtime-limit");
	if (report_pause(r).known)
		(void)plot_key(p, at, "fill dot", "the pause");
	draw_real_pause(r, p, m ? v[m - 1].v : pause_ms);
	plot_time_axis(p, true);
}

static void caption_expected(const struct report *r, char *out, size_t n)
{
	char limit[40], text[96] = "";

	words_seconds(limit, sizeof(limit), (double)r->limit_ms / 1e3);
	if (r->limit_ms)
		(void)snprintf(text, sizeof(text), " The guest may be stopped once it is below %s.",
			       limit);
	(void)snprintf(out, n,
		       "How long the source expected the pause to be, on a logarithmic scale.%s%s",
		       text, report_pause(r).known ? " The dot is what it was in the end." : "");
}

const struct report_panel report_remaining = {
    .title = "Remaining",
    .height = REPORT_ABOVE + 150 + REPORT_BELOW,
    .has = has_memory,
    .draw = draw_remaining,
    .caption = caption_remaining,
    .absent = "No memory had begun to move.",
};
const struct report_panel report_rate = {
    .title = "Rate and dirty rate",
    .height = REPORT_ABOVE + 150 + REPORT_BELOW,
    .has = has_memory,
    .draw = draw_rate,
    .caption = caption_rate,
};
const struct report_panel report_throttle = {
    .title = "Throttle",
    .height = REPORT_ABOVE + 100 + REPORT_BELOW,
    .has = has_throttle,
    .draw = draw_throttle,
    .caption = caption_throttle,
    .absent = "The guest was not throttled.",
};
const struct report_panel report_expected = {
    .title = "Pause",
    .height = REPORT_ABOVE + 130 + REPORT_BELOW,
    .has = has_expected,
    .draw = draw_expected,
    .caption = caption_expected,
    .absent = "No pause was expected yet, and there was none.",
};
