/*
 * objects.c - objects that hold credentials or an authorization
 *
 * An object that a connection uses may be deleted: the connection has a reference of its own.
 */
#include "migration/tls/objects.h"

#include <errno.h>

#include "migration/tls/authz.h"
#include "migration/tls/creds.h"
#include "vmm/base/error.h"
#include "vmm/machine.h"
#include "vmm/objects.h"
#include "vmm/secret.h"

static int make_creds(struct machine *m, struct object *o, bool later, struct err *err)
{
	const char *secret = keyvals_get(&o->cfg.props, "passwordid");
	const uint8_t *password = NULL;
	size_t n = 0;
	int ret = secret ? secret_lookup(m, secret, &password, &n, err) : 0;

	(void)later; /* the files are small */
	if (ret < 0)
		return ret;
	o->state = tls_creds_new(&o->cfg, (const char *)password, err);
	return o->state ? 0 : -EINVAL;
}

static void free_creds(struct object *o)
{
	tls_creds_unref(o->state);
}

static int make_authz(struct machine *m, struct object *o, bool later, struct err *err)
{
	(void)m;
	(void)later;
	o->state = authz_new(&o->cfg, err);
	return o->state ? 0 : -EINVAL;
}

static void free_authz(struct object *o)
{
	authz_unref(o->state);
}

const struct object_kind tls_x509_kind = {"tls-creds-x509", NULL, make_creds, free_creds};
const struct object_kind tls_psk_kind = {"tls-creds-psk", NULL, make_creds, free_creds};
const struct object_kind tls_anon_kind = {"tls-creds-anon", NULL, make_creds, free_creds};
const struct object_kind authz_simple_kind = {"authz-simple", NULL, make_authz, free_authz};
const struct object_kind authz_list_kind = {"authz-list", NULL, make_authz, free_authz};
const struct object_kind authz_list_file_kind = {"authz-list-file", NULL, make_authz, free_authz};
const struct object_kind authz_listfile_kind = {"authz-listfile", NULL, make_authz, free_authz};

struct tls_creds *tls_find_creds(const struct machine *m, const char *id, struct err *err)
{
	const struct object *o = objects_find(m, id);

	if (o && o->kind->make == make_creds)
		return tls_creds_ref(o->state);
	if (o)
		(void)err_set(err, EINVAL, "Object with id '%.80s' is not TLS credentials", id);
	else
		(void)err_set(err, ENOENT, "No TLS credentials with id '%.80s'", id);
	return NULL;
}

struct authz *tls_find_authz(const struct machine *m, const char *id, struct err *err)
{
	const struct object *o = objects_find(m, id);

	if (o && o->kind->make == make_authz)
		return authz_ref(o->state);
	if (o)
		(void)err_set(err, EINVAL,
			      "Object with id '%.80s' is not an authorization object ('tls-authz')",
			      id);
	else
		(void)err_set(err, ENOENT, "No authorization object with id '%.80s' ('tls-authz')",
			      id);
	return NULL;
}
