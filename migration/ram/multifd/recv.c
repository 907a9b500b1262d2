/*
 * recv.c - the receiving side of multifd
 *
 * One thread a channel (recv-channel.c) reads packets straight into guest
 * memory.  At a SYNC it tells the load thread, and waits until that has had
 * SYNC from every channel at the EOS of its own record.
 *
 * A source sends SYNC on every channel before it ends its first record, so all
 * channels have connected when the first EOS has been read.  There a source with
 * too few channels, too many, or none, is refused, and a channel's earlier
 * failure is reported: by then the return path, which tells the source, is open.
 */
#include "migration/ram/multifd/recv.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "migration/channel/channel.h"
#include "vmm/base/alloc.h"
#include "vmm/base/log.h"
#include "vmm/base/wake.h"
#include "vmm/vclock.h"

#define NONE_MS   500   /* how long after the list of blocks a first channel may come */
#define LATE_MS   5000  /* ... and each one after it */
#define MORE_MS   500   /* ... and one too many, to be found out, while others are silent */
#define STILL_MS  10000 /* without a packet, behind a main connection that has been closed */
#define LOOK_MS   10    /* between two looks whether all that has come has been read */
#define NS_PER_MS 1000000

/* ---- failures ---- */

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

static int err_recv_cancelled(struct err *err)
{
	return err_set(err, ECANCELED, "the migration was cancelled");
}

/* ---- making and ending ---- */

struct multifd_recv *multifd_recv_new(const struct multifd_config *cfg, int cancel_fd,
				      bool (*pending)(void *opaque), void *opaque, struct err *err)
{
	struct multifd_recv *r = NEW(struct multifd_recv);

	r->cfg = *cfg;
	r->method = multifd_methods[cfg->method];
	r->pending = pending;
	r->opaque = opaque;
	r->main_fd = -1;
	pthread_mutex_init(&r->lock, NULL);
	pthread_cond_init(&r->go, NULL);
	r->wake_fd = wake_open();
	r->alarm_fd = wake_open();
	r->watch_fd = wake_either(r->alarm_fd, cancel_fd);
	if (r->wake_fd >= 0 && r->watch_fd >= 0)
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
		wake_set(r->alarm_fd);
	for (unsigned i = 0; i < n; i++)
		thread_join(&r->channels[i]->thread);
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

void multifd_recv_main(struct multifd_recv *r, int fd)
{
	r->main_fd = fd;
}

int multifd_recv_alarm(const struct multifd_recv *r)
{
	return r->watch_fd;
}

void multifd_recv_poke(struct multifd_recv *r)
{
	wake_set(r->wake_fd);
}

/* Lock held. */
static int may_add(const struct multifd_recv *r, struct err *err)
{
	if (r->stop)
		return err_recv_cancelled(err);
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
	bool keep, foreign;
	int ret;

	c->r = r;
	c->id = -1;
	c->busy = true;
	c->ch = ch;
	ch->cancel_fd = r->watch_fd;
	pthread_mutex_lock(&r->lock);
	(void)snprintf(name, sizeof(name), "mig-load/%u", r->n_channels);
	ret = may_add(r, &err);
	if (ret == 0)
		ret = thread_start(&c->thread, name, THREAD_MIGRATION, multifd_channel_thread, c,
				   &err);
	/* All of the source's had come when the first round was done. */
	foreign = ret < 0 && !r->stop && r->released > 0;
	if (ret < 0 && !r->stop && !foreign)
		multifd_recv_fail_locked(r, &err);
	/* One that is refused stays open, for it would be closed before the source knows why. */
	keep = !r->stop && !foreign && r->n_channels < MULTIFD_MAX_CHANNELS;
	if (keep)
		r->channels[r->n_channels++] = c;
	pthread_mutex_unlock(&r->lock);
	wake_set(r->wake_fd);
	if (foreign)
		log_warn("a connection to the incoming migration was refused: it is a multifd "
			 "channel, and all of these are here");
	if (!keep)
		channel_free(c);
}

/* ---- the load thread ---- */

/* Until something changes: 1; 0 after timeout_ms; -errno. */
static int wait_change(struct multifd_recv *r, int timeout_ms, struct err *err)
{
	struct pollfd p[3] = {
	    {.fd = r->wake_fd,  .events = POLLIN   },
	    {.fd = r->watch_fd, .events = POLLIN   },
	    {.fd = r->main_fd,  .events = POLLRDHUP},
	};
	int n;

	do
		n = poll(p, 3, timeout_ms);
	while (n < 0 && errno == EINTR);
	if (p[1].revents) {
		int ret = multifd_recv_failure(r, err);

		return ret < 0 ? ret : err_recv_cancelled(err);
	}
	if (p[2].revents) {
		r->main_closed = true;
		r->main_fd = -1;
	}
	wake_clear(r->wake_fd);
	return n > 0;
}

static int err_missing(unsigned n, const struct multifd_recv *r, struct err *err)
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
	int64_t until = host_now_ns() + (int64_t)(r->expected ? LATE_MS : NONE_MS) * NS_PER_MS;
	unsigned seen = 0;
	bool all = false;

	for (;;) {
		/* Read before the count: a channel that is no longer pending has been counted. */
		bool more = r->pending && r->pending(r->opaque);
		int64_t left;
		unsigned n, known;
		int ret;

		pthread_mutex_lock(&r->lock);
		n = r->n_channels;
		known = r->n_known;
		ret = failure_locked(r, err);
		left = until - host_now_ns();
		r->plain = !ret && left <= 0 && n == 0 && !r->expected;
		pthread_mutex_unlock(&r->lock);
		if (ret < 0 || r->plain)
			return ret;
		/* A connection that is still silent is none of the source's. */
		if (known == r->cfg.channels && (!more || left <= 0))
			return 0;
		if (n > seen || (known == r->cfg.channels && !all)) {
			seen = n;
			all = known == r->cfg.channels;
			left = (int64_t)(all ? MORE_MS : LATE_MS) * NS_PER_MS;
			until = host_now_ns() + left;
		}
		if (left <= 0)
			return err_missing(known, r, err);
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

		if (c->syncs >= r->rounds)
			continue;
		if (c->ended)
			return err_set(err, ECONNRESET,
				       "multifd channel %d: the source closed the connection",
				       c->id);
		all = false;
	}
	return all;
}

/*
 * A source that has given up closes all its connections.  Behind a relay one of
 * them may stay open, and the wait for it would not end.
 */
static int wait_for_channels(struct multifd_recv *r, struct err *err)
{
	uint64_t before = __atomic_load_n(&r->packets, __ATOMIC_RELAXED);
	int ret = wait_change(r, r->main_closed ? STILL_MS : -1, err);

	if (ret == 0 && __atomic_load_n(&r->packets, __ATOMIC_RELAXED) == before)
		return err_set(err, ECONNRESET,
			       "the source closed the main connection, and on a multifd channel "
			       "nothing comes");
	return MIN(ret, 0);
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
			r->released = r->rounds;
			pthread_cond_broadcast(&r->go);
		}
		pthread_mutex_unlock(&r->lock);
		if (ret)
			return MIN(ret, 0);
		ret = wait_for_channels(r, err);
		if (ret < 0)
			return ret;
	}
}

/* ---- the end of the stream ---- */

/* Are there bytes that the channel's thread has not taken? */
static bool unread(const struct recv_channel *c)
{
	int n = 0;

	return channel_pending(c->ch) > 0 || (ioctl(channel_fd(c->ch), FIONREAD, &n) == 0 && n > 0);
}

/*
 * Nothing but the end, or a packet without pages, is behind the last SYNC.  1, 0: look again.
 * Lock held.
 */
static int channel_is_read(const struct recv_channel *c, struct err *err)
{
	if (c->syncs > c->r->released)
		return err_set(err, EINVAL,
			       "multifd channel %d has synchronised more often than the main "
			       "stream: without that, pages of the guest may be old",
			       c->id);
	if (!c->ended && (c->busy || unread(c)))
		return 0;
	if (c->late)
		return err_set(err, EINVAL,
			       "multifd channel %d brings pages behind the last synchronisation of "
			       "the main stream, which would be lost",
			       c->id);
	return 1;
}

static int all_read(const struct multifd_recv *r, struct err *err)
{
	int ret = 1;

	for (unsigned i = 0; ret > 0 && i < r->n_channels; i++)
		ret = channel_is_read(r->channels[i], err);
	return ret;
}

int multifd_recv_finish(struct multifd_recv *r, struct err *err)
{
	for (;;) {
		int ret;

		pthread_mutex_lock(&r->lock);
		r->finishing = true;
		ret = failure_locked(r, err);
		if (ret == 0)
			ret = all_read(r, err);
		pthread_mutex_unlock(&r->lock);
		if (ret)
			return MIN(ret, 0);
		ret = wait_change(r, LOOK_MS, err);
		if (ret < 0)
			return ret;
	}
}

bool multifd_recv_used(struct multifd_recv *r)
{
	bool used;

	pthread_mutex_lock(&r->lock);
	used = r->n_channels > 0;
	pthread_mutex_unlock(&r->lock);
	return used;
}

void multifd_recv_expect(struct multifd_recv *r)
{
	pthread_mutex_lock(&r->lock);
	r->expected = true;
	pthread_mutex_unlock(&r->lock);
}

int multifd_recv_sync(struct multifd_recv *r, struct ram_load *ram, struct err *err)
{
	int ret = 0;

	pthread_mutex_lock(&r->lock);
	r->ram = ram;
	r->rounds++;
	pthread_mutex_unlock(&r->lock);
	if (r->rounds == 1)
		ret = await_channels(r, err);
	return ret < 0 || r->plain ? ret : await_syncs(r, err);
}
