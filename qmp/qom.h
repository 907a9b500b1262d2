/*
 * qom.h - the tree of objects that QMP clients of QEMU walk: paths, and what is at each
 *
 *     /                        machine, objects, chardevs
 *     /machine                 the keys of -machine; peripheral, peripheral-anon, unattached
 *     /machine/peripheral      the devices that have an id, by it
 *     /machine/peripheral-anon the others: device[0], device[1]...
 *     /machine/unattached      the vCPUs: device[0], device[1]...
 *     /objects, /chardevs      those of -object and of -chardev, by id
 *
 * There are no such objects in this program.  A class (a row of qom.c) says what would be there:
 * it lists the properties of one node, with their values, from the tables and structs that the
 * rest of the program uses.  All functions: main loop, machine lock held.
 */
#ifndef MINIVMM_QMP_QOM_H
#define MINIVMM_QMP_QOM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "qmp/schema.h"

struct config;
struct err;
struct machine;
struct option_key;
struct qmp_call;
struct qom_class;

/* One property of a node or a type. */
struct qom_property {
	const char *name, *type;
	const char *help;         /* NULL: none */
	struct qmp_any value;     /* of a node; no type: it cannot be read */
	struct qmp_any otherwise; /* of a type; no type: no default */
};

/* ObjectPropertyInfo[], of struct qom_property (commands/qom.c). */
extern const struct qmp_type qmp_qom_property_list;

/* A list of them; all that it refers to lives as long as the pool. */
struct qom_list {
	struct qmp_pool *pool;
	struct qom_property *v;
	size_t n, room;
};

/* What is at a path. */
struct qom_node {
	const struct qom_class *class;
	const void *of; /* the class's: what of the program it stands for */
	size_t index;   /* ... or which one */
	const char *path;
};

/* Find a path; relative ones are looked for among devices, objects and chardevs.  -ENODEV. */
int qom_find(struct qmp_call *call, const char *path, struct qom_node *out, struct err *err);
/* What the node is ("microvm-machine"); its properties with their values. */
const char *qom_type(struct qmp_call *call, const struct qom_node *node);
void qom_properties(struct qmp_call *call, const struct qom_node *node, struct qom_list *out);
/* -EINVAL: not found, not writable, or not with this value. */
int qom_set(struct qmp_call *call, const struct qom_node *node, const char *name,
	    const struct qmp_any *value, struct err *err);

/* ---- for those that fill a list ---- */

struct qom_list qom_list(struct qmp_pool *pool);
/* The next one, zeroed but for these two. */
struct qom_property *qom_add(struct qom_list *l, const char *name, const char *type);
/* The values; borrowed texts. */
struct qmp_any qom_bool(bool on);
struct qmp_any qom_number(struct qmp_pool *pool, int64_t v);
struct qmp_any qom_unsigned(struct qmp_pool *pool, uint64_t v);
struct qmp_any qom_text(struct qmp_pool *pool, const char *s);
/* What a property is called whose option has this key, and its value: as typed, or NULL. */
const char *qom_type_of_key(const struct option_key *key);
struct qmp_any qom_value_of_key(struct qmp_pool *pool, const struct option_key *key,
				const char *typed);

#endif
