/* without-gnutls.c - the place of GNUTLS_SRC (Makefile) in a build without GnuTLS: TLS is refused
 */
#include <errno.h>
#include <stddef.h>

#include "migration/tls/creds.h"
#include "migration/tls/session.h"
#include "vmm/base/error.h"

static const char none[] = "this build of minivmm has no GnuTLS: TLS is not available in it";

struct tls_creds *tls_creds_new(const struct cfg_object *o, const char *password, struct err *err)
{
	(void)o;
	(void)password;
	(void)err_set(err, ENOTSUP, "%s", none);
	return NULL;
}

struct tls_creds *tls_creds_ref(struct tls_creds *c)
{
	return c;
}

void tls_creds_unref(struct tls_creds *c)
{
	(void)c;
}

bool tls_creds_of_server(const struct tls_creds *c)
{
	(void)c;
	return false;
}

bool tls_creds_want_host(const struct tls_creds *c)
{
	(void)c;
	return false;
}

struct channel *tls_channel_new(struct channel *below, struct tls_creds *creds, struct authz *authz,
				const char *host, bool incoming, struct err *err)
{
	(void)below;
	(void)creds;
	(void)authz;
	(void)host;
	(void)incoming;
	(void)err_set(err, ENOTSUP, "%s", none);
	return NULL;
}
