/* layer.c - from the parameters to a channel with TLS on it */
#include "migration/tls/layer.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "migration/channel/channel.h"
#include "migration/settings/params.h"
#include "migration/tls/authz.h"
#include "migration/tls/creds.h"
#include "migration/tls/objects.h"
#include "migration/tls/session.h"
#include "vmm/base/error.h"

static int check_end(const struct tls_layer *l, const struct tls_creds *creds, bool incoming,
		     struct err *err)
{
	if (tls_creds_of_server(creds) != incoming)
		return err_set(err, EINVAL,
			       "Expected TLS credentials for a %s endpoint: '%.80s' has "
			       "endpoint=%s",
			       incoming ? "server" : "client", l->creds,
			       incoming ? "client" : "server");
	if (!incoming && tls_creds_want_host(creds) && !l->host[0])
		return err_set(err, EINVAL,
			       "the address has no host's name to compare the destination's "
			       "certificate with: set 'tls-hostname'");
	return 0;
}

static struct channel *put_on(const struct channel_layer *layer, struct channel *below,
			      bool incoming, struct err *err)
{
	const struct tls_layer *l = (const struct tls_layer *)layer;
	struct tls_creds *creds = tls_objects_creds(l->objects, l->creds, err);
	struct authz *authz = NULL;
	struct channel *c = NULL;
	int ret = creds ? check_end(l, creds, incoming, err) : -ENOENT;

	if (ret == 0 && !below->two_way)
		ret = err_set(err, EINVAL,
			      "TLS needs a channel on which both ends can talk, and a %s is none",
			      below->ops->kind);
	if (ret == 0 && incoming && l->authz[0]) {
		authz = tls_objects_authz(l->objects, l->authz, err);
		ret = authz ? 0 : -ENOENT;
	}
	if (ret == 0)
		c = tls_channel_new(below, creds, authz, l->host[0] ? l->host : NULL, incoming,
				    err);
	if (!c)
		channel_close(below);
	authz_unref(authz);
	tls_creds_unref(creds);
	return c;
}

void tls_layer_fill(struct tls_layer *l, struct tls_objects *objects,
		    const struct migration_params *p, const char *host)
{
	*l = (struct tls_layer){.layer = {put_on}, .objects = objects};
	memcpy(l->creds, p->tls_creds, sizeof(l->creds));
	memcpy(l->authz, p->tls_authz, sizeof(l->authz));
	(void)snprintf(l->host, sizeof(l->host), "%s",
		       p->tls_hostname[0] ? p->tls_hostname
		       : host             ? host
					  : "");
}

const struct channel_layer *tls_layer_of(const struct tls_layer *l)
{
	return l->creds[0] ? &l->layer : NULL;
}
