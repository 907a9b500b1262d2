/*
 * recv-channel.c - the receiving side of one multifd channel: packets straight into guest memory
 *
 * The channel's thread reads the init packet, which says the channel's number, and
 * then packets to the end of the connection.  For each it reads the header, asks the
 * placer where the pages go, joins neighbouring pages to pieces, and reads the
 * payload into these with one call, together with what has arrived of the next
 * header.  Compressed payloads are read whole and inflated to the same pieces.
 *
 * At a SYNC the thread waits until the load thread lets all channels go on
 * (recv.c).  The first failure of any channel is kept and wakes the load thread.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "migration/channel/channel.h"
#include "migration/ram/multifd/recv.h"
#include "migration/ram/placer.h"
#include "vmm/base/error.h"
#include "vmm/base/wake.h"

void multifd_recv_fail_locked(struct multifd_recv *r, const struct err *err)
{
	if (!r->failed) {
		r->failed = true;
		r->err = *err;
	}
	if (r->released > 0)
		wake_set(r->alarm_fd);
	wake_set(r->wake_fd);
	pthread_cond_broadcast(&r->go);
}

static void channel_failed(struct recv_channel *c, struct err *err)
{
	struct multifd_recv *r = c->r;

	pthread_mutex_lock(&r->lock);
	if (err->errnum != ECANCELED && c->id >= 0)
		(void)err_prefix(err, 0, "multifd channel %d", c->id);
	else if (err->errnum != ECANCELED)
		(void)err_prefix(err, 0, "a multifd channel");
	multifd_recv_fail_locked(r, err);
	pthread_mutex_unlock(&r->lock);
}

static bool id_is_used(const struct multifd_recv *r, unsigned id)
{
	for (unsigned i = 0; i < r->n_channels; i++)
		if (r->channels[i]->id == (int)id)
			return true;
	return false;
}

static int read_init(struct recv_channel *c, struct err *err)
{
	struct multifd_recv *r = c->r;
	uint8_t init[MULTIFD_INIT_BYTES];
	struct iovec iov = {.iov_base = init, .iov_len = sizeof(init)};
	unsigned id;
	size_t got;
	int ret = channel_readv(c->ch, &iov, 1, sizeof(init), &got, err);

	if (ret < 0)
		return ret;
	if (got < sizeof(init))
		return err_set(err, EIO, "the connection ends in its first packet");
	ret = multifd_get_init(init, &r->cfg, &id, err);
	if (ret < 0)
		return ret;
	pthread_mutex_lock(&r->lock);
	if (id_is_used(r, id)) {
		ret = err_set(err, EINVAL, "another one has the same number %u", id);
	} else {
		c->id = (int)id;
		r->n_known++;
		wake_set(r->wake_fd);
	}
	pthread_mutex_unlock(&r->lock);
	return ret;
}

static int alloc_method(struct recv_channel *c, struct err *err)
{
	if (!c->r->method->inflate_new)
		return 0;
	c->in = malloc(MULTIFD_MAX_PAYLOAD);
	if (!c->in)
		return err_set(err, ENOMEM, "no memory for compressed pages");
	c->state = c->r->method->inflate_new(err);
	return c->state ? 0 : -ENOMEM;
}

static void set_busy(struct recv_channel *c, bool busy)
{
	struct multifd_recv *r = c->r;

	pthread_mutex_lock(&r->lock);
	c->busy = busy;
	if (!busy && r->finishing)
		wake_set(r->wake_fd);
	pthread_mutex_unlock(&r->lock);
}

/* Between two packets, where the load thread may look whether this was the last one. */
static int await_packet(struct recv_channel *c, struct err *err)
{
	int ret;

	if (c->have > 0)
		return 0;
	set_busy(c, false);
	ret = channel_wait(c->ch, POLLIN, -1);
	set_busy(c, true);
	return ret < 0 ? channel_say_failed(c->ch, ret, "read from", err) : 0;
}

/* 1, or 0 at the end of the connection. */
static int read_header(struct recv_channel *c, struct err *err)
{
	size_t left = sizeof(c->header) - c->have, got = 0;
	struct iovec iov = {.iov_base = c->header + c->have, .iov_len = left};
	int ret = left ? channel_readv(c->ch, &iov, 1, left, &got, err) : 0;

	if (ret < 0)
		return ret;
	if (got < left && c->have + got == 0)
		return 0;
	if (got < left)
		return err_set(err, EIO, "the connection ends in the middle of a packet");
	c->have = 0;
	return 1;
}

/* Fill n_iov pieces of 'bytes' in all, and what comes of the next header with them. */
static int read_payload(struct recv_channel *c, int n_iov, size_t bytes, struct err *err)
{
	size_t got;
	int ret;

	c->iov[n_iov] = (struct iovec){.iov_base = c->header, .iov_len = sizeof(c->header)};
	ret = channel_readv(c->ch, c->iov, n_iov + 1, bytes, &got, err);
	if (ret < 0)
		return ret;
	if (got < bytes)
		return err_set(err, EIO, "the connection ends in the middle of a packet");
	c->have = got - bytes;
	return 0;
}

static int err_beyond(const struct multifd_packet *p, uint32_t i, struct err *err)
{
	return err_set(err, EINVAL, "page offset 0x%" PRIx64 " is beyond RAM block '%s'", p->off[i],
		       p->block);
}

/* Where the packet's pages go, neighbours as one piece: their number, or -errno. */
static int scatter_pages(struct recv_channel *c, struct load_block *lb, struct err *err)
{
	bool fresh = false;
	int n = 0;

	for (uint32_t i = 0; i < c->packet.n_pages; i++) {
		struct iovec *last = n > 0 ? &c->iov[n - 1] : NULL;
		uint8_t *to;
		int ret = ram_load_place(c->ram, lb, c->packet.off[i], &to);

		if (ret < 0)
			return err_beyond(&c->packet, i, err);
		fresh |= ret > 0;
		if (!to)
			to = c->scrap;
		if (last && (uint8_t *)last->iov_base + last->iov_len == to && to != c->scrap)
			last->iov_len += PAGE_BYTES;
		else
			c->iov[n++] = (struct iovec){.iov_base = to, .iov_len = PAGE_BYTES};
	}
	for (int i = 0; fresh && i < n; i++) {
		uint64_t off = (uint64_t)((uint8_t *)c->iov[i].iov_base - lb->block->hva);
		int ret = placer_make_room(lb, off, c->iov[i].iov_len, err);

		if (ret < 0)
			return ret;
	}
	return n;
}

static int read_pages(struct recv_channel *c, struct load_block *lb, struct err *err)
{
	size_t n = c->packet.payload_bytes;
	struct iovec to[MULTIFD_PAGES];
	int n_iov = scatter_pages(c, lb, err);
	int ret;

	if (n_iov < 0 || !c->state)
		return n_iov < 0 ? n_iov : read_payload(c, n_iov, n, err);
	memcpy(to, c->iov, (size_t)n_iov * sizeof(to[0]));
	c->iov[0] = (struct iovec){.iov_base = c->in, .iov_len = n};
	ret = read_payload(c, 1, n, err);
	return ret < 0 ? ret : c->r->method->inflate(c->state, c->in, n, to, n_iov, err);
}

static int take_pages(struct recv_channel *c, struct err *err)
{
	const struct multifd_packet *p = &c->packet;
	struct load_block *lb;
	int ret = 0;

	c->late = true;
	if (!c->ram)
		return err_set(err, EINVAL, "pages come before the list of RAM blocks is complete");
	if (ram_load_is_over(c->ram))
		return err_set(err, EINVAL,
			       "pages come on a multifd channel behind POSTCOPY_LISTEN");
	lb = ram_load_find(c->ram, p->block);
	if (!lb)
		return err_set(err, EINVAL, "unknown RAM block '%s'", p->block);
	if (p->n_pages > 0)
		ret = read_pages(c, lb, err);
	for (uint32_t i = 0; ret == 0 && i < p->n_pages; i++)
		if (ram_load_commit(c->ram, lb, p->off[i]) < 0)
			return err_set(err, EIO, "cannot put pages of RAM block '%s' into memory",
				       p->block);
	for (uint32_t i = p->n_pages; ret == 0 && i < p->n_pages + p->n_zero; i++) {
		if (ram_load_zero(c->ram, lb, p->off[i]) < 0)
			return err_beyond(p, i, err);
	}
	return ret;
}

static int take_sync(struct recv_channel *c, struct err *err)
{
	struct multifd_recv *r = c->r;
	bool on;

	pthread_mutex_lock(&r->lock);
	c->syncs++;
	c->late = false;
	wake_set(r->wake_fd);
	while (r->released < c->syncs && !r->stop && !r->failed)
		pthread_cond_wait(&r->go, &r->lock);
	on = r->released >= c->syncs;
	c->ram = r->ram;
	pthread_mutex_unlock(&r->lock);
	return on ? 0 : err_set(err, ECANCELED, "the migration was cancelled");
}

/* 1, or 0 at the end of the connection. */
static int take_packet(struct recv_channel *c, struct err *err)
{
	int ret = await_packet(c, err);

	if (ret == 0)
		ret = read_header(c, err);
	if (ret <= 0)
		return ret;
	ret = multifd_get_header(c->header, c->r->cfg.method, &c->packet, err);
	if (ret == 0 && c->packet.n_pages + c->packet.n_zero > 0)
		ret = take_pages(c, err);
	__atomic_fetch_add(&c->r->packets, 1, __ATOMIC_RELAXED);
	if (ret == 0 && c->packet.flags & MULTIFD_SYNC)
		ret = take_sync(c, err);
	return ret < 0 ? ret : 1;
}

void *multifd_channel_thread(void *opaque)
{
	struct recv_channel *c = opaque;
	struct multifd_recv *r = c->r;
	struct err err = {0};
	int ret = read_init(c, &err);

	if (ret == 0)
		ret = alloc_method(c, &err);
	if (ret == 0)
		ret = 1;
	while (ret > 0)
		ret = take_packet(c, &err);
	if (ret < 0) {
		channel_failed(c, &err);
		return NULL;
	}
	pthread_mutex_lock(&r->lock);
	c->ended = true;
	wake_set(r->wake_fd);
	pthread_mutex_unlock(&r->lock);
	return NULL;
}
