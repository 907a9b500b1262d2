/*
 * listen.c - the destination's connections: where it listens, who connects, when they end
 *
 *     (look-up of the host's name) -> listening -> the first that sends something
 *
 * What a connection is for is unknown until its first bytes have come (connections.h).  The
 * main stream starts the load thread and, without multifd, ends listening.
 */
#include <errno.h>
#include <unistd.h>

#include "migration/channel/channel.h"
#include "migration/channel/listen.h"
#include "migration/channel/open.h"
#include "migration/channel/resolve.h"
#include "migration/incoming/connections.h"
#include "migration/incoming/incoming.h"
#include "migration/ram/multifd/multifd.h"
#include "vmm/base/log.h"
#include "vmm/listener.h"
#include "vmm/machine.h"
#include "vmm/options/config.h"

#define LOOKUP_MS 100 /* so long the command that starts it waits for the name's address */

/* ---- connections: main loop ---- */

void incoming_stop_listening(struct incoming *in)
{
	resolve_abandon(in->resolve);
	in->resolve = NULL;
	uri_fini(&in->uri);
	listener_free(in->listener);
	in->listener = NULL;
	listen_close(&in->listening);
}

static void main_stream(void *opaque, struct channel *ch)
{
	struct incoming *in = opaque;

	if (!in->multifd) {
		incoming_stop_listening(in);
		connections_clear(in->connections);
	}
	incoming_connected(in, ch);
}

static void page_channel(void *opaque, struct channel *ch)
{
	struct incoming *in = opaque;

	ch->cancel_fd = in->cancel_fd;
	multifd_recv_add(in->multifd, ch);
}

static void decided(void *opaque)
{
	struct incoming *in = opaque;

	if (in->multifd)
		multifd_recv_poke(in->multifd);
}

static const struct connections_ops connections_ops = {
    .main_stream = main_stream,
    .page_channel = page_channel,
    .decided = decided,
};

/* Load thread. */
static bool pending(void *opaque)
{
	struct incoming *in = opaque;
	bool yes;

	machine_lock(in->m);
	yes = connections_waiting(in->connections) || listen_pending(&in->listening, 0);
	machine_unlock(in->m);
	return yes;
}

/* With the capabilities and parameters as they are now that the first one has come. */
static int start_receiving(struct incoming *in, struct err *err)
{
	const struct config *cfg = in->m->cfg;
	struct multifd_config multifd;

	if (in->set->caps[CAP_MULTIFD]) {
		multifd_config_fill(&multifd, &in->set->params, false,
				    cfg->uuid_set ? cfg->uuid : NULL);
		in->multifd = multifd_recv_new(&multifd, in->cancel_fd, pending, in, err);
		if (!in->multifd)
			return -EMFILE;
	}
	in->connections = connections_new(in->m->loop, in->multifd != NULL, CONNECTIONS_SILENCE_MS,
					  &connections_ops, in);
	return 0;
}

static void accepted(void *opaque, int fd)
{
	struct incoming *in = opaque;
	struct channel *ch;
	struct err err = {0};

	/* No connection was classified: the settings may have changed since. */
	if (in->connections && connections_idle(in->connections))
		incoming_free_connections(in);
	if (!in->connections && start_receiving(in, &err) < 0) {
		(void)close(fd);
		incoming_not_started(in, &err);
		return;
	}
	ch = channel_with_layer(channel_from_socket(fd, -1), in->set->layer, true, &err);
	if (ch)
		connections_add(in->connections, ch);
	else
		log_warn("a connection to the incoming migration was refused: %s", err.msg);
}

void incoming_free_connections(struct incoming *in)
{
	connections_free(in->connections);
	in->connections = NULL;
	multifd_recv_free(in->multifd);
	in->multifd = NULL;
}

void incoming_free_channels(struct incoming *in)
{
	incoming_stop_listening(in);
	incoming_free_connections(in);
}

/* ---- listening: main loop ---- */

static int listen_at(struct incoming *in, const struct migration_uri *uri,
		     const struct sockaddr_list *list, struct err *err)
{
	int ret = channel_listen(&in->listening, uri, list, &in->address, err);

	if (ret < 0) {
		listen_close(&in->listening);
		return ret;
	}
	in->has_address = true;
	in->listener = listener_new(in->m->loop, &in->listening, accepted, in);
	return 0;
}

/* The host's name has been looked up, some time after the command. */
static void resolved(void *opaque, const struct sockaddr_list *list, const struct err *why)
{
	struct incoming *in = opaque;
	struct err err = *why;
	int ret = list ? listen_at(in, &in->uri, list, &err) : -ENOENT;

	in->resolve = NULL;
	uri_fini(&in->uri);
	if (ret < 0)
		incoming_not_started(in, &err);
}

int incoming_listen(struct incoming *in, struct migration_uri *uri, struct err *err)
{
	struct sockaddr_list list;
	int ret;

	if (uri->kind == URI_UNIX || resolve_now(uri, true, &list, NULL) == 0)
		return listen_at(in, uri, &list, err);
	in->resolve = resolve_start(in->m->loop, uri, true, resolved, in, err);
	if (!in->resolve)
		return -EAGAIN;
	/* Most names are answered at once, and then the reply tells all. */
	ret = resolve_wait(in->resolve, LOOKUP_MS, &list, err);
	if (ret == 0) {
		in->uri = *uri;
		*uri = (struct migration_uri){0};
		return 0;
	}
	in->resolve = NULL;
	return ret < 0 ? ret : listen_at(in, uri, &list, err);
}
