/*
 * send.c - the sending side of multifd
 *
 * The migration thread fills a batch and queues it; whichever channel thread
 * is free takes it.  There is a fixed number of batches: when all are on their
 * way the migration thread waits, and is woken when half of them have come
 * back.  A sync round is a number: the migration thread raises it, each
 * channel thread that finds the queue empty sends SYNC and follows.
 *
 * Uncompressed pages are read by the kernel when the packet is sent: a page's
 * dirty bit was cleared before, so what the guest writes meanwhile is sent
 * again.  A compressor must not see its input change: it gets a copy.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "migration/channel/channel.h"
#include "migration/channel/zero-copy.h"
#include "migration/ram/multifd/multifd.h"
#include "migration/ram/ram.h"
#include "vmm/base/alloc.h"
#include "vmm/base/list.h"
#include "vmm/base/thread.h"
#include "vmm/base/wake.h"

#define BATCHES_PER_CHANNEL 4U

struct batch {
	struct list link;
	const struct ram_block *block;
	uint32_t n;
	uint64_t off[MULTIFD_PAGES];
};

struct send_channel {
	/* constant while the thread lives */
	struct multifd_send *s;
	unsigned id;
	struct channel *ch; /* owned */
	struct thread thread;
	/* the thread's */
	struct multifd_packet packet;
	uint8_t header[MULTIFD_HEADER_BYTES];
	struct iovec iov[1 + MULTIFD_PAGES];
	struct zero_copy zc;
	void *state;  /* owned; the compressor's */
	uint8_t *out; /* owned; what it has made, MULTIFD_MAX_PAYLOAD */
	uint8_t page[PAGE_BYTES];
	/* under s->lock */
	uint64_t synced; /* rounds */
};

struct multifd_send {
	/* set at creation and then constant */
	struct multifd_config cfg;
	const struct multifd_method *method;
	int alarm_fd; /* eventfd: a channel has failed, or all are to end */
	int watch_fd; /* epoll: alarm_fd or the migration's cancel_fd */
	/*
	 * Protects what follows, and each channel's 'synced'.  Nothing is
	 * taken under it.
	 */
	pthread_mutex_t lock;
	pthread_cond_t work; /* for channels: the queue, rounds, quit */
	pthread_cond_t back; /* for the migration thread: free batches, synced, failed */
	struct list queue, free;
	unsigned n_free;
	uint64_t rounds;
	uint64_t packets; /* numbered so far */
	bool quit, failed;
	struct err err; /* then: why */
	/* atomic */
	uint64_t bytes, copied;
	/* the migration thread's */
	struct batch *filling;
	unsigned n_channels; /* started */
	struct batch *batches;
	struct send_channel channels[]; /* cfg.channels */
};

/* ---- channel threads ---- */

static void count_bytes(struct multifd_send *s, uint64_t n)
{
	__atomic_fetch_add(&s->bytes, n, __ATOMIC_RELAXED);
}

static void set_failed(struct send_channel *c, const struct err *err)
{
	struct multifd_send *s = c->s;

	pthread_mutex_lock(&s->lock);
	if (!s->failed) {
		s->failed = true;
		s->err = *err;
		if (err->errnum != ECANCELED)
			(void)err_prefix(&s->err, 0, "multifd channel %u", c->id);
	}
	wake_set(s->alarm_fd);
	pthread_cond_broadcast(&s->back);
	pthread_mutex_unlock(&s->lock);
}

/* Fill c->out with the batch's pages. */
static int deflate_batch(struct send_channel *c, const struct batch *b, size_t *n, struct err *err)
{
	*n = 0;
	for (uint32_t i = 0; i < b->n; i++) {
		int ret;

		memcpy(c->page, b->block->hva + b->off[i], PAGE_BYTES);
		ret = c->s->method->deflate_page(c->state, c->page, i + 1 == b->n, c->out,
						 MULTIFD_MAX_PAYLOAD, n, err);
		if (ret < 0)
			return ret;
	}
	return 0;
}

/* Neighbours become one piece. */
static int gather_pages(struct iovec *iov, const struct batch *b)
{
	int n = 0;

	for (uint32_t i = 0; i < b->n; i++) {
		const uint8_t *page = b->block->hva + b->off[i];

		if (n > 0 && (const uint8_t *)iov[n - 1].iov_base + iov[n - 1].iov_len == page)
			iov[n - 1].iov_len += PAGE_BYTES;
		else
			iov[n++] = iov_of(page, PAGE_BYTES);
	}
	return n;
}

/* Pages that are one piece: without a copy, as far as the kernel agrees. */
static int splice_pages(struct send_channel *c, struct err *err)
{
	size_t done = 0;
	int ret = channel_splice(c->ch, c->iov[1].iov_base, c->iov[1].iov_len, &done, err);

	if (ret < 0)
		return ret;
	(void)iov_advance(c->iov + 1, 1, done);
	return channel_write_all(c->ch, c->iov + 1, done < c->packet.payload_bytes, err);
}

static int write_packet(struct send_channel *c, int n_iov, struct err *err)
{
	bool splice = !c->state && n_iov == 1 && channel_splices(c->ch);
	int ret;

	multifd_put_header(c->header, &c->packet);
	c->iov[0] = iov_of(c->header, sizeof(c->header));
	if (!c->s->cfg.zero_copy && !splice)
		return channel_write_all(c->ch, c->iov, 1 + n_iov, err);
	ret = channel_write_all(c->ch, c->iov, 1, err);
	if (ret < 0)
		return ret;
	return splice ? splice_pages(c, err)
		      : zero_copy_write_all(c->ch, &c->zc, c->iov + 1, n_iov, err);
}

static int send_batch(struct send_channel *c, const struct batch *b, struct err *err)
{
	struct multifd_packet *p = &c->packet;
	int n_iov;

	p->flags = c->s->method->flag << MULTIFD_METHOD_SHIFT;
	p->n_pages = b->n;
	memcpy(p->block, b->block->name, sizeof(p->block));
	memcpy(p->off, b->off, b->n * sizeof(b->off[0]));
	if (c->state) {
		size_t n;
		int ret = deflate_batch(c, b, &n, err);

		if (ret < 0)
			return ret;
		c->iov[1] = iov_of(c->out, n);
		n_iov = 1;
		p->payload_bytes = (uint32_t)n;
		count_bytes(c->s, MULTIFD_HEADER_BYTES + n);
	} else {
		n_iov = gather_pages(c->iov + 1, b);
		p->payload_bytes = (uint32_t)(b->n * PAGE_BYTES);
	}
	return write_packet(c, n_iov, err);
}

static int send_sync(struct send_channel *c, struct err *err)
{
	bool copied = false;
	int ret = 0;

	if (c->s->cfg.zero_copy)
		ret = zero_copy_flush(c->ch, &c->zc, &copied, err);
	if (ret < 0)
		return ret;
	if (copied)
		__atomic_fetch_add(&c->s->copied, 1, __ATOMIC_RELAXED);
	c->packet.flags = MULTIFD_SYNC;
	c->packet.n_pages = c->packet.payload_bytes = 0;
	c->packet.block[0] = 0;
	multifd_put_header(c->header, &c->packet);
	return channel_write(c->ch, c->header, sizeof(c->header), err);
}

/* Something to do: a batch, or (NULL) a SYNC; false: the end.  Lock held. */
static bool next_job(struct send_channel *c, struct batch **b)
{
	struct multifd_send *s = c->s;

	for (;;) {
		if (s->quit || s->failed)
			return false;
		c->packet.num = s->packets;
		if (!list_empty(&s->queue)) {
			s->packets++;
			*b = container_of(s->queue.next, struct batch, link);
			list_del(&(*b)->link);
			return true;
		}
		if (c->synced < s->rounds) {
			s->packets++;
			*b = NULL;
			return true;
		}
		pthread_cond_wait(&s->work, &s->lock);
	}
}

static void free_batch(struct multifd_send *s, struct batch *b)
{
	list_add_tail(&s->free, &b->link);
	s->n_free++;
	if (s->n_free == s->cfg.channels * BATCHES_PER_CHANNEL / 2)
		pthread_cond_signal(&s->back);
}

static void *send_thread(void *opaque)
{
	struct send_channel *c = opaque;
	struct multifd_send *s = c->s;
	struct err err = {0};
	struct batch *b;
	int ret = 0;

	pthread_mutex_lock(&s->lock);
	while (ret == 0 && next_job(c, &b)) {
		pthread_mutex_unlock(&s->lock);
		ret = b ? send_batch(c, b, &err) : send_sync(c, &err);
		pthread_mutex_lock(&s->lock);
		if (b) {
			free_batch(s, b);
		} else if (ret == 0) {
			c->synced++;
			pthread_cond_signal(&s->back);
		}
	}
	pthread_mutex_unlock(&s->lock);
	if (ret < 0)
		set_failed(c, &err);
	return NULL;
}

/* ---- making and ending ---- */

struct multifd_send *multifd_send_new(const struct multifd_config *cfg, int cancel_fd,
				      struct err *err)
{
	size_t n = (size_t)cfg->channels * BATCHES_PER_CHANNEL;
	struct multifd_send *s =
	    xcalloc(1, sizeof(*s) + cfg->channels * sizeof(struct send_channel));

	s->cfg = *cfg;
	s->method = multifd_methods[cfg->method];
	s->batches = xcalloc(n, sizeof(*s->batches));
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->work, NULL);
	pthread_cond_init(&s->back, NULL);
	list_init(&s->queue);
	list_init(&s->free);
	for (size_t i = 0; i < n; i++)
		list_add_tail(&s->free, &s->batches[i].link);
	s->n_free = (unsigned)n;
	s->alarm_fd = wake_open();
	s->watch_fd = wake_either(s->alarm_fd, cancel_fd);
	if (s->watch_fd >= 0)
		return s;
	(void)err_set(err, errno, "cannot make an eventfd: %s", err_text(errno));
	multifd_send_free(s);
	return NULL;
}

/* The threads end at the next job, or when they wait for their socket. */
static void stop_threads(struct multifd_send *s)
{
	pthread_mutex_lock(&s->lock);
	s->quit = true;
	pthread_cond_broadcast(&s->work);
	pthread_mutex_unlock(&s->lock);
	if (s->alarm_fd >= 0)
		wake_set(s->alarm_fd);
	for (unsigned i = 0; i < s->n_channels; i++)
		thread_join(&s->channels[i].thread);
}

void multifd_send_free(struct multifd_send *s)
{
	if (!s)
		return;
	stop_threads(s);
	for (unsigned i = 0; i < s->cfg.channels; i++) {
		struct send_channel *c = &s->channels[i];

		channel_close(c->ch);
		if (c->state)
			s->method->deflate_free(c->state);
		free(c->out);
	}
	cleanup_close(&s->alarm_fd);
	cleanup_close(&s->watch_fd);
	pthread_cond_destroy(&s->work);
	pthread_cond_destroy(&s->back);
	pthread_mutex_destroy(&s->lock);
	free(s->batches);
	free(s);
}

int multifd_send_alarm(const struct multifd_send *s)
{
	return s->watch_fd;
}

static int send_set_up(struct send_channel *c, struct err *err)
{
	struct multifd_send *s = c->s;
	uint8_t init[MULTIFD_INIT_BYTES];
	int ret = s->cfg.zero_copy ? zero_copy_enable(c->ch, err) : 0;

	if (ret < 0)
		return ret;
	if (s->method->deflate_new) {
		c->out = malloc(MULTIFD_MAX_PAYLOAD);
		c->state = s->method->deflate_new(s->cfg.level, err);
		if (!c->out)
			return err_set(err, ENOMEM, "no memory for compressed pages");
		if (!c->state)
			return -ENOMEM;
	}
	multifd_put_init(init, s->cfg.uuid, c->id);
	count_bytes(s, sizeof(init));
	return channel_write(c->ch, init, sizeof(init), err);
}

int multifd_send_add(struct multifd_send *s, struct channel *ch, struct err *err)
{
	struct send_channel *c = &s->channels[s->n_channels];
	char name[16];
	int ret;

	c->s = s;
	c->id = s->n_channels;
	c->ch = ch;
	ch->cancel_fd = s->watch_fd;
	channel_send_buffer(ch, MULTIFD_PAGES * PAGE_BYTES);
	ret = send_set_up(c, err);
	(void)snprintf(name, sizeof(name), "mig-send/%u", c->id);
	if (ret == 0)
		ret = thread_start(&c->thread, name, THREAD_MIGRATION, send_thread, c, err);
	if (ret < 0)
		return ret == -ECANCELED ? ret : err_prefix(err, ret, "multifd channel %u", c->id);
	s->n_channels++;
	return 0;
}

/* ---- the migration thread ---- */

void multifd_send_splice(struct multifd_send *s)
{
	pthread_mutex_lock(&s->lock); /* nothing is queued yet: no thread looks at its channel */
	for (unsigned i = 0; i < s->n_channels; i++)
		channel_use_splice(s->channels[i].ch);
	pthread_mutex_unlock(&s->lock);
}

static int failure_locked(const struct multifd_send *s)
{
	return s->failed ? -s->err.errnum : 0;
}

static int queue_filling(struct multifd_send *s)
{
	struct batch *b = s->filling;
	int ret;

	s->filling = NULL;
	if (s->cfg.method ==
	    MULTIFD_NONE) /* known now; for the bandwidth limit, the sooner the better */
		count_bytes(s, MULTIFD_HEADER_BYTES + b->n * PAGE_BYTES);
	pthread_mutex_lock(&s->lock);
	list_add_tail(&s->queue, &b->link);
	pthread_cond_signal(&s->work);
	ret = failure_locked(s);
	pthread_mutex_unlock(&s->lock);
	return ret;
}

static int take_free(struct multifd_send *s)
{
	int ret;

	pthread_mutex_lock(&s->lock);
	while (s->n_free == 0 && !s->failed)
		pthread_cond_wait(&s->back, &s->lock);
	ret = failure_locked(s);
	if (ret == 0) {
		s->filling = container_of(s->free.next, struct batch, link);
		list_del(&s->filling->link);
		s->n_free--;
		s->filling->n = 0;
	}
	pthread_mutex_unlock(&s->lock);
	return ret;
}

int multifd_send_page(struct multifd_send *s, const struct ram_block *block, uint64_t off)
{
	int ret = 0;

	if (s->filling && s->filling->block != block)
		ret = queue_filling(s);
	if (ret == 0 && !s->filling)
		ret = take_free(s);
	if (ret < 0)
		return ret;
	s->filling->block = block;
	s->filling->off[s->filling->n++] = off;
	return s->filling->n == MULTIFD_PAGES ? queue_filling(s) : 0;
}

static bool all_synced(const struct multifd_send *s)
{
	for (unsigned i = 0; i < s->n_channels; i++)
		if (s->channels[i].synced < s->rounds)
			return false;
	return true;
}

int multifd_send_sync(struct multifd_send *s)
{
	int ret = s->filling ? queue_filling(s) : 0;

	if (ret < 0)
		return ret;
	pthread_mutex_lock(&s->lock);
	s->rounds++;
	pthread_cond_broadcast(&s->work);
	while (!s->failed && !all_synced(s))
		pthread_cond_wait(&s->back, &s->lock);
	ret = failure_locked(s);
	pthread_mutex_unlock(&s->lock);
	if (ret == 0)
		count_bytes(s, (uint64_t)s->n_channels * MULTIFD_HEADER_BYTES);
	return ret;
}

int multifd_send_failure(struct multifd_send *s, struct err *err)
{
	int ret;

	pthread_mutex_lock(&s->lock);
	ret = failure_locked(s);
	if (ret < 0 && err)
		*err = s->err;
	pthread_mutex_unlock(&s->lock);
	return ret;
}

int multifd_send_check(struct multifd_send *s, struct err *err)
{
	for (unsigned i = 0; i < s->n_channels; i++) {
		if (channel_hung_up(s->channels[i].ch)) {
			struct err closed = {0};

			(void)err_set(&closed, ECONNRESET, "the destination closed the connection");
			set_failed(&s->channels[i], &closed);
		}
	}
	return multifd_send_failure(s, err);
}

uint64_t multifd_send_bytes(const struct multifd_send *s)
{
	return __atomic_load_n(&s->bytes, __ATOMIC_RELAXED);
}

uint64_t multifd_send_copied(const struct multifd_send *s)
{
	return __atomic_load_n(&s->copied, __ATOMIC_RELAXED);
}
