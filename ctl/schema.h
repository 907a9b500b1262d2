/* schema.h - what a peer has, by its query-qmp-schema */
#ifndef MINIVMM_CTL_SCHEMA_H
#define MINIVMM_CTL_SCHEMA_H

#include <stdbool.h>

struct client;
struct json_object;

/* The entity of that name ("migrate", or a type's number); borrowed, NULL: there is none. */
struct json_object *schema_find(struct client *c, const char *name);
/*
 * Does the peer's command take (or, with "->" before the path, return) such a member?
 *
 *     client_has(c, "migrate", "channels", NULL)                             a member
 *     client_has(c, "migrate-set-parameters", "mode", "cpr-reboot")          a value of an
 * enumeration client_has(c, "query-migrate", "->x-minivmm.percent", NULL)
 *
 * The path goes through objects, their branches, lists and alternates.  "" is the type itself,
 * NULL: the command alone.  False also when the schema cannot be had.
 */
bool client_has(struct client *c, const char *command, const char *path, const char *value);

#endif
