/*
 * precopy.c - sending RAM while the guest runs, and when to stop it
 *
 * PART records (slice.c).  A pass ends when all that was dirty has been sent, or earlier when
 * what is left could be sent within the downtime limit whatever it holds: then
 * the tracker is asked again.  If what it finds fits the limit, at the rate at
 * which pages have gone in whole passes (page-rate.h), the guest may be
 * stopped; but the limit is the longest pause that is allowed and not the one
 * to aim at: as long as another pass leaves much less, it is made.  A pass that
 * has ended early in vain is followed by a whole one, which shows the mix of
 * pages.
 */
#include <errno.h>

#include "migration/channel/channel.h"
#include "migration/outgoing/handover.h"
#include "migration/outgoing/modes.h"
#include "migration/outgoing/outgoing.h"
#include "migration/outgoing/postcopy.h"
#include "migration/outgoing/rp-wait.h"
#include "migration/stream/device-state.h"
#include "migration/stream/wire.h"
#include "migration/stream/writer.h"
#include "vmm/base/bytes.h"
#include "vmm/base/units.h"
#include "vmm/machine.h"
#include "vmm/vclock.h"

#define NS_PER_MS   ((int64_t)1000000)
#define SHORT_MS    2U               /* a pause that need not become shorter */
#define RETRY_NS    (10 * NS_PER_MS) /* after a request kept the guest from being stopped */
#define DRAIN_PAGES 1024U            /* loaded sooner than the destination could be asked */

/*
 * Pages a second that are sent as the mix of whole passes goes.  The switchover
 * itself is not held back, but a limited migration has only shown what the
 * limit allows.
 */
static uint64_t usual_rate(struct outgoing *o)
{
	return stats_page_rate(&o->stats,
			       __atomic_load_n(&o->set->max_bandwidth, __ATOMIC_RELAXED));
}

/* The same where a page may be of any kind: no faster than it would go as it is. */
static uint64_t cautious_rate(struct outgoing *o)
{
	uint64_t limit = __atomic_load_n(&o->set->max_bandwidth, __ATOMIC_RELAXED);
	uint64_t wire = stats_bandwidth(&o->stats);

	return MIN(usual_rate(o), (limit ? MIN(wire, limit) : wire) / PAGE_BYTES);
}

/* Pages a second in the switchover: as avail-switchover-bandwidth says, else as measured. */
static uint64_t switchover_rate(const struct outgoing *o, uint64_t measured)
{
	uint64_t said = __atomic_load_n(&o->set->switchover_bandwidth, __ATOMIC_RELAXED);

	return said ? MAX(said / PAGE_BYTES, 1) : measured;
}

/* What is left could be sent within the downtime limit; 'rate': as measured. */
static bool precopy_fits(const struct outgoing *o, uint64_t rate)
{
	uint64_t ms = __atomic_load_n(&o->set->downtime_limit_ms, __ATOMIC_RELAXED);
	double fits = (double)switchover_rate(o, rate) * (double)ms / 1000;

	return (double)ram_save_left_pages(&o->ram) <= fits;
}

static bool guest_runs(struct outgoing *o)
{
	bool runs;

	machine_lock(o->m);
	runs = machine_running(o->m);
	machine_unlock(o->m);
	return runs;
}

/*
 * What is left fits the limit.  Would a pass more leave less than half of it?
 * *before: what was left when the answer was yes the last time, 0: never.
 */
static bool can_shrink(struct outgoing *o, uint64_t rate, uint64_t *before)
{
	uint64_t left = ram_save_left_pages(&o->ram);
	double seconds = rate ? (double)left / (double)rate : 0;
	double residue = (double)stats_dirty_rate(&o->stats) * seconds;
	bool better = (!*before || left <= *before / 2) && residue <= (double)left / 2;

	*before = left;
	return better && seconds * 1000 > SHORT_MS && guest_runs(o);
}

/*
 * Until the destination has loaded what has been sent.  Megabytes of what an
 * encoder has shrunk lie in the socket, tens of thousands of pages: the guest
 * would have to wait for them, and the source would not know how long they take.
 * What is loaded in less time than the question takes is not worth it.
 */
static int precopy_drain(struct outgoing *o, struct err *err)
{
	struct page_sum waited = {0};
	int64_t since;
	uint8_t cookie[4];
	int ret;

	ret = outgoing_flush(o, err);
	if (ret < 0 || !o->ch->two_way || !o->rp.ponged || o->undrained_pages <= DRAIN_PAGES)
		return ret;
	o->undrained_pages = 0;
	since = host_now_ns();
	put_be32(cookie, COOKIE_PASS);
	o->rp.passed = false;
	ret = stream_put_command(o->w, CMD_PING, cookie, sizeof(cookie));
	if (ret < 0)
		return writer_explain(o->w, ret, err);
	ret = rp_wait_passed(o, err);
	if (ret < 0)
		return ret;
	waited.ns = host_now_ns() - since;
	stats_rate(&o->stats, &waited);
	return 0;
}

/* Is it time to ask the tracker again? */
static bool pass_ends(struct outgoing *o, bool early)
{
	return ram_save_left_pages(&o->ram) == 0 || deadline_forces(&o->deadline) ||
	       (early && precopy_fits(o, cautious_rate(o)));
}

/* The guest may be stopped now; else *early: the next pass may end before all is sent. */
static bool good_enough(struct outgoing *o, bool whole, uint64_t *before, bool *early)
{
	uint64_t rate = whole ? usual_rate(o) : cautious_rate(o);
	bool forced = deadline_forces(&o->deadline);

	if (!forced && !precopy_fits(o, rate)) {
		*before = 0;
		*early = whole;
		return false;
	}
	if (!forced && can_shrink(o, rate, before)) {
		*early = false;
		return false;
	}
	rate = switchover_rate(o, rate);
	stats_predict(&o->stats, rate ? ram_save_left_pages(&o->ram) * 1000 / rate : 0);
	return true;
}

/* Until what is left fits the downtime limit, and a pass more would not make it much less. */
int precopy_iterate(struct outgoing *o, struct err *err)
{
	uint64_t before = 0;
	bool early = true;
	int ret = 0;

	outgoing_slices_begin(o);
	while (ret == 0 && !postcopy_wanted(o)) {
		ret = outgoing_listen(o, err);
		if (ret == 0 && pass_ends(o, early)) {
			bool whole = ram_save_left_pages(&o->ram) == 0;

			ret = precopy_drain(o, err);
			if (ret == 0)
				ret = outgoing_sync(o, err);
			if (ret < 0 || good_enough(o, whole, &before, &early))
				break;
		}
		if (ret == 0)
			ret = outgoing_slice(o, err);
	}
	return ret;
}

int precopy_go_on(struct outgoing *o, struct err *err)
{
	stats_phase(&o->stats, MIG_PHASE_PASS);
	return outgoing_sleep(o, host_now_ns() + RETRY_NS, err);
}

static int precopy_run(struct outgoing *o, struct err *err)
{
	int ret;

	do {
		ret = precopy_iterate(o, err);
		if (ret == 0)
			ret = switchover(o, err);
	} while (ret == -EAGAIN && (ret = precopy_go_on(o, err)) == 0);
	return ret;
}

const struct migration_mode precopy_mode = {
    .name = "precopy",
    .check = outgoing_check_channels,
    .begin = outgoing_set_up,
    .run = precopy_run,
    .finish = guest_leave,
    .undo = guest_keep,
};
