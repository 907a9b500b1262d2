/*
 * shared-key.c - tls-creds-psk: a key that both ends have in keys.psk; tls-creds-anon: no proof at
 * all
 *
 * keys.psk has a line "NAME:HEX" for each user (psktool makes it).  The server takes any
 * that is in it, the client uses the line of username=.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "migration/tls/internal.h"
#include "vmm/base/alloc.h"
#include "vmm/base/units.h"
#include "vmm/options/config.h"

#define KEYS_FILE "keys.psk"

static int say_memory(const struct tls_library *g, int code, struct err *err)
{
	return err_set(err, ENOMEM, "cannot make TLS credentials: %s", g->strerror(code));
}

/* The hexadecimal digits of 'user' in the file; -ENOENT: it has no such line. */
static int find_key(const gnutls_datum_t *file, const char *user, gnutls_datum_t *hex)
{
	char *line = (char *)file->data, *next;
	size_t n = strlen(user);

	for (; line && *line; line = next) {
		size_t len = strcspn(line, "\r\n");

		next = line[len] ? line + len + 1 : NULL;
		if (len <= n || memcmp(line, user, n) != 0 || line[n] != ':')
			continue;
		*hex = (gnutls_datum_t){.data = (unsigned char *)line + n + 1,
					.size = (unsigned)(len - n - 1)};
		return 0;
	}
	return -ENOENT;
}

static int psk_client(struct tls_creds *c, const char *folder, const char *user, struct err *err)
{
	const struct tls_library *g = c->g;
	gnutls_datum_t file, hex = {0};
	int ret = tls_file_read(folder, KEYS_FILE, true, &file, err);

	if (ret < 0)
		return ret;
	if (find_key(&file, user, &hex) < 0)
		ret = err_set(err, ENOENT, "there is no key of user '%.80s' in %s/" KEYS_FILE, user,
			      folder);
	if (ret == 0 && g->psk_allocate_client_credentials(&c->of.psk_client) < 0)
		ret = say_memory(g, GNUTLS_E_MEMORY_ERROR, err);
	if (ret == 0 &&
	    g->psk_set_client_credentials(c->of.psk_client, user, &hex, GNUTLS_PSK_KEY_HEX) < 0)
		ret = err_set(err, EINVAL,
			      "the key of user '%.80s' in %s/" KEYS_FILE
			      " is not a row of hexadecimal digits",
			      user, folder);
	tls_file_free(&file);
	return ret;
}

/* GnuTLS reads the file when a client comes; whether it can is found out now. */
static int psk_server(struct tls_creds *c, const char *folder, struct err *err)
{
	CLEANUP(cleanup_free) char *path = xasprintf("%s/" KEYS_FILE, folder);
	const struct tls_library *g = c->g;
	gnutls_datum_t file;
	int ret = tls_file_read(folder, KEYS_FILE, true, &file, err);

	if (ret < 0)
		return ret;
	tls_file_free(&file);
	ret = g->psk_allocate_server_credentials(&c->of.psk_server);
	if (ret < 0)
		return say_memory(g, ret, err);
	ret = g->psk_set_server_credentials_file(c->of.psk_server, path);
	if (ret < 0)
		return err_set(err, EINVAL, "Unable to use %s: %s", path, g->strerror(ret));
	(void)g->psk_set_server_known_dh_params(c->of.psk_server, GNUTLS_SEC_PARAM_MEDIUM);
	return 0;
}

static int psk_load(struct tls_creds *c, const struct cfg_object *o, const char *password,
		    struct err *err)
{
	const char *folder = keyvals_get(&o->props, "dir"),
		   *user = keyvals_get(&o->props, "username");

	(void)password;
	if (c->server && user)
		return err_set(err, EINVAL,
			       "'username' is for endpoint=client: a server takes every "
			       "user in its " KEYS_FILE);
	return c->server ? psk_server(c, folder, err)
			 : psk_client(c, folder, user ? user : "qemu", err);
}

static void psk_unload(struct tls_creds *c)
{
	if (c->server)
		c->g->psk_free_server_credentials(c->of.psk_server);
	else
		c->g->psk_free_client_credentials(c->of.psk_client);
}

const struct tls_creds_kind tls_creds_psk_kind = {
    .type = "tls-creds-psk",
    .of = GNUTLS_CRD_PSK,
    .more_priorities = ":+ECDHE-PSK:+DHE-PSK:+PSK",
    .load = psk_load,
    .unload = psk_unload,
};

static int anon_load(struct tls_creds *c, const struct cfg_object *o, const char *password,
		     struct err *err)
{
	const struct tls_library *g = c->g;
	int ret;

	(void)o;
	(void)password;
	if (!c->server) {
		ret = g->anon_allocate_client_credentials(&c->of.anon_client);
		return ret < 0 ? say_memory(g, ret, err) : 0;
	}
	ret = g->anon_allocate_server_credentials(&c->of.anon_server);
	if (ret < 0)
		return say_memory(g, ret, err);
	(void)g->anon_set_server_known_dh_params(c->of.anon_server, GNUTLS_SEC_PARAM_MEDIUM);
	return 0;
}

static void anon_unload(struct tls_creds *c)
{
	if (c->server)
		c->g->anon_free_server_credentials(c->of.anon_server);
	else
		c->g->anon_free_client_credentials(c->of.anon_client);
}

const struct tls_creds_kind tls_creds_anon_kind = {
    .type = "tls-creds-anon",
    .of = GNUTLS_CRD_ANON,
    .more_priorities = ":+ANON-DH:+ANON-ECDH",
    .load = anon_load,
    .unload = anon_unload,
};
