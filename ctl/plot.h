/*
 * plot.h - one plot: a place in the picture, a time axis, a value axis
 *
 * Times are seconds, values are in the unit that the axis is labelled with. What lies outside the
 * axis is drawn on its edge.
 */
#ifndef MINIVMM_CTL_PLOT_H
#define MINIVMM_CTL_PLOT_H

#include <stdbool.h>
#include <stddef.h>

struct buf;

struct plot {
	struct buf *out;   /* borrowed */
	double x, y, w, h; /* of the area between the axes */
	double seconds;    /* the time axis ends there; > 0 */
	double low, high;  /* the value axis; for a logarithmic one both > 0 */
	bool logarithmic;
};

struct plot_point {
	double t, v;
};

/* 1, 2, 2.5 or 5 times a power of ten: so that about 'n' steps make up the range. */
double plot_step(double range, unsigned n);
/* The smallest multiple of a step that is not below v, for the end of an axis with about n steps.
 */
double plot_top(double v, unsigned n);

double plot_x(const struct plot *p, double t);
double plot_y(const struct plot *p, double v);

/* The horizontal axis with its times; 'label': it says what they are, below. */
void plot_time_axis(const struct plot *p, bool label);
/* Lines and numbers of the value axis; 'unit' stands above it. */
void plot_value_axis(const struct plot *p, const char *unit);
/* The same for a logarithmic axis of milliseconds: 1 ms, 10 ms, 1 s ... */
void plot_ms_axis(const struct plot *p);

void plot_line(const struct plot *p, const struct plot_point *v, size_t n, bool step,
	       const char *class);
void plot_area(const struct plot *p, const struct plot_point *v, size_t n, bool step,
	       const char *class);

/* A key to a colour, at the upper edge; returns where the next one may begin. */
double plot_key(const struct plot *p, double x, const char *class, const char *text);

#endif
