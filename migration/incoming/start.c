/*
 * start.c - from an address to a load thread: an attempt to take a guest in, and its end
 *
 * What is there at once (a file, a command, a descriptor) is opened and loaded; for
 * the others listen.c waits.  Main thread, machine lock held unless said
 * otherwise.
 */
#include <errno.h>
#include <stdlib.h>

#include "migration/channel/channel.h"
#include "migration/channel/checksum.h"
#include "migration/channel/open.h"
#include "migration/incoming/incoming.h"
#include "vmm/base/alloc.h"
#include "vmm/base/wake.h"
#include "vmm/host.h"
#include "vmm/machine.h"

static int open_now(struct incoming *in, const struct migration_uri *uri, int fd, struct err *err)
{
	struct channel *ch;

	if (uri->kind == URI_FD && fd < 0) {
		fd = host_claim_number(in->m->host, uri->path, "incoming migration", err);
		if (fd < 0)
			return fd;
	}
	ch = channel_open(uri, NULL, fd, false, in->cancel_fd, err);
	if (ch && !ch->two_way)
		ch = channel_checksum_read(ch);
	return ch ? incoming_start_load(in, ch, err) : -EIO;
}

static int start_parsed(struct incoming *in, struct migration_uri *uri, int fd, struct err *err)
{
	int ret;

	in->listens = uri_is_address(uri->kind);
	ret = settings_check_channel(in->set->caps, !in->listens, err);
	if (ret < 0)
		return ret;
	status_set(in->m, &in->status, MIG_SETUP);
	if (!in->listens)
		return open_now(in, uri, fd, err);
	return incoming_listen(in, uri, err);
}

int incoming_start(struct incoming *in, const char *uri, int fd, struct err *err)
{
	struct migration_uri parsed;
	int ret = uri_parse(&parsed, uri, true, err);

	if (ret < 0)
		return ret;
	uri_anchor(&parsed, in->m->host);
	wake_set(in->cancel_fd); /* an attempt that has failed may linger */
	thread_join(&in->thread);
	incoming_free_channels(in);
	wake_clear(in->cancel_fd);
	if (in->dirty) {
		ret = machine_reset(in->m, err);
		in->dirty = false;
	}
	in->error = (struct err){0};
	free(in->error_text);
	in->error_text = NULL;
	free(in->where);
	in->where = xstrdup(uri);
	in->failed = in->exits = false;
	in->started = true;
	if (ret == 0)
		ret = start_parsed(in, &parsed, fd, err);
	if (ret < 0) {
		in->started = false;
		__atomic_store_n(&in->status, (int)MIG_NONE, __ATOMIC_SEQ_CST);
	}
	uri_fini(&parsed);
	return ret;
}

void incoming_fini(struct incoming *in)
{
	wake_set(in->cancel_fd);
	thread_join(&in->thread);
	incoming_free_channels(in);
}
