/*
 * x509.c - tls-creds-x509: certificates in the files of a folder
 *
 *     ca-cert.pem                         the authorities that the peer's certificate is checked
 * with ca-crl.pem                          what they have revoked; may be absent server-cert.pem,
 * server-key.pem     our own, for the end that listens client-cert.pem, client-key.pem     ... for
 * the one that connects; may both be absent
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "migration/tls/internal.h"
#include "vmm/base/alloc.h"
#include "vmm/base/units.h"
#include "vmm/options/config.h"

struct x509_files {
	const char *folder;
	const char *cert_name, *key_name;
	gnutls_datum_t ca, crl, cert, key;
};

static void free_files(struct x509_files *f)
{
	tls_file_free(&f->ca);
	tls_file_free(&f->crl);
	tls_file_free(&f->cert);
	tls_file_free(&f->key);
}

static int read_files(struct x509_files *f, bool server, struct err *err)
{
	int ret = tls_file_read(f->folder, "ca-cert.pem", true, &f->ca, err);

	if (ret < 0)
		return ret;
	ret = tls_file_read(f->folder, "ca-crl.pem", false, &f->crl, err);
	if (ret < 0 && ret != -ENOENT)
		return ret;
	ret = tls_file_read(f->folder, f->cert_name, server, &f->cert, err);
	if (ret == -ENOENT && !server)
		return 0; /* a client without a certificate */
	return ret == 0 ? tls_file_read(f->folder, f->key_name, true, &f->key, err) : ret;
}

static int check_files(const struct tls_library *g, const struct x509_files *f, bool server,
		       struct err *err)
{
	CLEANUP(cleanup_free) char *ca_path = xasprintf("%s/ca-cert.pem", f->folder);
	CLEANUP(cleanup_free) char *own_path = xasprintf("%s/%s", f->folder, f->cert_name);
	struct tls_certificates ca = {0}, own = {0};
	int ret = tls_certificates_read(&ca, g, &f->ca, ca_path, err);

	if (ret == 0 && f->cert.data)
		ret = tls_certificates_read(&own, g, &f->cert, own_path, err);
	if (ret == 0)
		ret = tls_certificates_check(f->cert.data ? &own : NULL, own_path, &ca, ca_path,
					     server, err);
	tls_certificates_free(&ca);
	tls_certificates_free(&own);
	return ret;
}

static int say_key(const struct tls_library *g, const struct x509_files *f, int code,
		   const char *password, struct err *err)
{
	if (code == GNUTLS_E_CERTIFICATE_KEY_MISMATCH)
		return err_set(err, EINVAL,
			       "the key %s/%s does not belong to the certificate %s/%s", f->folder,
			       f->key_name, f->folder, f->cert_name);
	if (code == GNUTLS_E_DECRYPTION_FAILED && password)
		return err_set(err, EINVAL,
			       "the key %s/%s has another password than 'passwordid' says",
			       f->folder, f->key_name);
	if (code == GNUTLS_E_DECRYPTION_FAILED)
		return err_set(err, EINVAL,
			       "the key %s/%s is encrypted: 'passwordid' names a secret "
			       "with its password",
			       f->folder, f->key_name);
	return err_set(err, EINVAL, "Unable to use certificate %s/%s with key %s/%s: %s", f->folder,
		       f->cert_name, f->folder, f->key_name, g->strerror(code));
}

static int use_files(struct tls_creds *c, const struct x509_files *f, const char *password,
		     struct err *err)
{
	const struct tls_library *g = c->g;
	int ret = g->certificate_allocate_credentials(&c->of.x509);

	if (ret < 0)
		return err_set(err, ENOMEM, "cannot make TLS credentials: %s", g->strerror(ret));
	ret = g->certificate_set_x509_trust_mem(c->of.x509, &f->ca, GNUTLS_X509_FMT_PEM);
	if (ret < 0)
		return err_set(err, EINVAL, "Unable to use %s/ca-cert.pem: %s", f->folder,
			       g->strerror(ret));
	if (f->crl.data)
		ret = g->certificate_set_x509_crl_mem(c->of.x509, &f->crl, GNUTLS_X509_FMT_PEM);
	if (ret < 0)
		return err_set(err, EINVAL, "Unable to use %s/ca-crl.pem: %s", f->folder,
			       g->strerror(ret));
	if (f->cert.data)
		ret = g->certificate_set_x509_key_mem2(c->of.x509, &f->cert, &f->key,
						       GNUTLS_X509_FMT_PEM, password, 0);
	if (ret < 0)
		return say_key(g, f, ret, password, err);
	if (c->server)
		(void)g->certificate_set_known_dh_params(c->of.x509, GNUTLS_SEC_PARAM_MEDIUM);
	return 0;
}

static int x509_load(struct tls_creds *c, const struct cfg_object *o, const char *password,
		     struct err *err)
{
	struct x509_files f = {
	    .folder = keyvals_get(&o->props, "dir"),
	    .cert_name = c->server ? "server-cert.pem" : "client-cert.pem",
	    .key_name = c->server ? "server-key.pem" : "client-key.pem",
	};
	int ret = read_files(&f, c->server, err);

	if (ret == 0 && keyvals_bool(&o->props, "sanity-check", true))
		ret = check_files(c->g, &f, c->server, err);
	if (ret == 0)
		ret = use_files(c, &f, password, err);
	free_files(&f);
	return ret;
}

static void x509_unload(struct tls_creds *c)
{
	c->g->certificate_free_credentials(c->of.x509);
}

const struct tls_creds_kind tls_creds_x509_kind = {
    .type = "tls-creds-x509",
    .of = GNUTLS_CRD_CERTIFICATE,
    .more_priorities = "",
    .load = x509_load,
    .unload = x509_unload,
};
