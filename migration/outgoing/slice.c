/*
 * slice.c - one PART record, as long as the limits allow
 *
 * A record holds pages for at most SLICE_NS, or what the bandwidth limit allows in a window of
 * WINDOW_NS: between two records the engine looks around.  Where a thread of
 * the guest waits for a page to be sent, no limit holds back.
 */
#include "migration/outgoing/outgoing.h"
#include "migration/outgoing/postcopy.h"
#include "migration/stream/wire.h"
#include "migration/stream/writer.h"
#include "vmm/base/probes.h"
#include "vmm/base/units.h"
#include "vmm/vclock.h"

#define NS_PER_MS ((int64_t)1000000)
#define SLICE_NS  (50 * NS_PER_MS)
#define WINDOW_NS (100 * NS_PER_MS) /* of the bandwidth limit */
#define WINDOWS   10U               /* in a second */

/* Bytes that may go out in one window; 0: any number. */
static uint64_t window_limit(const struct outgoing *o)
{
	uint64_t limit = __atomic_load_n(&o->set->max_bandwidth, __ATOMIC_RELAXED);

	return limit ? MAX(limit / WINDOWS, 1) : 0;
}

static bool window_full(const struct outgoing *o)
{
	uint64_t limit = window_limit(o);

	return limit && outgoing_bytes(o) - o->window_bytes + outgoing_pending_bytes(o) >= limit;
}

/* Does the limit hold back?  Not what a thread of the guest waits for. */
static bool held_back(const struct outgoing *o)
{
	const struct ram_tracker *t = o->ram.tracker;

	return window_full(o) && !deadline_forces(&o->deadline) &&
	       !(t->waited_for && t->waited_for(&o->ram));
}

/* A deadline that forces ends a pass, and a snapshot's only pass goes on without a limit. */
static bool slice_goes_on(void *opaque)
{
	struct outgoing *o = opaque;

	if (deadline_forces(&o->deadline) && o->ram.tracker->sync)
		return false;
	return !postcopy_wanted(o) && !held_back(o) && host_now_ns() - o->slice_ns < SLICE_NS;
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

	while (ret == 0 && held_back(o) && !postcopy_wanted(o)) {
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

void outgoing_slices_begin(struct outgoing *o)
{
	o->window_ns = host_now_ns();
	o->window_bytes = outgoing_bytes(o);
}

int outgoing_slice(struct outgoing *o, struct err *err)
{
	struct ram_counters before = o->ram.stream.count;
	uint64_t bytes = o->w->bytes, wire = outgoing_bytes(o), left = ram_save_left_pages(&o->ram);
	uint64_t hinted = page_set_removed(&o->ram.pages), gone;
	struct page_sum sent;
	int ret;

	o->slice_ns = host_now_ns();
	o->ram.run_limit = pages_at_once(o);
	o->ram.stream.exact = window_limit(o) > 0;
	ret = ram_save_record(&o->ram, TAG_PART, slice_goes_on, o);
	outgoing_count(o, bytes, &before);
	if (ret < 0)
		return writer_explain(o->w, ret, err);
	ret = obey_limit(o, err);
	gone = left - ram_save_left_pages(&o->ram);
	hinted = page_set_removed(&o->ram.pages) - hinted;
	sent = (struct page_sum){
	    .pages = gone - MIN(hinted, gone),
	    .zero_pages = o->ram.stream.count.duplicate - before.duplicate,
	    .bytes = outgoing_bytes(o) - wire,
	    .ns = host_now_ns() - o->slice_ns,
	};
	PROBE(slice, sent.pages, sent.bytes, sent.ns);
	o->undrained_pages += sent.pages;
	stats_rate(&o->stats, &sent);
	return ret;
}
