/*
 * report-page.c - the page and the picture around the plots
 *
 * Both have the same parts: what moved, the result, the figures, the plots. The page's texts are
 * HTML, so that they wrap and can be read aloud; the picture breaks its lines itself.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "ctl/report-internal.h"
#include "ctl/report-style.h"
#include "ctl/svg.h"
#include "vmm/base/buf.h"
#include "vmm/base/units.h"
#include "vmm/base/version.h"

#define TEXT_BYTES 1024
#define TILES_MAX  8
#define AXIS_ROOM  1.02 /* so that what comes at the very end is seen */

static const struct report_panel *const over_time[] = {
    &report_phases, &report_remaining, &report_rate, &report_throttle, &report_expected,
};

/* ---- figures ---- */

struct tile {
	char value[48];
	const char *name;
};

struct tiles {
	struct tile tile[TILES_MAX];
	size_t n;
};

static char *tile_new(struct tiles *x, const char *name)
{
	struct tile *t = &x->tile[x->n++];

	t->name = name;
	return t->value;
}

#define TILE_BYTES sizeof(((struct tile *)0)->value)

static void tiles_of(const struct report *r, struct tiles *x)
{
	const struct figures *f = report_last(r, REPORT_SOURCE);
	const struct report_pause pause = report_pause(r);
	enum report_end waited = report_waited(r);
	char text[32];

	*x = (struct tiles){0};
	if (pause.known)
		words_seconds(tile_new(x, "pause"), TILE_BYTES, pause.ms / 1e3);
	if (f->has_total_time)
		words_seconds(tile_new(x, "time in all"), TILE_BYTES, (double)f->total_ms / 1e3);
	if (f->has_ram) {
		words_bytes(tile_new(x, "guest memory"), TILE_BYTES, (double)f->total);
		words_bytes(tile_new(x, "transferred"), TILE_BYTES, (double)f->transferred);
		words_count(tile_new(x, "passes"), TILE_BYTES, f->passes);
	}
	if (f->has_ram && f->total_ms) {
		words_bytes(text, sizeof(text), (double)f->transferred * 1e3 / (double)f->total_ms);
		(void)snprintf(tile_new(x, "mean rate"), TILE_BYTES, "%s/s", text);
	}
	if (waited != REPORT_ENDS)
		words_ns(tile_new(x, "mean page wait"), TILE_BYTES,
			 (double)report_last(r, waited)->latency_ns);
}

/* ---- plots ---- */

static bool panel_has(const struct report_panel *panel, const struct report *r)
{
	return !panel->has || panel->has(r);
}

static double panel_height(const struct report_panel *panel, const struct report *r)
{
	return panel->height + (panel->more ? panel->more(r) : 0);
}

/* Its coordinates begin at 0, 0. */
static void panel_draw(const struct report_panel *panel, const struct report *r, struct buf *out)
{
	struct plot p = {
	    .out = out,
	    .x = REPORT_LEFT,
	    .y = REPORT_ABOVE,
	    .w = REPORT_WIDTH - REPORT_LEFT - REPORT_RIGHT,
	    .h = panel_height(panel, r) - REPORT_ABOVE - REPORT_BELOW,
	    .seconds = report_seconds(r) * AXIS_ROOM,
	    .high = 1,
	};

	panel->draw(r, &p);
}

/* ---- the page ---- */

static void html_text(struct buf *out, const char *tag, const char *attributes, const char *text)
{
	buf_printf(out, "<%s%s>", tag, attributes);
	svg_escape(out, text);
	buf_printf(out, "</%s>\n", tag);
}

static void html_panel(const struct report_panel *panel, const struct report *r, struct buf *out)
{
	char text[TEXT_BYTES];

	if (!panel_has(panel, r)) {
		if (panel->absent)
			html_text(out, "p", " class=\"absent\"", panel->absent);
		return;
	}
	panel->caption(r, text, sizeof(text));
	buf_printf(out,
		   "<figure>\n<h2>%s</h2>\n<div class=\"plot\"><svg viewBox=\"0 0 %.0f %.0f\" "
		   "role=\"img\" aria-label=\"",
		   panel->title, REPORT_WIDTH, panel_height(panel, r));
	svg_escape(out, text);
	buf_printf(out, "\">\n");
	panel_draw(panel, r, out);
	buf_printf(out, "</svg></div>\n");
	html_text(out, "figcaption", "", text);
	buf_printf(out, "</figure>\n");
}

static void html_events(const struct report *r, struct buf *out)
{
	if (!r->n_notes)
		return;
	buf_printf(out,
		   "<details>\n<summary>Events (%zu)</summary>\n<div class=\"plot\"><table>\n"
		   "<tr><th>s</th><th>at</th><th>event</th><th></th></tr>\n",
		   r->n_notes);
	for (size_t i = 0; i < r->n_notes; i++) {
		const struct report_note *note = &r->notes[i];

		buf_printf(out, "<tr><td class=\"number\">%.3f</td><td>%s</td><td>", note->t,
			   note->end == REPORT_SOURCE ? "source" : "destination");
		svg_escape(out, note->event);
		buf_printf(out, "</td><td>");
		svg_escape(out, note->detail);
		buf_printf(out, "</td></tr>\n");
	}
	buf_printf(out, "</table></div>\n</details>\n");
}

/* A row of the table of figures: of each end, "" where it does not say. */
static void html_row(struct buf *out, const char *name, const char *source, const char *peer)
{
	if (!*source && !*peer)
		return;
	buf_printf(out, "<tr><td>%s</td><td class=\"number\">", name);
	svg_escape(out, source);
	buf_printf(out, "</td><td class=\"number\">");
	svg_escape(out, peer);
	buf_printf(out, "</td></tr>\n");
}

struct figure_row {
	const char *name;
	/* Writes the figure, or leaves the empty text. */
	void (*write)(const struct figures *f, char *out, size_t n);
};

#define ROW_BYTES(fn, member)                                                                      \
	static void fn(const struct figures *f, char *out, size_t n)                               \
	{                                                                                          \
		if (f->member)                                                                     \
			words_bytes(out, n, (double)f->member);                                    \
	}
#define ROW_COUNT(fn, member)                                                                      \
	static void fn(const struct figures *f, char *out, size_t n)                               \
	{                                                                                          \
		if (f->member)                                                                     \
			words_count(out, n, f->member);                                            \
	}
#define ROW_MS(fn, member, has)                                                                    \
	static void fn(const struct figures *f, char *out, size_t n)                               \
	{                                                                                          \
		if (f->has)                                                                        \
			words_seconds(out, n, (double)f->member / 1e3);                            \
	}

static void row_status(const struct figures *f, char *out, size_t n)
{
	(void)snprintf(out, n, "%s", f->status);
}

static void row_mean(const struct figures *f, char *out, size_t n)
{
	if (f->latency_ns)
		words_ns(out, n, (double)f->latency_ns);
}

ROW_MS(row_total_time, total_ms, has_total_time)
ROW_MS(row_setup, setup_ms, has_setup)
ROW_MS(row_downtime, downtime_ms, has_downtime)
ROW_BYTES(row_precopy, precopy_bytes)
ROW_BYTES(row_in_pause, downtime_bytes)
ROW_BYTES(row_postcopy, postcopy_bytes)
ROW_BYTES(row_multifd, multifd_bytes)
ROW_BYTES(row_remaining, remaining)
ROW_COUNT(row_normal, normal)
ROW_COUNT(row_zero, duplicate)
ROW_COUNT(row_requests, postcopy_requests)
ROW_MS(row_blocktime, blocktime_ms, has_blocktime)

static const struct figure_row figure_rows[] = {
    {"status",		       row_status    },
    {"total-time",		   row_total_time},
    {"setup-time",		   row_setup     },
    {"downtime",		     row_downtime  },
    {"sent before the pause",        row_precopy   },
    {"sent in the pause",            row_in_pause  },
    {"sent by postcopy",             row_postcopy  },
    {"sent by multifd channels",     row_multifd   },
    {"remaining",		    row_remaining },
    {"pages sent whole",             row_normal    },
    {"pages of zeros",               row_zero      },
    {"pages asked for",              row_requests  },
    {"mean wait for a page",         row_mean      },
    {"all vCPUs waited at once for", row_blocktime },
};

static void html_figures(const struct report *r, struct buf *out)
{
	buf_printf(
	    out,
	    "<details open>\n<summary>All figures</summary>\n<div class=\"plot\"><table>\n"
	    "<tr><th></th><th class=\"number\">source</th><th class=\"number\">%s</th></tr>\n",
	    r->side[REPORT_PEER].seen ? "destination" : "");
	for (size_t i = 0; i < ARRAY_LEN(figure_rows); i++) {
		char source[64] = "", peer[64] = "";

		figure_rows[i].write(report_last(r, REPORT_SOURCE), source, sizeof(source));
		if (r->side[REPORT_PEER].seen)
			figure_rows[i].write(report_last(r, REPORT_PEER), peer, sizeof(peer));
		html_row(out, figure_rows[i].name, source, peer);
	}
	buf_printf(out, "</table></div>\n</details>\n");
}

static void date_text(char *out, size_t n)
{
	time_t now = time(NULL);
	struct tm tm;

	*out = '\0';
	if (localtime_r(&now, &tm))
		(void)strftime(out, n, "%Y-%m-%d %H:%M:%S %z", &tm);
}

void report_html(const struct report *r, struct buf *out)
{
	char result[TEXT_BYTES], way[TEXT_BYTES], date[64];
	struct tiles tiles;

	words_result(r, result, sizeof(result));
	words_way(r, way, sizeof(way));
	date_text(date, sizeof(date));
	tiles_of(r, &tiles);
	buf_printf(out, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
			"<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
			"<meta name=\"color-scheme\" content=\"light dark\">\n<title>");
	svg_escape(out, result);
	buf_printf(out, "</title>\n<style>\n%s%s</style>\n</head>\n<body>\n<main>\n", report_style,
		   report_page_style);
	html_text(out, "p", " class=\"over\"", "Report of a live migration");
	html_text(out, "h1", "", result);
	html_text(out, "p", " class=\"way\"", way);
	buf_printf(out, "<div class=\"tiles\">\n");
	for (size_t i = 0; i < tiles.n; i++) {
		buf_printf(out, "<div><b>");
		svg_escape(out, tiles.tile[i].value);
		buf_printf(out, "</b><span>%s</span></div>\n", tiles.tile[i].name);
	}
	buf_printf(out, "</div>\n");
	if (report_has_time(r)) {
		for (size_t i = 0; i < ARRAY_LEN(over_time); i++)
			html_panel(over_time[i], r, out);
	} else {
		html_text(
		    out, "p", " class=\"absent\"",
		    "Made from the last figures only. A page with plots over time is made by: "
		    "minivmm-ctl move URI --report FILE.html");
	}
	html_panel(&report_faults, r, out);
	html_figures(r, out);
	html_events(r, out);
	buf_printf(out,
		   "<footer>minivmm-ctl %s, %s. Both ends are seen with the clock of the client, "
		   "and the figures are those of <code>query-migrate</code>.</footer>\n"
		   "</main>\n</body>\n</html>\n",
		   MINIVMM_VERSION, date);
}

/* ---- the picture ---- */

#define MARGIN 24.0
#define WIDER  1.1 /* than svg_width() says: the widest of usual fonts, in bold */
#define LINE   18.0

/* The text in lines that fit; returns the y below them. */
static double picture_text(struct buf *out, double y, const char *class, double font, double line,
			   const char *text)
{
	char part[TEXT_BYTES];
	size_t n = 0;

	for (const char *word = text; *word;) {
		size_t len = strcspn(word, " \n"), before = n;

		if (n + len + 2 >= sizeof(part))
			break;
		if (n)
			part[n++] = ' ';
		memcpy(part + n, word, len);
		part[n + len] = '\0';
		if (before &&
		    svg_width(part, font) * WIDER > REPORT_WIDTH - REPORT_LEFT - REPORT_RIGHT) {
			part[before] = '\0';
			svg_text(out, MARGIN, y += line, class, "start", "%s", part);
			memcpy(part, word, len);
			part[len] = '\0';
			n = 0;
		}
		n += len;
		word += len + strspn(word + len, " \n");
	}
	if (n)
		svg_text(out, MARGIN, y += line, class, "start", "%s", part);
	return y;
}

static double picture_tiles(const struct report *r, struct buf *out, double y)
{
	struct tiles tiles;
	double w;

	tiles_of(r, &tiles);
	w = (REPORT_WIDTH - 2 * MARGIN) / (double)MAX(tiles.n, (size_t)1);
	for (size_t i = 0; i < tiles.n; i++) {
		double x = MARGIN + w * (double)i;

		svg_text(out, x, y + 30, "value", "start", "%s", tiles.tile[i].value);
		svg_text(out, x, y + 48, "tick", "start", "%s", tiles.tile[i].name);
	}
	return tiles.n ? y + 56 : y;
}

static double picture_panel(const struct report_panel *panel, const struct report *r,
			    struct buf *out, double y)
{
	char text[TEXT_BYTES];

	if (!panel_has(panel, r))
		return panel->absent ? picture_text(out, y + 8, "caption", 13, LINE, panel->absent)
				     : y;
	panel->caption(r, text, sizeof(text));
	svg_text(out, MARGIN, y + 38, "title", "start", "%s", panel->title);
	buf_printf(out, "<g transform=\"translate(0 %.0f)\">\n", y + 46);
	panel_draw(panel, r, out);
	buf_printf(out, "</g>\n");
	return picture_text(out, y + 46 + panel_height(panel, r), "caption", 13, LINE, text);
}

void report_picture(const struct report *r, struct buf *out)
{
	CLEANUP(buf_free) struct buf in = {0};
	char text[TEXT_BYTES];
	double y = 10;

	y = picture_text(&in, y, "over", 12, 22, "Report of a live migration");
	words_result(r, text, sizeof(text));
	y = picture_text(&in, y + 6, "result", 22, 28, text);
	words_way(r, text, sizeof(text));
	y = picture_text(&in, y + 4, "caption", 13, LINE, text);
	y = picture_tiles(r, &in, y + 6);
	if (report_has_time(r))
		for (size_t i = 0; i < ARRAY_LEN(over_time); i++)
			y = picture_panel(over_time[i], r, &in, y);
	y = picture_panel(&report_faults, r, &in, y) + MARGIN;
	words_result(r, text, sizeof(text));
	buf_printf(out,
		   "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
		   "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %.0f %.0f\" "
		   "width=\"%.0f\" height=\"%.0f\" role=\"img\">\n<title>",
		   REPORT_WIDTH, y, REPORT_WIDTH, y);
	svg_escape(out, text);
	buf_printf(out, "</title>\n<style>\n%s</style>\n", report_style);
	svg_rect(out, 0, 0, REPORT_WIDTH, y, "paper", NULL);
	buf_put(out, in.data, in.len);
	buf_printf(out, "</svg>\n");
}
