/*
 * engine.c - what every mode does with an outgoing migration between two steps
 *
 * A mode alternates between records that it writes and a look around: what
 * the destination has said (outgoing_listen), whether it is time to stop
 * (every wait polls deadline.stop_fd, which a cancel and a deadline make
 * readable), and where the figures stand (outgoing_count after each record,
 * outgoing_sync at the beginning of each pass).  None of it depends on which
 * pages go, or when the guest is stopped.
 */
#include <errno.h>
#include <poll.h>

#include "migration/channel/channel.h"
#include "migration/outgoing/hints.h"
#include "migration/outgoing/outgoing.h"
#include "migration/stream/writer.h"
#include "vmm/base/probes.h"
#include "vmm/base/units.h"
#include "vmm/base/wake.h"
#include "vmm/vclock.h"

#define NS_PER_MS ((int64_t)1000000)

int outgoing_listen(struct outgoing *o, struct err *err)
{
	int ret;

	if (channel_cancelled(o->ch))
		return err_set(err, ECANCELED, "the migration was cancelled");
	if (!o->ch->two_way)
		return 0;
	ret = rp_poll(&o->rp, 0, err);
	if (ret < 0)
		return ret;
	if (o->rp.cause[0] || (o->rp.shut && o->rp.shut_status))
		return rp_refused(&o->rp, err);
	if (o->rp.shut)
		return err_set(err, EPROTO,
			       "the destination said that the guest runs before it had it all");
	if (o->rp.ended)
		return channel_say_closed(o->ch, "destination", err);
	return o->multifd ? multifd_send_check(o->multifd, err) : 0;
}

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

int outgoing_flush(struct outgoing *o, struct err *err)
{
	struct ram_counters before = o->ram.stream.count;
	uint64_t bytes = o->w->bytes, wire = outgoing_bytes(o);
	int64_t since = host_now_ns();
	struct page_sum flushed;
	int ret = ram_save_flush(&o->ram);

	if (ret < 0)
		return writer_explain(o->w, ret, err);
	outgoing_count(o, bytes, &before);
	flushed = (struct page_sum){
	    .zero_pages = o->ram.stream.count.duplicate - before.duplicate,
	    .bytes = outgoing_bytes(o) - wire,
	    .ns = host_now_ns() - since,
	};
	stats_rate(&o->stats, &flushed);
	return 0;
}

int outgoing_sync(struct outgoing *o, struct err *err)
{
	bool whole = ram_save_left_pages(&o->ram) == 0;
	uint64_t added = 0, left;
	int ret = outgoing_flush(o, err);

	hints_stop(o);
	if (ret == 0)
		ret = ram_save_sync(&o->ram, &added, err);
	if (ret < 0)
		return ret;
	left = ram_save_left_pages(&o->ram) * PAGE_BYTES;
	stats_pass(&o->stats, added, left, whole);
	auto_converge_sync(o, added);
	PROBE(pass, o->ram.stream.passes, added, left);
	publish_pass(o->m, o->ram.stream.passes);
	return 0;
}
