/*
 * net.c - network back ends by type, and their list
 *
 * The back end's own file does the work; an operation on one that is not
 * attached to a loop does nothing.
 */
#include "devices/net/net.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "devices/net/backends.h"
#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"
#include "vmm/machine.h"
#include "vmm/options/config.h"

static const struct net_backend_ops *find_ops(const char *type)
{
	static const struct {
		const char *type;
		const struct net_backend_ops *ops;
	} kinds[] = {
	    {"tap",    &net_tap_ops   },
	    {"stream", &net_stream_ops},
#ifndef MINIVMM_WITHOUT_SLIRP
	    {"user",   &net_user_ops  },
#endif
	    {"passt",  &net_passt_ops },
	};

	for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
		if (!strcmp(kinds[i].type, type))
			return kinds[i].ops;
	return NULL;
}

struct net_backend *net_backend_new(struct machine *m, const struct cfg_netdev *cfg,
				    struct err *err)
{
	const struct net_backend_ops *ops = find_ops(cfg->type);
	struct net_backend *b;

	if (!ops) {
		(void)err_set(err, ENOTSUP,
			      "netdev type '%s' is not supported (tap, stream, user, passt)",
			      cfg->type);
		return NULL;
	}
	b = NEW(struct net_backend);
	b->ops = ops;
	b->m = m;
	b->id = xstrdup(cfg->id);
	if (ops->open(b, cfg, err) < 0) {
		free(b->id);
		free(b);
		return NULL;
	}
	return b;
}

void net_backend_free(struct net_backend *b)
{
	if (!b)
		return;
	assert(!b->io);
	b->ops->close(b);
	free(b->id);
	free(b);
}

int net_backend_attach(struct net_backend *b, struct loop *io, const struct net_client *client,
		       void *opaque, struct err *err)
{
	int ret;

	b->io = io;
	b->client = client;
	b->client_opaque = opaque;
	ret = b->ops->attach(b, err);
	if (ret < 0) {
		b->io = NULL;
		b->client = NULL;
	}
	return ret;
}

void net_backend_detach(struct net_backend *b)
{
	if (!b->io)
		return;
	b->ops->detach(b);
	b->io = NULL;
	b->client = NULL;
}

int net_backend_send(struct net_backend *b, const struct iovec *iov, int n_iov)
{
	ssize_t ret = b->io ? b->ops->send(b, iov, n_iov) : 0;

	return ret < 0 ? (int)ret : 0;
}

void net_backend_can_receive(struct net_backend *b)
{
	if (b->io)
		b->ops->can_receive(b);
}

int net_backends_open(struct net_backends *ns, struct machine *m, struct err *err)
{
	const struct config *cfg = m->cfg;

	*ns = (struct net_backends){.v = xcalloc(cfg->n_netdevs + 1, sizeof(struct net_backend *))};
	for (size_t i = 0; i < cfg->n_netdevs; i++) {
		struct net_backend *b = net_backend_new(m, &cfg->netdevs[i], err);

		if (!b) {
			net_backends_close(ns);
			return config_where(cfg->netdevs[i].where, -EINVAL, err);
		}
		ns->v[ns->n++] = b;
	}
	return 0;
}

struct net_backend *net_backends_find(const struct net_backends *ns, const char *id)
{
	for (size_t i = 0; i < ns->n; i++)
		if (!strcmp(ns->v[i]->id, id))
			return ns->v[i];
	return NULL;
}

int net_backends_del(struct net_backends *ns, const char *id, struct err *err)
{
	size_t i = 0;

	while (i < ns->n && strcmp(ns->v[i]->id, id) != 0)
		i++;
	if (i == ns->n)
		return err_set(err, ENOENT, "Device '%.96s' not found", id);
	if (ns->v[i]->io)
		return err_set(err, EBUSY,
			       "netdev '%s' is in use by a network card, which stays as long as "
			       "the guest; set_link takes it off the network",
			       id);
	net_backend_free(ns->v[i]);
	memmove(&ns->v[i], &ns->v[i + 1], (ns->n - i - 1) * sizeof(ns->v[0]));
	ns->n--;
	return 0;
}

void net_backends_close(struct net_backends *ns)
{
	for (size_t i = 0; i < ns->n; i++)
		net_backend_free(ns->v[i]);
	free(ns->v);
	*ns = (struct net_backends){0};
}
