/*
 * yank.h - connections that a user may shut down, whatever waits for them
 *
 * An instance is a connection by kind and name.  To yank it is to shut its
 * socket down: its reads and writes fail from then on.  The registry has a lock
 * of its own, a leaf (vmm/machine.h), so that this works out of band.
 */
#ifndef MINIVMM_YANK_H
#define MINIVMM_YANK_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

#include "vmm/base/list.h"

enum yank_kind { YANK_BLOCK_NODE, YANK_CHARDEV, YANK_MIGRATION, YANK_KINDS };

struct yank {
	struct list link;
	enum yank_kind kind;
	const char *id; /* borrowed; "" for a migration */
	int fd;         /* borrowed; -1: not connected now */
};

struct yanks {
	pthread_mutex_t mutex; /* a leaf (machine.h) */
	struct list list;      /* struct yank */
};

void yanks_init(struct yanks *ys);
void yanks_fini(struct yanks *ys);

/* ---- any thread ---- */

/* 'y' is borrowed until yank_del(), which is fine for one that was not added (zeroed). */
void yank_add(struct yanks *ys, struct yank *y, enum yank_kind kind, const char *id, int fd);
void yank_del(struct yanks *ys, struct yank *y);
/* It has another descriptor from now on.  -1: before the old one is closed. */
void yank_set_fd(struct yanks *ys, struct yank *y, int fd);
/* Cut one; false: there is none of that name.  dry: only look. */
bool yank_cut(struct yanks *ys, enum yank_kind kind, const char *id, bool dry);
/* The i-th; false: there are no more.  'id' has room for 'n' bytes. */
bool yank_at(struct yanks *ys, size_t i, enum yank_kind *kind, char *id, size_t n);

#endif
