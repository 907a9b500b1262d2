/*
 * progress.c - drawing the line
 *
 * The rate is that of all the work up to now, so that the time that is left does not jump about.
 * Where the terminal is narrow, first the bar goes and then the amounts.
 */
#include "img/progress.h"

#include <math.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "img/img.h"
#include "vmm/base/units.h"

#define DRAW_NS    100000000ULL /* on a terminal, at most so often */
#define STEP       2.0          /* percent, elsewhere */
#define LINE_BYTES 512
#define SECOND     1000000000ULL

static uint64_t now_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * SECOND + (uint64_t)t.tv_nsec;
}

/* "0:04", "1:02:03" */
static void time_text(char *out, size_t n, double seconds)
{
	unsigned long s = seconds < 3600.0 * 1000 ? (unsigned long)(seconds + 0.5) : 3600UL * 1000;

	if (s >= 3600)
		(void)snprintf(out, n, "%lu:%02lu:%02lu", s / 3600, s / 60 % 60, s % 60);
	else
		(void)snprintf(out, n, "%lu:%02lu", s / 60, s % 60);
}

static void bar(char *out, size_t width, double part)
{
	size_t full = (size_t)(part * (double)width);

	for (size_t i = 0; i < width; i++)
		out[i] = " >="[(i < full) * 2 + (i == full)];
	out[width] = '\0';
}

void progress_line(char *line, size_t n, unsigned columns, uint64_t done, uint64_t total,
		   uint64_t ns)
{
	double part = total ? (double)done / (double)total : 1, rate;
	char so_far[IMG_SIZE_BYTES], all[IMG_SIZE_BYTES], speed[IMG_SIZE_BYTES];
	char left[24], text[160], picture[LINE_BYTES];
	int len;

	rate = ns ? (double)done * (double)SECOND / (double)ns : 0;
	time_text(left, sizeof(left),
		  done < total && rate > 0 ? (double)(total - done) / rate
					   : (double)ns / (double)SECOND);
	(void)img_size_text(speed, (uint64_t)rate);
	len = snprintf(text, sizeof(text), "%5.1f %%  %s of %s  %s/s  %s %s", part * 100,
		       img_size_text(so_far, done), img_size_text(all, total), speed, left,
		       done < total ? "left" : "in all");
	if (len < 0)
		return;
	if ((unsigned)len >= columns) { /* too narrow for the amounts */
		(void)snprintf(line, n, "%5.1f %%  %s left", part * 100, left);
		return;
	}
	if (columns - (unsigned)len < 14) { /* ... for a bar */
		(void)snprintf(line, n, "%s", text);
		return;
	}
	bar(picture, MIN(columns - (unsigned)len - 4, 40U), part);
	(void)snprintf(line, n, "[%s] %s", picture, text);
}

/* Lock held. */
static void draw(struct progress *p, uint64_t done)
{
	char line[LINE_BYTES];

	progress_line(line, sizeof(line), p->columns, done, p->total_bytes, now_ns() - p->begin_ns);
	(void)fprintf(p->out, "\r%s\033[K", line);
	(void)fflush(p->out);
}

static void print_percent(struct progress *p, double percent)
{
	p->printed = percent;
	(void)fprintf(p->out, "    (%3.2f/100%%)\r", percent);
	(void)fflush(p->out);
}

void progress_init(struct progress *p, FILE *out, uint64_t total_bytes)
{
	struct winsize size;

	*p = (struct progress){.out = out, .total_bytes = total_bytes, .columns = 80};
	pthread_mutex_init(&p->lock, NULL);
	if (!out)
		return;
	p->begin_ns = now_ns();
	p->terminal = isatty(fileno(out)) == 1;
	if (p->terminal && ioctl(fileno(out), TIOCGWINSZ, &size) == 0 && size.ws_col)
		p->columns = size.ws_col;
	if (!p->terminal)
		print_percent(p, 0);
}

static void report(struct progress *p, uint64_t done)
{
	double percent = p->total_bytes ? (double)done * 100 / (double)p->total_bytes : 100;
	uint64_t now;

	if (!p->terminal) {
		if (percent >= p->printed + STEP && percent < 100)
			print_percent(p, percent);
		return;
	}
	now = now_ns();
	if (now - p->printed_ns < DRAW_NS)
		return;
	p->printed_ns = now;
	draw(p, done);
}

void progress_add(struct progress *p, uint64_t bytes)
{
	uint64_t done = __atomic_add_fetch(&p->done_bytes, bytes, __ATOMIC_RELAXED);

	if (!p->out || pthread_mutex_trylock(&p->lock) != 0)
		return;
	report(p, done);
	pthread_mutex_unlock(&p->lock);
}

void progress_fini(struct progress *p, bool complete)
{
	if (p->out && p->terminal) {
		draw(p, complete ? p->total_bytes : p->done_bytes);
		(void)fprintf(p->out, "\n");
	} else if (p->out) {
		if (complete)
			print_percent(p, 100);
		(void)fprintf(p->out, "\n");
	}
	pthread_mutex_destroy(&p->lock);
}
