/* loose-types.h - types of the interface that no command and no event leads to */
#ifndef MINIVMM_QMP_LOOSE_TYPES_H
#define MINIVMM_QMP_LOOSE_TYPES_H

#include "qmp/schema.h"

/* Ends with NULL.  They are in the schema all the same. */
extern const struct qmp_type *const qmp_loose_types[];

#endif
