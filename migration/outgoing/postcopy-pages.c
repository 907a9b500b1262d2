/*
 * postcopy-pages.c - what is left of the guest's memory goes, what is waited for first
 *
 * One record after the other, each flushed: without a second connection a record is short, for
 * what is asked for meanwhile goes behind it.  max-postcopy-bandwidth holds the
 * sweep back, and nothing else; while it does, the thread sleeps until a request wakes it.
 * The sweep begins when the destination is known to have the guest: until then it would be in the
 * way of what the guest stands still for.  Behind END and EOF the destination has only to say that
 * it has everything.
 */
#include <errno.h>
#include <poll.h>

#include "migration/channel/channel.h"
#include "migration/channel/patience.h"
#include "migration/outgoing/outgoing.h"
#include "migration/outgoing/postcopy.h"
#include "migration/ram/postcopy/send.h"
#include "migration/stream/writer.h"
#include "vmm/base/bytes.h"
#include "vmm/base/units.h"
#include "vmm/base/wake.h"
#include "vmm/vclock.h"

#define NS_PER_MS    ((int64_t)1000000)
#define WINDOW_NS    (100 * NS_PER_MS) /* of the bandwidth limit */
#define PIECE_NS     (500 * NS_PER_MS) /* of a wait whose limit may change */
#define WINDOWS      10U               /* in a second */
#define URGENT_PAGES 64U
#define URGENT_BYTES (128 * KiB) /* and not much more in a record */
#define SHORT_PAGES  32U         /* of the sweep in a record, where requests go behind it */
#define LONG_RUNS    8U          /* of RAM_RUN_PAGES, where they do not */

/* ---- the limit ---- */

static uint64_t window_limit(const struct outgoing *o)
{
	uint64_t limit = __atomic_load_n(&o->set->postcopy_bandwidth, __ATOMIC_RELAXED);

	return limit ? MAX(limit / WINDOWS, 1) : 0;
}

/* Does the limit hold the sweep back?  A new window begins with what was too much in the last. */
static bool held_back(struct outgoing *o)
{
	struct postcopy *pc = o->postcopy;
	uint64_t limit = window_limit(o);
	int64_t now = host_now_ns();

	if (now >= pc->window_ns + WINDOW_NS) {
		pc->window_ns = now;
		pc->window_bytes -= MIN(pc->window_bytes, limit ? limit : UINT64_MAX);
	}
	return limit && pc->window_bytes >= limit;
}

/* ---- records ---- */

/* What the record holds: 'urgent' what is asked for, else the sweep's next. */
static int put_pages(struct outgoing *o, bool urgent)
{
	struct ram_stream *rs = &o->ram.stream;
	uint64_t limit = window_limit(o), from = o->w->bytes, pages;
	unsigned runs;
	int ret = 1;

	if (urgent) {
		while (ret > 0 && o->w->bytes - from < URGENT_BYTES)
			ret = postcopy_send_urgent(&o->ram, rs, URGENT_PAGES);
		return MIN(ret, 0);
	}
	pages = o->postcopy->urgent ? RAM_RUN_PAGES : SHORT_PAGES;
	runs = o->postcopy->urgent && !limit ? LONG_RUNS : 1;
	if (limit)
		pages = MAX(MIN(pages, limit / PAGE_BYTES / 8), 1);
	while (ret > 0 && runs-- > 0)
		ret = postcopy_send_sweep(&o->ram, rs, pages);
	return MIN(ret, 0);
}

static int send_record(struct outgoing *o, enum stream_tag tag, bool urgent, struct err *err)
{
	struct ram_counters before = o->ram.stream.count;
	uint64_t bytes = o->w->bytes;
	int ret = ram_stream_begin(&o->ram.stream, tag);

	if (ret == 0 && tag == TAG_PART)
		ret = put_pages(o, urgent);
	if (ret == 0)
		ret = ram_stream_end(&o->ram.stream, true);
	if (ret < 0)
		return writer_explain(o->w, ret, err);
	outgoing_count(o, bytes, &before);
	if (!urgent)
		o->postcopy->window_bytes += o->w->bytes - bytes;
	return 0;
}

/* ---- looking around ---- */

static int look(struct outgoing *o, struct err *err)
{
	struct postcopy *pc = o->postcopy;
	struct postcopy_news news;
	int ret;

	if (channel_cancelled(o->ch))
		return err_set(err, ECANCELED, "the migration was cancelled");
	if (!__atomic_load_n(&pc->has_news, __ATOMIC_ACQUIRE))
		return 0;
	news = postcopy_news(pc);
	pc->shut = news.shut;
	ret = postcopy_news_failure(&news, err);
	if (ret < 0)
		return ret;
	if (news.shut && !pc->all_sent)
		return err_set(err, EPROTO,
			       "the destination said that it has everything before it had it all");
	if (news.ended && !news.shut)
		return err_set(err, ECONNRESET, "the destination closed the connection");
	return postcopy_step(o, &news, err);
}

/* Until there is news, a request, another limit, or until 'until_ns' (0: any time). */
static bool wait_for_news(struct outgoing *o, int64_t until_ns)
{
	struct postcopy *pc = o->postcopy;
	struct pollfd p[4] = {
	    {.fd = o->deadline.stop_fd, .events = POLLIN},
	    {.fd = o->kick_fd,                         .events = POLLIN},
	    {.fd = pc->wake_fd,.events = POLLIN},
	    {.fd = pc->hung_up ? -1 : channel_fd(o->ch)        },
	};
	int64_t left = until_ns ? until_ns - host_now_ns() : 0;

	if (until_ns && left <= 0)
		return false;
	(void)poll(p, 4, until_ns ? (int)((left + NS_PER_MS - 1) / NS_PER_MS) : -1);
	if (p[1].revents)
		wake_clear(o->kick_fd);
	if (p[2].revents)
		wake_clear(pc->wake_fd);
	/* Cut, perhaps: the listener tells, unless it waits for the other connection. */
	if (p[3].revents) {
		pc->hung_up = true;
		if (pc->urgent)
			channel_shut_down(pc->urgent);
	}
	return p[0].revents || p[1].revents || p[2].revents;
}

/* The guest stands still at both ends, and may go on here: not for ever. */
static int wait_patiently(struct outgoing *o, struct err *err)
{
	bool late = false;

	patience_wait(&o->patience);
	while (!late && !wait_for_news(o, host_now_ns() + PIECE_NS))
		late = patience_ended(&o->patience);
	patience_go_on(&o->patience);
	return late ? err_set(err, ETIMEDOUT,
			      "the destination has said nothing for %u s (x-minivmm-peer-timeout): "
			      "is it stopped or cut off?",
			      patience_limit_s(&o->patience))
		    : 0;
}

/* ---- the whole ---- */

static int send_all(struct outgoing *o, struct err *err)
{
	struct postcopy *pc = o->postcopy;
	bool apart = pc->urgent;
	int ret = 0;

	pc->window_ns = host_now_ns();
	pc->window_bytes = 0;
	while (ret == 0) {
		ret = look(o, err);
		if (ret < 0)
			break;
		if (!apart && __atomic_load_n(&o->ram.queue.waiting, __ATOMIC_SEQ_CST))
			ret = send_record(o, TAG_PART, true, err);
		else if (!pc->confirmed)
			ret = wait_patiently(o, err);
		else if (ram_save_left_pages(&o->ram) == 0)
			break;
		else if (held_back(o))
			(void)wait_for_news(o, pc->window_ns + WINDOW_NS);
		else
			ret = send_record(o, TAG_PART, false, err);
	}
	return ret;
}

static int put_end(struct outgoing *o, struct err *err)
{
	static const uint8_t eof = TAG_EOF;
	int ret = send_record(o, TAG_END, false, err);

	o->postcopy->all_sent = true;
	if (ret < 0)
		return ret;
	ret = writer_put(o->w, &eof, sizeof(eof));
	if (ret == 0)
		ret = writer_flush(o->w);
	return writer_explain(o->w, ret, err);
}

/* The destination has everything, and says so. */
static int wait_for_shut(struct outgoing *o, struct err *err)
{
	int ret;

	while ((ret = look(o, err)) == 0 && !o->postcopy->shut)
		(void)wait_for_news(o, 0);
	return ret;
}

int postcopy_pages(struct outgoing *o, struct err *err)
{
	uint8_t cookie[4];
	int ret;

	o->postcopy->all_sent = o->postcopy->hung_up = false;
	put_be32(cookie, COOKIE_PACKAGED);
	ret = stream_put_command(o->w, CMD_PING, cookie, sizeof(cookie));
	if (ret == 0)
		ret = writer_flush(o->w);
	if (ret < 0)
		return writer_explain(o->w, ret, err);
	ret = send_all(o, err);
	if (ret == 0)
		ret = postcopy_urgent_end(o, err);
	if (ret == 0)
		ret = put_end(o, err);
	return ret == 0 ? wait_for_shut(o, err) : ret;
}
