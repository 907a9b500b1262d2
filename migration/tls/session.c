/*
 * session.c - a channel that encrypts what goes through it
 *
 * GnuTLS never waits here, and never sees a channel that takes only a part.  Reading, a
 * large piece of what has come is read into 'raw', and GnuTLS takes records from there.
 * Writing, a batch of records is encrypted into 'out', which then goes down with as few
 * writes as it takes; while something is left there the caller is told -EAGAIN, and comes again
 * with the same bytes, of which 'taken' have been encrypted.
 *
 * A descriptor that can be read may bring nothing for the reader: a part of a record, or a
 * message of TLS itself.  So a wait decrypts what has come (fill), and ends only when there
 * is something in 'plain'.
 *
 * A peer that closes without a word of farewell (QEMU before 10) has ended like one that
 * says it: the stream and its channels say themselves where they are complete.
 */
#include "migration/tls/session.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "migration/tls/authz.h"
#include "migration/tls/internal.h"
#include "vmm/base/alloc.h"
#include "vmm/base/units.h"

#define BYE_MS        500                    /* that the last record may wait for a full socket */
#define TRIES         16                     /* of what GnuTLS wants to be done again at once */
#define LOW_WATER_OFF (2 * TLS_RECORD_BYTES) /* what GnuTLS may hold of a record */

static struct tls_channel *tls_of(const struct channel *c)
{
	return container_of(c, struct tls_channel, ch);
}

int tls_fail(struct tls_channel *t, int errnum, const char *fmt, ...)
{
	va_list ap;
	char text[640];

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	t->failed = err_set(&t->why, errnum, "TLS: %s", text);
	return t->failed;
}

/* ---- the channel below ---- */

int tls_flush(struct tls_channel *t)
{
	while (t->out_at < t->out_len) {
		struct iovec v = iov_of(t->out + t->out_at, t->out_len - t->out_at);
		ssize_t n = channel_try_writev(t->ch.below, &v, 1);

		if (n < 0)
			return n == -EINTR ? -EAGAIN : (int)n;
		t->out_at += (size_t)n;
	}
	t->out_at = t->out_len = 0;
	return 0;
}

/* ---- decrypting; lock held ---- */

/* One attempt: bytes, 0 at the end, -EAGAIN, or another -errno. */
static ssize_t tls_decrypt(struct tls_channel *t, void *buf, size_t n)
{
	for (int i = 0; i < TRIES; i++) {
		ssize_t got = t->g->record_recv(t->session, buf, n);

		if (got > 0)
			return got;
		if (got == 0 || got == GNUTLS_E_PREMATURE_TERMINATION) {
			t->ended = true;
			return 0;
		}
		if (got == GNUTLS_E_AGAIN || got == GNUTLS_E_INTERRUPTED)
			return -EAGAIN;
		if (got == GNUTLS_E_REHANDSHAKE)
			return tls_fail(t, EPROTO,
					"the %s asks for another handshake, which has "
					"no place in a migration",
					tls_peer(t));
		if (t->g->error_is_fatal((int)got))
			return tls_fail_code(t, (int)got, "record");
	}
	return -EAGAIN;
}

/* 0, or why nothing can be read now: -EAGAIN, or another -errno. */
static int may_read(struct tls_channel *t)
{
	return t->failed ? t->failed : t->shaken ? 0 : tls_handshake(t);
}

/* Something is in 'plain' afterwards, or: 0 at the end, -EAGAIN, or another -errno. */
static ssize_t fill_plain(struct tls_channel *t)
{
	ssize_t got = may_read(t);

	if (t->plain_at < t->plain_len)
		return (ssize_t)(t->plain_len - t->plain_at);
	if (got < 0 || t->ended)
		return got;
	got = tls_decrypt(t, t->plain, TLS_RECORD_BYTES);
	t->plain_at = 0;
	t->plain_len = got > 0 ? (size_t)got : 0;
	return got;
}

static ssize_t take_plain(struct tls_channel *t, void *buf, size_t n)
{
	n = MIN(n, t->plain_len - t->plain_at);
	memcpy(buf, t->plain + t->plain_at, n);
	t->plain_at += n;
	return (ssize_t)n;
}

static ssize_t read_locked(struct tls_channel *t, void *buf, size_t n)
{
	int ret;

	if (t->plain_at < t->plain_len)
		return take_plain(t, buf, n);
	ret = may_read(t);
	if (ret < 0 || t->ended)
		return ret;
	return tls_decrypt(t, buf, n);
}

static ssize_t tls_read(struct channel *c, void *buf, size_t n)
{
	struct tls_channel *t = tls_of(c);
	ssize_t got;

	pthread_mutex_lock(&t->lock);
	got = read_locked(t, buf, n);
	pthread_mutex_unlock(&t->lock);
	return got;
}

/* As much as has come; the lock is given up between two records. */
static ssize_t tls_readv(struct channel *c, struct iovec *iov, int n_iov)
{
	ssize_t all = 0;

	for (int i = 0; i < n_iov; i++) {
		for (size_t at = 0; at < iov[i].iov_len;) {
			ssize_t got =
			    tls_read(c, (uint8_t *)iov[i].iov_base + at, iov[i].iov_len - at);

			if (got <= 0)
				return all > 0 ? all : got;
			at += (size_t)got;
			all += got;
		}
	}
	return all;
}

static ssize_t tls_peek(struct channel *c, void *buf, size_t n)
{
	struct tls_channel *t = tls_of(c);
	ssize_t got;

	pthread_mutex_lock(&t->lock);
	got = fill_plain(t);
	if (got > 0) {
		n = MIN(n, (size_t)got);
		memcpy(buf, t->plain + t->plain_at, n);
		got = (ssize_t)n;
	}
	pthread_mutex_unlock(&t->lock);
	return got;
}

static bool tls_fill(const struct channel *c)
{
	struct tls_channel *t = tls_of(c);
	bool some;

	pthread_mutex_lock(&t->lock);
	some = fill_plain(t) != -EAGAIN;
	pthread_mutex_unlock(&t->lock);
	return some;
}

static size_t tls_pending(const struct channel *c)
{
	struct tls_channel *t = tls_of(c);
	size_t n;

	pthread_mutex_lock(&t->lock);
	n = t->plain_len - t->plain_at + t->raw_len - t->raw_at + (t->ended || t->failed);
	if (n == 0 && t->shaken)
		n = t->g->record_check_pending(t->session);
	pthread_mutex_unlock(&t->lock);
	return n;
}

/* More bytes come than are in them; a part of the first may have been taken already. */
static void tls_low_water(const struct channel *c, size_t n)
{
	const struct channel *below = c->below;

	if (below->ops->low_water)
		below->ops->low_water(below, n > LOW_WATER_OFF ? n - LOW_WATER_OFF : 1);
}

/* ---- encrypting ---- */

/* The next record's bytes, 'skip' into the vector: where they are, and how many. */
static const uint8_t *next_record(struct tls_channel *t, const struct iovec *iov, int n_iov,
				  size_t skip, size_t *n)
{
	size_t have = 0;
	int i = 0;

	for (; i < n_iov && skip >= iov[i].iov_len; i++)
		skip -= iov[i].iov_len;
	if (i < n_iov && (iov[i].iov_len - skip >= TLS_RECORD_BYTES || i + 1 == n_iov)) {
		*n = MIN(iov[i].iov_len - skip, TLS_RECORD_BYTES);
		return (const uint8_t *)iov[i].iov_base + skip;
	}
	for (; i < n_iov && have < TLS_RECORD_BYTES; i++, skip = 0) {
		size_t part = MIN(iov[i].iov_len - skip, TLS_RECORD_BYTES - have);

		memcpy(t->piece + have, (const uint8_t *)iov[i].iov_base + skip, part);
		have += part;
	}
	*n = have;
	return t->piece;
}

/* A batch into 'out', which is empty; the lock is given up between two records. */
static int encrypt(struct tls_channel *t, const struct iovec *iov, int n_iov)
{
	int ret = 0;

	while (ret == 0 && t->taken < TLS_BATCH_BYTES) {
		size_t n = 0;
		const uint8_t *p = next_record(t, iov, n_iov, t->taken, &n);
		ssize_t sent;

		if (n == 0)
			break;
		pthread_mutex_lock(&t->lock);
		sent = t->failed ? t->failed : t->g->record_send(t->session, p, n);
		if (sent < 0)
			ret = t->failed ? t->failed : tls_fail_code(t, (int)sent, "record");
		else
			t->taken += (size_t)sent;
		pthread_mutex_unlock(&t->lock);
	}
	return ret;
}

/* What is in 'out' goes down; when the connection breaks, its last word may say why. */
static int write_out(struct tls_channel *t)
{
	int ret;

	pthread_mutex_lock(&t->lock);
	ret = tls_flush(t);
	if (ret < 0 && ret != -EAGAIN)
		(void)fill_plain(t);
	pthread_mutex_unlock(&t->lock);
	return ret;
}

static ssize_t tls_writev(struct channel *c, struct iovec *iov, int n_iov)
{
	struct tls_channel *t = tls_of(c);
	size_t taken;
	int ret;

	pthread_mutex_lock(&t->lock);
	ret = t->failed;
	if (ret == 0 && !t->shaken)
		ret = tls_fail(t, EPROTO, "nothing can be sent before the handshake");
	pthread_mutex_unlock(&t->lock);
	if (ret == 0 && t->taken == 0)
		ret = encrypt(t, iov, n_iov);
	if (ret == 0)
		ret = write_out(t);
	if (ret < 0)
		return ret;
	taken = t->taken;
	t->taken = 0;
	return (ssize_t)taken;
}

/* ---- the end ---- */

/* Say that nothing follows, as far as that is possible within a moment. */
static void say_bye(struct tls_channel *t)
{
	int ret = 0;

	pthread_mutex_lock(&t->lock);
	if (t->shaken && !t->bye && !t->failed) {
		t->bye = true;
		(void)t->g->bye(t->session, GNUTLS_SHUT_WR);
		ret = tls_flush(t);
	}
	pthread_mutex_unlock(&t->lock);
	while (ret == -EAGAIN && channel_wait(&t->ch, POLLOUT, BYE_MS) > 0) {
		pthread_mutex_lock(&t->lock);
		ret = tls_flush(t);
		pthread_mutex_unlock(&t->lock);
	}
}

static int tls_finish(struct channel *c, struct err *err)
{
	say_bye(tls_of(c));
	c->below->patience = c->patience;
	c->below->cancel_fd = c->cancel_fd;
	return channel_finish(c->below, err);
}

static void tls_end_writing(struct channel *c)
{
	say_bye(tls_of(c));
	channel_end_writing(c->below);
}

static bool tls_explain(const struct channel *c, struct err *err)
{
	struct tls_channel *t = tls_of(c);
	bool known;

	pthread_mutex_lock(&t->lock);
	known = t->failed && t->why.msg[0];
	if (known && err)
		*err = t->why;
	pthread_mutex_unlock(&t->lock);
	return known;
}

static int tls_shake(struct channel *c)
{
	struct tls_channel *t = tls_of(c);
	int ret;

	pthread_mutex_lock(&t->lock);
	ret = may_read(t);
	pthread_mutex_unlock(&t->lock);
	return ret;
}

static void tls_free(struct tls_channel *t)
{
	if (t->session)
		t->g->deinit(t->session);
	tls_creds_unref(t->creds);
	authz_unref(t->authz);
	pthread_mutex_destroy(&t->lock);
	free(t->host);
	free(t->raw);
	free(t->plain);
	free(t->out);
	free(t->piece);
	free(t);
}

static void tls_close(struct channel *c)
{
	struct tls_channel *t = tls_of(c);

	say_bye(t);
	channel_close(c->below);
	tls_free(t);
}

static const struct channel_ops tls_ops = {
    .kind = "TLS connection",
    .read = tls_read,
    .readv = tls_readv,
    .writev = tls_writev,
    .peek = tls_peek,
    .fill = tls_fill,
    .pending = tls_pending,
    .low_water = tls_low_water,
    .handshake = tls_shake,
    .explain = tls_explain,
    .finish = tls_finish,
    .end_writing = tls_end_writing,
    .close = tls_close,
};

struct channel *tls_channel_new(struct channel *below, struct tls_creds *creds, struct authz *authz,
				const char *host, bool incoming, struct err *err)
{
	struct tls_channel *t = NEW(struct tls_channel);

	pthread_mutex_init(&t->lock, NULL);
	t->g = creds->g;
	t->creds = tls_creds_ref(creds);
	t->authz = authz ? authz_ref(authz) : NULL;
	t->host = host ? xstrdup(host) : NULL;
	t->incoming = incoming;
	t->raw = xcalloc(1, TLS_RAW_BYTES);
	t->plain = xcalloc(1, TLS_RECORD_BYTES);
	t->out = xcalloc(1, TLS_OUT_BYTES);
	t->piece = xcalloc(1, TLS_RECORD_BYTES);
	if (tls_session_new(t, err) < 0) {
		tls_free(t);
		return NULL;
	}
	channel_put_above(&t->ch, &tls_ops, below);
	return &t->ch;
}
