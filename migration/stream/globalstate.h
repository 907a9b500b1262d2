/* globalstate.h - the run state that travels with the guest (migration-stream 2.7) */
#ifndef MINIVMM_MIGRATION_GLOBALSTATE_H
#define MINIVMM_MIGRATION_GLOBALSTATE_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/runstate.h"

struct machine;

struct globalstate {
	struct machine *m;
	bool received; /* a stream has brought 'state' */
	enum runstate state;
	/* wire image */
	uint32_t size;
	uint8_t name[100];
};

/* Registers the table; 'g' must live as long as the machine's registry is used. */
void globalstate_init(struct globalstate *g, struct machine *m);
/* As if the stream had brought 's'. */
static inline void globalstate_replace(struct globalstate *g, enum runstate s)
{
	g->received = true;
	g->state = s;
}

#endif
