/* runtime.h - the minivmm that run here, by their runtime entries (vmm/runtime-entry.h) */
#ifndef MINIVMM_CTL_RUNTIME_H
#define MINIVMM_CTL_RUNTIME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct json_object;

struct running {
	int64_t pid, started; /* seconds since 1970 */
	uint64_t ram_bytes;
	const char *name;         /* borrowed of 'text'; "" */
	const char *monitor;      /* borrowed: the first */
	struct json_object *text; /* owned: all of the entry */
};

struct running_list {
	struct running *v; /* owned, by pid */
	size_t n;
};

/*
 * Read all entries that this user may read: of $XDG_RUNTIME_DIR/minivmm, /run/minivmm and, as root,
 * of all users' /run/user/UID/minivmm.  Those whose process has ended are removed; what is no entry
 * is left out.
 */
void running_read(struct running_list *l);
void running_free(struct running_list *l);
/* Of the entry's list of monitors, the i-th; borrowed, NULL: there is none. */
const char *running_monitor(const struct running *r, size_t i);

#endif
