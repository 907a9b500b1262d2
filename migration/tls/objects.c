/* objects.c - a list of named objects of two classes, credentials and authorizations */
#include "migration/tls/objects.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "migration/tls/authz.h"
#include "migration/tls/creds.h"
#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/base/list.h"
#include "vmm/base/units.h"
#include "vmm/options/config.h"

struct object {
	struct list link;
	char *id; /* owned */
	/* references; one of the two */
	struct tls_creds *creds;
	struct authz *authz;
};

struct tls_objects {
	pthread_mutex_t lock;
	struct list all; /* lock */
};

static const char creds_prefix[] = "tls-creds-", authz_prefix[] = "authz-";

static bool is_creds(const char *type)
{
	return strncmp(type, creds_prefix, sizeof(creds_prefix) - 1) == 0;
}

bool tls_objects_has_type(const char *type)
{
	return is_creds(type) || strncmp(type, authz_prefix, sizeof(authz_prefix) - 1) == 0;
}

struct tls_objects *tls_objects_new(void)
{
	struct tls_objects *s = NEW(struct tls_objects);

	pthread_mutex_init(&s->lock, NULL);
	list_init(&s->all);
	return s;
}

static void object_free(struct object *o)
{
	tls_creds_unref(o->creds);
	authz_unref(o->authz);
	free(o->id);
	free(o);
}

void tls_objects_free(struct tls_objects *s)
{
	if (!s)
		return;
	list_for_each_safe (o, &s->all, struct object, link)
		object_free(o);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

/* Lock held. */
static struct object *find(struct tls_objects *s, const char *id)
{
	list_for_each (o, &s->all, struct object, link)
		if (!strcmp(o->id, id))
			return o;
	return NULL;
}

int tls_objects_add(struct tls_objects *s, const struct cfg_object *o, const char *password,
		    struct err *err)
{
	struct object *made = NEW(struct object);
	bool taken;

	if (is_creds(o->type))
		made->creds = tls_creds_new(o, password, err);
	else
		made->authz = authz_new(o, err);
	if (!made->creds && !made->authz) {
		object_free(made);
		return -EINVAL;
	}
	made->id = xstrdup(o->id);
	pthread_mutex_lock(&s->lock);
	taken = find(s, o->id) != NULL;
	if (!taken)
		list_add_tail(&s->all, &made->link);
	pthread_mutex_unlock(&s->lock);
	if (!taken)
		return 0;
	object_free(made);
	return err_set(err, EEXIST, "there is an object with id '%.80s' already", o->id);
}

int tls_objects_del(struct tls_objects *s, const char *id)
{
	struct object *o;

	pthread_mutex_lock(&s->lock);
	o = find(s, id);
	if (o)
		list_del(&o->link);
	pthread_mutex_unlock(&s->lock);
	if (o)
		object_free(o);
	return o ? 0 : -ENOENT;
}

struct tls_creds *tls_objects_creds(struct tls_objects *s, const char *id, struct err *err)
{
	struct tls_creds *creds = NULL;
	struct object *o;

	pthread_mutex_lock(&s->lock);
	o = find(s, id);
	if (!o)
		(void)err_set(err, ENOENT, "No TLS credentials with id '%.80s'", id);
	else if (!o->creds)
		(void)err_set(err, EINVAL, "Object with id '%.80s' is not TLS credentials", id);
	else
		creds = tls_creds_ref(o->creds);
	pthread_mutex_unlock(&s->lock);
	return creds;
}

struct authz *tls_objects_authz(struct tls_objects *s, const char *id, struct err *err)
{
	struct authz *authz = NULL;
	struct object *o;

	pthread_mutex_lock(&s->lock);
	o = find(s, id);
	if (!o)
		(void)err_set(err, ENOENT, "No authorization object with id '%.80s' ('tls-authz')",
			      id);
	else if (!o->authz)
		(void)err_set(err, EINVAL,
			      "Object with id '%.80s' is not an authorization object ('tls-authz')",
			      id);
	else
		authz = authz_ref(o->authz);
	pthread_mutex_unlock(&s->lock);
	return authz;
}
