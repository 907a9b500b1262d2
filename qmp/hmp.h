/*
 * hmp.h - commands of the human monitor, as human-monitor-command takes them
 *
 * A command is a row: its name, its parameters, what it does, and the function.
 * The rows stand in commands/ next to their functions; "help", "info" and the
 * refusal of what is not there read the same rows.  The texts are QEMU's where a
 * program could look for them; minivmm offers no human monitor beside this.
 */
#ifndef MINIVMM_QMP_HMP_H
#define MINIVMM_QMP_HMP_H

#include <stdbool.h>
#include <stddef.h>

struct buf;
struct err;
struct qmp_call;

#define HMP_MAX_ARGS 8

/*
 * The words of a command line, in the order of the row's parameters: NULL for an
 * optional one that is not there, "" for a flag that is.
 */
struct hmp_args {
	const char *v[HMP_MAX_ARGS];
};

/*
 * Append what is to be shown, lines that end with '\n', to 'out'.  0, or -errno
 * with *err set, which is shown as "Error: ...".  Machine lock held; main loop, or
 * for a row that waits the work loop, and it may give the lock up.
 */
typedef int hmp_command_fn(struct qmp_call *call, const struct hmp_args *args, struct buf *out,
			   struct err *err);

struct hmp_command {
	const char *name; /* "stop|s": with its short forms; "info status": a topic of info */
	/*
	 * "tag" has to be given, "[tag]" may be, "[-f]" is a flag, which stands in
	 * front; with blanks between them.  NULL: none.
	 */
	const char *params;
	const char *help;
	hmp_command_fn *run;
	bool waits; /* as QMP_WAITS */
};

/* Each ends with a NULL name; hmp_run() has the list of them. */
extern const struct hmp_command hmp_machine_commands[], hmp_info_commands[],
    hmp_snapshot_commands[], hmp_migration_commands[], hmp_migrate_info_commands[];

/* Carry the line out and append its text, whose lines end with CR and LF.  It never fails: what
 * went wrong is told in the text. */
void hmp_run(struct qmp_call *call, const char *line, struct buf *out);
/* Does what the line asks for wait?  Any thread. */
bool hmp_waits(const char *line);
/* The same with other tables, of which NULL is the last. */
void hmp_run_in(struct qmp_call *call, const struct hmp_command *const *tables, const char *line,
		struct buf *out);

#endif
