/*
 * svg.h - elements of an SVG picture, appended to a buffer
 *
 * Lengths are pixels of the picture's own coordinates. Texts are escaped, and bytes that are not
 * UTF-8, or that XML does not allow, become U+FFFD. Colours are the style sheet's: an element has a
 * class.
 */
#ifndef MINIVMM_CTL_SVG_H
#define MINIVMM_CTL_SVG_H

#include <stdbool.h>
#include <stddef.h>

struct buf;

struct svg_point {
	double x, y;
};

/* A foreign text between tags or in an attribute's double quotes. */
void svg_escape(struct buf *out, const char *text);
/* anchor: "start", "middle" or "end". */
void svg_text(struct buf *out, double x, double y, const char *class, const char *anchor,
	      const char *fmt, ...) __attribute__((format(printf, 6, 7)));
/* hint: what is said when the pointer rests on it, or NULL. */
void svg_rect(struct buf *out, double x, double y, double w, double h, const char *class,
	      const char *hint);
/* The same, as opaque as 'opacity' (0 to 1). */
void svg_cell(struct buf *out, double x, double y, double w, double h, const char *class,
	      double opacity, const char *hint);
void svg_line(struct buf *out, double x1, double y1, double x2, double y2, const char *class);
void svg_dot(struct buf *out, double x, double y, double r, const char *class);
/* Through all n points; 'step': level up to the next one; 'floor' >= 0: closed down to that y. */
void svg_path(struct buf *out, const struct svg_point *p, size_t n, bool step, double floor,
	      const char *class);
/* About how wide the text is in a font of so many pixels. */
double svg_width(const char *text, double font);

#endif
