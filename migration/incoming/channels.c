/* incoming-multifd.c - the destination's channels for pages: who connects, and when they end */
#include <errno.h>
#include <unistd.h>

#include "migration/channel/channel.h"
#include "migration/channel/listen.h"
#include "migration/incoming/connections.h"
#include "migration/incoming/loader.h"
#include "migration/internal.h"
#include "migration/ram/multifd/multifd.h"
#include "vmm/machine.h"
#include "vmm/options/config.h"

/* ---- connections: main loop ---- */

static void main_stream(void *opaque, int fd)
{
	incoming_connected(opaque, fd);
}

static void page_channel(void *opaque, int fd)
{
	struct incoming *in = opaque;

	multifd_recv_add(in->multifd, channel_from_socket(fd, in->cancel_fd));
}

static void decided(void *opaque)
{
	multifd_recv_poke(((struct incoming *)opaque)->multifd);
}

static const struct arrivals_ops arrivals_ops = {
    .main_stream = main_stream,
    .page_channel = page_channel,
    .decided = decided,
};

/* Load thread. */
static bool pending(void *opaque)
{
	struct incoming *in = opaque;
	bool yes;

	machine_lock(in->mg->m);
	yes = arrivals_waiting(in->arrivals) || listener_pending(in->listener);
	machine_unlock(in->mg->m);
	return yes;
}

/* With the parameters as they are now that the first one has come. */
static int start_receiving(struct incoming *in, struct err *err)
{
	struct migration *mg = in->mg;
	const struct config *cfg = mg->m->cfg;
	struct multifd_config multifd;

	multifd_config_fill(&multifd, &mg->params, false, cfg->uuid_set ? cfg->uuid : NULL);
	in->multifd = multifd_recv_new(&multifd, in->cancel_fd, pending, in, err);
	if (!in->multifd)
		return -EMFILE;
	in->arrivals = arrivals_new(mg->m->loop, &arrivals_ops, in);
	return 0;
}

int incoming_add_connection(struct incoming *in, int fd, struct err *err)
{
	int ret = in->multifd ? 0 : start_receiving(in, err);

	if (ret < 0)
		(void)close(fd);
	else
		arrivals_add(in->arrivals, fd);
	return ret;
}

void incoming_free_channels(struct incoming *in)
{
	if (!in->multifd)
		return;
	listener_free(in->listener);
	in->listener = NULL;
	arrivals_free(in->arrivals);
	in->arrivals = NULL;
	multifd_recv_free(in->multifd);
	in->multifd = NULL;
}

/* ---- load thread ---- */

void incoming_use_channels(struct incoming *in, struct loader *l)
{
	if (!in->multifd)
		return;
	in->ch->cancel_fd = multifd_recv_alarm(in->multifd);
	multifd_recv_main(in->multifd, in->ch->fd);
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
