/*
 * postcopy-listen.c - the thread that reads the return path once the guest may run there
 *
 * A channel has one reader and one writer: from the switch on this thread reads, the migration
 * thread writes.  What is said it leaves in postcopy.news, and wakes the migration
 * thread.  Pages that are asked for it queues (ram/page-queue.h); with postcopy-preempt it
 * sends them itself, over the channel that only they use: a request then waits for no
 * other thread, and for none of the sweep's bytes.
 *
 * When the connection breaks, or what is said makes no sense, the thread shuts both sockets
 * down, so that a write that waits ends too, and returns.  The migration thread does the
 * same to end this one.
 */
#include <errno.h>

#include "migration/channel/channel.h"
#include "migration/outgoing/outgoing.h"
#include "migration/outgoing/postcopy.h"
#include "migration/ram/postcopy/send.h"
#include "migration/stream/writer.h"
#include "vmm/base/bytes.h"
#include "vmm/base/wake.h"

#define URGENT_PAGES 256U /* of one request, between two looks */

static void shut_down(struct postcopy *pc)
{
	channel_shut_down(pc->o->ch);
	if (pc->urgent)
		channel_shut_down(pc->urgent);
}

/* ---- the listener ---- */

/* All that has been asked for, over its own channel. */
static int send_urgent_locked(struct postcopy *pc, struct err *err)
{
	struct outgoing *o = pc->o;
	struct ram_counters before = pc->urgent_stream.count;
	uint64_t bytes = pc->urgent_w->bytes;
	int ret;

	do
		ret = postcopy_send_urgent(&o->ram, &pc->urgent_stream, URGENT_PAGES);
	while (ret > 0);
	if (ret == 0)
		ret = writer_flush(pc->urgent_w);
	if (ret < 0)
		return writer_explain(pc->urgent_w, ret, err);
	stats_sent(&o->stats, pc->urgent_w->bytes - bytes,
		   pc->urgent_stream.count.duplicate - before.duplicate,
		   pc->urgent_stream.count.normal - before.normal,
		   ram_save_left_pages(&o->ram) * PAGE_BYTES);
	return 0;
}

static int send_urgent(struct postcopy *pc, struct err *err)
{
	int ret;

	pthread_mutex_lock(&pc->urgent_lock);
	ret = send_urgent_locked(pc, err);
	pthread_mutex_unlock(&pc->urgent_lock);
	return ret;
}

/* More than requests: each of these wakes the migration thread. */
static bool has_news(const struct postcopy *pc)
{
	const struct return_path *rp = &pc->o->rp;
	const struct postcopy_news *n = &pc->news; /* only this thread writes it */

	return n->loaded != rp->package_loaded || n->ready != rp->ready || n->runs != rp->runs ||
	       n->resumed != rp->resumed || rp->shut || rp->ended || rp->cause[0];
}

static void publish_news(struct postcopy *pc, int ret, const struct err *err)
{
	const struct return_path *rp = &pc->o->rp;
	struct postcopy_news *n = &pc->news;

	pthread_mutex_lock(&pc->lock);
	n->loaded = rp->package_loaded;
	n->ready = rp->ready;
	n->peer = rp->peer;
	n->runs = rp->runs;
	n->resumed = rp->resumed;
	n->refused = rp->cause[0] || (rp->shut && rp->shut_status);
	n->shut = rp->shut && !rp->shut_status;
	n->ended = rp->ended;
	if (n->refused)
		(void)rp_refused(rp, &n->err);
	if (ret < 0) {
		n->failed = ret;
		n->err = *err;
	}
	pthread_mutex_unlock(&pc->lock);
	__atomic_store_n(&pc->has_news, true, __ATOMIC_RELEASE);
	wake_set(pc->wake_fd);
}

static int on_request(void *opaque, const char *block, uint64_t off, uint32_t bytes,
		      struct err *err)
{
	struct postcopy *pc = opaque;
	uint64_t pages;
	int ret;

	/* Requests may leave rp_poll() no end: what came before them is said here. */
	if (has_news(pc))
		publish_news(pc, 0, NULL);
	ret = postcopy_send_request(&pc->o->ram, block, off, bytes, &pages, err);
	if (ret < 0)
		return ret;
	stats_request(&pc->o->stats);
	if (pc->urgent)
		return pages ? send_urgent(pc, err) : 0;
	wake_set(pc->wake_fd);
	return 0;
}

static void *postcopy_listen(void *opaque)
{
	struct postcopy *pc = opaque;
	struct return_path *rp = &pc->o->rp;
	struct err err = {0};
	int ret = 0;

	while (ret >= 0 && !rp->ended && !rp->shut) {
		ret = rp_poll(rp, -1, &err);
		if (ret < 0 || (ret > 0 && has_news(pc)))
			publish_news(pc, ret, &err);
	}
	if (ret < 0 || !rp->shut || rp->shut_status)
		shut_down(pc);
	thread_set_done(&pc->listener);
	return NULL;
}

/* ---- the migration thread ---- */

int postcopy_listen_start(struct outgoing *o, struct err *err)
{
	struct postcopy *pc = o->postcopy;

	o->rp.request = on_request;
	o->rp.opaque = pc;
	pc->news = (struct postcopy_news){0};
	pc->has_news = false;
	if (pc->urgent) {
		ram_stream_init(&pc->urgent_stream, pc->urgent_w, o->ram.stream.section_id,
				precopy_encoders);
		pc->urgent_stream.runs = o->rp.minivmm;
	}
	return thread_start(&pc->listener, "mig-requests", THREAD_MIGRATION, postcopy_listen, pc,
			    err);
}

void postcopy_listen_stop(struct outgoing *o)
{
	struct postcopy *pc = o->postcopy;

	if (!pc->listener.live)
		return;
	shut_down(pc);
	thread_join(&pc->listener);
	o->rp.request = NULL;
}

int postcopy_urgent_end(struct outgoing *o, struct err *err)
{
	struct postcopy *pc = o->postcopy;
	uint8_t eos[8];
	int ret = 0;

	put_be64(eos, RAM_FLAG_EOS);
	pthread_mutex_lock(&pc->urgent_lock);
	if (pc->urgent && pc->urgent_early)
		ret = writer_put(pc->urgent_w, eos, sizeof(eos));
	if (ret == 0 && pc->urgent)
		ret = writer_flush(pc->urgent_w);
	pthread_mutex_unlock(&pc->urgent_lock);
	return pc->urgent ? writer_explain(pc->urgent_w, ret, err) : 0;
}

int postcopy_news_failure(const struct postcopy_news *news, struct err *err)
{
	if (news->failed == 0 && !news->refused)
		return 0;
	*err = news->err;
	return news->failed < 0 ? news->failed : -EREMOTEIO;
}

struct postcopy_news postcopy_news(struct postcopy *pc)
{
	struct postcopy_news n;

	wake_clear(pc->wake_fd);
	__atomic_store_n(&pc->has_news, false, __ATOMIC_RELAXED);
	pthread_mutex_lock(&pc->lock);
	n = pc->news;
	pthread_mutex_unlock(&pc->lock);
	return n;
}
