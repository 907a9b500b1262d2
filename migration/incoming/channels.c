/*
 * channels.c - the destination's connections: where it listens, what it expects, when they end
 *
 *     (look-up of the host's name) -> listening ---------------------> the migration has ended
 *                                         the main stream -> load thread ->
 *                                         channels of pages, early or late ->
 *
 * The kinds of connections are the rows of connection_kinds[]; connections.h tells
 * which one a connection is.  The first that is taken fixes what the move uses, with
 * the capabilities and parameters as they are then.  Listening goes on until
 * the migration has ended: a channel may come late, and a connection too many is
 * refused with a sentence.
 */
#include <errno.h>
#include <unistd.h>

#include "migration/channel/channel.h"
#include "migration/channel/listen.h"
#include "migration/channel/open.h"
#include "migration/channel/resolve.h"
#include "migration/incoming/connections.h"
#include "migration/incoming/incoming.h"
#include "migration/incoming/loader.h"
#include "migration/incoming/postcopy.h"
#include "migration/incoming/report.h"
#include "migration/ram/multifd/multifd.h"
#include "migration/ram/ram.h"
#include "migration/stream/reader.h"
#include "migration/stream/wire.h"
#include "migration/tls/layer.h"
#include "vmm/base/log.h"
#include "vmm/base/units.h"
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
	if (in->connections)
		connections_clear(in->connections);
}

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

/* The first connection of a migration has come: what takes the pages. */
static int start_receiving(struct incoming *in, struct err *err)
{
	const struct config *cfg = in->m->cfg;
	struct multifd_config multifd;

	if (in->multifd || !in->set->caps[CAP_MULTIFD])
		return 0;
	multifd_config_fill(&multifd, &in->set->params, false, cfg->uuid_set ? cfg->uuid : NULL);
	in->multifd = multifd_recv_new(&multifd, in->cancel_fd, pending, in, err);
	return in->multifd ? 0 : -EMFILE;
}

static void take(struct incoming *in, struct channel *ch,
		 void (*fn)(struct incoming *in, struct channel *ch))
{
	struct err err = {0};

	if (start_receiving(in, &err) == 0) {
		fn(in, ch);
		return;
	}
	channel_close(ch);
	incoming_not_started(in, &err);
}

static unsigned one(const void *opaque)
{
	(void)opaque;
	return 1;
}

static void take_main(void *opaque, struct channel *ch)
{
	take(opaque, ch, incoming_connected);
}

static unsigned page_channels(const void *opaque)
{
	const struct migration_settings *set = ((const struct incoming *)opaque)->set;

	return set->caps[CAP_MULTIFD] ? (unsigned)set->params.multifd_channels : 0;
}

static void add_page_channel(struct incoming *in, struct channel *ch)
{
	ch->cancel_fd = in->cancel_fd;
	multifd_recv_add(in->multifd, ch);
}

static void take_page_channel(void *opaque, struct channel *ch)
{
	take(opaque, ch, add_page_channel);
}

static unsigned preempt_channels(const void *opaque)
{
	const struct migration_settings *set = ((const struct incoming *)opaque)->set;

	return set->caps[CAP_POSTCOPY_PREEMPT];
}

static void take_preempt(void *opaque, struct channel *ch)
{
	take(opaque, ch, incoming_postcopy_take_preempt);
}

/*
 * A channel too many fails the move, as the parameters of both ends differ, unless it comes when
 * all have been at work: it is another source's.
 */
static const struct connection_kind connection_kinds[] = {
    {"the main stream",   STREAM_MAGIC,  one,              take_main,         NULL             },
    {"a multifd channel", MULTIFD_MAGIC, page_channels,    take_page_channel, take_page_channel},
    {"a preempt channel", 0,             preempt_channels, take_preempt,      NULL             },
};

static void decided(void *opaque)
{
	struct incoming *in = opaque;

	if (in->multifd)
		multifd_recv_poke(in->multifd);
}

struct channel *incoming_layer_on(const struct incoming *in, struct channel *ch, struct err *err)
{
	CLEANUP(tls_layer_fini) struct tls_layer tls;

	tls_layer_fill(&tls, in->m, &in->set->params, NULL);
	return channel_with_layer(ch, in->set->layer ? in->set->layer : tls_layer_of(&tls), true,
				  err);
}

void incoming_recover_tls(struct incoming *in)
{
	struct tls_layer tls;

	tls_layer_fill(&tls, in->m, &in->set->params, NULL);
	recover_listen_use(&in->recover, &tls);
}

static void accepted(void *opaque, int fd)
{
	struct incoming *in = opaque;
	struct err err = {0};
	struct channel *ch = incoming_layer_on(in, channel_from_socket(fd, -1), &err);

	if (ch)
		connections_add(in->connections, ch);
	else
		log_warn("a connection to the incoming migration was refused: %s", err.msg);
}

void incoming_free_channels(struct incoming *in)
{
	incoming_stop_listening(in);
	connections_free(in->connections);
	channel_close(in->preempt);
	in->preempt = NULL;
	in->connections = NULL;
	multifd_recv_free(in->multifd);
	in->multifd = NULL;
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
	in->connections =
	    connections_new(in->m->loop, connection_kinds, ARRAY_LEN(connection_kinds),
			    CONNECTIONS_SILENCE_MS, decided, in);
	in->listener = listener_new(in->m->loop, &in->listening, accepted, in);
	report_incoming_awaited(in);
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

/* ---- load thread ---- */

void incoming_use_channels(struct incoming *in, struct loader *l)
{
	struct channel *ch = l->reader->ch;

	if (!in->multifd)
		return;
	ch->cancel_fd = multifd_recv_alarm(in->multifd);
	multifd_recv_main(in->multifd, channel_fd(ch));
	ram_load_use(l->ram, in->multifd);
}

int incoming_channels_failure(struct incoming *in, struct channel *ch, int ret, struct err *err)
{
	int failed;

	if (!in->multifd)
		return ret;
	ch->cancel_fd = in->cancel_fd; /* the channels' alarm is no reason not to tell the source */
	failed = multifd_recv_failure(in->multifd, err);
	return failed ? failed : ret;
}

int incoming_finish_channels(struct incoming *in, struct err *err)
{
	return in->multifd ? multifd_recv_finish(in->multifd, err) : 0;
}

void incoming_stop_channels(struct incoming *in)
{
	if (in->multifd)
		multifd_recv_stop(in->multifd);
}
