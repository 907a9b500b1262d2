/* report-internal.h - what a report has collected, for the files that make a page of it */
#ifndef MINIVMM_CTL_REPORT_INTERNAL_H
#define MINIVMM_CTL_REPORT_INTERNAL_H

#include <stddef.h>

#include "ctl/plot.h"
#include "ctl/report.h"

struct buf;

struct report_look {
	double t; /* seconds since the move began */
	struct figures f;
};

struct report_note {
	double t;
	enum report_end end;
	char event[32];
	char detail[96];
};

/* One end, as it was seen. */
struct report_side {
	char *name, *program; /* owned, or NULL */
	struct report_look *looks;
	size_t n;
	size_t every, passed;    /* of so many looks one is kept; how many were passed over since */
	struct report_look last; /* the newest one, kept or not */
	double news;             /* when its status or its waits changed last */
	bool seen;
};

struct report {
	/* set at creation and then constant */
	char *file; /* owned */
	bool svg;

	char *uri, *options; /* owned, or NULL */
	uint64_t begin_ns;   /* of t = 0 */
	bool begun;
	struct report_side side[REPORT_ENDS];
	uint64_t limit_ms; /* downtime-limit; 0: not known */
	struct report_note notes[REPORT_EVENTS];
	size_t n_notes;
};

/* Where the guest stood still, in seconds since the move began. */
struct report_pause {
	bool known;
	double from, to;
	double ms; /* what is said about it: the source's own figure where there is one */
};

/* ---- report.c ---- */
/* The time axis' end: the source's last look, the last note or news at either end; > 0. */
double report_seconds(const struct report *r);
/* The move has more than one look: there is something to draw over time. */
bool report_has_time(const struct report *r);
/* The last figures of an end; those of no migration where it was never seen. */
const struct figures *report_last(const struct report *r, enum report_end end);
/* The first note of that name (and detail, unless NULL) at the end; NULL: there is none. */
const struct report_note *report_find(const struct report *r, enum report_end end,
				      const char *event, const char *detail);
/* How many looks there are, up to and with the first one that shows the end. */
size_t report_under_way(const struct report_side *s);
struct report_pause report_pause(const struct report *r);
/* The end that has waited for pages (a distribution that is not empty), or REPORT_ENDS. */
enum report_end report_waited(const struct report *r);

/* ---- report-words.c: texts of at most n bytes; a number's unit stands behind U+00A0 ---- */
void words_seconds(char *out, size_t n, double seconds); /* "38 ms", "12.4 s", "3 min 20 s" */
void words_bytes(char *out, size_t n, double bytes);     /* "812 MiB" */
void words_ns(char *out, size_t n, double ns);           /* the same, from microseconds on */
void words_count(char *out, size_t n, uint64_t count);   /* "7424", "1.84e+19" */
/* How the move ended, in a sentence. */
void words_result(const struct report *r, char *out, size_t n);
/* From whom to whom and by which way. */
void words_way(const struct report *r, char *out, size_t n);

/* ---- report-phases.c, report-panels.c, report-faults.c ---- */
struct report_panel {
	const char *title;
	double height; /* of the whole picture, axes' texts included */
	/* How much higher it is with what there is to show; NULL: not at all. */
	double (*more)(const struct report *r);
	/* Is there anything to show? NULL: always. */
	bool (*has)(const struct report *r);
	void (*draw)(const struct report *r, struct plot *p);
	/* What is to be seen in it; with the numbers that matter. */
	void (*caption)(const struct report *r, char *out, size_t n);
	/* What is said in its place when there is nothing; NULL: nothing. */
	const char *absent;
};

#define REPORT_WIDTH 860.0
#define REPORT_LEFT  86.0
#define REPORT_RIGHT 24.0
#define REPORT_ABOVE 34.0 /* of the plot's area: unit and keys */
#define REPORT_BELOW 42.0 /* of it: times and what they are */

extern const struct report_panel report_phases, report_remaining, report_rate, report_throttle,
    report_expected, report_faults;

/* The pause as a band over the plot's height. */
void report_draw_pause(const struct report *r, const struct plot *p);

/* ---- report-page.c ---- */
void report_html(const struct report *r, struct buf *out);
void report_picture(const struct report *r, struct buf *out);

#endif
