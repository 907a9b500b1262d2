/*
 * send.c - the sending side of multifd
 *
 * The migration thread fills a batch and queues it; whichever channel thread
 * (send-channel.c) is free takes it.  There is a fixed number of batches: when all are
 * on their way the migration thread waits, and is woken when half of them have come
 * back.  A sync round is a number: the migration thread raises it, each
 * channel thread that finds the queue empty sends SYNC and follows.
 */
#include "migration/ram/multifd/send.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "migration/channel/channel.h"
#include "vmm/base/alloc.h"
#include "vmm/base/wake.h"

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
	multifd_send_count(s, sizeof(init));
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
		ret = thread_start(&c->thread, name, THREAD_MIGRATION, multifd_send_thread, c, err);
	if (ret < 0)
		return ret == -ECANCELED ? ret : err_prefix(err, ret, "multifd channel %u", c->id);
	s->n_channels++;
	return 0;
}

/* ---- the migration thread ---- */

void multifd_send_zero_pages(struct multifd_send *s)
{
	pthread_mutex_lock(&s->lock); /* nothing is queued yet */
	s->zero_pages = true;
	pthread_mutex_unlock(&s->lock);
}

void multifd_send_splice(struct multifd_send *s)
{
	pthread_mutex_lock(&s->lock); /* nothing is queued yet: no thread looks at its channel */
	for (unsigned i = 0; i < s->n_channels; i++)
		channel_use_splice(s->channels[i].ch, s->cfg.zero_copy);
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
	__atomic_fetch_add(&s->pending, b->n * PAGE_BYTES, __ATOMIC_RELAXED);
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

int multifd_send_page(struct multifd_send *s, const struct ram_block *block, uint64_t off,
		      bool untouched)
{
	int ret = 0;

	if (s->filling && s->filling->block != block)
		ret = queue_filling(s);
	if (ret == 0 && !s->filling)
		ret = take_free(s);
	if (ret < 0)
		return ret;
	s->filling->block = block;
	s->filling->off[s->filling->n++] = untouched ? off | UNTOUCHED : off;
	return s->filling->n == MULTIFD_PAGES ? queue_filling(s) : 0;
}

int multifd_send_drain(struct multifd_send *s)
{
	int ret = s->filling ? queue_filling(s) : 0;

	if (ret < 0)
		return ret;
	pthread_mutex_lock(&s->lock);
	while (!s->failed && s->n_free < multifd_send_batches(s))
		pthread_cond_wait(&s->back, &s->lock);
	ret = failure_locked(s);
	pthread_mutex_unlock(&s->lock);
	return ret;
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
		multifd_send_count(s, (uint64_t)s->n_channels * MULTIFD_HEADER_BYTES);
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
			multifd_send_fail(&s->channels[i], &closed);
		}
	}
	return multifd_send_failure(s, err);
}

uint64_t multifd_send_bytes(const struct multifd_send *s)
{
	return __atomic_load_n(&s->bytes, __ATOMIC_RELAXED);
}

uint64_t multifd_send_pending(const struct multifd_send *s)
{
	return s->cfg.method == MULTIFD_NONE ? __atomic_load_n(&s->pending, __ATOMIC_RELAXED) : 0;
}

struct multifd_pages multifd_send_pages(const struct multifd_send *s)
{
	return (struct multifd_pages){
	    .normal = __atomic_load_n(&s->pages.normal, __ATOMIC_RELAXED),
	    .zero = __atomic_load_n(&s->pages.zero, __ATOMIC_RELAXED),
	};
}

uint64_t multifd_send_copied(const struct multifd_send *s)
{
	return __atomic_load_n(&s->copied, __ATOMIC_RELAXED);
}
