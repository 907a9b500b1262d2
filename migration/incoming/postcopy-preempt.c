/*
 * postcopy-preempt.c - pages that were asked for, on a connection of their own
 *
 * It has no header: records of pages, then EOS or the end of the connection, for a source may close
 * it behind its last page.  It may come before the main stream has said LISTEN, or long behind it.
 * When it breaks the move pauses: what was sent on it is lost.
 */
#include <stdlib.h>
#include <sys/socket.h>

#include "migration/channel/channel.h"
#include "migration/incoming/incoming.h"
#include "migration/incoming/postcopy.h"
#include "migration/stream/reader.h"
#include "vmm/base/log.h"
#include "vmm/machine.h"

static void *preempt_main(void *opaque)
{
	struct incoming_postcopy *pc = opaque;
	struct incoming_preempt *pr = &pc->preempt;
	struct err err = {0};
	int ret = postcopy_records_load(&pr->records, &pr->reader->src, &err);

	if (ret < 0 && pr->reader->failed) {
		ret = pr->reader->failed;
		err = pr->reader->err;
	}
	if (ret < 0)
		(void)err_prefix(&err, ret, "preempt channel");
	if (ret < 0)
		incoming_postcopy_fail(pc, ret, &err);
	pthread_mutex_lock(&pc->lock);
	pc->preempt_done = true;
	pthread_cond_broadcast(&pc->changed);
	pthread_mutex_unlock(&pc->lock);
	return NULL;
}

/* Lock held. */
static int start(struct incoming_postcopy *pc, struct channel *ch, struct err *err)
{
	struct incoming_preempt *pr = &pc->preempt;
	int ret = postcopy_records_init(&pr->records, pc->ram, pc->loader->ram, true, err);

	if (ret < 0)
		return ret;
	pr->reader = reader_new(ch, pc->in->m);
	ret = thread_start(&pr->thread, "mig-preempt", THREAD_MIGRATION, preempt_main, pc, err);
	if (ret == 0) {
		pr->ch = ch;
		pc->preempt_done = false;
		return 0;
	}
	reader_free(pr->reader);
	pr->reader = NULL;
	postcopy_records_fini(&pr->records);
	return ret;
}

void incoming_preempt_start(struct incoming_postcopy *pc, struct channel *ch)
{
	struct err err = {0};
	int ret = 0;
	bool refused;

	ch->cancel_fd = pc->in->cancel_fd;
	pthread_mutex_lock(&pc->lock);
	refused = pc->closing || pc->preempt.ch;
	if (!refused)
		ret = start(pc, ch, &err);
	pthread_mutex_unlock(&pc->lock);
	if (refused)
		log_warn("a connection to the incoming migration was refused: the preempt channel "
			 "is here already, or all pages are");
	if (refused || ret < 0)
		channel_close(ch);
	if (ret < 0)
		incoming_postcopy_fail(pc, ret, &err);
}

void incoming_preempt_stop(struct incoming_postcopy *pc, bool cut)
{
	struct incoming_preempt *pr = &pc->preempt;

	pthread_mutex_lock(&pc->lock);
	pc->closing = true;
	pthread_mutex_unlock(&pc->lock);
	if (!pr->ch)
		return;
	if (cut)
		(void)shutdown(channel_fd(pr->ch), SHUT_RDWR);
	thread_join(&pr->thread);
	reader_free(pr->reader);
	channel_close(pr->ch);
	postcopy_records_fini(&pr->records);
	*pr = (struct incoming_preempt){.ch = NULL};
	pthread_mutex_lock(&pc->lock);
	pc->preempt_done = false;
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
