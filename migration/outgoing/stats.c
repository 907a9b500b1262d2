/*
 * stats.c - what is measured of one outgoing migration
 *
 * The migration thread counts, queries read, both under 'lock'.  The bandwidth
 * and the pages a second that a query shows are those of the last full window of
 * WINDOW_NS.  What the forecast works with spans whole passes instead: the rate
 * at which pages are sent (page-rate.c), the dirty rate, and whether the bandwidth
 * limit held the pass back.  Percent comes from forecast.c and never goes down.
 * Bytes count as precopy or downtime bytes by whether the guest runs.
 */
#include "migration/outgoing/stats.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "migration/outgoing/forecast.h"
#include "migration/settings/status.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"
#include "vmm/vclock.h"

#define NS_PER_MS 1000000
#define NS_PER_S  1000000000
#define WINDOW_NS (100 * (int64_t)NS_PER_MS)

void stats_init(struct migration_stats *st)
{
	*st = (struct migration_stats){0};
	pthread_mutex_init(&st->lock, NULL);
}

void stats_fini(struct migration_stats *st)
{
	pthread_mutex_destroy(&st->lock);
}

static void stats_lock(struct migration_stats *st)
{
	pthread_mutex_lock(&st->lock);
}

static void stats_unlock(struct migration_stats *st)
{
	pthread_mutex_unlock(&st->lock);
}

static uint64_t per_second(uint64_t n, int64_t ns)
{
	return (uint64_t)((double)n * NS_PER_S / (double)MAX(ns, 1));
}

static uint64_t bandwidth_now(const struct migration_stats *st)
{
	if (st->bandwidth || !st->active_ns)
		return st->bandwidth;
	/* The list of blocks, a moment ago, says nothing about the channel. */
	return per_second(st->ram.transferred - st->active_bytes, host_now_ns() - st->active_ns);
}

/* What has been measured. */
static void fill_figures(const struct migration_stats *st, struct forecast_figures *f)
{
	f->phase = st->phase;
	f->passes = st->ram.dirty_sync_count;
	f->total = st->ram.total;
	f->skipped = st->ram.skipped * PAGE_BYTES;
	f->remaining = st->ram.remaining;
	f->pass_bytes = st->pass_bytes;
	f->dirty = st->ram.dirty_pages_rate * PAGE_BYTES;
	f->speed = page_rate_under(&st->rate, f->max_bandwidth) * PAGE_BYTES;
	f->wire = bandwidth_now(st);
	f->page_bytes = st->rate.bytes_per_page;
	f->shrinks = st->shrinks;
	f->held = st->held;
	f->limit_ms = st->limit_ms;
}

/* Percent only grows: a pass that finds new dirty pages does not take back what is done. */
static void move_percent(struct migration_stats *st)
{
	struct forecast_figures f = {0};

	fill_figures(st, &f);
	st->percent = MAX(st->percent, forecast_percent(&f));
}

void stats_start(struct migration_stats *st, uint64_t total_bytes, uint64_t limit_ms)
{
	stats_lock(st);
	st->started_ns = host_now_ns();
	st->active_ns = st->stopped_ns = st->resumed_ns = st->ended_ns = 0;
	st->ram = (struct migration_ram_stats){
	    .total = total_bytes,
	    .remaining = total_bytes,
	    .page_size = PAGE_BYTES,
	};
	st->encoders = (struct encoder_stats){0};
	st->window_bytes = st->window_pages = st->bandwidth = st->pages = 0;
	st->rate = (struct page_rate){0};
	st->predicted = false;
	st->pass_pages = 0;
	st->pass_bytes = total_bytes;
	st->phase = MIG_PHASE_CONNECT;
	st->window_ns = st->pass_ns = st->started_ns;
	st->limit_ms = limit_ms;
	st->percent = 0;
	st->shrinks = true;
	st->held = false;
	st->held_ns = 0;
	st->postcopy = false;
	stats_unlock(st);
}

void stats_limit(struct migration_stats *st, uint64_t limit_ms)
{
	stats_lock(st);
	st->limit_ms = limit_ms;
	stats_unlock(st);
}

void stats_active(struct migration_stats *st)
{
	stats_lock(st);
	st->active_ns = st->window_ns = st->pass_ns = host_now_ns();
	st->active_bytes = st->ram.transferred;
	st->phase = MIG_PHASE_PASS;
	stats_unlock(st);
}

void stats_phase(struct migration_stats *st, enum migration_phase phase)
{
	stats_lock(st);
	st->phase = phase;
	st->predicted = st->predicted && phase != MIG_PHASE_PASS;
	move_percent(st);
	stats_unlock(st);
}

void stats_stopped(struct migration_stats *st, int64_t at_ns)
{
	stats_lock(st);
	st->stopped_ns = at_ns;
	stats_unlock(st);
}

void stats_resumed(struct migration_stats *st, int64_t at_ns)
{
	stats_lock(st);
	st->resumed_ns = at_ns;
	stats_unlock(st);
}

void stats_running(struct migration_stats *st, bool running)
{
	stats_lock(st);
	st->running = running;
	stats_unlock(st);
}

void stats_postcopy(struct migration_stats *st)
{
	stats_lock(st);
	st->postcopy = true;
	stats_unlock(st);
	stats_phase(st, MIG_PHASE_POSTCOPY);
}

void stats_request(struct migration_stats *st)
{
	stats_lock(st);
	st->ram.postcopy_requests++;
	stats_unlock(st);
}

void stats_ended(struct migration_stats *st)
{
	int64_t ns;

	stats_lock(st);
	st->ended_ns = host_now_ns();
	ns = MAX(st->ended_ns - st->active_ns, 1);
	st->ram.mbps = (double)st->ram.transferred * 8000 / (double)ns;
	st->ram.remaining = 0;
	st->ram.dirty_pages_rate = 0;
	st->percent = 100;
	st->phase = MIG_PHASE_ENDED;
	stats_unlock(st);
}

/* When the guest's pause ended; 'end': with the migration, as it seems. */
static int64_t pause_end(const struct migration_stats *st, int64_t end)
{
	return st->resumed_ns ? st->resumed_ns : end;
}

void stats_durations(struct migration_stats *st, int64_t *total_ns, int64_t *pause_ns)
{
	int64_t end;

	stats_lock(st);
	end = st->ended_ns ? st->ended_ns : host_now_ns();
	*total_ns = end - st->started_ns;
	*pause_ns = st->stopped_ns ? pause_end(st, end) - st->stopped_ns : 0;
	stats_unlock(st);
}

static void count_pages(struct migration_stats *st, uint64_t pages)
{
	st->pages += pages;
	st->window_pages += pages;
	st->pass_pages += pages;
}

void stats_sent(struct migration_stats *st, uint64_t bytes, uint64_t zero_pages,
		uint64_t plain_pages, uint64_t remaining_bytes)
{
	int64_t now = host_now_ns(), elapsed;

	stats_lock(st);
	st->ram.transferred += bytes;
	if (st->postcopy)
		st->ram.postcopy_bytes += bytes;
	else if (st->running)
		st->ram.precopy_bytes += bytes;
	else
		st->ram.downtime_bytes += bytes;
	st->ram.duplicate += zero_pages;
	st->ram.normal += plain_pages;
	st->ram.normal_bytes = st->ram.normal * PAGE_BYTES;
	st->ram.remaining = remaining_bytes;
	st->window_bytes += bytes;
	count_pages(st, zero_pages + plain_pages);
	elapsed = now - st->window_ns;
	if (elapsed >= WINDOW_NS) {
		st->bandwidth = per_second(st->window_bytes, elapsed);
		st->ram.mbps = (double)st->window_bytes * 8000 / (double)elapsed;
		st->ram.pages_per_second = per_second(st->window_pages, elapsed);
		st->window_ns = now;
		st->window_bytes = st->window_pages = 0;
	}
	move_percent(st);
	stats_unlock(st);
}

void stats_rate(struct migration_stats *st, const struct page_sum *sent)
{
	stats_lock(st);
	page_rate_sent(&st->rate, sent);
	stats_unlock(st);
}

void stats_held(struct migration_stats *st, int64_t ns)
{
	stats_lock(st);
	st->held_ns += ns;
	stats_unlock(st);
}

void stats_multifd(struct migration_stats *st, uint64_t bytes, uint64_t copied_rounds)
{
	stats_lock(st);
	st->ram.transferred += bytes;
	st->ram.multifd_bytes += bytes;
	st->ram.dirty_sync_missed_zero_copy = copied_rounds;
	st->window_bytes += bytes;
	stats_unlock(st);
}

void stats_encoders(struct migration_stats *st, const struct ram_counters *c)
{
	stats_lock(st);
	count_pages(st, encoder_stats_count(&st->encoders, c));
	st->ram.skipped = c->skipped;
	stats_unlock(st);
}

void stats_pass(struct migration_stats *st, uint64_t dirtied_pages, uint64_t remaining_bytes,
		bool whole)
{
	int64_t now = host_now_ns();

	stats_lock(st);
	/* Between two passes in quick succession there is nothing to measure. */
	if (st->ram.dirty_sync_count && now - st->pass_ns >= WINDOW_NS / 10) {
		st->ram.dirty_pages_rate = per_second(dirtied_pages, now - st->pass_ns);
		st->shrinks = forecast_shrinks(dirtied_pages, st->pass_pages);
		st->held = st->held_ns > (now - st->pass_ns) / 5;
	}
	st->held_ns = 0;
	page_rate_pass(&st->rate, st->ram.dirty_sync_count <= 1, whole);
	encoder_stats_pass(&st->encoders);
	st->pass_pages = 0;
	st->pass_bytes = remaining_bytes;
	st->pass_ns = now;
	st->ram.dirty_sync_count++;
	st->ram.remaining = remaining_bytes;
	move_percent(st);
	stats_unlock(st);
}

void stats_predict(struct migration_stats *st, uint64_t ms)
{
	stats_lock(st);
	st->predicted = true;
	st->predicted_ms = ms;
	stats_unlock(st);
}

uint64_t stats_page_rate(struct migration_stats *st, uint64_t limit)
{
	uint64_t v;

	stats_lock(st);
	v = page_rate_under(&st->rate, limit);
	stats_unlock(st);
	return v;
}

uint64_t stats_bandwidth(struct migration_stats *st)
{
	uint64_t v;

	stats_lock(st);
	v = bandwidth_now(st);
	stats_unlock(st);
	return v;
}

uint64_t stats_dirty_rate(struct migration_stats *st)
{
	uint64_t v;

	stats_lock(st);
	v = st->ram.dirty_pages_rate;
	stats_unlock(st);
	return v;
}

uint64_t stats_pages(struct migration_stats *st)
{
	uint64_t v;

	stats_lock(st);
	v = st->pages;
	stats_unlock(st);
	return v;
}

/* ---- query ---- */

static uint64_t ms_between(int64_t from, int64_t to)
{
	return to > from ? (uint64_t)(to - from) / NS_PER_MS : 0;
}

static void fill_times(const struct migration_stats *st, struct migration_info *info)
{
	int64_t now = host_now_ns();

	info->has_times = info->has_setup = true;
	info->total_time_ms = ms_between(st->started_ns, st->ended_ns ? st->ended_ns : now);
	info->setup_time_ms = ms_between(st->started_ns, st->active_ns ? st->active_ns : now);
	info->downtime_ms =
	    st->stopped_ns ? ms_between(st->stopped_ns, pause_end(st, st->ended_ns)) : 0;
	info->expected_downtime_ms = info->predicted_downtime_ms;
}

static void fill_forecast(const struct migration_stats *st, const struct forecast_figures *f,
			  struct migration_info *info)
{
	info->converges = forecast_converges(f);
	info->predicted_downtime_ms = st->predicted ? st->predicted_ms : forecast_downtime_ms(f);
	info->has_eta = forecast_eta_ms(f, &info->eta_ms);
	info->has_step = forecast_step(f, &info->step);
}

void stats_fill(struct migration_stats *st, struct forecast_figures *f, struct migration_info *info)
{
	enum migration_status s = info->status;

	if (s == MIG_NONE)
		return;
	stats_lock(st);
	info->has_progress = true;
	info->percent = s == MIG_COMPLETED ? 100 : MIN(st->percent, 99);
	fill_figures(st, f);
	info->phase = st->phase;
	fill_forecast(st, f, info);
	if (s == MIG_ACTIVE || s == MIG_CANCELLING || s == MIG_PRE_SWITCHOVER || s == MIG_DEVICE ||
	    status_is_postcopy(s)) {
		fill_times(st, info);
		info->has_expected = info->has_ram = true;
	} else if (s == MIG_COMPLETED) {
		fill_times(st, info);
		info->has_downtime = info->has_ram = true;
	}
	info->ram = st->ram;
	encoder_stats_fill(&st->encoders, info);
	stats_unlock(st);
}

static const char *const moments[] = {
    [MIG_PHASE_CONNECT] = "before there was a connection",
    [MIG_PHASE_SETUP] = "before the destination was ready for the guest's memory",
    [MIG_PHASE_PAUSE] = "while 'migrate-continue' was awaited",
    [MIG_PHASE_SWITCHOVER] = "while the last pages were sent",
    [MIG_PHASE_DEVICES] = "while the devices were sent",
    [MIG_PHASE_HAND_OVER] = "before the destination took the guest",
    [MIG_PHASE_POSTCOPY] = "in postcopy",
    [MIG_PHASE_ENDED] = "at the end",
};

int stats_err_late(struct migration_stats *st, uint32_t seconds, struct err *err)
{
	struct forecast_figures f = {0};

	stats_lock(st);
	fill_figures(st, &f);
	stats_unlock(st);
	if (f.phase != MIG_PHASE_PASS)
		return err_set(err, ETIMEDOUT,
			       "the deadline of %u s (x-minivmm-deadline) has passed %s; the guest "
			       "goes on here",
			       seconds, moments[f.phase]);
	return err_set(err, ETIMEDOUT,
		       "the deadline of %u s (x-minivmm-deadline) has passed in pass %" PRIu64
		       ": the guest writes %.1f MB/s, %.1f MB/s of its memory are sent, and %.1f "
		       "MB are left; the guest goes on here",
		       seconds, f.passes, (double)f.dirty / 1e6, (double)f.speed / 1e6,
		       (double)f.remaining / 1e6);
}
