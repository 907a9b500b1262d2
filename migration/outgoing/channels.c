/*
 * channels.c - the source's channels for pages: opened, counted, and what their failure means
 *
 * The channels are opened behind the header on the main one, so that the
 * destination knows what it waits for.  While they exist, the main channel's
 * waits look at multifd's alarm, which a failed channel thread sets, a cancel and
 * the deadline: the migration thread wakes up whatever broke.  The cause is then
 * asked for (outgoing_channels_failure), and the destination is given a moment
 * to say its own reason on the return path, which tells more than a broken pipe.
 */
#include <errno.h>

#include "migration/channel/channel.h"
#include "migration/outgoing/connect.h"
#include "migration/outgoing/outgoing.h"
#include "migration/ram/mapped/mapped.h"
#include "migration/ram/multifd/multifd.h"
#include "vmm/machine.h"

#define WORDS_MS 1000 /* after a channel broke: how long the destination's reason may take */

int outgoing_check_channels(const struct outgoing *o, struct err *err)
{
	return settings_check_channel(o->caps, !uri_is_address(o->uri.kind),
				      o->uri.kind == URI_FILE, err);
}

int outgoing_open_channels(struct outgoing *o, struct err *err)
{
	if (!o->caps[CAP_MULTIFD])
		return 0;
	o->multifd = multifd_send_new(&o->multifd_config, o->deadline.stop_fd, err);
	if (!o->multifd)
		return -EMFILE;
	o->ch->cancel_fd = multifd_send_alarm(o->multifd);
	for (unsigned i = 0; i < o->multifd_config.channels; i++) {
		struct channel *ch =
		    outgoing_connect(o, &o->uri, &o->to, -1, &o->tls, o->ch->cancel_fd, err);
		int ret;

		if (!ch && err->errnum == ECANCELED)
			return -ECANCELED;
		if (!ch)
			return err_prefix(err, -EIO,
					  "multifd channel %u of %u (are 'multifd' and "
					  "'multifd-channels' the same at the destination?)",
					  i, o->multifd_config.channels);
		ret = multifd_send_add(o->multifd, ch, err);
		if (ret < 0)
			return ret;
	}
	return 0;
}

int outgoing_open_file(struct outgoing *o, struct err *err)
{
	const struct mapped_config cfg = {
	    .threads = o->caps[CAP_MULTIFD] ? o->multifd_config.channels : 0,
	    .direct = o->direct_io,
	    .sums = o->checksum,
	};

	if (!o->caps[CAP_MAPPED_RAM])
		return 0;
	o->mapped = mapped_save_new(o->ch, &o->m->mem, &cfg, err);
	return o->mapped ? 0 : -EINVAL;
}

void outgoing_close_channels(struct outgoing *o)
{
	mapped_save_free(o->mapped);
	o->mapped = NULL;
	multifd_send_free(o->multifd);
	o->multifd = NULL;
}

/*
 * A minivmm says whether it knows MULTIFD_FLUSH, and shows by its START record what it reads.  A
 * QEMU does not: one that does not know the word refuses it at once, while one that waits for it
 * in vain loses memory and says nothing.
 */
static bool flush_each_pass(const struct outgoing *o)
{
	return o->rp.minivmm ? o->rp.flush_pass : !o->flush_sections;
}

void outgoing_use_channels(struct outgoing *o)
{
	bool flush_pass = flush_each_pass(o);

	if (!o->multifd)
		return;
	if (o->rp.minivmm)
		multifd_send_splice(o->multifd);
	/* Who does not know MULTIFD_FLUSH may not know zero pages in packets, and would keep old
	 * ones. */
	ram_save_use(&o->ram, o->multifd, flush_pass,
		     o->zero_pages == ZERO_PAGES_MULTIFD && (flush_pass || o->rp.minivmm));
	o->flush_unproven = flush_pass && !o->rp.minivmm;
	o->ram.stream.held = !flush_pass && !o->rp.minivmm && o->rp.ponged;
}

int outgoing_channels_failure(struct outgoing *o, int ret, struct err *err)
{
	struct err ignored = {0};
	int failed;

	if (!o->multifd)
		return ret;
	failed = multifd_send_failure(o->multifd, err);
	o->ch->cancel_fd = o->deadline.stop_fd; /* the alarm has been noticed */
	if (failed == 0 || failed == -ECANCELED)
		return failed ? failed : ret;
	while (!o->rp.cause[0] && !o->rp.shut && !o->rp.ended)
		if (rp_poll(&o->rp, WORDS_MS, &ignored) <= 0)
			break;
	return failed;
}

static uint64_t channels_bytes(const struct outgoing *o)
{
	if (o->mapped)
		return mapped_save_thread_bytes(o->mapped);
	return o->multifd ? multifd_send_bytes(o->multifd) : 0;
}

uint64_t outgoing_bytes(const struct outgoing *o)
{
	return o->w->bytes + channels_bytes(o);
}

uint64_t outgoing_pending_bytes(const struct outgoing *o)
{
	return o->multifd ? multifd_send_pending(o->multifd) : 0;
}

void outgoing_count_channels(struct outgoing *o)
{
	uint64_t bytes;

	if (!o->multifd && !o->mapped)
		return;
	bytes = channels_bytes(o);
	stats_multifd(&o->stats, bytes - o->multifd_counted,
		      o->multifd ? multifd_send_copied(o->multifd) : 0);
	o->multifd_counted = bytes;
}
