/* client-internal.h - a connection, for the files that make it up: client-open.c, client.c */
#ifndef MINIVMM_CTL_CLIENT_INTERNAL_H
#define MINIVMM_CTL_CLIENT_INTERNAL_H

#include <stdbool.h>
#include <stdint.h>

#include "ctl/client.h"

struct json_object;
struct json_reader;

#define READ_BYTES 65536
#define MAX_EVENTS 4096 /* queued; of more the oldest is dropped */

struct client {
	/* set at creation and then constant */
	int fd;
	char *where, *package; /* owned */
	unsigned version;
	struct json_reader *reader;

	bool gone;
	int patience_ms, interrupt_fd;
	uint64_t last_id;
	struct json_object *reply;   /* owned: of last_id */
	struct json_object *special; /* owned: the greeting, until it is looked at */
	struct json_object *event[MAX_EVENTS];
	unsigned first_event, n_events;
	struct json_object *schema; /* owned */
	char error_class[64];
	uint8_t bytes[READ_BYTES]; /* of one recv() */
};

/* When wait_ms will have passed (0: never), for client_poll(). */
int64_t client_deadline(int wait_ms);
/* Wait for the socket until then: 1 ready, 0 the time is over, -EINTR. */
int client_poll(struct client *c, short events, int64_t until);
/* The connection is of no use any more; returns -errnum. */
int client_lose(struct client *c, struct err *err, int errnum, const char *why);

#endif
