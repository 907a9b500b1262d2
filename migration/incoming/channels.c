/*
 * channels.c - the destination's channels for pages, as the load thread sees them
 *
 * While they exist the main channel's waits look at multifd's alarm, which a
 * failed channel sets, as well as at a cancel.
 */
#include "migration/channel/channel.h"
#include "migration/incoming/incoming.h"
#include "migration/incoming/loader.h"
#include "migration/ram/multifd/multifd.h"
#include "migration/ram/ram.h"

void incoming_use_channels(struct incoming *in, struct loader *l)
{
	if (!in->multifd)
		return;
	in->ch->cancel_fd = multifd_recv_alarm(in->multifd);
	multifd_recv_main(in->multifd, channel_fd(in->ch));
	ram_load_use(l->ram, in->multifd);
}

int incoming_channels_failure(struct incoming *in, int ret, struct err *err)
{
	int failed;

	if (!in->multifd)
		return ret;
	in->ch->cancel_fd = in->cancel_fd;
	failed = multifd_recv_failure(in->multifd, err);
	return failed ? failed : ret;
}

void incoming_stop_channels(struct incoming *in)
{
	if (in->multifd)
		multifd_recv_stop(in->multifd);
}
