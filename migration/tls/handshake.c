/*
 * handshake.c - a session of GnuTLS over a channel: made, and led through its handshake
 *
 * GnuTLS reads through pull() from what has been read ahead, and writes through push() into
 * 'out'.  The handshake is done in attempts, by whichever thread looks at the channel.
 * Why it fails is said in the terms of a migration: the other end may not use TLS at all, or
 * may have refused us, of which only an alert, or the end of the connection, is seen here.
 */
#include <errno.h>
#include <string.h>

#include "migration/tls/internal.h"
#include "vmm/base/units.h"

#define TRIES 16 /* of what GnuTLS wants to be done again at once */

/* The kinds of a TLS record; what begins with another byte is not TLS. */
#define RECORD_FIRST 20
#define RECORD_LAST  24

static ssize_t tls_pull(gnutls_transport_ptr_t opaque, void *buf, size_t n)
{
	struct tls_channel *t = opaque;

	if (t->raw_at == t->raw_len) {
		ssize_t got = channel_try_read(t->ch.below, t->raw, TLS_RAW_BYTES);

		t->raw_at = t->raw_len = 0;
		if (got < 0) {
			t->g->transport_set_errno(t->session, (int)-got);
			return -1;
		}
		if (got == 0)
			return 0;
		t->raw_len = (size_t)got;
		if (t->head == 0)
			t->head = t->raw[0];
	}
	n = MIN(n, t->raw_len - t->raw_at);
	memcpy(buf, t->raw + t->raw_at, n);
	t->raw_at += n;
	return (ssize_t)n;
}

static ssize_t tls_push(gnutls_transport_ptr_t opaque, const void *p, size_t n)
{
	struct tls_channel *t = opaque;

	if (n > TLS_OUT_BYTES - t->out_len) {
		t->g->transport_set_errno(t->session, EAGAIN);
		return -1;
	}
	memcpy(t->out + t->out_len, p, n);
	t->out_len += n;
	return (ssize_t)n;
}

int tls_session_new(struct tls_channel *t, struct err *err)
{
	const struct tls_library *g = t->g;
	const struct tls_creds *c = t->creds;
	unsigned end = t->incoming ? GNUTLS_SERVER : GNUTLS_CLIENT;
	int ret = g->init(&t->session, end | GNUTLS_NONBLOCK | GNUTLS_NO_TICKETS);

	if (ret == 0)
		ret = g->priority_set_direct(t->session, c->priority, NULL);
	if (ret == 0)
		ret = g->credentials_set(t->session, c->kind->of, c->of.any);
	if (ret < 0)
		return err_set(err, ENOMEM, "cannot begin TLS: %s", g->strerror(ret));
	if (t->incoming && c->kind == &tls_creds_x509_kind)
		g->certificate_server_set_request(t->session, c->verify_peer ? GNUTLS_CERT_REQUIRE
									     : GNUTLS_CERT_IGNORE);
	g->transport_set_ptr(t->session, t);
	g->transport_set_pull_function(t->session, tls_pull);
	g->transport_set_push_function(t->session, tls_push);
	return 0;
}

static bool speaks_tls(const struct tls_channel *t)
{
	return t->head == 0 || (t->head >= RECORD_FIRST && t->head <= RECORD_LAST);
}

static bool is_end(int code)
{
	return code == GNUTLS_E_PREMATURE_TERMINATION || code == GNUTLS_E_PULL_ERROR ||
	       code == GNUTLS_E_UNEXPECTED_PACKET_LENGTH;
}

int tls_fail_code(struct tls_channel *t, int code, const char *in)
{
	const struct tls_library *g = t->g;
	const char *peer = tls_peer(t);

	if (!speaks_tls(t))
		return tls_fail(
		    t, EPROTO,
		    "the %s does not use it on this connection (set its 'tls-creds', or "
		    "set none here)",
		    peer);
	if (code == GNUTLS_E_FATAL_ALERT_RECEIVED)
		return tls_fail(t, ECONNREFUSED,
				"the %s refuses this end with the alert '%s' (its own error says "
				"more)",
				peer, g->alert_get_name(g->alert_get(t->session)));
	if (is_end(code) && !t->agreed)
		return tls_fail(t, ECONNRESET,
				"the %s closed the connection in the handshake (its own error says "
				"why; are its 'tls-creds' set?)",
				peer);
	if (code == GNUTLS_E_NO_CERTIFICATE_FOUND || code == GNUTLS_E_CERTIFICATE_REQUIRED)
		return tls_fail(t, EACCES, "the %s has shown no certificate", peer);
	return tls_fail(t, EPROTO, "the %s with the %s failed: %s", in, peer, g->strerror(code));
}

static void alert(struct tls_channel *t, int code)
{
	if (speaks_tls(t) && !is_end(code) && code != GNUTLS_E_FATAL_ALERT_RECEIVED)
		(void)t->g->alert_send_appropriate(t->session, code);
	(void)tls_flush(t);
}

/* GnuTLS's part: 0, -EAGAIN, or as tls_fail(). */
static int shake(struct tls_channel *t)
{
	int code = 0;

	for (int i = 0; i < TRIES; i++) {
		code = t->g->handshake(t->session);
		if (code == GNUTLS_E_SUCCESS)
			return 0;
		if (code == GNUTLS_E_AGAIN || code == GNUTLS_E_INTERRUPTED)
			return -EAGAIN;
		if (t->g->error_is_fatal(code))
			break;
	}
	alert(t, code);
	return tls_fail_code(t, code, "handshake");
}

int tls_handshake(struct tls_channel *t)
{
	int ret = 0, sent;

	if (!t->agreed) {
		ret = shake(t);
		if (ret == 0)
			ret = tls_verify_peer(t);
		t->agreed = ret == 0;
	}
	if (ret < 0 && ret != -EAGAIN)
		return ret;
	sent = tls_flush(t);
	if (sent < 0 && sent != -EAGAIN)
		return tls_fail(t, -sent, "the %s cannot be reached in the handshake: %s",
				tls_peer(t), err_text(-sent));
	t->shaken = ret == 0 && sent == 0;
	return ret < 0 ? ret : sent;
}
