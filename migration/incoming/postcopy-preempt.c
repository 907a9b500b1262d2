/*
 * postcopy-preempt.c - pages that were asked for, on a connection of their own
 *
 * It has no header: records of pages, then EOS or the end of the connection, for a source may close
 * it behind its last page.  It may come before the main stream has said LISTEN, or long behind it.
 * When it breaks the move pauses: what was sent on it is lost.  A move that is resumed has another
 * one, which the thread waits for itself, where its main stream has come.
 */
#include <stdlib.h>

#include "migration/channel/channel.h"
#include "migration/incoming/incoming.h"
#include "migration/incoming/postcopy.h"
#include "migration/stream/reader.h"
#include "vmm/base/log.h"
#include "vmm/base/wake.h"
#include "vmm/machine.h"

/* Lock held. */
static int take(struct incoming_postcopy *pc, struct channel *ch, struct err *err)
{
	struct incoming_preempt *pr = &pc->preempt;
	int ret = postcopy_records_init(&pr->records, pc->ram, pc->loader->ram, true, err);

	if (ret < 0)
		return ret;
	channel_bound_silence(ch);
	pr->reader = reader_new(ch, pc->in->m);
	pr->ch = ch;
	return 0;
}

/* The thread's.  0, and none has come: it is not wanted any more. */
static int await_channel(struct incoming_postcopy *pc, struct err *err)
{
	struct channel *ch =
	    recover_listen_preempt(&pc->in->recover, &pc->preempt_begun, pc->preempt_fd);
	int ret = 0;

	if (!ch)
		return 0;
	ch->cancel_fd = pc->in->cancel_fd;
	pthread_mutex_lock(&pc->lock);
	if (!pc->closing)
		ret = take(pc, ch, err);
	pthread_mutex_unlock(&pc->lock);
	if (!pc->preempt.ch)
		channel_close(ch);
	return ret;
}

/* The load thread may wait for the last page. */
static void say_done(struct incoming_postcopy *pc)
{
	pthread_mutex_lock(&pc->lock);
	pc->preempt_done = true;
	pthread_cond_broadcast(&pc->changed);
	pthread_mutex_unlock(&pc->lock);
}

static int load_pages(struct incoming_postcopy *pc, struct err *err)
{
	struct incoming_preempt *pr = &pc->preempt;
	int ret;

	do {
		ret = postcopy_records_load(&pr->records, &pr->reader->src, err);
		if (ret == POSTCOPY_RECORDS_ALL_HERE)
			say_done(pc);
	} while (ret == POSTCOPY_RECORDS_ALL_HERE);
	return ret;
}

static void *preempt_main(void *opaque)
{
	struct incoming_postcopy *pc = opaque;
	struct incoming_preempt *pr = &pc->preempt;
	struct err err = {0};
	int ret = pr->ch ? 0 : await_channel(pc, &err);

	if (ret == 0 && pr->ch)
		ret = load_pages(pc, &err);
	if (ret < 0 && pr->reader && pr->reader->failed) {
		ret = pr->reader->failed;
		err = pr->reader->err;
	}
	if (ret < 0)
		(void)err_prefix(&err, ret, "preempt channel");
	if (ret < 0)
		incoming_postcopy_fail(pc, ret, &err);
	say_done(pc);
	return NULL;
}

/* Lock held. */
static int start(struct incoming_postcopy *pc, struct err *err)
{
	pc->preempt_done = false;
	return thread_start(&pc->preempt.thread, "mig-preempt", THREAD_MIGRATION, preempt_main, pc,
			    err);
}

static int start_with(struct incoming_postcopy *pc, struct channel *ch, struct err *err)
{
	struct incoming_preempt *pr = &pc->preempt;
	int ret = take(pc, ch, err);

	if (ret == 0)
		ret = start(pc, err);
	if (ret < 0) {
		reader_free(pr->reader);
		postcopy_records_fini(&pr->records);
		*pr = (struct incoming_preempt){.ch = NULL};
	}
	return ret;
}

void incoming_preempt_start(struct incoming_postcopy *pc, struct channel *ch)
{
	struct err err = {0};
	int ret = 0;
	bool refused;

	ch->cancel_fd = pc->in->cancel_fd;
	pthread_mutex_lock(&pc->lock);
	refused = pc->closing || pc->preempt.thread.live;
	if (!refused)
		ret = start_with(pc, ch, &err);
	pthread_mutex_unlock(&pc->lock);
	if (refused)
		log_warn("a connection to the incoming migration was refused: the preempt channel "
			 "is here already, or all pages are");
	if (refused || ret < 0)
		channel_close(ch);
	if (ret < 0)
		incoming_postcopy_fail(pc, ret, &err);
}

int incoming_preempt_await(struct incoming_postcopy *pc, struct err *err)
{
	int ret;

	if (pc->preempt.thread.live)
		return 0;
	__atomic_store_n(&pc->preempt_begun, false, __ATOMIC_RELEASE);
	wake_clear(pc->preempt_fd);
	pthread_mutex_lock(&pc->lock);
	pc->closing = false;
	ret = start(pc, err);
	pc->preempt_due = ret == 0;
	pthread_mutex_unlock(&pc->lock);
	return ret;
}

void incoming_preempt_begin(struct incoming_postcopy *pc)
{
	__atomic_store_n(&pc->preempt_begun, true, __ATOMIC_RELEASE);
	recover_listen_poke(&pc->in->recover);
}

void incoming_preempt_stop(struct incoming_postcopy *pc, bool cut)
{
	struct incoming_preempt *pr = &pc->preempt;

	pthread_mutex_lock(&pc->lock);
	pc->closing = true;
	pthread_mutex_unlock(&pc->lock);
	wake_set(pc->preempt_fd);
	if (!pr->thread.live)
		return;
	if (cut && pr->ch)
		channel_shut_down(pr->ch);
	thread_join(&pr->thread);
	reader_free(pr->reader);
	channel_close(pr->ch);
	postcopy_records_fini(&pr->records);
	*pr = (struct incoming_preempt){.ch = NULL};
	pthread_mutex_lock(&pc->lock);
	pc->preempt_done = pc->preempt_due = false;
	pthread_mutex_unlock(&pc->lock);
}

void incoming_postcopy_take_preempt(struct incoming *in, struct channel *ch)
{
	if (in->postcopy && in->postcopy->listening)
		incoming_preempt_start(in->postcopy, ch);
	else if (!in->preempt)
		in->preempt = ch;
	else
		channel_close(ch);
}
