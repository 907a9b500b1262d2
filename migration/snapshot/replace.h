/* replace.h - a snapshot that takes the place of one of its name (savevm) */
#ifndef MINIVMM_MIGRATION_SNAPSHOT_REPLACE_H
#define MINIVMM_MIGRATION_SNAPSHOT_REPLACE_H

struct err;
struct machine;
struct snapshot_nodes;

/* No other snapshot stands on those of that name: 0; -EBUSY with *err set.  May wait; no lock. */
int replace_check(const struct snapshot_nodes *ns, const char *tag, struct err *err);
/* The new one is there: delete the older ones.  Those that stay are named in the log.  The same. */
void replace_delete_older(struct machine *m, const struct snapshot_nodes *ns, const char *tag);

#endif
