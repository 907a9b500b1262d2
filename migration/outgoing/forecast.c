/*
 * forecast.c - percent, remaining time, and the cheapest step that makes a migration converge
 *
 * A migration converges when a pass leaves less than 95 % of what it sent, or when
 * what it leaves can be sent within the downtime limit.  Passes of a guest that
 * dirties memory at a constant rate form a geometric series whose ratio is the
 * dirty rate over the speed; the remaining time is what is left of this pass plus
 * the sum of that series.  All rates are bytes of memory, however they are encoded.
 *
 * For a migration that does not converge each possible step (a higher bandwidth
 * limit, a longer downtime, throttling, another encoder, multifd, postcopy, a stop) is
 * weighed with the measured rates: is it possible, does it suffice, and how much
 * guest time does it cost?  A pause counts three times its length.  The cheapest
 * step is reported; of two that cost the same, the first row of the table.
 */
#include "migration/outgoing/forecast.h"

#include <inttypes.h>
#include <stdio.h>

#include "vmm/base/units.h"

#define MAX_LIMIT_MS 2000000U /* of downtime-limit */
#define STOP_S       0.001    /* from the last look at the tracker until the guest stands */
#define STEP_MS      600U     /* auto-converge takes the next step at most that often */
/* A guest that stands still loses more than its time: its clients wait. */
#define PAUSE_WEIGHT 3U
#define SLOW_LINK    100000000U
#define SWITCH_MS    20U        /* of the guest, until it runs at the destination of a postcopy */
#define FAULT_MS     0.5        /* until a page is there that the guest waits for */
#define FAST_LINK    400000000U /* where one connection keeps one CPU busy */

/* ---- where it stands ---- */

bool forecast_shrinks(uint64_t dirtied_pages, uint64_t sent_pages)
{
	return dirtied_pages * 100 < sent_pages * 95;
}

static uint64_t ms_for(uint64_t bytes, uint64_t rate)
{
	return rate ? (uint64_t)((double)bytes * 1000 / (double)rate) : 0;
}

/* Bytes that will be dirty when this pass has been sent. */
static uint64_t residue(const struct forecast_figures *f)
{
	double left;

	if (f->phase != MIG_PHASE_PASS)
		return f->remaining;
	if (!f->speed)
		return f->pass_bytes;
	left = (double)f->dirty * ((double)f->pass_bytes / (double)f->speed + STOP_S);
	return left < (double)f->total ? (uint64_t)left : f->total;
}

/* Is there a pass behind it, in which the guest could be watched? */
static bool watched(const struct forecast_figures *f)
{
	return f->passes > 1 && f->speed;
}

/* Bytes of memory/s once the guest stands still. */
static uint64_t last_speed(const struct forecast_figures *f)
{
	return f->switchover ? f->switchover : f->speed;
}

uint64_t forecast_downtime_ms(const struct forecast_figures *f)
{
	return watched(f) ? ms_for(residue(f), last_speed(f)) : f->limit_ms;
}

bool forecast_converges(const struct forecast_figures *f)
{
	return !watched(f) || f->shrinks || forecast_downtime_ms(f) <= f->limit_ms;
}

bool forecast_eta_ms(const struct forecast_figures *f, uint64_t *ms)
{
	uint64_t left = residue(f);

	if (!f->speed || f->phase < MIG_PHASE_PASS || f->phase == MIG_PHASE_ENDED ||
	    !forecast_converges(f))
		return false;
	*ms = ms_for(f->remaining, f->speed);
	if (f->phase != MIG_PHASE_PASS || f->passes < 2)
		return true;
	*ms += ms_for(left, f->speed > f->dirty ? f->speed - f->dirty : f->speed);
	return true;
}

/*
 * The first pass is most of the way.  After it, how near what is left has come
 * to what the downtime limit allows; then the steps of the hand-over.
 */
unsigned forecast_percent(const struct forecast_figures *f)
{
	uint64_t fits = (uint64_t)((double)last_speed(f) * (double)f->limit_ms / 1000);
	uint64_t all = f->total - MIN(f->skipped, f->total);
	uint64_t done = all - MIN(f->remaining, all);

	switch (f->phase) {
	case MIG_PHASE_CONNECT:
	case MIG_PHASE_SETUP:
		return 0;
	case MIG_PHASE_PASS:
		if (f->passes < 2)
			return all ? (unsigned)(done * 90 / all) : 90;
		return 90 + (unsigned)(5 * MIN(fits, f->pass_bytes) / MAX(f->pass_bytes, 1));
	case MIG_PHASE_PAUSE:
		return 96;
	case MIG_PHASE_SWITCHOVER:
		return 97;
	case MIG_PHASE_DEVICES:
		return 98;
	case MIG_PHASE_POSTCOPY:
		return all ? 90 + (unsigned)(done * 9 / all) : 99;
	case MIG_PHASE_HAND_OVER:
		return 99;
	case MIG_PHASE_ENDED: /* it stays where it was; 100 is for the completed one */
	default:
		return 0;
	}
}

/* ---- what would help ---- */

#define MB(bytes) ((double)(bytes) / 1e6)

static bool held(const struct forecast_figures *f)
{
	return f->held && f->max_bandwidth;
}

/* The guest does not notice. */
static bool weigh_bandwidth(const struct forecast_figures *f, struct migration_step *s)
{
	uint64_t twice = f->max_bandwidth > UINT64_MAX / 2 ? UINT64_MAX : f->max_bandwidth * 2;
	double shrunk = f->page_bytes > 0 ? f->page_bytes / PAGE_BYTES : 1;
	double dirty = (double)f->dirty * shrunk * 1.25;
	double fit = f->limit_ms ? (double)residue(f) * shrunk * 1100 / (double)f->limit_ms : 1e19;
	uint64_t want = dirty > (double)twice ? (uint64_t)MIN(dirty, 1e19) : twice;

	if (!held(f))
		return false;
	if (fit < (double)want)
		want = MAX((uint64_t)fit, f->max_bandwidth + f->max_bandwidth / 4);
	s->value = want < UINT64_MAX - MiB ? ALIGN_UP(want, MiB) : UINT64_MAX;
	(void)snprintf(s->text, sizeof(s->text),
		       "raise 'max-bandwidth' to %" PRIu64 ": the limit holds the channel at "
		       "%.1f MB/s, which is %.1f MB/s of memory, and the guest writes %.1f MB/s",
		       s->value, MB(f->wire), MB(f->speed), MB(f->dirty));
	return true;
}

/* How much of the vCPUs' time has to be taken away, so that the tolerated share becomes dirty. */
static unsigned throttle_needed(const struct forecast_figures *f)
{
	double tolerated = (double)f->speed * f->throttle_trigger / 100;
	double left = (100 - f->throttle) * tolerated / (double)MAX(f->dirty, 1);

	return left >= 100 ? 0 : 100 - (unsigned)left;
}

/* The guest's time that goes until a throttle has come as far as that. */
static uint64_t throttle_cost(const struct forecast_figures *f, unsigned needed)
{
	unsigned first = MAX(f->throttle, f->throttle_initial);
	unsigned steps =
	    1 + (needed > first ? (needed - first) / MAX(f->throttle_increment, 1) + 1 : 0);
	uint64_t ms = (uint64_t)steps * STEP_MS + 2 * ms_for(f->pass_bytes, f->speed);

	return ms * MAX(needed, first) / 100;
}

/* It is being slowed down already, and may be slowed down further. */
static bool weigh_wait(const struct forecast_figures *f, struct migration_step *s)
{
	unsigned needed = throttle_needed(f);

	if (!f->throttles ||
	    (f->throttle && (f->throttle >= f->throttle_max || needed > f->throttle_max)))
		return false;
	s->cost_ms = throttle_cost(f, needed);
	(void)snprintf(s->text, sizeof(s->text),
		       "wait: the guest is being slowed down until it converges");
	return true;
}

static bool weigh_downtime(const struct forecast_figures *f, struct migration_step *s)
{
	uint64_t ms = ms_for(residue(f) + residue(f) / 4, last_speed(f));

	s->value = MAX(ALIGN_UP(ms + 1, 10), f->limit_ms + 10);
	s->cost_ms = PAUSE_WEIGHT * (s->value - f->limit_ms);
	(void)snprintf(s->text, sizeof(s->text),
		       "raise 'downtime-limit' to %" PRIu64 " ms: a pass leaves %" PRIu64
		       " KB, and %.1f MB/s of memory are sent",
		       s->value, residue(f) / 1000, MB(last_speed(f)));
	return s->value <= MAX_LIMIT_MS;
}

static bool weigh_dirty_limit(const struct forecast_figures *f, struct migration_step *s)
{
	s->value = f->speed / 2 / MAX(f->vcpus, 1) / MiB;
	s->cost_ms = throttle_cost(f, throttle_needed(f));
	(void)snprintf(s->text, sizeof(s->text),
		       "'set-vcpu-dirty-limit' with dirty-rate %" PRIu64
		       ": the guest writes %.1f MB/s, and %.1f MB/s are sent",
		       s->value, MB(f->dirty), MB(f->speed));
	return f->ring && !f->throttles && s->value > 0;
}

/* To start over costs the guest nothing at once, but the time and the channel. */
static uint64_t start_over(const struct forecast_figures *f)
{
	return f->elapsed_ms / 10 + 1000;
}

static bool weigh_auto_converge(const struct forecast_figures *f, struct migration_step *s)
{
	unsigned needed = throttle_needed(f);

	s->cost_ms = start_over(f) + throttle_cost(f, needed);
	(void)snprintf(s->text, sizeof(s->text),
		       "cancel, switch 'auto-converge' on, and migrate again: about %u %% of the "
		       "vCPUs' time have to be taken away",
		       needed);
	return !f->throttles && needed <= f->throttle_max;
}

static bool weigh_compress(const struct forecast_figures *f, struct migration_step *s)
{
	s->cost_ms = start_over(f);
	(void)snprintf(s->text, sizeof(s->text),
		       "cancel, switch 'compress' on, and migrate again: the channel carries only "
		       "%.1f MB/s",
		       MB(f->wire));
	return !f->coded && !f->multifd && f->wire < SLOW_LINK && !held(f);
}

static bool weigh_multifd_compression(const struct forecast_figures *f, struct migration_step *s)
{
	s->cost_ms = start_over(f);
	(void)snprintf(s->text, sizeof(s->text),
		       "cancel, set 'multifd-compression', and migrate again: the channels carry "
		       "only %.1f MB/s",
		       MB(f->wire));
	return !f->coded && f->multifd && f->wire < SLOW_LINK && !held(f);
}

static bool weigh_multifd(const struct forecast_figures *f, struct migration_step *s)
{
	s->value = f->multifd_channels;
	s->cost_ms = start_over(f);
	(void)snprintf(s->text, sizeof(s->text),
		       "cancel, switch 'multifd' on, and migrate again: one connection carries "
		       "%.1f MB/s",
		       MB(f->wire));
	return !f->multifd && !f->coded && f->multifd_possible && f->wire > FAST_LINK && !held(f);
}

/*
 * The pause for the devices, and waits for pages: those that the guest comes to while what is left
 * goes over, at a round trip each; at worst it waits all the time.
 */
static uint64_t postcopy_cost(const struct forecast_figures *f)
{
	uint64_t sent = f->total - MIN(f->remaining, f->total);
	uint64_t left = f->total - (sent > residue(f) ? sent - residue(f) : 0);
	uint64_t ms = ms_for(left, f->speed);
	double touched = MIN((double)f->dirty * (double)ms / 1000, (double)left);
	double waits_ms = touched / PAGE_BYTES * FAULT_MS;

	return PAUSE_WEIGHT * SWITCH_MS + (waits_ms < (double)ms ? (uint64_t)waits_ms : ms);
}

static bool weigh_postcopy(const struct forecast_figures *f, struct migration_step *s)
{
	s->cost_ms = postcopy_cost(f);
	(void)snprintf(s->text, sizeof(s->text),
		       "'migrate-start-postcopy': the guest runs on over there, and waits for "
		       "pages for about %" PRIu64 " ms; it needs both ends and the connection "
		       "until all are there",
		       s->cost_ms);
	return f->postcopy;
}

static bool weigh_postcopy_ram(const struct forecast_figures *f, struct migration_step *s)
{
	s->cost_ms = start_over(f) + postcopy_cost(f);
	(void)snprintf(s->text, sizeof(s->text),
		       "cancel, switch 'postcopy-ram' on at both ends, migrate again, and "
		       "'migrate-start-postcopy': the guest waits for pages for about %" PRIu64
		       " ms",
		       postcopy_cost(f));
	return !f->postcopy && f->postcopy_possible;
}

static bool weigh_stop(const struct forecast_figures *f, struct migration_step *s)
{
	uint64_t ms = ms_for(f->pass_bytes + residue(f), f->speed);

	s->cost_ms = PAUSE_WEIGHT * ms;
	(void)snprintf(s->text, sizeof(s->text),
		       "'stop' the guest: what is left takes about %" PRIu64 " ms then", ms);
	return true;
}

/* Of those that cost the same, the first. */
static const struct {
	enum migration_action action;
	bool has_value;
	bool (*weigh)(const struct forecast_figures *f, struct migration_step *s);
} steps[] = {
    {MIG_ACT_MAX_BANDWIDTH,       true,  weigh_bandwidth          },
    {MIG_ACT_WAIT,                false, weigh_wait               },
    {MIG_ACT_DOWNTIME_LIMIT,      true,  weigh_downtime           },
    {MIG_ACT_DIRTY_LIMIT,         true,  weigh_dirty_limit        },
    {MIG_ACT_COMPRESS,            false, weigh_compress           },
    {MIG_ACT_MULTIFD_COMPRESSION, false, weigh_multifd_compression},
    {MIG_ACT_MULTIFD,             true,  weigh_multifd            },
    {MIG_ACT_AUTO_CONVERGE,       false, weigh_auto_converge      },
    {MIG_ACT_POSTCOPY,            false, weigh_postcopy           },
    {MIG_ACT_POSTCOPY_RAM,        false, weigh_postcopy_ram       },
    {MIG_ACT_STOP,                false, weigh_stop               },
};

bool forecast_step(const struct forecast_figures *f, struct migration_step *step)
{
	bool any = false;

	if (f->phase != MIG_PHASE_PASS || !watched(f) || forecast_converges(f))
		return false;
	for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
		struct migration_step s = {.action = steps[i].action,
					   .has_value = steps[i].has_value};

		if (!steps[i].weigh(f, &s) || (any && s.cost_ms >= step->cost_ms))
			continue;
		*step = s;
		any = true;
	}
	return any;
}
