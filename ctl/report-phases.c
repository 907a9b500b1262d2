/*
 * report-phases.c - what the source did when, and where the guest ran
 *
 * Three lanes on one time axis: the phases, as the looks show them; the guest at the source; the
 * guest at the destination. Where it ran is known from the events STOP and RESUME of either end,
 * and without them from the pause that the source names.
 */
#include <stdio.h>
#include <string.h>

#include "ctl/report-internal.h"
#include "ctl/svg.h"
#include "vmm/base/units.h"

#define LANE     26.0
#define LANE_BAR 18.0
#define BAND_MIN 2.0 /* pixels: a pause is seen however short it was */

void report_draw_pause(const struct report *r, const struct plot *p)
{
	const struct report_pause pause = report_pause(r);
	double x, w;

	if (!pause.known)
		return;
	x = plot_x(p, pause.from);
	w = MAX(plot_x(p, pause.to) - x, BAND_MIN);
	x = MIN(x, p->x + p->w - w);
	svg_rect(p->out, x, p->y, w, p->h, "band", "the guest stood still");
}

/* What the source did at a look, in a word or two. */
static void phase_text(const struct figures *f, char *out, size_t n)
{
	static const struct {
		const char *status, *text;
	} texts[] = {
	    {"setup",                  "setup"     },
	    {"pre-switchover",         "switchover"},
	    {"device",                 "switchover"},
	    {"postcopy-device",        "switchover"},
	    {"postcopy-active",        "postcopy"  },
	    {"postcopy-paused",        "paused"    },
	    {"postcopy-recover",       "recovers"  },
	    {"postcopy-recover-setup", "recovers"  },
	    {"cancelling",             "cancelling"},
	    {"wait-unplug",            "waits"     },
	};

	if (*f->phase && strcmp(f->phase, "pass") != 0 && strcmp(f->phase, "ended") != 0) {
		(void)snprintf(out, n, "%s", f->phase);
		return;
	}
	for (size_t i = 0; i < ARRAY_LEN(texts); i++)
		if (strcmp(f->status, texts[i].status) == 0) {
			(void)snprintf(out, n, "%s", texts[i].text);
			return;
		}
	if (strcmp(f->status, "active") == 0)
		(void)snprintf(out, n, "pass %llu", (unsigned long long)MAX(f->passes, 1ULL));
	else
		(void)snprintf(out, n, "%s", f->status);
}

/* A bar from one time to another, with a text in it where it fits. */
static void bar(const struct plot *p, double lane, double from, double to, const char *class,
		const char *text)
{
	double x = plot_x(p, from), w = plot_x(p, to) - x, y = p->y + lane * LANE;

	if (w < 0.5)
		return;
	svg_rect(p->out, x, y, w, LANE_BAR, class, text);
	if (svg_width(text, 11) * 1.15 + 8 < w)
		svg_text(p->out, x + w / 2, y + 13, "within", "middle", "%s", text);
}

static void draw_phases_lane(const struct report *r, const struct plot *p)
{
	const struct report_side *s = &r->side[REPORT_SOURCE];
	size_t n = report_under_way(s);
	unsigned turn = 0;

	for (size_t i = 0, next; i < n && !figures_ended(&s->looks[i].f); i = next) {
		char text[32], other[32];

		phase_text(&s->looks[i].f, text, sizeof(text));
		for (next = i + 1; next < n; next++) {
			phase_text(&s->looks[next].f, other, sizeof(other));
			if (strcmp(text, other) != 0)
				break;
		}
		bar(p, 0, s->looks[i].t,
		    next < n ? s->looks[next].t : r->side[REPORT_SOURCE].last.t,
		    turn++ % 2 ? "phase odd" : "phase", text);
	}
}

/* The times in which the guest ran at an end, by its events. */
static void draw_guest_lane(const struct report *r, const struct plot *p, enum report_end end)
{
	const struct report_pause pause = report_pause(r);
	const char *text = "the guest runs";
	double from = end == REPORT_SOURCE ? 0 : -1; /* below 0: it does not run */
	double lane = end == REPORT_SOURCE ? 1 : 2;
	bool told = false;

	for (size_t i = 0; i < r->n_notes; i++) {
		const struct report_note *note = &r->notes[i];

		if (note->end != end)
			continue;
		if (strcmp(note->event, "STOP") == 0 && from >= 0) {
			bar(p, lane, from, note->t, "guest", text);
			from = -1;
			told = true;
		} else if (strcmp(note->event, "RESUME") == 0 && from < 0) {
			from = note->t;
			told = true;
		}
	}
	if (!told && pause.known && end == REPORT_SOURCE) {
		bar(p, lane, 0, pause.from, "guest", text);
		return;
	}
	if (!told && pause.known && end == REPORT_PEER)
		from = pause.to;
	if (from >= 0)
		bar(p, lane, from, p->seconds, "guest", text);
}

static void draw_pause_label(const struct report *r, const struct plot *p)
{
	const struct report_pause pause = report_pause(r);
	char text[64], ms[40];
	double x, half;

	if (!pause.known)
		return;
	words_seconds(ms, sizeof(ms), pause.ms / 1e3);
	(void)snprintf(text, sizeof(text), "pause %s", ms);
	half = svg_width(text, 12) * 0.6;
	x = plot_x(p, (pause.from + pause.to) / 2);
	svg_text(p->out, MIN(MAX(x, p->x + half), p->x + p->w - half), p->y - 8, "alarm", "middle",
		 "%s", text);
}

static void draw_phases(const struct report *r, struct plot *p)
{
	static const char *const lanes[] = {"move", "source", "destination"};

	report_draw_pause(r, p);
	for (size_t i = 0; i < ARRAY_LEN(lanes); i++)
		svg_text(p->out, p->x - 8, p->y + (double)i * LANE + 13, "tick", "end", "%s",
			 lanes[i]);
	draw_phases_lane(r, p);
	draw_guest_lane(r, p, REPORT_SOURCE);
	draw_guest_lane(r, p, REPORT_PEER);
	draw_pause_label(r, p);
	plot_time_axis(p, true);
}

static void caption_phases(const struct report *r, char *out, size_t n)
{
	const struct figures *f = report_last(r, REPORT_SOURCE);
	char passes[32];

	words_count(passes, sizeof(passes), f->passes);
	(void)snprintf(
	    out, n, "What the source did (%s pass%s over memory), and where the guest ran.%s",
	    passes, f->passes == 1 ? "" : "es",
	    report_pause(r).known ? " The red band, here and below, is the time in which it "
				    "stood still."
				  : "");
}

const struct report_panel report_phases = {
    .title = "Phases",
    .height = REPORT_ABOVE + 3 * LANE + REPORT_BELOW,
    .draw = draw_phases,
    .caption = caption_phases,
};
