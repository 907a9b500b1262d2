/* layer.c - from the parameters to a channel with TLS on it */
#include "migration/tls/layer.h"

#include <errno.h>
#include <stdio.h>

#include "migration/channel/channel.h"
#include "migration/settings/params.h"
#include "migration/tls/authz.h"
#include "migration/tls/creds.h"
#include "migration/tls/objects.h"
#include "migration/tls/session.h"
#include "vmm/base/error.h"

static int check_end(const struct tls_layer *l, bool incoming, struct err *err)
{
	if (!l->creds || l->errnum)
		return err_set(err, l->errnum, "%s", l->why);
	if (tls_creds_of_server(l->creds) != incoming)
		return err_set(err, EINVAL,
			       "Expected TLS credentials for a %s endpoint: those of 'tls-creds' "
			       "have endpoint=%s",
			       incoming ? "server" : "client", incoming ? "client" : "server");
	if (!incoming && tls_creds_want_host(l->creds) && !l->host[0])
		return err_set(err, EINVAL,
			       "the address has no host's name to compare the destination's "
			       "certificate with: set 'tls-hostname'");
	return 0;
}

static struct channel *put_on(const struct channel_layer *layer, struct channel *below,
			      bool incoming, struct err *err)
{
	const struct tls_layer *l = (const struct tls_layer *)layer;
	struct channel *c = NULL;
	int ret = check_end(l, incoming, err);

	if (ret == 0 && !below->two_way)
		ret = err_set(err, EINVAL,
			      "TLS needs a channel on which both ends can talk, and a %s is none",
			      below->ops->kind);
	if (ret == 0)
		c = tls_channel_new(below, l->creds, incoming ? l->authz : NULL,
				    l->host[0] ? l->host : NULL, incoming, err);
	if (!c)
		channel_close(below);
	return c;
}

void tls_layer_fill(struct tls_layer *l, const struct machine *m, const struct migration_params *p,
		    const char *host)
{
	struct err why = {0};

	*l = (struct tls_layer){.layer = {put_on}, .wanted = p->tls_creds[0]};
	if (!l->wanted)
		return;
	l->creds = tls_find_creds(m, p->tls_creds, &why);
	if (l->creds && tls_creds_of_server(l->creds) && p->tls_authz[0])
		l->authz = tls_find_authz(m, p->tls_authz, &why);
	l->errnum = why.errnum;
	(void)snprintf(l->why, sizeof(l->why), "%.199s", why.msg);
	(void)snprintf(l->host, sizeof(l->host), "%s",
		       p->tls_hostname[0] ? p->tls_hostname
		       : host             ? host
					  : "");
}

struct tls_layer tls_layer_copy(const struct tls_layer *l)
{
	struct tls_layer c = *l;

	if (c.creds)
		(void)tls_creds_ref(c.creds);
	if (c.authz)
		(void)authz_ref(c.authz);
	return c;
}

void tls_layer_fini(struct tls_layer *l)
{
	tls_creds_unref(l->creds);
	authz_unref(l->authz);
	*l = (struct tls_layer){.wanted = false};
}

const struct channel_layer *tls_layer_of(const struct tls_layer *l)
{
	return l->wanted ? &l->layer : NULL;
}
