/*
 * passes.c - sending RAM while the guest runs, and when to stop it
 *
 * PART records, each for at most 50 ms or what the bandwidth limit allows in
 * 100 ms.  When what is left could be sent within the downtime limit, the
 * tracker is asked again.  If that still holds the guest may be stopped; but
 * the limit is the longest pause that is allowed and not the one to aim at: as
 * long as another pass leaves much less, it is made.
 */
#include <errno.h>
#include <poll.h>

#include "migration/internal.h"
#include "migration/stream/stream.h"
#include "vmm/base/units.h"
#include "vmm/base/wake.h"
#include "vmm/machine.h"
#include "vmm/vclock.h"

#define NS_PER_MS ((int64_t)1000000)
#define SLICE_NS  (50 * NS_PER_MS)
#define WINDOW_NS (100 * NS_PER_MS) /* of the bandwidth limit */
#define WINDOWS   10U               /* in a second */
#define SHORT_MS  2U                /* a pause that need not become shorter */

int outgoing_sleep(struct outgoing *o, int64_t until_ns, struct err *err)
{
	struct pollfd p[2] = {
	    {.fd = o->deadline.stop_fd, .events = POLLIN},
	    {.fd = o->kick_fd,          .events = POLLIN},
	};
	int64_t left = until_ns - host_now_ns();

	if (left > 0)
		(void)poll(p, 2, (int)((left + NS_PER_MS - 1) / NS_PER_MS));
	if (p[0].revents)
		return err_set(err, ECANCELED, "the migration was cancelled");
	if (p[1].revents)
		wake_clear(o->kick_fd);
	return 0;
}

void outgoing_count(struct outgoing *o, uint64_t bytes, const struct ram_counters *before)
{
	outgoing_count_channels(o);
	stats_encoders(&o->stats, &o->ram.stream.count);
	stats_sent(
	    &o->stats, o->w->bytes - bytes, o->ram.stream.count.duplicate - before->duplicate,
	    o->ram.stream.count.normal - before->normal, ram_save_left_pages(&o->ram) * PAGE_BYTES);
}

int outgoing_sync(struct outgoing *o, struct err *err)
{
	uint64_t added = 0;
	int ret = ram_save_sync(&o->ram, &added, err);

	if (ret < 0)
		return ret;
	stats_pass(&o->stats, added, ram_save_left_pages(&o->ram) * PAGE_BYTES);
	slowdown_sync(o, added);
	publish_pass(o->mg, o->ram.stream.passes);
	return 0;
}

/* Bytes that may go out in one window; 0: any number. */
static uint64_t window_limit(const struct outgoing *o)
{
	uint64_t limit = __atomic_load_n(&o->mg->max_bandwidth, __ATOMIC_RELAXED);

	return limit ? MAX(limit / WINDOWS, 1) : 0;
}

static bool window_full(const struct outgoing *o)
{
	uint64_t limit = window_limit(o);

	return limit && outgoing_bytes(o) - o->window_bytes >= limit;
}

static bool slice_goes_on(void *opaque)
{
	struct outgoing *o = opaque;

	return !window_full(o) && host_now_ns() - o->slice_ns < SLICE_NS &&
	       !deadline_forces(&o->deadline);
}

/* A new window; what was sent beyond the limit in the old one counts in this one. */
static void next_window(struct outgoing *o)
{
	uint64_t sent = outgoing_bytes(o) - o->window_bytes, limit = window_limit(o);

	o->window_ns = host_now_ns();
	o->window_bytes += limit ? MIN(sent, limit) : sent;
}

/* Hold back until the limit allows more; a changed limit counts at once. */
static int obey_limit(struct outgoing *o, struct err *err)
{
	int64_t since = host_now_ns();
	int ret = 0;

	while (ret == 0 && window_full(o) && !deadline_forces(&o->deadline)) {
		ret = outgoing_sleep(o, o->window_ns + WINDOW_NS, err);
		if (host_now_ns() >= o->window_ns + WINDOW_NS)
			next_window(o);
		if (ret == 0)
			ret = outgoing_listen(o, err);
	}
	if (host_now_ns() >= o->window_ns + WINDOW_NS)
		next_window(o);
	stats_held(&o->stats, host_now_ns() - since);
	return ret;
}

/* So few that the limit is not overrun by much more than a page. */
static uint64_t pages_at_once(const struct outgoing *o)
{
	uint64_t limit = window_limit(o) / PAGE_BYTES;

	return limit ? MAX(MIN(limit / 8, RAM_RUN_PAGES), 1) : RAM_RUN_PAGES;
}

static int slice(struct outgoing *o, struct err *err)
{
	struct ram_counters before = o->ram.stream.count;
	uint64_t bytes = o->w->bytes;
	int ret;

	o->slice_ns = host_now_ns();
	o->ram.run_limit = pages_at_once(o);
	ret = ram_save_record(&o->ram, TAG_PART, slice_goes_on, o);
	outgoing_count(o, bytes, &before);
	return ret < 0 ? writer_explain(o->w, ret, err) : obey_limit(o, err);
}

/*
 * Bytes that can be sent within the downtime limit.  The switchover itself is
 * not held back, but a limited migration has only shown what the limit allows.
 */
static uint64_t threshold(struct outgoing *o)
{
	uint64_t ms = __atomic_load_n(&o->mg->downtime_limit_ms, __ATOMIC_RELAXED);
	uint64_t limit = __atomic_load_n(&o->mg->max_bandwidth, __ATOMIC_RELAXED);
	uint64_t rate = stats_bandwidth(&o->stats);

	return (uint64_t)((double)(limit ? MIN(rate, limit) : rate) * (double)ms / 1000);
}

static bool fits(struct outgoing *o)
{
	return ram_save_left_pages(&o->ram) * PAGE_BYTES <= threshold(o) ||
	       deadline_forces(&o->deadline);
}

static bool guest_runs(struct outgoing *o)
{
	bool runs;

	machine_lock(o->mg->m);
	runs = machine_running(o->mg->m);
	machine_unlock(o->mg->m);
	return runs;
}

/*
 * What is left fits the limit.  Would a pass more leave less than half of it?
 * *before: what was left when the answer was yes the last time, 0: never.
 */
static bool can_shrink(struct outgoing *o, uint64_t *before)
{
	uint64_t left = ram_save_left_pages(&o->ram) * PAGE_BYTES,
		 rate = stats_bandwidth(&o->stats);
	double seconds = rate ? (double)left / (double)rate : 0;
	double residue = (double)stats_dirty_rate(&o->stats) * seconds;
	bool better = (!*before || left <= *before / 2) && residue <= (double)left / 2;

	*before = left;
	return better && seconds * 1000 > SHORT_MS && !deadline_forces(&o->deadline) &&
	       guest_runs(o);
}

int outgoing_passes(struct outgoing *o, struct err *err)
{
	uint64_t before = 0;
	bool whole = false; /* all that is left goes before the tracker is asked again */
	int ret = 0;

	o->window_ns = host_now_ns();
	o->window_bytes = outgoing_bytes(o);
	while (ret == 0) {
		ret = outgoing_listen(o, err);
		whole = whole && ram_save_left_pages(&o->ram) && !deadline_forces(&o->deadline);
		if (ret == 0 && !whole && fits(o)) {
			ret = outgoing_sync(o, err);
			if (ret < 0)
				break;
			if (!fits(o))
				before = 0;
			else if (can_shrink(o, &before))
				whole = true;
			else
				break;
		}
		if (ret == 0)
			ret = slice(o, err);
	}
	return ret;
}
