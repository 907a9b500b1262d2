/*
 * postcopy-recover.c - a connection is lost while the guest is at the destination (source)
 *
 *     paused          nothing goes; all that has not gone is kept
 *     recover-setup   'migrate' with resume has come: connect
 *     recover         the destination says for each block what it has; all else has to go, again or
 *                     for the first time; RESUME, RESUME_ACK
 *     active          the sweep goes on, over the new connection
 *
 * What fails on the way leads back to paused, with the reason in error-desc; where the
 * destination's process can be watched, its end ends the migration.  All of this is the migration
 * thread's; from RESUME on the listener reads, for requests may follow the ACK at once. A
 * destination that answers has the guest: what had been uncertain until then is not any more.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "migration/channel/channel.h"
#include "migration/outgoing/connect.h"
#include "migration/outgoing/handover.h"
#include "migration/outgoing/outgoing.h"
#include "migration/outgoing/postcopy.h"
#include "migration/ram/postcopy/send.h"
#include "migration/stream/recv-bitmap.h"
#include "migration/stream/writer.h"
#include "vmm/base/bitmap.h"
#include "vmm/base/log.h"
#include "vmm/base/wake.h"
#include "vmm/machine.h"

/* ---- a connection ---- */

/* 'cont' was forced.  The guest is not the destination's, says the user. */
static bool taken_back(struct outgoing *o)
{
	bool yes;

	machine_lock(o->m);
	yes = o->take_back;
	if (yes)
		o->released = false;
	machine_unlock(o->m);
	return yes;
}

/* Until there is an address: 0, with *a owned; -ECANCELED; -ECONNRESET: the guest is lost. */
static int await_address(struct outgoing *o, struct resume_address *a, struct err *err)
{
	struct pollfd p[3] = {
	    {.fd = o->deadline.stop_fd, .events = POLLIN},
	    {.fd = o->resume.wake_fd,   .events = POLLIN},
	    {.fd = o->postcopy->pidfd,  .events = POLLIN},
	};

	while (!resume_take(&o->resume, a)) {
		if (taken_back(o))
			return err_set(err, ECANCELED,
				       "the guest was continued here by 'x-minivmm-force': the "
				       "destination had not confirmed that it runs it");
		(void)poll(p, 3, -1);
		if (p[0].revents)
			return err_cancelled(err);
		if (p[2].revents)
			return postcopy_err_lost(o, err);
	}
	return 0;
}

/* The move goes there from now on. */
static void adopt_address(struct outgoing *o, struct resume_address *a)
{
	struct migration_where where = {.members = &a->uri};

	machine_lock(o->m);
	free(o->where);
	o->where = uri_spell(&where);
	uri_fini(&o->uri);
	o->uri = a->uri;
	o->to = a->to;
	tls_layer_fini(&o->tls);
	o->tls = a->tls;
	a->tls = (struct tls_layer){.wanted = false};
	a->uri = (struct migration_uri){0};
	machine_unlock(o->m);
}

/* Another address that comes meanwhile ends the wait for this one. */
static struct channel *connect_again(struct outgoing *o, struct resume_address *a, struct err *err)
{
	int either = wake_either(o->deadline.stop_fd, o->resume.wake_fd), fd = a->fd;
	struct channel *ch;

	if (either < 0) {
		(void)err_set(err, errno, "cannot make an epoll: %s", err_text(errno));
		return NULL;
	}
	a->fd = -1;
	ch = outgoing_connect(o, &a->uri, &a->to, fd, &a->tls, either, err);
	(void)close(either);
	if (ch && !ch->two_way) {
		channel_close(ch);
		(void)err_set(err, EINVAL, "the destination cannot answer over it");
		return NULL;
	}
	if (!ch)
		return NULL;
	ch->cancel_fd = o->deadline.stop_fd;
	channel_bound_silence(ch);
	return ch;
}

/* ---- the handshake ---- */

/* Until the destination has said it: 'said' is set by what is read. */
static int await_word(struct outgoing *o, const bool *said, struct err *err)
{
	int ret = 0;

	while (!*said && ret >= 0) {
		if (o->rp.cause[0] || o->rp.shut)
			return rp_refused(&o->rp, err);
		if (o->rp.ended)
			return channel_say_closed(o->ch, "destination", err);
		ret = rp_poll(&o->rp, -1, err);
	}
	return ret < 0 ? ret : 0;
}

static int ask_for_bitmap(struct outgoing *o, const char *name, struct err *err)
{
	uint8_t payload[256];
	size_t n = strlen(name);
	int ret;

	payload[0] = (uint8_t)n;
	memcpy(payload + 1, name, n);
	ret = stream_put_command(o->w, CMD_RECV_BITMAP, payload, (uint16_t)(1 + n));
	if (ret == 0)
		ret = writer_flush(o->w);
	return writer_explain(o->w, ret, err);
}

/* What has come of a block decides what of it has to go. */
static int compare_block(struct outgoing *o, size_t block, struct err *err)
{
	struct recv_bitmap_in in = {
	    .name = o->m->mem.blocks[block]->name,
	    .pages = page_set_block_pages(&o->ram.pages, block),
	};
	int ret;

	in.map = bitmap_new(in.pages);
	if (!in.map)
		return err_set(err, ENOMEM, "no memory for a bitmap of RAM block '%s'", in.name);
	o->rp.bitmap = &in;
	ret = ask_for_bitmap(o, in.name, err);
	if (ret == 0)
		ret = await_word(o, &in.done, err);
	o->rp.bitmap = NULL;
	if (ret == 0)
		postcopy_send_again(&o->ram, block, in.map);
	free(in.map);
	return ret;
}

static int compare_blocks(struct outgoing *o, struct err *err)
{
	int ret = 0;

	for (size_t i = 0; ret == 0 && i < o->m->mem.n_blocks; i++)
		if (page_set_block_pages(&o->ram.pages, i))
			ret = compare_block(o, i, err);
	return ret;
}

/* The listener reads the answer. */
static int await_ack(struct outgoing *o, struct err *err)
{
	struct pollfd p[2] = {
	    {.fd = o->deadline.stop_fd,  .events = POLLIN},
	    {.fd = o->postcopy->wake_fd, .events = POLLIN},
	};

	for (;;) {
		struct postcopy_news news = postcopy_news(o->postcopy);
		int ret;

		if (news.resumed)
			return 0;
		ret = postcopy_news_failure(&news, err);
		if (ret < 0)
			return ret;
		if (news.ended || news.shut)
			return channel_say_closed(o->ch, "destination", err);
		(void)poll(p, 2, -1);
		if (p[0].revents)
			return err_cancelled(err);
	}
}

static int put_resume(struct outgoing *o, struct err *err)
{
	int ret;

	o->rp.resuming = true;
	ret = postcopy_listen_start(o, err);
	if (ret < 0)
		return ret;
	ret = stream_put_command(o->w, CMD_POSTCOPY_RESUME, NULL, 0);
	if (ret == 0)
		ret = writer_flush(o->w);
	if (ret < 0)
		return writer_explain(o->w, ret, err);
	return await_ack(o, err);
}

static int handshake(struct outgoing *o, bool early, struct err *err)
{
	int ret = early ? postcopy_open_urgent(o, true, err) : 0;

	if (ret == 0)
		ret = compare_blocks(o, err);
	if (ret == 0)
		ret = postcopy_open_urgent(o, false, err);
	if (ret == 0)
		ret = put_resume(o, err);
	return ret;
}

/* ---- the whole ---- */

static void set_status(struct outgoing *o, enum migration_status to)
{
	machine_lock(o->m);
	status_set(o->m, &o->status, to);
	machine_unlock(o->m);
}

/* One attempt.  0, or -errno, with *err set and nothing left of it. */
static int resume_at(struct outgoing *o, struct resume_address *a, struct err *err)
{
	bool early = o->postcopy->urgent_early;
	struct channel *ch = connect_again(o, a, err);
	int ret;

	if (!ch)
		return wake_is_set(o->deadline.stop_fd) ? -ECANCELED : -EIO;
	adopt_address(o, a);
	postcopy_attach(o, ch);
	set_status(o, MIG_POSTCOPY_RECOVER);
	ret = handshake(o, early, err);
	if (ret == 0)
		return 0;
	postcopy_listen_stop(o);
	postcopy_detach(o);
	return ret;
}

static void go_on(struct outgoing *o)
{
	if (!o->postcopy->confirmed)
		postcopy_confirm(o);
	machine_lock(o->m);
	o->error = (struct err){0};
	machine_set_handed(o->m, o->where, true);
	status_set(o->m, &o->status, MIG_POSTCOPY_ACTIVE);
	log_notice("the move goes on, to %.300s", o->where);
	machine_unlock(o->m);
}

static void pause_again(struct outgoing *o, const struct err *err)
{
	machine_lock(o->m);
	o->error = *err;
	log_notice("the move could not go on, and waits: " ERR_WITHIN, err->msg);
	status_set(o->m, &o->status, MIG_POSTCOPY_PAUSED);
	machine_unlock(o->m);
}

int postcopy_await_resume(struct outgoing *o, struct err *err)
{
	struct resume_address a = {.fd = -1};
	int ret;

	postcopy_detach(o);
	for (;;) {
		struct err why = {0};

		ret = await_address(o, &a, err);
		if (ret < 0)
			return ret;
		set_status(o, MIG_POSTCOPY_RECOVER_SETUP);
		ret = resume_at(o, &a, &why);
		resume_address_fini(&a);
		if (ret == 0) {
			go_on(o);
			return 0;
		}
		if (ret == -ECANCELED) {
			*err = why;
			return ret;
		}
		pause_again(o, &why);
	}
}
