/* creds.c - credentials: the kinds, a row each; their files */
#include "migration/tls/creds.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "migration/tls/internal.h"
#include "vmm/base/alloc.h"
#include "vmm/base/units.h"
#include "vmm/options/config.h"

#define FILE_MAX_BYTES MiB

static const struct tls_creds_kind *const kinds[] = {
    &tls_creds_x509_kind,
    &tls_creds_psk_kind,
};

static const struct tls_creds_kind *kind_of(const char *type)
{
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
		if (!strcmp(kinds[i]->type, type))
			return kinds[i];
	return &tls_creds_anon_kind; /* options/object.c knows no other */
}

/* What priority= says is tried once: a word that GnuTLS does not know is told here. */
static int check_priority(const struct tls_creds *c, struct err *err)
{
	gnutls_session_t s;
	const char *at = NULL;
	int ret = c->g->init(&s, c->server ? GNUTLS_SERVER : GNUTLS_CLIENT);

	if (ret < 0)
		return err_set(err, ENOMEM, "cannot begin TLS: %s", c->g->strerror(ret));
	ret = c->g->priority_set_direct(s, c->priority, &at);
	c->g->deinit(s);
	return ret < 0 ? err_set(err, EINVAL,
				 "'priority' is not understood by GnuTLS, from '%.80s' on: %s",
				 at ? at : "", c->g->strerror(ret))
		       : 0;
}

struct tls_creds *tls_creds_new(const struct cfg_object *o, const char *password, struct err *err)
{
	const struct tls_library *g = tls_library(err);
	const char *end = keyvals_get(&o->props, "endpoint"),
		   *priority = keyvals_get(&o->props, "priority");
	struct tls_creds *c;
	int ret;

	if (!g)
		return NULL;
	c = NEW(struct tls_creds);
	c->g = g;
	c->refs = 1;
	c->kind = kind_of(o->type);
	c->server = end && !strcmp(end, "server");
	c->verify_peer = keyvals_bool(&o->props, "verify-peer", true);
	c->priority = xasprintf("%s%s", priority ? priority : "NORMAL", c->kind->more_priorities);
	ret = check_priority(c, err);
	if (ret == 0)
		ret = c->kind->load(c, o, password, err);
	if (ret == 0)
		return c;
	tls_creds_unref(c);
	return NULL;
}

struct tls_creds *tls_creds_ref(struct tls_creds *c)
{
	(void)__atomic_fetch_add(&c->refs, 1, __ATOMIC_RELAXED);
	return c;
}

void tls_creds_unref(struct tls_creds *c)
{
	if (!c || __atomic_sub_fetch(&c->refs, 1, __ATOMIC_ACQ_REL) > 0)
		return;
	if (c->of.any)
		c->kind->unload(c);
	free(c->priority);
	free(c);
}

bool tls_creds_of_server(const struct tls_creds *c)
{
	return c->server;
}

bool tls_creds_want_host(const struct tls_creds *c)
{
	return c->kind == &tls_creds_x509_kind && c->verify_peer && !c->server;
}

/* ---- files ---- */

static int read_all(int fd, const char *path, gnutls_datum_t *text, struct err *err)
{
	struct stat st;
	size_t have = 0;

	if (fstat(fd, &st) < 0)
		return err_set(err, errno, "Unable to read %s: %s", path, err_text(errno));
	if (!S_ISREG(st.st_mode) || st.st_size > (off_t)FILE_MAX_BYTES)
		return err_set(err, EINVAL, "Unable to read %s: it is not a file of at most 1 MiB",
			       path);
	text->data = xcalloc(1, (size_t)st.st_size + 1); /* a NUL behind it */
	while (have < (size_t)st.st_size) {
		ssize_t n = read(fd, text->data + have, (size_t)st.st_size - have);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_set(err, errno, "Unable to read %s: %s", path, err_text(errno));
		if (n == 0)
			break;
		have += (size_t)n;
	}
	text->size = (unsigned)have;
	return 0;
}

int tls_file_read(const char *folder, const char *name, bool needed, gnutls_datum_t *text,
		  struct err *err)
{
	CLEANUP(cleanup_free) char *path = xasprintf("%s/%s", folder, name);
	CLEANUP(cleanup_close) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	int ret;

	*text = (gnutls_datum_t){0};
	if (fd < 0 && errno == ENOENT && !needed)
		return -ENOENT;
	if (fd < 0)
		return err_set(err, errno, "Unable to access credentials %s: %s", path,
			       err_text(errno));
	ret = read_all(fd, path, text, err);
	if (ret < 0)
		tls_file_free(text);
	return ret;
}

void tls_file_free(gnutls_datum_t *text)
{
	if (text->data)
		explicit_bzero(text->data, text->size);
	free(text->data);
	*text = (gnutls_datum_t){0};
}
