/*
 * certificate.c - is a certificate fit for what it is used for?
 *
 * Our own are looked at when the credentials are made, as far as the peer would have a reason
 * to refuse them: the time, the kind (an authority's or not), what the key may be used for.
 * Of the authorities in ca-cert.pem one that is valid is enough.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "migration/tls/internal.h"
#include "vmm/base/alloc.h"
#include "vmm/base/units.h"

#define OID_BYTES 128

const char *tls_certificate_fault(unsigned status)
{
	static const struct {
		unsigned bit;
		const char *words;
	} faults[] = {
	    {GNUTLS_CERT_REVOKED,            "has been revoked"                            },
	    {GNUTLS_CERT_SIGNER_NOT_FOUND,   "is not signed by an authority in ca-cert.pem"},
	    {GNUTLS_CERT_SIGNER_NOT_CA,      "is signed by what is not an authority"       },
	    {GNUTLS_CERT_EXPIRED,            "has expired"                                 },
	    {GNUTLS_CERT_NOT_ACTIVATED,      "is not valid yet"                            },
	    {GNUTLS_CERT_INSECURE_ALGORITHM, "uses an insecure algorithm"                  },
	    {GNUTLS_CERT_PURPOSE_MISMATCH,   "is not made for this end of TLS"             },
	    {GNUTLS_CERT_SIGNATURE_FAILURE,  "has a wrong signature"                       },
	};

	for (size_t i = 0; i < ARRAY_LEN(faults); i++)
		if (status & faults[i].bit)
			return faults[i].words;
	return "is not trusted";
}

int tls_certificates_read(struct tls_certificates *c, const struct tls_library *g,
			  const gnutls_datum_t *text, const char *file, struct err *err)
{
	int ret;

	*c = (struct tls_certificates){.g = g};
	ret = g->x509_crt_list_import2(&c->list, &c->n, text, GNUTLS_X509_FMT_PEM, 0);
	return ret < 0 ? err_set(err, EINVAL, "Unable to read a certificate in %s: %s", file,
				 g->strerror(ret))
		       : 0;
}

void tls_certificates_free(struct tls_certificates *c)
{
	for (unsigned i = 0; i < c->n; i++)
		c->g->x509_crt_deinit(c->list[i]);
	free(c->list);
	*c = (struct tls_certificates){0};
}

static int check_time(const struct tls_library *g, gnutls_x509_crt_t crt, const char *file,
		      struct err *err)
{
	time_t now = time(NULL), until = g->x509_crt_get_expiration_time(crt),
	       since = g->x509_crt_get_activation_time(crt);
	char day[32] = "?";
	struct tm tm;

	if (until != (time_t)-1 && until < now) {
		if (gmtime_r(&until, &tm))
			(void)strftime(day, sizeof(day), "%Y-%m-%d %H:%M UTC", &tm);
		return err_set(err, EINVAL, "the certificate %s has expired (%s)", file, day);
	}
	if (since != (time_t)-1 && since > now) {
		if (gmtime_r(&since, &tm))
			(void)strftime(day, sizeof(day), "%Y-%m-%d %H:%M UTC", &tm);
		return err_set(err, EINVAL, "the certificate %s is not valid yet (from %s on)",
			       file, day);
	}
	return 0;
}

/* Does it say that it is an authority's?  One that says nothing may be either. */
static int check_authority(const struct tls_library *g, gnutls_x509_crt_t crt, const char *file,
			   bool wanted, struct err *err)
{
	int is = g->x509_crt_get_basic_constraints(crt, NULL, NULL, NULL);

	if (is > 0 && !wanted)
		return err_set(err, EINVAL,
			       "the certificate %s is that of an authority: a host's is needed",
			       file);
	if (is == 0 && wanted)
		return err_set(err, EINVAL, "the certificate %s is not that of an authority", file);
	return 0;
}

static int check_usage(const struct tls_library *g, gnutls_x509_crt_t crt, const char *file,
		       struct err *err)
{
	unsigned usage = 0, critical = 0;
	int ret = g->x509_crt_get_key_usage(crt, &usage, &critical);

	if (ret >= 0 && critical && !(usage & GNUTLS_KEY_DIGITAL_SIGNATURE))
		return err_set(err, EINVAL,
			       "the certificate %s is not made for signatures (its key usage)",
			       file);
	return 0;
}

static int check_purpose(const struct tls_library *g, gnutls_x509_crt_t crt, const char *file,
			 bool server, struct err *err)
{
	const char *wanted = server ? GNUTLS_KP_TLS_WWW_SERVER : GNUTLS_KP_TLS_WWW_CLIENT;
	bool allowed = false, any_critical = false;
	unsigned i, critical = 0;

	for (i = 0; !allowed; i++) {
		char oid[OID_BYTES];
		size_t n = sizeof(oid);

		if (g->x509_crt_get_key_purpose_oid(crt, i, oid, &n, &critical) < 0)
			break;
		any_critical = any_critical || critical;
		allowed = !strcmp(oid, wanted) || !strcmp(oid, GNUTLS_KP_ANY);
	}
	if (i == 0 || allowed || !any_critical) /* it says nothing, or only recommends */
		return 0;
	return err_set(err, EINVAL, "the certificate %s is not made for a TLS %s (its purpose)",
		       file, server ? "server" : "client");
}

static int check_own(const struct tls_certificates *own, const char *file,
		     const struct tls_certificates *ca, const char *ca_file, bool server,
		     struct err *err)
{
	const struct tls_library *g = own->g;
	gnutls_x509_crt_t crt = own->list[0];
	unsigned status = 0;
	int ret = check_time(g, crt, file, err);

	if (ret == 0)
		ret = check_authority(g, crt, file, false, err);
	if (ret == 0)
		ret = check_usage(g, crt, file, err);
	if (ret == 0)
		ret = check_purpose(g, crt, file, server, err);
	if (ret < 0)
		return ret;
	ret = g->x509_crt_list_verify(own->list, own->n, ca->list, ca->n, NULL, 0, 0, &status);
	if (ret < 0)
		return err_set(err, EINVAL, "the certificate %s cannot be compared with %s: %s",
			       file, ca_file, g->strerror(ret));
	return status ? err_set(err, EINVAL, "the certificate %s %s (%s)", file,
				tls_certificate_fault(status), ca_file)
		      : 0;
}

/* The fault of the first is told where all have one. */
static int check_authorities(const struct tls_certificates *ca, const char *file, struct err *err)
{
	struct err first = {0};
	int ret = 0;

	for (unsigned i = 0; i < ca->n; i++) {
		struct err *to = i == 0 ? &first : NULL;

		ret = check_time(ca->g, ca->list[i], file, to);
		if (ret == 0)
			ret = check_authority(ca->g, ca->list[i], file, true, to);
		if (ret == 0)
			return 0;
	}
	if (ca->n == 0)
		return err_set(err, EINVAL, "there is no certificate in %s", file);
	return err_set(err, EINVAL, "%s", first.msg);
}

int tls_certificates_check(const struct tls_certificates *own, const char *own_file,
			   const struct tls_certificates *ca, const char *ca_file, bool server,
			   struct err *err)
{
	int ret = check_authorities(ca, ca_file, err);

	return ret == 0 && own ? check_own(own, own_file, ca, ca_file, server, err) : ret;
}
