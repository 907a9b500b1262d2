/* internal.h - what the files of migration/tls/ share that include GnuTLS */
#ifndef MINIVMM_TLS_INTERNAL_H
#define MINIVMM_TLS_INTERNAL_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "migration/channel/channel.h"
#include "migration/tls/creds.h"
#include "migration/tls/library.h"
#include "vmm/base/error.h"

struct authz;
struct cfg_object;

/* ---- credentials ---- */

struct tls_creds_kind {
	const char *type; /* of -object */
	gnutls_credentials_type_t of;
	const char *more_priorities; /* what is added to priority=; "": nothing */
	/* Read the files; what has been made stays in *c on failure. */
	int (*load)(struct tls_creds *c, const struct cfg_object *o, const char *password,
		    struct err *err);
	void (*unload)(struct tls_creds *c);
};

struct tls_creds {
	/* set at creation and then constant */
	const struct tls_library *g;
	const struct tls_creds_kind *kind;
	bool server, verify_peer;
	char *priority; /* owned */
	union {
		gnutls_certificate_credentials_t x509;
		gnutls_psk_client_credentials_t psk_client;
		gnutls_psk_server_credentials_t psk_server;
		gnutls_anon_client_credentials_t anon_client;
		gnutls_anon_server_credentials_t anon_server;
		void *any;
	} of;
	unsigned refs; /* atomic */
};

extern const struct tls_creds_kind tls_creds_x509_kind, tls_creds_psk_kind, tls_creds_anon_kind;

/*
 * A file of credentials: folder/name into *text, owned, NUL-terminated.  -ENOENT without a
 * sentence where it is absent and not 'needed'; else -errno with *err set.
 */
int tls_file_read(const char *folder, const char *name, bool needed, gnutls_datum_t *text,
		  struct err *err);
void tls_file_free(gnutls_datum_t *text);

/* ---- certificates ---- */

/* Those of a file; owned. */
struct tls_certificates {
	const struct tls_library *g;
	gnutls_x509_crt_t *list;
	unsigned n;
};

int tls_certificates_read(struct tls_certificates *c, const struct tls_library *g,
			  const gnutls_datum_t *text, const char *file, struct err *err);
void tls_certificates_free(struct tls_certificates *c);
/* Is our own certificate fit for that end, and do the authorities' stand for it?  'own' may be
 * NULL. */
int tls_certificates_check(const struct tls_certificates *own, const char *own_file,
			   const struct tls_certificates *ca, const char *ca_file, bool server,
			   struct err *err);
/* What is wrong with a certificate, as a verification says: "has expired". */
const char *tls_certificate_fault(unsigned status);

/* ---- sessions ---- */

struct tls_channel {
	struct channel ch; /* comes first */
	/* set at creation and then constant */
	const struct tls_library *g;
	struct tls_creds *creds; /* a reference */
	struct authz *authz;     /* a reference; NULL: whoever the credentials admit */
	char *host;              /* owned; what the server's certificate must name, or NULL */
	bool incoming;
	/*
	 * One thread may read while another one writes, and GnuTLS answers in either: 'lock', which
	 * is a leaf, is held for one record or one attempt of the channel below at a time.
	 */
	pthread_mutex_t lock;
	gnutls_session_t session;
	bool agreed; /* the handshake is done, and the peer is the right one ... */
	bool shaken; /* ... and our last words of it have been written */
	bool ended;  /* the peer has said that nothing follows, or has gone */
	bool bye;    /* we have said it */
	int failed;  /* -errno, which stays; 'why' is the sentence */
	struct err why;
	uint8_t head; /* the first byte that came; 0: none has */
	uint8_t *raw; /* owned: read and not taken by GnuTLS yet: from raw_at to raw_len */
	size_t raw_at, raw_len;
	uint8_t *plain; /* owned: decrypted and not yet given: from plain_at to plain_len */
	size_t plain_at, plain_len;
	uint8_t *out; /* owned: encrypted and not yet written: from out_at to out_len */
	size_t out_at, out_len;
	/* the writer's */
	size_t taken;   /* bytes of its vector that are in 'out', or were */
	uint8_t *piece; /* owned: those of several entries become one record */
};

#define TLS_RECORD_BYTES 16384
#define TLS_RAW_BYTES    (256 * 1024)
#define TLS_BATCH_BYTES  (7 * TLS_RECORD_BYTES)                   /* encrypted before a write */
#define TLS_OUT_BYTES    (TLS_BATCH_BYTES + 4 * TLS_RECORD_BYTES) /* and what GnuTLS adds */

/* The peer, in a sentence. */
static inline const char *tls_peer(const struct tls_channel *t)
{
	return t->incoming ? "source" : "destination";
}

/* It stays failed with this sentence; returns -errnum.  Lock held. */
int tls_fail(struct tls_channel *t, int errnum, const char *fmt, ...)
    __attribute__((format(printf, 3, 4), cold));
/* What is in 'out' goes down: 0, -EAGAIN, or another -errno.  Lock held. */
int tls_flush(struct tls_channel *t);

/* ---- handshake.c; lock held ---- */

int tls_session_new(struct tls_channel *t, struct err *err);
/* One attempt: 0: it is done; -EAGAIN; -errno: as tls_fail(). */
int tls_handshake(struct tls_channel *t);
/* What GnuTLS has returned (negative, fatal) has failed it, 'in' the handshake or a record. */
int tls_fail_code(struct tls_channel *t, int code, const char *in);

/* ---- verify.c; lock held ---- */

/* The handshake is done: is that the peer that is wanted?  0, or as tls_fail(). */
int tls_verify_peer(struct tls_channel *t);

#endif
