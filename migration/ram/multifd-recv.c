/*
 * multifd-recv.c - the receiving side of multifd
 *
 * One thread a channel reads packets straight into guest memory.  At a SYNC it
 * tells the load thread, and waits until that has had SYNC from every channel
 * at the EOS of its own record.
 *
 * Who connects is known before the first EOS is read, for a source sends SYNC
 * on every channel before it ends its first record.  So that is where a source
 * that has too few channels, too many, or none, is found out.  Until then a
 * channel's failure only waits to be found there: the return path, over which
 * the source is told, is opened in front of it.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "migration/channel/channel.h"
#include "migration/internal.h"
#include "migration/ram/load-direct.h"
#include "migration/ram/multifd.h"
#include "vmm/base/alloc.h"
#include "vmm/vclock.h"

#define MAX_CHANNELS 255U
#define NONE_MS      500  /* how long after the list of blocks a first channel may come */
#define LATE_MS      5000 /* ... and each one after it */
#define NS_PER_MS    1000000

struct recv_channel {
	/* constant while the thread lives */
	struct multifd_recv *r;
	struct channel *ch; /* owned */
	struct worker worker;
	/* the thread's */
	uint8_t header[MULTIFD_HEADER_BYTES];
	size_t have; /* bytes of 'header', read together with the payload before it */
	struct multifd_packet packet;
	struct iovec iov[MULTIFD_PAGES + 1];
	void *state; /* owned; the decompressor's */
	uint8_t *in; /* owned; a compressed payload */
	uint8_t scrap[PAGE_BYTES];
	struct ram_load *ram; /* borrowed; NULL: the list of RAM blocks is not complete yet */
	/* under r->lock */
	int id;         /* -1: not said yet */
	uint64_t syncs; /* seen */
	bool ended;     /* the source has closed it, between two packets */
};

struct multifd_recv {
	/* set at creation and then constant */
	struct multifd_config cfg;
	const struct multifd_method *method;
	bool (*pending)(void *opaque);
	void *opaque;
	int wake_fd;  /* eventfd for the load thread: look again */
	int alarm_fd; /* eventfd: a channel has failed, or all shall end */
	int watch_fd; /* epoll: alarm_fd or the migration's cancel_fd */
	/* Protects what follows, and each channel's members marked so.  Nothing is taken under it.
	 */
	pthread_mutex_t lock;
	pthread_cond_t go; /* for channels: released, stop, failed */
	struct recv_channel *channels[MAX_CHANNELS];
	unsigned n_channels, n_known; /* connected; of these, with an id */
	struct ram_load *ram;         /* borrowed; from the first EOS on */
	uint64_t eos, released;       /* sync rounds begun and done */
	bool plain;                   /* the source has no channels */
	bool stop, failed;
	struct err err; /* then: why */
};

/* ---- failures ---- */

/* Lock held. */
static void set_failed(struct multifd_recv *r, const struct err *err)
{
	if (!r->failed) {
		r->failed = true;
		r->err = *err;
	}
	if (r->released > 0)
		eventfd_set(r->alarm_fd);
	eventfd_set(r->wake_fd);
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
	set_failed(r, err);
	pthread_mutex_unlock(&r->lock);
}

static int failure_locked(const struct multifd_recv *r, struct err *err)
{
	if (!r->failed)
		return 0;
	if (err)
		*err = r->err;
	return -r->err.errnum;
}

int multifd_recv_failure(struct multifd_recv *r, struct err *err)
{
	int ret;

	pthread_mutex_lock(&r->lock);
	ret = failure_locked(r, err);
	pthread_mutex_unlock(&r->lock);
	return ret;
}

static int say_cancelled(struct err *err)
{
	return err_set(err, ECANCELED, "the migration was cancelled");
}

/* ---- a channel's thread ---- */

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
		eventfd_set(r->wake_fd);
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

static int say_beyond(const struct multifd_packet *p, uint32_t i, struct err *err)
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
		int ret = ram_load_place(lb, c->packet.off[i], &to);

		if (ret < 0)
			return say_beyond(&c->packet, i, err);
		fresh |= ret > 0;
		if (!to)
			to = c->scrap;
		if (last && (uint8_t *)last->iov_base + last->iov_len == to && to != c->scrap)
			last->iov_len += PAGE_BYTES;
		else
			c->iov[n++] = (struct iovec){.iov_base = to, .iov_len = PAGE_BYTES};
	}
	for (int i = 0; fresh && i < n; i++)
		direct_populate(c->iov[i].iov_base, c->iov[i].iov_len);
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

	if (!c->ram)
		return err_set(err, EINVAL, "pages come before the list of RAM blocks is complete");
	lb = ram_load_find(c->ram, p->block);
	if (!lb)
		return err_set(err, EINVAL, "unknown RAM block '%s'", p->block);
	if (p->n_pages > 0)
		ret = read_pages(c, lb, err);
	for (uint32_t i = p->n_pages; ret == 0 && i < p->n_pages + p->n_zero; i++) {
		if (ram_load_zero(lb, p->off[i]) < 0)
			return say_beyond(p, i, err);
	}
	return ret;
}

static int take_sync(struct recv_channel *c, struct err *err)
{
	struct multifd_recv *r = c->r;
	bool on;

	pthread_mutex_lock(&r->lock);
	c->syncs++;
	eventfd_set(r->wake_fd);
	while (r->released < c->syncs && !r->stop && !r->failed)
		pthread_cond_wait(&r->go, &r->lock);
	on = r->released >= c->syncs;
	c->ram = r->ram;
	pthread_mutex_unlock(&r->lock);
	return on ? 0 : say_cancelled(err);
}

/* 1, or 0 at the end of the connection. */
static int take_packet(struct recv_channel *c, struct err *err)
{
	int ret = read_header(c, err);

	if (ret <= 0)
		return ret;
	ret = multifd_get_header(c->header, c->r->cfg.method, &c->packet, err);
	if (ret == 0 && c->packet.n_pages + c->packet.n_zero > 0)
		ret = take_pages(c, err);
	if (ret == 0 && c->packet.flags & MULTIFD_SYNC)
		ret = take_sync(c, err);
	return ret < 0 ? ret : 1;
}

static void *recv_thread(void *opaque)
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
	eventfd_set(r->wake_fd);
	pthread_mutex_unlock(&r->lock);
	return NULL;
}

/* ---- making and ending ---- */

static int watch(int epoll_fd, int fd)
{
	struct epoll_event e = {.events = EPOLLIN};

	return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &e);
}

struct multifd_recv *multifd_recv_new(const struct multifd_config *cfg, int cancel_fd,
				      bool (*pending)(void *opaque), void *opaque, struct err *err)
{
	struct multifd_recv *r = NEW(struct multifd_recv);

	r->cfg = *cfg;
	r->method = multifd_methods[cfg->method];
	r->pending = pending;
	r->opaque = opaque;
	pthread_mutex_init(&r->lock, NULL);
	pthread_cond_init(&r->go, NULL);
	r->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r->alarm_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r->watch_fd = epoll_create1(EPOLL_CLOEXEC);
	if (r->wake_fd >= 0 && r->alarm_fd >= 0 && r->watch_fd >= 0 &&
	    watch(r->watch_fd, r->alarm_fd) == 0 && watch(r->watch_fd, cancel_fd) == 0)
		return r;
	(void)err_set(err, errno, "cannot make an eventfd: %s", err_text(errno));
	multifd_recv_free(r);
	return NULL;
}

static void channel_free(struct recv_channel *c)
{
	channel_close(c->ch);
	if (c->state)
		c->r->method->inflate_free(c->state);
	free(c->in);
	free(c);
}

void multifd_recv_stop(struct multifd_recv *r)
{
	unsigned n;

	pthread_mutex_lock(&r->lock);
	r->stop = true;
	n = r->n_channels;
	pthread_cond_broadcast(&r->go);
	pthread_mutex_unlock(&r->lock);
	if (r->alarm_fd >= 0)
		eventfd_set(r->alarm_fd);
	for (unsigned i = 0; i < n; i++)
		worker_join(&r->channels[i]->worker);
	pthread_mutex_lock(&r->lock);
	for (unsigned i = 0; i < n; i++)
		channel_free(r->channels[i]);
	r->n_channels = 0;
	pthread_mutex_unlock(&r->lock);
}

void multifd_recv_free(struct multifd_recv *r)
{
	if (!r)
		return;
	multifd_recv_stop(r);
	cleanup_close(&r->wake_fd);
	cleanup_close(&r->alarm_fd);
	cleanup_close(&r->watch_fd);
	pthread_cond_destroy(&r->go);
	pthread_mutex_destroy(&r->lock);
	free(r);
}

int multifd_recv_alarm(const struct multifd_recv *r)
{
	return r->watch_fd;
}

void multifd_recv_poke(struct multifd_recv *r)
{
	eventfd_set(r->wake_fd);
}

/* Lock held. */
static int may_add(const struct multifd_recv *r, struct err *err)
{
	if (r->stop)
		return say_cancelled(err);
	if (r->plain)
		return err_set(err, EINVAL, "a multifd channel comes after the first pages");
	if (r->n_channels >= r->cfg.channels)
		return err_set(err, EINVAL,
			       "the source opens more than %u multifd channels: 'multifd-channels' "
			       "must be the same on both sides",
			       r->cfg.channels);
	return 0;
}

void multifd_recv_add(struct multifd_recv *r, struct channel *ch)
{
	struct recv_channel *c = NEW(struct recv_channel);
	struct err err = {0};
	char name[16];
	bool keep;
	int ret;

	c->r = r;
	c->id = -1;
	c->ch = ch;
	ch->cancel_fd = r->watch_fd;
	pthread_mutex_lock(&r->lock);
	(void)snprintf(name, sizeof(name), "mig-load/%u", r->n_channels);
	ret = may_add(r, &err);
	if (ret == 0)
		ret = worker_start(&c->worker, name, recv_thread, c, &err);
	if (ret < 0 && !r->stop)
		set_failed(r, &err);
	/* One that is refused stays open, for it would be closed before the source knows why. */
	keep = !r->stop && r->n_channels < MAX_CHANNELS;
	if (keep)
		r->channels[r->n_channels++] = c;
	pthread_mutex_unlock(&r->lock);
	eventfd_set(r->wake_fd);
	if (!keep)
		channel_free(c);
}

/* ---- the load thread ---- */

/* Until something changes: 1; 0 after timeout_ms; -errno. */
static int wait_change(struct multifd_recv *r, int timeout_ms, struct err *err)
{
	struct pollfd p[2] = {
	    {.fd = r->wake_fd,  .events = POLLIN},
	    {.fd = r->watch_fd, .events = POLLIN},
	};
	int n;

	do
		n = poll(p, 2, timeout_ms);
	while (n < 0 && errno == EINTR);
	if (p[1].revents) {
		int ret = multifd_recv_failure(r, err);

		return ret < 0 ? ret : say_cancelled(err);
	}
	eventfd_clear(r->wake_fd);
	return n > 0;
}

static int say_missing(unsigned n, const struct multifd_recv *r, struct err *err)
{
	return err_set(
	    err, EINVAL,
	    "the source has opened %u of %u multifd channels: 'multifd-channels' must be "
	    "the same on both sides",
	    n, r->cfg.channels);
}

/* All channels are there and known by number, or it is decided that there are none. */
static int await_channels(struct multifd_recv *r, struct err *err)
{
	int64_t until = host_now_ns() + (int64_t)NONE_MS * NS_PER_MS;
	unsigned seen = 0;

	for (;;) {
		/* Before the count: who is pending no more has been counted. */
		bool more = r->pending && r->pending(r->opaque);
		int64_t left;
		unsigned n, known;
		int ret;

		pthread_mutex_lock(&r->lock);
		n = r->n_channels;
		known = r->n_known;
		ret = failure_locked(r, err);
		left = until - host_now_ns();
		r->plain = !ret && left <= 0 && n == 0;
		pthread_mutex_unlock(&r->lock);
		if (ret < 0 || r->plain)
			return ret;
		/* Whoever still says nothing is none of the source's. */
		if (known == r->cfg.channels && (!more || left <= 0))
			return 0;
		if (n > seen) {
			seen = n;
			left = (int64_t)LATE_MS * NS_PER_MS;
			until = host_now_ns() + left;
		}
		if (left <= 0)
			return say_missing(known, r, err);
		ret = wait_change(r, (int)MAX(left / NS_PER_MS, 1), err);
		if (ret < 0)
			return ret;
	}
}

/* Has every channel come to this round's SYNC?  Lock held; 1, 0, -errno. */
static int all_synced(const struct multifd_recv *r, struct err *err)
{
	bool all = true;

	for (unsigned i = 0; i < r->n_channels; i++) {
		const struct recv_channel *c = r->channels[i];

		if (c->syncs >= r->eos)
			continue;
		if (c->ended)
			return err_set(err, ECONNRESET,
				       "multifd channel %d: the source closed the connection",
				       c->id);
		all = false;
	}
	return all;
}

static int await_syncs(struct multifd_recv *r, struct err *err)
{
	for (;;) {
		int ret;

		pthread_mutex_lock(&r->lock);
		ret = failure_locked(r, err);
		if (ret == 0)
			ret = all_synced(r, err);
		if (ret > 0) {
			r->released = r->eos;
			pthread_cond_broadcast(&r->go);
		}
		pthread_mutex_unlock(&r->lock);
		if (ret)
			return MIN(ret, 0);
		ret = wait_change(r, -1, err);
		if (ret < 0)
			return ret;
	}
}

int multifd_recv_sync(struct multifd_recv *r, struct ram_load *ram, struct err *err)
{
	int ret = 0;

	pthread_mutex_lock(&r->lock);
	r->ram = ram;
	r->eos++;
	pthread_mutex_unlock(&r->lock);
	if (r->eos == 1)
		ret = await_channels(r, err);
	return ret < 0 || r->plain ? ret : await_syncs(r, err);
}
