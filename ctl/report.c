/*
 * report.c - what a report keeps of a move, and how its file comes to be
 *
 * Time begins with the first look or event at either end. Both ends are seen with one clock, the
 * client's, so that their hosts' clocks do not matter.
 *
 * The file is written under a temporary name beside its place, synced and put there in one step:
 * it is complete or absent.
 */
#include "ctl/report.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ctl/report-internal.h"
#include "vmm/base/alloc.h"
#include "vmm/base/buf.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"

#define SECOND 1e9

static bool ends_with(const char *s, const char *end)
{
	size_t n = strlen(s), m = strlen(end);

	return n > m && strcmp(s + n - m, end) == 0;
}

/* The directory of a path, owned. */
static char *directory_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	if (!slash)
		return xstrdup(".");
	return slash == path ? xstrdup("/") : xstrndup(path, (size_t)(slash - path));
}

struct report *report_new(const char *file, struct err *err)
{
	CLEANUP(cleanup_free) char *directory = directory_of(file);
	struct report *r;

	if (!ends_with(file, ".html") && !ends_with(file, ".htm") && !ends_with(file, ".svg")) {
		(void)err_set(
		    err, EINVAL,
		    "a report is a page or a picture: '%s' ends with neither .html nor .svg", file);
		return NULL;
	}
	if (access(directory, W_OK | X_OK) != 0) {
		(void)err_set(err, errno, "the report '%s' cannot be written: %s", file,
			      err_text(errno));
		return NULL;
	}
	r = NEW(struct report);
	r->file = xstrdup(file);
	r->svg = ends_with(file, ".svg");
	for (size_t i = 0; i < REPORT_ENDS; i++) {
		r->side[i].every = 1;
		figures_read(&r->side[i].last.f, NULL);
	}
	return r;
}

void report_free(struct report *r)
{
	if (!r)
		return;
	for (size_t i = 0; i < REPORT_ENDS; i++) {
		free(r->side[i].name);
		free(r->side[i].program);
		free(r->side[i].looks);
	}
	free(r->uri);
	free(r->options);
	free(r->file);
	free(r);
}

static void replace(char **at, const char *text)
{
	free(*at);
	*at = text ? xstrdup(text) : NULL;
}

void report_about(struct report *r, enum report_end end, const char *name, const char *program)
{
	if (!r)
		return;
	replace(&r->side[end].name, name);
	replace(&r->side[end].program, program);
}

void report_move(struct report *r, const char *uri, const char *options)
{
	if (!r)
		return;
	replace(&r->uri, uri);
	replace(&r->options, options);
}

void report_limit(struct report *r, uint64_t ms)
{
	if (r)
		r->limit_ms = ms;
}

/* Seconds since the move began, which it does with the first call. */
static double time_of(struct report *r, uint64_t now_ns)
{
	if (!r->begun) {
		r->begun = true;
		r->begin_ns = now_ns;
	}
	return now_ns > r->begin_ns ? (double)(now_ns - r->begin_ns) / SECOND : 0;
}

/* Every second look is forgotten. */
static void thin_out(struct report_side *s)
{
	for (size_t i = 0; 2 * i < s->n; i++)
		s->looks[i] = s->looks[2 * i];
	s->n = (s->n + 1) / 2;
	s->every *= 2;
}

void report_sample(struct report *r, enum report_end end, uint64_t now_ns, const struct figures *f)
{
	struct report_side *s;
	bool news;

	if (!r)
		return;
	s = &r->side[end];
	if (!s->looks)
		s->looks = xcalloc(REPORT_SAMPLES, sizeof(*s->looks));
	/* what a change of state looks like is never passed over */
	news = !s->seen || strcmp(s->last.f.status, f->status) != 0;
	if (news || figures_waits(&s->last.f) != figures_waits(f))
		s->news = time_of(r, now_ns);
	s->last = (struct report_look){time_of(r, now_ns), *f};
	s->seen = true;
	if (!news && ++s->passed < s->every)
		return;
	s->passed = 0;
	if (s->n == REPORT_SAMPLES)
		thin_out(s);
	s->looks[s->n++] = s->last;
}

void report_event(struct report *r, enum report_end end, uint64_t now_ns, const char *event,
		  const char *detail)
{
	struct report_note *note;

	if (!r || r->n_notes == REPORT_EVENTS)
		return;
	note = &r->notes[r->n_notes++];
	*note = (struct report_note){.t = time_of(r, now_ns), .end = end};
	(void)snprintf(note->event, sizeof(note->event), "%s", event);
	(void)snprintf(note->detail, sizeof(note->detail), "%s", detail);
}

/* ---- what the pages ask ---- */

double report_seconds(const struct report *r)
{
	/* what is seen again and again of a destination that has the guest is no news */
	double t = MAX(r->side[REPORT_SOURCE].last.t, r->side[REPORT_PEER].news);

	for (size_t i = 0; i < r->n_notes; i++)
		t = MAX(t, r->notes[i].t);
	return MAX(t, 0.001);
}

bool report_has_time(const struct report *r)
{
	return r->side[REPORT_SOURCE].n > 1;
}

const struct figures *report_last(const struct report *r, enum report_end end)
{
	return &r->side[end].last.f;
}

const struct report_note *report_find(const struct report *r, enum report_end end,
				      const char *event, const char *detail)
{
	for (size_t i = 0; i < r->n_notes; i++) {
		const struct report_note *n = &r->notes[i];

		if (n->end == end && strcmp(n->event, event) == 0 &&
		    (!detail || strcmp(n->detail, detail) == 0))
			return n;
	}
	return NULL;
}

struct report_pause report_pause(const struct report *r)
{
	const struct report_note *stop = report_find(r, REPORT_SOURCE, "STOP", NULL);
	const struct report_note *resume = report_find(r, REPORT_PEER, "RESUME", NULL);
	const struct figures *last = report_last(r, REPORT_SOURCE);
	struct report_pause p = {0};
	double seconds = last->has_downtime ? (double)last->downtime_ms / 1e3 : 0;

	if (strcmp(last->status, "completed") != 0 && !last->postcopy_bytes)
		return p;
	if (!last->has_downtime && !(stop && resume))
		return p;
	p.known = true;
	p.from = stop ? stop->t : MAX(0.0, r->side[REPORT_SOURCE].last.t - seconds);
	p.to = resume && resume->t > p.from ? resume->t : p.from + seconds;
	p.ms = last->has_downtime ? (double)last->downtime_ms : (p.to - p.from) * 1e3;
	return p;
}

enum report_end report_waited(const struct report *r)
{
	if (figures_waits(report_last(r, REPORT_PEER)))
		return REPORT_PEER;
	return figures_waits(report_last(r, REPORT_SOURCE)) ? REPORT_SOURCE : REPORT_ENDS;
}

size_t report_under_way(const struct report_side *s)
{
	for (size_t i = 0; i < s->n; i++)
		if (figures_ended(&s->looks[i].f))
			return i + 1;
	return s->n;
}

/* ---- the file ---- */

static int write_all(int fd, const uint8_t *p, size_t n)
{
	while (n) {
		ssize_t done = write(fd, p, n);

		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return -errno;
		p += done;
		n -= (size_t)done;
	}
	return fsync(fd) == 0 ? 0 : -errno;
}

/* As open() would have made it: the mode that the user's mask leaves. */
static int give_mode(int fd)
{
	mode_t mask = umask(0);

	(void)umask(mask);
	return fchmod(fd, 0666 & ~mask) == 0 ? 0 : -errno;
}

static int write_file(const char *file, const struct buf *text)
{
	/* what a link leads to is replaced, not the link */
	CLEANUP(cleanup_free) char *real = realpath(file, NULL);
	const char *place = real ? real : file;
	CLEANUP(cleanup_free) char *temporary = xasprintf("%s.XXXXXX", place);
	int fd = mkostemp(temporary, O_CLOEXEC), ret;

	if (fd < 0)
		return -errno;
	ret = write_all(fd, text->data, text->len);
	if (ret == 0)
		ret = give_mode(fd);
	if (close(fd) != 0 && ret == 0)
		ret = -errno;
	if (ret == 0 && rename(temporary, place) != 0)
		ret = -errno;
	if (ret < 0)
		(void)unlink(temporary);
	return ret;
}

int report_finish(struct report *r, struct err *err)
{
	CLEANUP(buf_free) struct buf text = {0};
	int ret;

	if (!r)
		return 0;
	if (r->svg)
		report_picture(r, &text);
	else
		report_html(r, &text);
	ret = write_file(r->file, &text);
	if (ret < 0)
		return err_set(err, -ret, "the report '%s' cannot be written: %s", r->file,
			       err_text(-ret));
	return 0;
}
