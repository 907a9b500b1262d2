/*
 * resume.h - how a paused postcopy is to go on: from 'migrate' with resume to the migration thread
 *
 * The command leaves an address; the thread that waits takes it.  A newer one takes the
 * place of an older one that has not been taken, and ends a wait for the older one's connection.
 */
#ifndef MINIVMM_MIGRATION_OUTGOING_RESUME_H
#define MINIVMM_MIGRATION_OUTGOING_RESUME_H

#include <pthread.h>
#include <stdbool.h>

#include "migration/channel/uri.h"
#include "migration/tls/layer.h"

struct resume_address {
	struct migration_uri uri; /* owned */
	struct sockaddr_list to;  /* tcp: what its host stands for */
	int fd;                   /* fd: owned; -1: none */
	struct tls_layer tls;     /* as the parameters are when the command comes */
};

void resume_address_fini(struct resume_address *a);

struct resume {
	/* set at creation and then constant */
	int wake_fd; /* eventfd: readable while an address waits to be taken */
	/* 'mutex': a leaf (vmm/machine.h) */
	pthread_mutex_t mutex;
	bool given;
	struct resume_address address;
};

int resume_init(struct resume *r); /* -errno: no eventfd */
void resume_fini(struct resume *r);

/* ---- any thread ---- */

/* Go on there; takes *a. */
void resume_put(struct resume *r, struct resume_address *a);
/* No address waits from now on. */
void resume_clear(struct resume *r);
/* The address, owned; false: there is none. */
bool resume_take(struct resume *r, struct resume_address *a);

#endif
