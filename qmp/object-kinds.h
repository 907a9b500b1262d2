/* object-kinds.h - all kinds of objects: a type that -object takes has a row here */
#ifndef MINIVMM_QMP_OBJECT_KINDS_H
#define MINIVMM_QMP_OBJECT_KINDS_H

struct object_kind;

extern const struct object_kind *const object_kinds[]; /* ends with NULL */

#endif
