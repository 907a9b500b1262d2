/*
 * shell-line.h - a line of the shell as a QMP request (docs/minivmm-ctl.md, "The shell")
 *
 *     migrate uri=tcp:b:4444 detach=true
 *     blockdev-add driver=qcow2 node-name=d0 file.driver=file file.filename="my disk.qcow2"
 *     {"execute": "query-status"}
 *
 * A value is what the schema says that its member is; where the schema does not know the member, it
 * is JSON when it reads as JSON, and text otherwise. Values that begin with { or [ are JSON, and
 * may have spaces in them. Elements of lists: a.0=, a.1.b=, in their order.
 */
#ifndef MINIVMM_CTL_SHELL_LINE_H
#define MINIVMM_CTL_SHELL_LINE_H

#include <stdbool.h>
#include <stddef.h>

#include "ctl/dictionary.h"

struct err;
struct json_object;

struct shell_word {
	char *name;  /* owned: what stands before '=', or all of it */
	char *value; /* owned: what stands behind it, without its quotes; NULL: there is no '=' */
	bool quoted; /* the value is text, whatever it looks like */
	size_t at;   /* where it begins in the line */
};

struct shell_words {
	struct shell_word *v; /* owned */
	size_t n;
	bool open; /* the last one is not complete: a quote or a bracket is not closed */
};

/* Take the first n bytes of a line apart; never fails. */
struct shell_words shell_split(const char *line, size_t n);
void shell_words_free(struct shell_words *w);
/* For completion and types: the values that the words give. */
struct given shell_given(const struct shell_words *w);

/*
 * The request of a line that is neither empty nor a comment (#); the caller's. -EINVAL with a
 * sentence that names the word.
 */
int shell_request(const struct dictionary *d, const char *line, struct json_object **request,
		  struct err *err);

#endif
