/* svg.c - elements as text; coordinates have one decimal, which is finer than a screen */
#include "ctl/svg.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "qmp/json-text.h"
#include "vmm/base/buf.h"

static bool xml_allows(uint32_t cp)
{
	return cp == '\t' || cp == '\n' ||
	       (cp >= 0x20 && cp != 0x7f && cp != 0xfffe && cp != 0xffff);
}

static void put_char(struct buf *out, uint32_t cp)
{
	switch (cp) {
	case '&':
		buf_printf(out, "&amp;");
		break;
	case '<':
		buf_printf(out, "&lt;");
		break;
	case '>':
		buf_printf(out, "&gt;");
		break;
	case '"':
		buf_printf(out, "&quot;");
		break;
	default:
		utf8_put(out, xml_allows(cp) ? cp : 0xfffd);
		break;
	}
}

void svg_escape(struct buf *out, const char *text)
{
	const uint8_t *p = (const uint8_t *)text;
	size_t n = strlen(text);

	while (n) {
		uint32_t cp = 0xfffd;
		size_t used = utf8_get(p, n, &cp);

		if (!used) {
			used = 1;
			cp = 0xfffd;
		}
		put_char(out, cp);
		p += used;
		n -= used;
	}
}

void svg_text(struct buf *out, double x, double y, const char *class, const char *anchor,
	      const char *fmt, ...)
{
	char text[256];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	buf_printf(out, "<text x=\"%.1f\" y=\"%.1f\" class=\"%s\" text-anchor=\"%s\">", x, y, class,
		   anchor);
	svg_escape(out, text);
	buf_printf(out, "</text>\n");
}

static void rect_end(struct buf *out, const char *hint)
{
	if (!hint) {
		buf_printf(out, "/>\n");
		return;
	}
	buf_printf(out, "><title>");
	svg_escape(out, hint);
	buf_printf(out, "</title></rect>\n");
}

void svg_rect(struct buf *out, double x, double y, double w, double h, const char *class,
	      const char *hint)
{
	buf_printf(out, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" class=\"%s\"",
		   x, y, w, h, class);
	rect_end(out, hint);
}

void svg_cell(struct buf *out, double x, double y, double w, double h, const char *class,
	      double opacity, const char *hint)
{
	buf_printf(out,
		   "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" class=\"%s\" "
		   "fill-opacity=\"%.2f\"",
		   x, y, w, h, class, opacity);
	rect_end(out, hint);
}

void svg_line(struct buf *out, double x1, double y1, double x2, double y2, const char *class)
{
	buf_printf(out, "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" class=\"%s\"/>\n",
		   x1, y1, x2, y2, class);
}

void svg_dot(struct buf *out, double x, double y, double r, const char *class)
{
	buf_printf(out, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"%.1f\" class=\"%s\"/>\n", x, y, r,
		   class);
}

void svg_path(struct buf *out, const struct svg_point *p, size_t n, bool step, double floor,
	      const char *class)
{
	if (!n)
		return;
	buf_printf(out, "<path class=\"%s\" d=\"M%.1f %.1f", class, p[0].x, p[0].y);
	for (size_t i = 1; i < n; i++) {
		if (step)
			buf_printf(out, "H%.1f", p[i].x);
		if (step && p[i].y != p[i - 1].y)
			buf_printf(out, "V%.1f", p[i].y);
		else if (!step)
			buf_printf(out, "L%.1f %.1f", p[i].x, p[i].y);
	}
	if (floor >= 0)
		buf_printf(out, "V%.1fH%.1fZ", floor, p[0].x);
	buf_printf(out, "\"/>\n");
}

double svg_width(const char *text, double font)
{
	double em = 0;

	for (; *text; text++) {
		if (strchr("iljt.,:;'| ", *text))
			em += 0.33;
		else if (strchr("mwMW%", *text))
			em += 0.92;
		else if (((uint8_t)*text & 0xc0) != 0x80) /* a character's first byte */
			em += *text >= 'A' && *text <= 'Z' ? 0.7 : 0.58;
	}
	return em * font;
}
