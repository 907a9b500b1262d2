/* channels.h - the address of a migration by its members: 'channels' of QMP, JSON of -incoming */
#ifndef MINIVMM_QMP_CHANNELS_H
#define MINIVMM_QMP_CHANNELS_H

#include "qmp/schema.h"

struct err;
struct migration_uri;
struct migration_where;

extern const struct qmp_type qmp_channels_type; /* an array of MigrationChannel */

/*
 * Exactly one of the two: a URI (NULL: none) or channels, which must be one of type 'main'
 * (none: not given).  'where' borrows from them, and from the pool.
 */
int qmp_channels_where(struct qmp_pool *pool, const char *uri, const struct qmp_array *channels,
		       bool incoming, struct migration_where *where, struct err *err);
/* The JSON text of one channel; 'out' borrows from the pool. */
int qmp_channel_parse(struct qmp_pool *pool, const char *text, struct migration_uri *out,
		      struct err *err);

#endif
