/* bitmap-mapping.h - block-bitmap-mapping as a member of the parameters' types */
#ifndef MINIVMM_QMP_COMMANDS_BITMAP_MAPPING_H
#define MINIVMM_QMP_COMMANDS_BITMAP_MAPPING_H

#include "qmp/schema.h"

struct bitmap_mapping;

/* The list of BitmapMigrationNodeAlias; C form: struct qmp_array. */
extern const struct qmp_type qmp_bitmap_mapping_type;

/* From what was parsed, and to what is written; memory of the pool, strings borrowed. */
void qmp_bitmap_mapping_take(struct qmp_pool *pool, const struct qmp_array *from,
			     struct bitmap_mapping *to);
void qmp_bitmap_mapping_show(struct qmp_pool *pool, const struct bitmap_mapping *from,
			     struct qmp_array *to);

#endif
