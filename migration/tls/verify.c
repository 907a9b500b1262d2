/*
 * verify.c - is that the peer that is wanted?
 *
 * The certificate must come from an authority of ours and be valid now; that of a destination
 * names the host that was asked for, and the name in that of a source is what tls-authz lets in.
 * A peer that is refused is told so with an alert: in TLS 1.3 a source has done its part before
 * its certificate is looked at.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "migration/tls/authz.h"
#include "migration/tls/internal.h"
#include "vmm/base/alloc.h"
#include "vmm/base/units.h"

struct peer_certificate {
	const struct tls_library *g;
	gnutls_x509_crt_t crt;
	char *name; /* owned: in one line; "" when it has none */
};

static int refuse(struct tls_channel *t, gnutls_alert_description_t alert)
{
	(void)t->g->alert_send(t->session, GNUTLS_AL_FATAL, alert);
	(void)tls_flush(t);
	return t->failed;
}

static void peer_certificate_fini(struct peer_certificate *p)
{
	if (p->crt)
		p->g->x509_crt_deinit(p->crt);
	free(p->name);
}

/* It comes from the peer and ends up in logs and terminals. */
static char *one_line(const gnutls_datum_t *d)
{
	char *s = xstrndup((const char *)d->data, d->size);

	for (char *c = s; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			*c = '?';
	return s;
}

static int take_certificate(struct tls_channel *t, struct peer_certificate *p)
{
	const struct tls_library *g = t->g;
	unsigned n = 0;
	const gnutls_datum_t *list = g->certificate_get_peers(t->session, &n);
	gnutls_datum_t dn = {0};

	*p = (struct peer_certificate){.g = g};
	if (!list || n == 0) {
		(void)tls_fail(t, EACCES, "the %s has shown no certificate", tls_peer(t));
		return refuse(t, GNUTLS_A_CERTIFICATE_REQUIRED);
	}
	if (g->x509_crt_init(&p->crt) < 0 ||
	    g->x509_crt_import(p->crt, &list[0], GNUTLS_X509_FMT_DER) < 0) {
		(void)tls_fail(t, EACCES, "the certificate of the %s cannot be read", tls_peer(t));
		return refuse(t, GNUTLS_A_BAD_CERTIFICATE);
	}
	if (g->x509_crt_get_dn2(p->crt, &dn) == 0)
		p->name = one_line(&dn);
	else
		p->name = xstrdup("");
	free(dn.data);
	return 0;
}

static gnutls_alert_description_t alert_of(unsigned status)
{
	if (status & GNUTLS_CERT_REVOKED)
		return GNUTLS_A_CERTIFICATE_REVOKED;
	if (status & GNUTLS_CERT_SIGNER_NOT_FOUND)
		return GNUTLS_A_UNKNOWN_CA;
	return status & GNUTLS_CERT_EXPIRED ? GNUTLS_A_CERTIFICATE_EXPIRED
					    : GNUTLS_A_BAD_CERTIFICATE;
}

static int check_trust(struct tls_channel *t, const struct peer_certificate *p)
{
	unsigned status = 0;
	int ret = t->g->certificate_verify_peers2(t->session, &status);

	if (ret == 0 && status == 0)
		return 0;
	if (ret < 0)
		(void)tls_fail(t, EACCES,
			       "the certificate of the %s (%.200s) cannot be checked: %s",
			       tls_peer(t), p->name, t->g->strerror(ret));
	else
		(void)tls_fail(t, EACCES, "the certificate of the %s (%.200s) %s", tls_peer(t),
			       p->name, tls_certificate_fault(status));
	return refuse(t, alert_of(status));
}

static int check_host(struct tls_channel *t, const struct peer_certificate *p)
{
	if (!t->host || t->g->x509_crt_check_hostname(p->crt, t->host))
		return 0;
	(void)tls_fail(t, EACCES,
		       "the certificate of the destination (%.200s) is not one of host '%.100s'",
		       p->name, t->host);
	return refuse(t, GNUTLS_A_BAD_CERTIFICATE);
}

static int check_authz(struct tls_channel *t, const struct peer_certificate *p)
{
	struct err err = {0};

	if (!t->authz || authz_allows(t->authz, p->name, &err))
		return 0;
	if (err.msg[0])
		(void)tls_fail(t, EACCES,
			       "the source (%.200s) is not let in, as 'tls-authz' cannot be asked: "
			       "%.300s",
			       p->name, err.msg);
	else
		(void)tls_fail(t, EACCES, "the source (%.200s) is not let in by 'tls-authz'",
			       p->name);
	return refuse(t, GNUTLS_A_ACCESS_DENIED);
}

int tls_verify_peer(struct tls_channel *t)
{
	struct peer_certificate p = {0};
	int ret = 0;

	if (t->creds->kind != &tls_creds_x509_kind || !t->creds->verify_peer) {
		if (!t->authz)
			return 0;
		(void)tls_fail(t, EACCES,
			       "'tls-authz' asks for the name in the source's certificate, which "
			       "only tls-creds-x509 with verify-peer=on looks at");
		return refuse(t, GNUTLS_A_ACCESS_DENIED);
	}
	ret = take_certificate(t, &p);
	if (ret == 0)
		ret = check_trust(t, &p);
	if (ret == 0 && !t->incoming)
		ret = check_host(t, &p);
	if (ret == 0 && t->incoming)
		ret = check_authz(t, &p);
	peer_certificate_fini(&p);
	return ret;
}
