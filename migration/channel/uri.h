/* uri.h - the addresses that migrate and -incoming take (qmp-surface 2.2) */
#ifndef MINIVMM_MIGRATION_URI_H
#define MINIVMM_MIGRATION_URI_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/base/inet.h"

struct err;
struct host;

enum uri_kind { URI_TCP, URI_UNIX, URI_FD, URI_EXEC, URI_FILE };

/* An address to connect to, as often as one likes. */
static inline bool uri_is_address(enum uri_kind kind)
{
	return kind == URI_TCP || kind == URI_UNIX;
}

struct migration_uri {
	enum uri_kind kind;
	/* owned: what messages call it ("host:port" for tcp:); unix and file: the path; exec: the
	 * command; fd: the name */
	char *text, *path;
	/* tcp: */
	char *host;             /* owned; "" is any (listening) or the local host (connecting) */
	uint16_t port, port_to; /* port_to: the last one to try when listening */
	int family;             /* AF_UNSPEC, AF_INET, AF_INET6 */
	bool keep_alive;
	/* file: */
	uint64_t offset;
	char *folder; /* exec: owned, where the command runs; NULL: the working directory */
	char **argv;  /* exec: owned, ends with NULL; NULL: 'path' is for /bin/sh */
	bool both;    /* exec: its input and its output are one connection; the opener says so */
};

/* An address as it is given: one of the two; borrowed. */
struct migration_where {
	const char *uri;
	const struct migration_uri *members; /* QMP's 'channels', the JSON of -incoming */
};

/* Parse; 'incoming' only changes the words.  On failure nothing is owned. */
int uri_parse(struct migration_uri *u, const char *uri, bool incoming, struct err *err);
/* Paths, and the folder of a command, are meant where the program was started (-daemonize). */
void uri_anchor(struct migration_uri *u, const struct host *h);
void uri_fini(struct migration_uri *u);
/* The same from either form; 'members' are copied. */
int uri_take(struct migration_uri *u, const struct migration_where *w, bool incoming,
	     struct err *err);
/* As one writes it on a command line, for messages; returns owned. */
char *uri_spell(const struct migration_where *w);

#endif
