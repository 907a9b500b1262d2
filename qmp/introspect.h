/* introspect.h - query-qmp-schema: all tables as SchemaInfo (qmp-surface 5.1) */
#ifndef MINIVMM_QMP_INTROSPECT_H
#define MINIVMM_QMP_INTROSPECT_H

#include "qmp/schema.h"

/* The array of SchemaInfo, whose C form only qmp_write() with qmp_schema_type understands. */
extern const struct qmp_type qmp_schema_type;
void qmp_introspect(struct qmp_pool *pool, struct qmp_array *out);

#endif
