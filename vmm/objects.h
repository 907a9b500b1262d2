/*
 * objects.h - what -object and object-add make: each has an id, and a kind that says what it is
 *
 * The command line's table (vmm/options/object.c) has checked a description before it comes here.
 * A kind makes of it what others use: the bytes of a secret.  Kinds are rows (object-kinds.c in
 * qmp/).
 *
 * Lock: the machine lock, unless said otherwise.
 */
#ifndef MINIVMM_OBJECTS_H
#define MINIVMM_OBJECTS_H

#include <stdbool.h>

#include "vmm/base/list.h"
#include "vmm/options/config.h"

struct err;
struct machine;
struct object;

struct object_kind {
	const char *type;
	/* object-add refuses it with this reason; NULL: it can be made at any time. */
	const char *not_later;
	/*
	 * Fill in o->state.  'later': the guest may run, so that it must not wait for a file. NULL:
	 * there is nothing to make.
	 */
	int (*make)(struct machine *m, struct object *o, bool later, struct err *err);
	void (*free)(struct object *o); /* NULL: nothing to free */
};

struct object {
	struct list link;
	const struct object_kind *kind;
	struct cfg_object cfg; /* owned; as it was described */
	void *state;           /* the kind's */
	unsigned users;        /* it cannot be deleted while there are some */
};

/*
 * Make those of the command line, of these kinds (ends with NULL, borrowed).  Before anything that
 * uses them.
 */
int objects_start(struct machine *m, const struct object_kind *const *kinds, struct err *err);
/* One more; *cfg is taken, also on failure. */
int objects_add(struct machine *m, struct cfg_object *cfg, struct err *err);
/* -ENOENT, -EBUSY: it is in use. */
int objects_del(struct machine *m, const char *id, struct err *err);
/* Borrowed; NULL: there is none. */
struct object *objects_find(const struct machine *m, const char *id);
/* It has a user from now on, or one less; an id without an object is fine. */
void objects_use(struct machine *m, const char *id);
void objects_unuse(struct machine *m, const char *id);
/* Free all; lock not needed: the machine has ended. */
void objects_end(struct machine *m);

#endif
