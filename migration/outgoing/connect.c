/*
 * connect.c - a connection to the destination, with TLS on it where that is wanted
 *
 * The parameters count as they are when the migration starts, or is resumed.  The handshake is
 * done at once: the destination may wait for it before it looks at what comes on another
 * connection.
 */
#include "migration/outgoing/connect.h"

#include <errno.h>

#include "migration/channel/channel.h"
#include "migration/channel/open.h"
#include "migration/outgoing/outgoing.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"
#include "vmm/machine.h"

/*
 * Both ends work at the same time then, instead of in turn.  Not where a
 * program in between may carry the bytes on slowly: what lies in the queue
 * when the guest is stopped lengthens its pause.
 */
#define SEND_BUFFER_BYTES MiB

const struct channel_layer *outgoing_layer(const struct outgoing *o, const struct tls_layer *tls)
{
	return o->set->layer ? o->set->layer : tls_layer_of(tls);
}

int outgoing_check_tls(const struct outgoing *o, const struct migration_uri *uri, struct err *err)
{
	if (uri->kind != URI_FILE || !tls_layer_of(&o->tls))
		return 0;
	return err_set(err, EINVAL,
		       "'tls-creds' is for a destination that answers, and a file is none: set it "
		       "to \"\" for file:");
}

struct channel *outgoing_connect(struct outgoing *o, struct migration_uri *uri,
				 const struct sockaddr_list *to, int fd,
				 const struct tls_layer *tls, int cancel_fd, struct err *err)
{
	const struct channel_layer *layer = outgoing_layer(o, tls);
	struct yank yank = {.fd = -1};
	struct channel *ch;
	int ret;

	uri->both = tls_layer_of(tls) != NULL;
	ch = channel_open(uri, to, fd, true, cancel_fd, &o->patience, err);
	if (!ch)
		return NULL;
	if (uri->kind == URI_UNIX)
		channel_send_buffer(ch, SEND_BUFFER_BYTES);
	if (uri->kind != URI_FILE)
		ch = channel_with_layer(ch, layer, false, err);
	if (!ch)
		return NULL;
	ch->patience = &o->patience;
	yank_add(&o->m->yanks, &yank, YANK_MIGRATION, "", channel_fd(ch));
	ret = channel_handshake(ch, err);
	yank_del(&o->m->yanks, &yank);
	if (ret < 0) {
		channel_close(ch);
		return NULL;
	}
	return ch;
}
