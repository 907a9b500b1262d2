/*
 * live.c - figures to a line
 *
 * The percent of QEMU is the part of memory that need not be sent any more, and so it goes back
 * when the guest writes; what is shown is the highest so far, and 99 until it is completed.
 */
#include "ctl/live.h"

#include <stdio.h>
#include <string.h>

#include "ctl/say.h"
#include "vmm/base/units.h"

#define RATE_MS     500 /* over so long at least a rate is taken where the peer has none */
#define ADVICE_PASS 3   /* QEMU's figures say nothing of convergence before */

static bool is_postcopy(const struct figures *f)
{
	return !strncmp(f->status, "postcopy", 8);
}

static void take_phase(struct live *v, const struct figures *f)
{
	const char *p = *f->phase ? f->phase : f->status;

	if (!strcmp(p, "pass") || !strcmp(p, "active"))
		(void)snprintf(v->phase, sizeof(v->phase), "pass %u",
			       (unsigned)MIN(f->passes, 999999));
	else if (is_postcopy(f) && strcmp(f->status, "postcopy-active") != 0)
		(void)snprintf(v->phase, sizeof(v->phase), "%s", f->status);
	else if (!strcmp(p, "postcopy-active"))
		(void)snprintf(v->phase, sizeof(v->phase), "postcopy");
	else
		(void)snprintf(v->phase, sizeof(v->phase), "%s", p);
	for (char *c = v->phase; *c; c++)
		if (*c == '-')
			*c = ' ';
}

static void take_rate(struct live *v, const struct figures *f, uint64_t now_ms)
{
	if (f->mbps > 0 && f->mbps < 1e9)
		v->rate = (uint64_t)(f->mbps * 1e6 / 8);
	else if (v->last_ms && now_ms >= v->last_ms + RATE_MS && f->transferred >= v->last_bytes)
		v->rate = (f->transferred - v->last_bytes) * 1000 / (now_ms - v->last_ms);
	if (!v->last_ms || now_ms >= v->last_ms + RATE_MS) {
		v->last_ms = now_ms;
		v->last_bytes = f->transferred;
	}
	v->dirty = f->dirty_pages_rate < UINT64_MAX / (f->page_bytes ? f->page_bytes : 1)
		       ? f->dirty_pages_rate * f->page_bytes
		       : 0;
}

/* What minivmm says itself. */
static void take_own(struct live *v, const struct figures *f)
{
	v->percent = MAX(v->percent, MIN(f->percent, 100U));
	v->has_eta = f->has_eta;
	v->eta_ms = f->eta_ms;
	v->has_pause = true;
	v->pause_ms = f->predicted_ms;
	v->converges = f->converges;
	(void)snprintf(v->step, sizeof(v->step), "%s", f->has_step ? f->step : "");
}

/* What can be worked out of QEMU's. */
static void take_other(struct live *v, const struct figures *f)
{
	uint64_t left = MIN(f->remaining, f->total), part = 0;

	if (f->has_ram && f->total)
		part = 99 - (uint64_t)((double)left / (double)f->total * 99);
	v->percent = MAX(v->percent, (unsigned)MIN(part, 99U));
	v->has_pause = f->has_expected;
	v->pause_ms = f->expected_ms;
	v->converges = f->passes < ADVICE_PASS || v->rate > v->dirty || is_postcopy(f);
	v->has_eta = v->rate > v->dirty || (is_postcopy(f) && v->rate);
	if (v->has_eta)
		v->eta_ms = (uint64_t)((double)left * 1000 /
				       (double)(is_postcopy(f) ? v->rate : v->rate - v->dirty));
	v->step[0] = '\0';
	if (!v->converges && f->has_throttle)
		(void)snprintf(v->step, sizeof(v->step), "throttled by %u %%, wait",
			       f->throttle_percent);
	else if (!v->converges)
		(void)snprintf(v->step, sizeof(v->step),
			       "try auto-converge, postcopy or a longer pause");
}

void live_take(struct live *v, const struct figures *f, uint64_t now_ms)
{
	v->silent_ms = 0;
	take_phase(v, f);
	take_rate(v, f, now_ms);
	if (f->has_progress)
		take_own(v, f);
	else
		take_other(v, f);
	if (!strcmp(f->status, "completed"))
		v->percent = 100;
}

static void add(char *out, size_t n, unsigned columns, const char *text)
{
	size_t at = strlen(out);
	const char *gap = at ? "  " : "";

	if (at + strlen(gap) + strlen(text) < columns && at + strlen(gap) + strlen(text) < n)
		(void)snprintf(out + at, n - at, "%s%s", gap, text);
}

void live_line(const struct live *v, char *out, size_t n, unsigned columns)
{
	char text[256], number[SAY_BYTES];

	out[0] = '\0';
	if (v->silent_ms) {
		(void)snprintf(text, sizeof(text), "no answer for %s",
			       say_ms(number, v->silent_ms));
		add(out, n, columns, text);
	}
	add(out, n, columns, *v->phase ? v->phase : "begins");
	(void)snprintf(text, sizeof(text), "%u %%", v->percent);
	add(out, n, columns, text);
	if (v->rate)
		add(out, n, columns, say_rate(number, v->rate));
	if (v->dirty) {
		(void)snprintf(text, sizeof(text), "dirtied %s", say_rate(number, v->dirty));
		add(out, n, columns, text);
	}
	if (v->has_pause) {
		(void)snprintf(text, sizeof(text), "pause %s", say_ms(number, v->pause_ms));
		add(out, n, columns, text);
	}
	if (v->converges && v->has_eta) {
		(void)snprintf(text, sizeof(text), "%s left", say_ms(number, v->eta_ms));
		add(out, n, columns, text);
	} else if (!v->converges) {
		add(out, n, columns, "does not converge");
		add(out, n, columns, v->step);
	}
	(void)say_clean(out);
}
