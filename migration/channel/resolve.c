#include "migration/channel/resolve.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"
#include "vmm/loop.h"

struct resolve {
	uv_getaddrinfo_t req;
	struct loop *loop;
	pthread_mutex_t *lock;
	resolve_done_fn *done; /* NULL: abandoned */
	void *opaque;
	char *what; /* owned; "host:port" */
};

static void fill_list(struct sockaddr_list *list, const struct addrinfo *ai)
{
	list->n = 0;
	for (; ai && list->n < SOCKADDR_LIST_MAX; ai = ai->ai_next) {
		memcpy(&list->addr[list->n], ai->ai_addr, ai->ai_addrlen);
		list->len[list->n++] = ai->ai_addrlen;
	}
}

static struct addrinfo hints_for(const struct migration_uri *uri, int flags)
{
	struct addrinfo hints = {
	    .ai_flags = flags | AI_NUMERICSERV,
	    .ai_family = uri->ipv4 == uri->ipv6 ? AF_UNSPEC
			 : uri->ipv4            ? AF_INET
						: AF_INET6,
	    .ai_socktype = SOCK_STREAM,
	};

	return hints;
}

static int say_unknown(const char *what, const char *why, struct err *err)
{
	return err_set(err, ENOENT, "address resolution failed for %s: %s", what, why);
}

static const char *uv_reason(int status)
{
	switch (status) {
	case UV_EAI_NONAME:
		return gai_strerror(EAI_NONAME);
	case UV_EAI_AGAIN:
		return gai_strerror(EAI_AGAIN);
	case UV_EAI_FAIL:
		return gai_strerror(EAI_FAIL);
	default:
		return uv_strerror(status);
	}
}

static void resolve_free(struct resolve *r)
{
	free(r->what);
	free(r);
}

static void resolved(uv_getaddrinfo_t *req, int status, struct addrinfo *res)
{
	struct resolve *r = container_of(req, struct resolve, req);
	struct sockaddr_list list;
	struct err err = {0};

	fill_list(&list, res);
	uv_freeaddrinfo(res);
	if (status < 0)
		(void)say_unknown(r->what, uv_reason(status), &err);
	pthread_mutex_lock(r->lock);
	if (r->done)
		r->done(r->opaque, status < 0 ? NULL : &list, &err);
	pthread_mutex_unlock(r->lock);
	resolve_free(r);
}

struct resolve *resolve_start(struct loop *l, pthread_mutex_t *lock,
			      const struct migration_uri *uri, resolve_done_fn *done, void *opaque,
			      struct err *err)
{
	struct addrinfo hints = hints_for(uri, 0);
	struct resolve *r = NEW(struct resolve);
	char port[8];
	int ret;

	(void)snprintf(port, sizeof(port), "%u", uri->port);
	r->loop = l;
	r->lock = lock;
	r->done = done;
	r->opaque = opaque;
	r->what = xstrdup(uri->text);
	ret = uv_getaddrinfo(loop_uv(l), &r->req, resolved, *uri->host ? uri->host : NULL, port,
			     &hints);
	if (ret < 0) {
		(void)say_unknown(uri->text, uv_reason(ret), err);
		resolve_free(r);
		return NULL;
	}
	return r;
}

void resolve_abandon(struct resolve *r)
{
	if (!r)
		return;
	r->done = NULL;
	/* When it is too late for that, the answer is dropped; it may take minutes. */
	if (uv_cancel((uv_req_t *)&r->req) < 0)
		loop_leave_behind(r->loop);
}

int resolve_now(const struct migration_uri *uri, bool passive, struct sockaddr_list *list,
		struct err *err)
{
	struct addrinfo hints = hints_for(uri, passive ? AI_PASSIVE : AI_NUMERICHOST);
	struct addrinfo *res = NULL;
	char port[8];
	int ret;

	(void)snprintf(port, sizeof(port), "%u", uri->port);
	ret = getaddrinfo(*uri->host ? uri->host : NULL, port, &hints, &res);
	if (ret)
		return say_unknown(uri->text, gai_strerror(ret), err);
	fill_list(list, res);
	freeaddrinfo(res);
	return 0;
}
