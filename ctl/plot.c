/*
 * plot.c - from times and values to pixels
 *
 * Axes end at a round number above the largest value, and have 1, 2, 2.5 or 5 times a power of ten
 * between lines. A time axis of more than two minutes counts minutes, of more than two hours hours.
 */
#include "ctl/plot.h"

#include <math.h>
#include <stdio.h>

#include "ctl/svg.h"
#include "vmm/base/alloc.h"
#include "vmm/base/buf.h"
#include "vmm/base/units.h"

#define TICKS_MAX 40 /* whatever the numbers are */
#define MS_LINES  6

/* 1, 2, 5 times a power of ten; 'quarters': 2.5 as well. */
static double round_step(double range, unsigned n, bool quarters)
{
	static const double steps[] = {1, 2, 2.5, 5, 10};
	double raw, power;
	size_t i = 0;

	if (!(range > 0) || !isfinite(range))
		return 1;
	raw = range / n;
	power = pow(10, floor(log10(raw)));
	while (i + 1 < ARRAY_LEN(steps) &&
	       (raw / power > steps[i] * 1.0001 || (steps[i] == 2.5 && !quarters)))
		i++;
	return steps[i] * power;
}

double plot_step(double range, unsigned n)
{
	return round_step(range, n, true);
}

double plot_top(double v, unsigned n)
{
	double step = plot_step(v, n);

	return v > 0 ? ceil(v / step - 1e-9) * step : 1;
}

double plot_x(const struct plot *p, double t)
{
	double part = t / p->seconds;

	return p->x + MAX(0.0, MIN(1.0, part)) * p->w;
}

double plot_y(const struct plot *p, double v)
{
	double part;

	if (p->logarithmic)
		part = v > p->low ? log(v / p->low) / log(p->high / p->low) : 0;
	else
		part = (v - p->low) / (p->high - p->low);
	return p->y + p->h - MAX(0.0, MIN(1.0, part)) * p->h;
}

static void number_text(char *out, size_t n, double v, double step)
{
	int decimals = 0;

	for (double left = step; decimals < 6 && fabs(left - round(left)) > 1e-6 * left; left *= 10)
		decimals++;
	if (v >= 1e6)
		(void)snprintf(out, n, "%.3g", v);
	else
		(void)snprintf(out, n, "%.*f", decimals, v);
}

void plot_time_axis(const struct plot *p, bool label)
{
	static const struct {
		double from, seconds;
		const char *unit, *label;
	} scales[] = {
	    {7200, 3600, "h",   "hours since the move began"  },
	    {120,  60,   "min", "minutes since the move began"},
	    {0,    1,    "s",   "seconds since the move began"},
	};
	size_t i = 0;
	double step, end;

	while (p->seconds < scales[i].from)
		i++;
	end = p->seconds / scales[i].seconds;
	step = round_step(end, 10, false);
	svg_line(p->out, p->x, p->y + p->h, p->x + p->w, p->y + p->h, "axis");
	for (unsigned k = 0; k < TICKS_MAX && k * step <= end * 1.0001; k++) {
		double x = plot_x(p, k * step * scales[i].seconds);
		char text[32];

		number_text(text, sizeof(text), k * step, step);
		svg_line(p->out, x, p->y + p->h, x, p->y + p->h + 4, "axis");
		svg_text(p->out, x, p->y + p->h + 17, "tick", "middle", "%s", text);
	}
	if (label)
		svg_text(p->out, p->x + p->w, p->y + p->h + 34, "tick", "end", "%s",
			 scales[i].label);
}

void plot_value_axis(const struct plot *p, const char *unit)
{
	double step = plot_step(p->high - p->low, 4);

	for (unsigned k = 0; k < TICKS_MAX && p->low + k * step <= p->high * 1.0001; k++) {
		double v = p->low + k * step, y = plot_y(p, v);
		char text[32];

		number_text(text, sizeof(text), v, step);
		if (k)
			svg_line(p->out, p->x, y, p->x + p->w, y, "grid");
		svg_text(p->out, p->x - 8, y + 4, "tick", "end", "%s", text);
	}
	svg_text(p->out, p->x - 8, p->y - 12, "tick", "end", "%s", unit);
}

void plot_ms_axis(const struct plot *p)
{
	double ms = pow(10, ceil(log10(p->low) - 1e-9)), decades = log10(p->high / p->low);
	double by = pow(10, MAX(1.0, ceil(decades / MS_LINES)));

	for (unsigned k = 0; k < TICKS_MAX && ms <= p->high * 1.0001; k++, ms *= by) {
		double y = plot_y(p, ms);

		svg_line(p->out, p->x, y, p->x + p->w, y, "grid");
		if (ms < 1000)
			svg_text(p->out, p->x - 8, y + 4, "tick", "end", "%g ms", ms);
		else
			svg_text(p->out, p->x - 8, y + 4, "tick", "end", "%.4g s", ms / 1000);
	}
}

static struct svg_point *pixels(const struct plot *p, const struct plot_point *v, size_t n)
{
	struct svg_point *at = xcalloc(n + 1, sizeof(*at));

	for (size_t i = 0; i < n; i++)
		at[i] = (struct svg_point){plot_x(p, v[i].t), plot_y(p, v[i].v)};
	return at;
}

void plot_line(const struct plot *p, const struct plot_point *v, size_t n, bool step,
	       const char *class)
{
	CLEANUP(cleanup_free) struct svg_point *at = pixels(p, v, n);

	svg_path(p->out, at, n, step, -1, class);
}

void plot_area(const struct plot *p, const struct plot_point *v, size_t n, bool step,
	       const char *class)
{
	CLEANUP(cleanup_free) struct svg_point *at = pixels(p, v, n);

	svg_path(p->out, at, n, step, p->y + p->h, class);
}

double plot_key(const struct plot *p, double x, const char *class, const char *text)
{
	svg_rect(p->out, x, p->y - 20, 10, 10, class, NULL);
	svg_text(p->out, x + 15, p->y - 11, "key", "start", "%s", text);
	return x + 15 + svg_width(text, 12) * 1.1 + 18;
}
