/*
 * send-channel.c - the sending side of one multifd channel: batches of pages become packets
 *
 * The channel's thread takes batches from the queue that all channels share.  Where the
 * destination takes zero pages in packets, it looks for them: pages with content
 * come first in a packet, behind them the offsets of those that are zero.
 *
 * Uncompressed pages are read by the kernel when the packet is sent: a page's
 * dirty bit was cleared before, so what the guest writes meanwhile is sent
 * again.  A compressor must not see its input change: it gets a copy.
 */
#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "migration/channel/channel.h"
#include "migration/ram/multifd/send.h"
#include "vmm/base/wake.h"
#include "vmm/base/zero.h"

void multifd_send_fail(struct send_channel *c, const struct err *err)
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

static bool is_zero(const struct batch *b, uint64_t off)
{
	return (off & UNTOUCHED) || buffer_is_zero(b->block->hva + off, PAGE_BYTES);
}

/* The batch's pages into the packet: those with content, behind them the zero pages. */
static void list_pages(struct send_channel *c, const struct batch *b)
{
	struct multifd_packet *p = &c->packet;
	uint64_t zero[MULTIFD_PAGES] = {0};

	p->n_pages = p->n_zero = 0;
	for (uint32_t i = 0; i < b->n; i++) {
		if (c->s->zero_pages && is_zero(b, b->off[i]))
			zero[p->n_zero++] = b->off[i] & ~(uint64_t)UNTOUCHED;
		else
			p->off[p->n_pages++] = b->off[i];
	}
	memcpy(p->off + p->n_pages, zero, p->n_zero * sizeof(zero[0]));
	memcpy(p->block, b->block->name, sizeof(p->block));
	__atomic_fetch_add(&c->s->pages.normal, p->n_pages, __ATOMIC_RELAXED);
	__atomic_fetch_add(&c->s->pages.zero, p->n_zero, __ATOMIC_RELAXED);
}

/* Fill c->out with the packet's pages. */
static int deflate_pages(struct send_channel *c, const uint8_t *ram, size_t *n, struct err *err)
{
	const struct multifd_packet *p = &c->packet;

	*n = 0;
	for (uint32_t i = 0; i < p->n_pages; i++) {
		int ret;

		memcpy(c->page, ram + p->off[i], PAGE_BYTES);
		ret = c->s->method->deflate_page(c->state, c->page, i + 1 == p->n_pages, c->out,
						 MULTIFD_MAX_PAYLOAD, n, err);
		if (ret < 0)
			return ret;
	}
	return 0;
}

/* Neighbours become one piece. */
static int gather_pages(struct iovec *iov, const struct multifd_packet *p, const uint8_t *ram)
{
	int n = 0;

	for (uint32_t i = 0; i < p->n_pages; i++) {
		const uint8_t *page = ram + p->off[i];

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
	if (n_iov == 0 || (!c->s->cfg.zero_copy && !splice))
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
	size_t n;
	int n_iov;

	p->flags = c->s->method->flag << MULTIFD_METHOD_SHIFT;
	list_pages(c, b);
	if (c->state) {
		int ret = deflate_pages(c, b->block->hva, &n, err);

		if (ret < 0)
			return ret;
		c->iov[1] = iov_of(c->out, n);
		n_iov = n > 0;
	} else {
		n = p->n_pages * PAGE_BYTES;
		n_iov = gather_pages(c->iov + 1, p, b->block->hva);
	}
	p->payload_bytes = (uint32_t)n;
	multifd_send_count(c->s, MULTIFD_HEADER_BYTES + n);
	__atomic_fetch_sub(&c->s->pending, b->n * PAGE_BYTES, __ATOMIC_RELAXED);
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
	c->packet.n_pages = c->packet.n_zero = c->packet.payload_bytes = 0;
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
	if (s->n_free == multifd_send_batches(s) / 2 || s->n_free == multifd_send_batches(s))
		pthread_cond_signal(&s->back);
}

void *multifd_send_thread(void *opaque)
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
		multifd_send_fail(c, &err);
	return NULL;
}
