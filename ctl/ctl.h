/*
 * ctl.h - what the commands of minivmm-ctl share
 *
 * A command is a row of ctl_commands (commands.c): its options are a table, too, from which
 * parsing, help, the manual page and the completion are made.
 */
#ifndef MINIVMM_CTL_H
#define MINIVMM_CTL_H

#include <stdbool.h>
#include <stdint.h>

struct client;
struct ctl;
struct err;

/* ---- options (args.c) ---- */

struct ctl_opt {
	const char *name; /* of "--name" */
	const char *arg;  /* what its argument looks like; NULL: it takes none */
	const char *help; /* NULL ends a table */
};

#define CTL_MAX_OPTS 48

struct ctl_args {
	const struct ctl_command *command;
	const char *val[CTL_MAX_OPTS]; /* by its place in the table: the last one given, "" without
					  argument */
	char **word;                   /* borrowed: what is no option */
	int n_words;
};

struct ctl_command {
	const char *name;
	const char *arguments;      /* "FILE", "" */
	const char *help;           /* one line */
	const struct ctl_opt *opts; /* ends with a row without name; NULL: none */
	int min_words, max_words;
	/* The exit status (say.h).  The client is made by ctl_client() when it is needed. */
	int (*run)(struct ctl *ctl, const struct ctl_args *args);
};

/* The options of the program, which may stand before and behind the command. */
extern const struct ctl_opt ctl_global_opts[];
/* argv[at] when it is one of these: how many words it took, 0: it is none, -EINVAL with a sentence.
 */
int ctl_take_global(struct ctl *ctl, int argc, char **argv, int at, struct err *err);
/*
 * Take the words behind the command's own name apart, with those of ctl_global_opts among them;
 * reorders argv.  The number of words is not checked when a help was asked for.  -EINVAL with a
 * sentence.
 */
int ctl_args_parse(struct ctl_args *a, const struct ctl_command *c, struct ctl *ctl, int argc,
		   char **argv, struct err *err);
/* What was given with an option, "" where it takes no argument; NULL: it was not given. */
const char *ctl_opt(const struct ctl_args *a, const char *name);
/* A number in min..max; *out untouched when the option was not given.  -EINVAL. */
int ctl_opt_number(const struct ctl_args *a, const char *name, uint64_t min, uint64_t max,
		   uint64_t *out, struct err *err);
/* Bytes: "1.5G", "64k". */
int ctl_opt_size(const struct ctl_args *a, const char *name, uint64_t *out, struct err *err);

/* ---- the program (main.c) ---- */

struct ctl {
	const char *socket, *name; /* borrowed; of -s and -n, or NULL */
	bool json, help, version;
	int timeout_ms;        /* of the greeting, and of each answer; 0: none */
	struct client *client; /* owned */
};

/*
 * The connection to the monitor that -s or -n names, or to the only one there is; made at the first
 * call.  NULL: the reason has been said, and *status is CTL_FAILED.
 */
struct client *ctl_client(struct ctl *ctl, int *status);
/* A connection by the path of a socket, or (NULL) by the name or pid of one that runs; owned.  NULL
 * with a sentence. */
struct client *ctl_connect(const char *socket, const char *name, int timeout_ms, struct err *err);

#endif
