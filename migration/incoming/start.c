/*
 * start.c - from an address to a load thread, and its end
 *
 *     incoming_start -> listening (channels.c) -> the main stream's connection -.
 *                    -> fd:, exec:, file: --------------------------------------+-> load thread
 *
 * Every attempt has a thread.  It wakes the main loop when the guest is here or
 * cannot come, which ends listening, and when it has ended, which joins it;
 * in between it lingers until the source has read the last message.  The
 * main loop never waits for it: the next attempt may begin meanwhile.
 */
#include <errno.h>
#include <stdlib.h>

#include "migration/channel/channel.h"
#include "migration/channel/checksum.h"
#include "migration/channel/open.h"
#include "migration/incoming/incoming.h"
#include "migration/incoming/lazy.h"
#include "migration/incoming/report.h"
#include "vmm/base/alloc.h"
#include "vmm/base/log.h"
#include "vmm/base/wake.h"
#include "vmm/host.h"
#include "vmm/machine.h"

void incoming_init(struct incoming *in)
{
	in->cancel_fd = wake_open();
	(void)recover_listen_init(&in->recover); /* wake_fd says whether */
	list_init(&in->attempts);
}

/* The channel is there; takes it. */
static int start_loading(struct incoming *in, struct channel *ch, struct err *err)
{
	struct incoming_attempt *a = NEW(struct incoming_attempt);
	int ret;

	a->in = in;
	a->ch = ch;
	ch->cancel_fd = in->cancel_fd;
	yank_add(&in->m->yanks, &a->yank, YANK_MIGRATION, "", channel_fd(ch));
	in->has_address = false;
	report_incoming_start(in, channel_fd(ch));
	(void)status_move(in->m, &in->status, MIG_SETUP, MIG_ACTIVE);
	ret = thread_start(&a->thread, "mig-load", THREAD_MIGRATION, incoming_thread, a, err);
	if (ret < 0) {
		yank_del(&in->m->yanks, &a->yank);
		channel_close(ch);
		free(a);
		return ret;
	}
	list_add_tail(&in->attempts, &a->link);
	in->attempt = a;
	return 0;
}

void incoming_not_started(struct incoming *in, const struct err *err)
{
	incoming_stop_listening(in);
	in->error = *err;
	free(in->error_text); /* of an attempt before */
	in->error_text = NULL;
	in->started = false;
	in->failed = true;
	log_error("load of migration failed: %s", err->msg);
	status_set(in->m, &in->status, MIG_FAILED);
	if (in->exit_on_error)
		machine_request_exit(in->m, 1, CAUSE_HOST_ERROR);
}

void incoming_connected(struct incoming *in, struct channel *ch)
{
	struct err err = {0};

	if (start_loading(in, ch, &err) < 0)
		incoming_not_started(in, &err);
}

static int open_now(struct incoming *in, struct migration_uri *uri, int fd, struct err *err)
{
	struct channel *ch;

	if (uri->kind == URI_FD && fd < 0) {
		fd = host_claim_number(in->m->host, uri->path, "incoming migration", err);
		if (fd < 0)
			return fd;
	}
	if (uri->kind == URI_FILE && in->set->params.tls_creds[0])
		return err_set(err, EINVAL,
			       "'tls-creds' is for a source that talks, and a file is none: set it "
			       "to \"\" for file:");
	uri->both = in->set->params.tls_creds[0];
	ch = channel_open(uri, NULL, fd, false, in->cancel_fd, NULL, err);
	if (uri->kind != URI_FILE)
		ch = incoming_layer_on(in, ch, err);
	if (ch && !ch->two_way)
		ch = channel_checksum_read(ch);
	return ch ? start_loading(in, ch, err) : -EIO;
}

static int start_parsed(struct incoming *in, struct migration_uri *uri, int fd, struct err *err)
{
	int ret;

	in->listens = uri_is_address(uri->kind);
	ret = settings_check_channel(in->set->caps, !in->listens, uri->kind == URI_FILE, err);
	if (ret < 0)
		return ret;
	status_set(in->m, &in->status, MIG_SETUP);
	if (!in->listens)
		return open_now(in, uri, fd, err);
	return incoming_listen(in, uri, err);
}

/* An attempt that has failed may still linger with its source; nothing of 'in' is its any more. */
static void leave_attempt(struct incoming *in)
{
	incoming_free_channels(in);
	in->attempt = NULL;
	list_for_each (a, &in->attempts, struct incoming_attempt, link)
		a->exits = false;
}

int incoming_start(struct incoming *in, const struct migration_where *where, int fd,
		   struct err *err)
{
	struct migration_uri parsed;
	int ret = uri_take(&parsed, where, true, err);

	if (ret < 0)
		return ret;
	uri_anchor(&parsed, in->m->host);
	leave_attempt(in);
	in->error = (struct err){0};
	free(in->error_text);
	in->error_text = NULL;
	free(in->where);
	in->where = uri_spell(where);
	in->failed = false;
	in->started = true;
	ret = start_parsed(in, &parsed, fd, err);
	if (ret < 0) {
		in->started = false;
		__atomic_store_n(&in->status, (int)MIG_NONE, __ATOMIC_SEQ_CST);
	}
	uri_fini(&parsed);
	return ret;
}

/* ---- the end ---- */

/* Its thread has ended. */
static void end_attempt(struct incoming_attempt *a)
{
	struct incoming *in = a->in;

	thread_join(&a->thread);
	if (a == in->attempt) {
		in->attempt = NULL;
		incoming_free_channels(in);
	}
	if (a->exits)
		machine_request_exit(in->m, 1, CAUSE_HOST_ERROR);
	list_del(&a->link);
	free(a);
}

void incoming_woken(struct incoming *in)
{
	enum migration_status s = status_get(&in->status);

	/* Where a postcopy is paused its source comes back to another listener. */
	if (!status_busy(s) || s == MIG_POSTCOPY_PAUSED || s == MIG_POSTCOPY_RECOVER)
		incoming_stop_listening(in);
	if (__atomic_exchange_n(&in->unstuck, false, __ATOMIC_SEQ_CST))
		machine_retry_requests(in->m);
	list_for_each_safe (a, &in->attempts, struct incoming_attempt, link)
		if (thread_is_done(&a->thread))
			end_attempt(a);
}

void incoming_fini(struct incoming *in)
{
	wake_set(in->cancel_fd);
	list_for_each_safe (a, &in->attempts, struct incoming_attempt, link) {
		thread_join(&a->thread);
		free(a);
	}
	list_init(&in->attempts);
	incoming_free_channels(in);
	incoming_lazy_fini(in);
}
