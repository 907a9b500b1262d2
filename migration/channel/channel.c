/*
 * channel.c - waiting, cancelling and layers, the same for every kind of channel
 *
 * A kind makes one attempt to read or write and returns -EAGAIN when it would have
 * to wait; the loops here wait with poll() on the lowest channel's descriptor and on
 * cancel_fd, and try again.  A channel that is always ready (steady: a regular file)
 * or always has data does not come to such a wait: it is asked for a cancel before
 * each write, and once every HEED_BYTES of reading.  A write that waits counts the
 * peer's silence (patience.h), in pieces of PIECE_MS, because the limit may change.
 */
#include "migration/channel/channel.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "migration/channel/patience.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"
#include "vmm/base/wake.h"

#define HEED_BYTES (8 * MiB) /* read without a look at cancel_fd */
#define PIECE_MS   500       /* of a wait whose limit may change */

/* So many bytes, if that many are needed, wake a reader up. */
#define LOW_WATER_MIN (64 * KiB)
#define LOW_WATER_MAX (256 * KiB)

int channel_fd(const struct channel *c)
{
	while (c->below)
		c = c->below;
	return c->fd;
}

void channel_shut_down(const struct channel *c)
{
	(void)shutdown(channel_fd(c), SHUT_RDWR);
}

size_t channel_pending(const struct channel *c)
{
	size_t n = 0;

	for (; c && n == 0; c = c->below)
		n = c->ops && c->ops->pending ? c->ops->pending(c) : 0;
	return n;
}

bool channel_hung_up(const struct channel *c)
{
	while (!c->ops->hung_up && c->below)
		c = c->below;
	return c->ops->hung_up && c->ops->hung_up(c);
}

ssize_t channel_peek(struct channel *c, void *buf, size_t n)
{
	return c->ops->peek ? c->ops->peek(c, buf, n) : -EOPNOTSUPP;
}

off_t channel_tell(struct channel *c)
{
	while (!c->ops->tell && c->below)
		c = c->below;
	return c->ops->tell ? c->ops->tell(c) : -ESPIPE;
}

void channel_seek(struct channel *c, off_t to)
{
	while (!c->ops->seek && c->below)
		c = c->below;
	if (c->ops->seek)
		c->ops->seek(c, to);
}

void channel_put_above(struct channel *c, const struct channel_ops *ops, struct channel *below)
{
	c->ops = ops;
	c->below = below;
	c->fd = -1;
	c->cancel_fd = below->cancel_fd;
	c->two_way = below->two_way;
	c->steady = below->steady;
}

ssize_t channel_try_read(struct channel *c, void *buf, size_t n)
{
	return c->ops->read(c, buf, n);
}

ssize_t channel_try_writev(struct channel *c, struct iovec *iov, int n_iov)
{
	return c->ops->writev(c, iov, n_iov);
}

static int poll_once(const struct channel *c, short events, int timeout_ms)
{
	bool ready = c->steady || (events & POLLIN && channel_pending(c) > 0);
	struct pollfd p[2] = {
	    {.fd = ready ? -1 : channel_fd(c), .events = events},
	    {.fd = c->cancel_fd,               .events = POLLIN},
	};
	int n;

	do
		n = poll(p, 2, ready ? 0 : timeout_ms);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	if (p[1].revents)
		return -ECANCELED;
	return ready || p[0].revents;
}

static int64_t now_ms(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* What comes may be for a layer alone: then the wait goes on. */
static int wait_filled(const struct channel *c, int timeout_ms)
{
	int64_t until = timeout_ms > 0 ? now_ms() + timeout_ms : 0;
	int ret;

	for (;;) {
		ret = poll_once(c, POLLIN, timeout_ms);
		if (ret <= 0 || c->ops->fill(c))
			return ret;
		if (timeout_ms > 0)
			timeout_ms = (int)MAX(until - now_ms(), 0);
	}
}

static int wait_once(const struct channel *c, short events, int timeout_ms)
{
	if (events & POLLIN && c->ops && c->ops->fill)
		return wait_filled(c, timeout_ms);
	return poll_once(c, events, timeout_ms);
}

static int wait_for_peer(const struct channel *c, short events, struct patience *p)
{
	int ret;

	patience_wait(p);
	do {
		ret = wait_once(c, events, PIECE_MS);
		if (ret == 0 && patience_ended(p))
			ret = -ETIME;
	} while (ret == 0);
	patience_go_on(p);
	return ret;
}

int channel_wait(const struct channel *c, short events, int timeout_ms)
{
	/* Without events: for what was sent to be taken (zero-copy.c). */
	if (c->patience && !(events & POLLIN) && timeout_ms < 0 && !c->steady)
		return wait_for_peer(c, events, c->patience);
	return wait_once(c, events, timeout_ms);
}

bool channel_cancelled(const struct channel *c)
{
	return wake_is_set(c->cancel_fd);
}

struct channel_end channel_peer_end(const struct channel *c)
{
	while (c->below)
		c = c->below;
	return c->ops->peer_end ? c->ops->peer_end(c) : (struct channel_end){""};
}

int channel_say_failed(const struct channel *c, int ret, const char *verb, struct err *err)
{
	struct channel_end end;

	if (ret == -ECANCELED)
		return err_set(err, ECANCELED, "the migration was cancelled");
	if (ret == -ETIME && c->patience)
		return err_set(err, ETIMEDOUT,
			       "the destination has read nothing for %u s "
			       "(x-minivmm-peer-timeout): is it stopped or cut off?",
			       patience_limit_s(c->patience));
	if (channel_explain(c, err))
		return ret;
	while (c->below)
		c = c->below;
	end = channel_peer_end(c);
	return err_set(err, -ret, *end.s ? "Unable to %s %s: %s (%s)" : "Unable to %s %s: %s", verb,
		       c->ops->kind, err_text(-ret), end.s);
}

ssize_t channel_read(struct channel *c, void *buf, size_t n, struct err *err)
{
	ssize_t got = channel_cancelled(c) ? -ECANCELED : c->ops->read(c, buf, n);

	while (got == -EAGAIN || got == -EINTR) {
		int ret = channel_wait(c, POLLIN, -1);

		got = ret < 0 ? ret : c->ops->read(c, buf, n);
	}
	if (got < 0)
		return channel_say_failed(c, (int)got, "read from", err);
	return got;
}

int channel_try_handshake(struct channel *c)
{
	return c->ops->handshake ? c->ops->handshake(c) : 0;
}

/* In pieces: what a layer waits for may be room to write. */
static int handshake_wait(const struct channel *c, struct patience *p)
{
	int ret = poll_once(c, POLLIN, PIECE_MS);

	if (ret == 0 && patience_ended(p))
		return -ETIME;
	if (ret > 0) {
		patience_go_on(p);
		patience_wait(p);
	}
	return MIN(ret, 0);
}

static int handshake_run(struct channel *c)
{
	int ret = channel_try_handshake(c);

	while (ret == -EAGAIN) {
		ret = handshake_wait(c, c->patience);
		if (ret == 0)
			ret = channel_try_handshake(c);
	}
	return ret;
}

int channel_handshake(struct channel *c, struct err *err)
{
	int ret;

	if (!c->ops->handshake)
		return 0;
	patience_wait(c->patience);
	ret = channel_cancelled(c) ? -ECANCELED : handshake_run(c);
	patience_go_on(c->patience);
	if (ret == -ETIME)
		return err_set(err, ETIMEDOUT,
			       "the destination has not gone on with the handshake of TLS for %u s "
			       "(x-minivmm-peer-timeout): is it stopped or cut off?",
			       patience_limit_s(c->patience));
	return ret < 0 ? channel_say_failed(c, ret, "begin on", err) : 0;
}

bool channel_explain(const struct channel *c, struct err *err)
{
	return c->ops && c->ops->explain && c->ops->explain(c, err);
}

int channel_say_closed(const struct channel *c, const char *peer, struct err *err)
{
	if (channel_explain(c, err))
		return -ECONNRESET;
	return err_set(err, ECONNRESET, "the %s closed the connection", peer);
}

bool channel_scatters(const struct channel *c)
{
	return c->ops->readv;
}

/* A peer that always has more is not waited for, and a wait is where a cancel is noticed. */
static int heed_cancel(struct channel *c)
{
	if (c->unheeded < HEED_BYTES)
		return 0;
	c->unheeded = 0;
	return channel_cancelled(c) ? -ECANCELED : 0;
}

/* A channel without vectors writes the first part of the vector. */
static ssize_t try_readv(struct channel *c, struct iovec *iov, int n_iov)
{
	if (c->ops->readv)
		return c->ops->readv(c, iov, n_iov);
	return c->ops->read(c, iov->iov_base, iov->iov_len);
}

/* Until n bytes have come, many at a time: to be woken up for a few costs more than to read them.
 */
static int wait_for_bytes(const struct channel *c, size_t n)
{
	int ret;

	if (!c->ops->low_water || n < LOW_WATER_MIN)
		return channel_wait(c, POLLIN, -1);
	c->ops->low_water(c, MIN(n, LOW_WATER_MAX));
	ret = channel_wait(c, POLLIN, -1);
	c->ops->low_water(c, 1);
	return ret;
}

int channel_readv(struct channel *c, struct iovec *iov, int n_iov, size_t need, size_t *got,
		  struct err *err)
{
	size_t have = 0;

	while (have < need && n_iov > 0) {
		ssize_t n = heed_cancel(c);
		int used;

		if (n == 0)
			n = try_readv(c, iov, n_iov);

		if (n == -EAGAIN || n == -EINTR) {
			n = wait_for_bytes(c, need - have);
			if (n >= 0)
				continue;
		}
		if (n < 0)
			return channel_say_failed(c, (int)n, "read from", err);
		if (n == 0)
			break;
		used = iov_advance(iov, n_iov, (size_t)n);
		iov += used;
		n_iov -= used;
		have += (size_t)n;
		c->unheeded += (size_t)n;
	}
	*got = have;
	return 0;
}

int iov_advance(struct iovec *iov, int n_iov, size_t n)
{
	int used = 0;

	while (used < n_iov && n >= iov[used].iov_len)
		n -= iov[used++].iov_len;
	if (n > 0) {
		iov[used].iov_base = (char *)iov[used].iov_base + n;
		iov[used].iov_len -= n;
	}
	return used;
}

int channel_write_all(struct channel *c, struct iovec *iov, int n_iov, struct err *err)
{
	while (n_iov > 0) {
		ssize_t n;
		int used;

		if (c->steady && channel_cancelled(c))
			return channel_say_failed(c, -ECANCELED, "write to", err);
		n = c->ops->writev(c, iov, n_iov);
		if (n == -EAGAIN || n == -EINTR) {
			n = channel_wait(c, POLLOUT, -1);
			if (n >= 0)
				continue;
		}
		if (n < 0)
			return channel_say_failed(c, (int)n, "write to", err);
		used = iov_advance(iov, n_iov, (size_t)n);
		iov += used;
		n_iov -= used;
	}
	return 0;
}

int channel_write(struct channel *c, const void *p, size_t n, struct err *err)
{
	struct iovec iov = iov_of(p, n);

	return channel_write_all(c, &iov, 1, err);
}

int channel_finish(struct channel *c, struct err *err)
{
	return c->ops->finish ? c->ops->finish(c, err) : 0;
}

void channel_end_writing(struct channel *c)
{
	if (c->ops->end_writing)
		c->ops->end_writing(c);
}

void channel_close(struct channel *c)
{
	if (c)
		c->ops->close(c);
}
