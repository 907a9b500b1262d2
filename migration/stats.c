#include "migration/stats.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

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

static void enter(struct migration_stats *st)
{
	pthread_mutex_lock(&st->lock);
}

static void leave(struct migration_stats *st)
{
	pthread_mutex_unlock(&st->lock);
}

void stats_start(struct migration_stats *st, uint64_t total_bytes, uint64_t limit_ms)
{
	enter(st);
	st->started_ns = host_now_ns();
	st->active_ns = st->stopped_ns = st->ended_ns = 0;
	st->ram = (struct migration_ram_stats){
	    .total = total_bytes,
	    .remaining = total_bytes,
	    .page_size = PAGE_BYTES,
	};
	st->encoders = (struct encoder_stats){0};
	st->window_bytes = st->window_pages = st->bandwidth = 0;
	st->window_ns = st->pass_ns = st->started_ns;
	st->limit_ms = limit_ms;
	st->percent = 0;
	st->converges = true;
	leave(st);
}

void stats_limit(struct migration_stats *st, uint64_t limit_ms)
{
	enter(st);
	st->limit_ms = limit_ms;
	leave(st);
}

void stats_active(struct migration_stats *st)
{
	enter(st);
	st->active_ns = st->window_ns = st->pass_ns = host_now_ns();
	st->active_bytes = st->ram.transferred;
	leave(st);
}

void stats_stopped(struct migration_stats *st, int64_t at_ns)
{
	enter(st);
	st->stopped_ns = at_ns;
	leave(st);
}

void stats_running(struct migration_stats *st, bool running)
{
	enter(st);
	st->running = running;
	leave(st);
}

void stats_ended(struct migration_stats *st)
{
	int64_t ns;

	enter(st);
	st->ended_ns = host_now_ns();
	ns = MAX(st->ended_ns - st->active_ns, 1);
	st->ram.mbps = (double)st->ram.transferred * 8000 / (double)ns;
	st->ram.remaining = 0;
	st->ram.dirty_pages_rate = 0;
	st->percent = 100;
	leave(st);
}

static uint64_t per_second(uint64_t n, int64_t ns)
{
	return (uint64_t)((double)n * NS_PER_S / (double)MAX(ns, 1));
}

/* Percent only grows: a pass that finds new dirty pages does not take back what is done. */
static void move_percent(struct migration_stats *st)
{
	uint64_t done = st->ram.total - MIN(st->ram.remaining, st->ram.total);
	unsigned percent = st->ram.total ? (unsigned)(done * 99 / st->ram.total) : 0;

	st->percent = MAX(st->percent, percent);
}

void stats_sent(struct migration_stats *st, uint64_t bytes, uint64_t zero_pages,
		uint64_t plain_pages, uint64_t remaining_bytes)
{
	int64_t now = host_now_ns(), elapsed;

	enter(st);
	st->ram.transferred += bytes;
	if (st->running)
		st->ram.precopy_bytes += bytes;
	else
		st->ram.downtime_bytes += bytes;
	st->ram.duplicate += zero_pages;
	st->ram.normal += plain_pages;
	st->ram.normal_bytes = st->ram.normal * PAGE_BYTES;
	st->ram.remaining = remaining_bytes;
	st->window_bytes += bytes;
	st->window_pages += zero_pages + plain_pages;
	elapsed = now - st->window_ns;
	if (elapsed >= WINDOW_NS) {
		st->bandwidth = per_second(st->window_bytes, elapsed);
		st->ram.mbps = (double)st->window_bytes * 8000 / (double)elapsed;
		st->ram.pages_per_second = per_second(st->window_pages, elapsed);
		st->window_ns = now;
		st->window_bytes = st->window_pages = 0;
	}
	move_percent(st);
	leave(st);
}

void stats_multifd(struct migration_stats *st, uint64_t bytes, uint64_t copied_rounds)
{
	enter(st);
	st->ram.transferred += bytes;
	st->ram.multifd_bytes += bytes;
	st->ram.dirty_sync_missed_zero_copy = copied_rounds;
	st->window_bytes += bytes;
	leave(st);
}

void stats_encoders(struct migration_stats *st, const struct ram_counters *c)
{
	enter(st);
	st->window_pages += encoder_stats_count(&st->encoders, c);
	st->ram.skipped = c->skipped;
	leave(st);
}

void stats_pass(struct migration_stats *st, uint64_t dirtied_pages, uint64_t remaining_bytes)
{
	int64_t now = host_now_ns();

	enter(st);
	/* Between two passes in quick succession there is nothing to measure. */
	if (st->ram.dirty_sync_count && now - st->pass_ns >= WINDOW_NS / 10) {
		st->ram.dirty_pages_rate = per_second(dirtied_pages, now - st->pass_ns);
		st->converges =
		    !st->bandwidth || st->ram.dirty_pages_rate * PAGE_BYTES < st->bandwidth;
	}
	encoder_stats_pass(&st->encoders);
	st->pass_ns = now;
	st->ram.dirty_sync_count++;
	st->ram.remaining = remaining_bytes;
	move_percent(st);
	leave(st);
}

static uint64_t bandwidth_now(const struct migration_stats *st)
{
	if (st->bandwidth || !st->active_ns)
		return st->bandwidth;
	/* The list of blocks, a moment ago, says nothing about the channel. */
	return per_second(st->ram.transferred - st->active_bytes, host_now_ns() - st->active_ns);
}

uint64_t stats_bandwidth(struct migration_stats *st)
{
	uint64_t v;

	enter(st);
	v = bandwidth_now(st);
	leave(st);
	return v;
}

uint64_t stats_transferred(struct migration_stats *st)
{
	uint64_t v;

	enter(st);
	v = st->ram.transferred;
	leave(st);
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
	info->downtime_ms = st->stopped_ns ? ms_between(st->stopped_ns, st->ended_ns) : 0;
	info->expected_downtime_ms = info->predicted_downtime_ms;
}

/* What is left once the rest of this pass is sent, at the measured rates. */
static void predict(const struct migration_stats *st, struct migration_info *info)
{
	double bandwidth = (double)bandwidth_now(st), left = (double)st->ram.remaining;
	double dirty = (double)st->ram.dirty_pages_rate * PAGE_BYTES;

	info->predicted_downtime_ms = st->limit_ms;
	if (bandwidth <= 0)
		return;
	if (st->ram.dirty_sync_count > 1) /* a pass ago: what came in while it was sent */
		info->predicted_downtime_ms =
		    (uint64_t)(MIN(dirty * (left / bandwidth) + dirty * 0.01, left) * 1000 /
			       bandwidth);
	if (st->converges && bandwidth > dirty)
		info->eta_ms = (uint64_t)(left * 1000 / (bandwidth - dirty));
}

static void advise(const struct migration_stats *st, struct migration_info *info)
{
	uint64_t dirty = st->ram.dirty_pages_rate * PAGE_BYTES;
	uint64_t bandwidth = bandwidth_now(st);

	if (st->converges || !bandwidth || st->stopped_ns)
		return;
	(void)snprintf(info->advice, sizeof(info->advice),
		       "the guest writes %" PRIu64 " MB/s and the channel carries %" PRIu64
		       " MB/s: raise 'max-bandwidth' above the former, or 'downtime-limit' to "
		       "%" PRIu64 " ms, or stop the guest",
		       dirty / 1000000, bandwidth / 1000000,
		       (uint64_t)((double)st->ram.remaining * 1000 / (double)bandwidth) + 1);
}

void stats_fill(struct migration_stats *st, struct migration_info *info)
{
	enum migration_status s = info->status;

	if (s == MIG_NONE)
		return;
	enter(st);
	info->has_progress = true;
	info->percent = s == MIG_COMPLETED ? 100 : MIN(st->percent, 99);
	info->converges = st->converges;
	if (s == MIG_ACTIVE || s == MIG_CANCELLING || s == MIG_PRE_SWITCHOVER || s == MIG_DEVICE) {
		predict(st, info);
		advise(st, info);
		fill_times(st, info);
		info->has_expected = info->has_ram = true;
	} else if (s == MIG_COMPLETED) {
		fill_times(st, info);
		info->has_downtime = info->has_ram = true;
	}
	info->ram = st->ram;
	encoder_stats_fill(&st->encoders, info);
	leave(st);
}
