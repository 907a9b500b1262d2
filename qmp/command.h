/*
 * command.h - what a QMP command is, and the tables of all of them
 *
 * A command is a row: its name, the types of its arguments and of its
 * return, and the function that does it.  The rows stand in commands/ next to
 * their functions; dispatcher, query-commands and query-qmp-schema read them.
 */
#ifndef MINIVMM_QMP_COMMAND_H
#define MINIVMM_QMP_COMMAND_H

#include <stdbool.h>
#include <stddef.h>

#include "qmp/schema.h"

struct backends;
struct err;
struct json_object;
struct machine;
struct migration;
struct qmp_connection;
struct qmp_session;

/* What a command works on: borrowed, for the call. */
struct qmp_call {
	struct machine *m;
	struct backends *be;
	struct migration *mg;
	struct qmp_session *session;         /* the monitor that asks, */
	struct qmp_connection *connection;   /* and its client */
	const struct json_object *arguments; /* as they came; NULL: there are none */
	bool oob;                            /* it runs out of band, on the control thread */
	int *fd;                 /* came with the request; -1: none, or taken by the command */
	struct qmp_pool *pool;   /* memory that lives until the reply is written */
	const char *error_class; /* of a failure; NULL: GenericError */
};

/*
 * arg: a struct of the argument type, NULL when there is none; ret: a zeroed
 * struct of the return type to fill in, NULL when there is none.  0, or
 * -errno with *err set.  Main loop, machine lock held; it
 * must not wait.  One that QMP_WAITS runs on the work loop, and may give the
 * lock up; one that is run out of band runs on the control thread with the
 * control lock held instead, and must neither wait nor take another lock than
 * a leaf.
 */
typedef int qmp_command_fn(struct qmp_call *call, const void *arg, void *ret, struct err *err);

/* What a command may be, in its row, besides QMP_UNSTABLE and QMP_DEPRECATED. */
#define QMP_OOB      4u  /* it may be run out of band too */
#define QMP_WAITS    8u  /* for disks, or for guest memory */
#define QMP_BY_LINE  64u /* as QMP_WAITS, if what the line of the human monitor asks for does */
#define QMP_TAKES_FD 16u /* the descriptor that came with the request */
#define QMP_GUEST    32u /* it is refused where there is no guest: -machine none */

struct qmp_command {
	const char *name;
	const struct qmp_type *arg, *ret; /* NULL: an empty object */
	qmp_command_fn *run;
	unsigned flags; /* QMP_... */
};

/* Each ends with a NULL name. */
extern const struct qmp_command qmp_machine_commands[];
extern const struct qmp_command qmp_migration_commands[];
extern const struct qmp_command qmp_facts_commands[];
extern const struct qmp_command qmp_memory_commands[];
extern const struct qmp_command qmp_block_commands[];
extern const struct qmp_command qmp_net_commands[];
extern const struct qmp_command qmp_misc_commands[];
extern const struct qmp_command qmp_options_commands[];
extern const struct qmp_command qmp_dirty_commands[];
extern const struct qmp_command qmp_query_migrate_commands[];
extern const struct qmp_command qmp_yank_commands[];
extern const struct qmp_command qmp_job_commands[];
extern const struct qmp_command qmp_balloon_commands[];
extern const struct qmp_command qmp_snapshot_commands[];
extern const struct qmp_command qmp_blockdev_commands[];
extern const struct qmp_command qmp_human_commands[];
extern const struct qmp_command qmp_recover_commands[];
extern const struct qmp_command qmp_fdset_commands[];
extern const struct qmp_command qmp_object_commands[];
extern const struct qmp_command qmp_colo_commands[];
extern const struct qmp_command qmp_xen_commands[];
extern const struct qmp_command qmp_qom_commands[];
extern const struct qmp_command qmp_qom_type_commands[];
extern const struct qmp_command qmp_cpu_model_commands[];
extern const struct qmp_command qmp_action_commands[];
extern const struct qmp_command qmp_stats_commands[];

/* The i-th of all commands, NULL behind the last. */
const struct qmp_command *qmp_command_at(size_t i);
const struct qmp_command *qmp_command_find(const char *name);
/* That of a request, NULL when there is none.  Any JSON value. */
const struct qmp_command *qmp_request_command(const struct json_object *request);
/* Does it ask to be run out of band? */
bool qmp_request_oob(const struct json_object *request);
/* Has it to be run on the work loop?  'c' is its command. */
bool qmp_request_waits(const struct qmp_command *c, const struct json_object *request);

#endif
