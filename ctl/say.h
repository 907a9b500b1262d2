/*
 * say.h - what is said to people and to machines, and the exit statuses
 *
 * Without --json results are text on standard output and errors a sentence on standard error; with
 * it all of both is on standard output, a JSON object a line.
 */
#ifndef MINIVMM_CTL_SAY_H
#define MINIVMM_CTL_SAY_H

#include <stdint.h>

struct ctl;
struct err;
struct json_object;

enum ctl_status {
	CTL_DONE = 0,    /* done; of a move: the guest is there */
	CTL_FAILED = 1,  /* it failed; of a move: the guest is here */
	CTL_USAGE = 2,   /* what was typed is wrong; nothing was asked of the peer */
	CTL_UNKNOWN = 3, /* it is not known how it ended, of a move who has the guest */
};

/* The error, {"error": TEXT, "status": STATUS}; returns 'status'. */
int say_error(const struct ctl *ctl, int status, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* The same for the error of a call: CTL_USAGE for none, CTL_UNKNOWN when the peer is gone or
 * silent. */
int say_call_error(const struct ctl *ctl, int ret, const struct err *err);
/* Something beside the result, on standard error; {"note": TEXT}. */
void say_note(const struct ctl *ctl, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* A result as it is, on standard output: one line with --json, else indented.  Borrows v. */
void say_value(const struct ctl *ctl, const struct json_object *v);

/* A foreign text for a terminal: control characters become '?'.  Returns 'text', changed. */
char *say_clean(char *text);
/* Text, or --json's value: print text with say_clean() on standard output. */
void say_text(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Texts: "1.4 GiB", "312 MiB/s", "1:02:03" or "4.2 s", "737 ms". */
#define SAY_BYTES 24
const char *say_size(char out[SAY_BYTES], uint64_t bytes);
const char *say_rate(char out[SAY_BYTES], uint64_t bytes_a_second);
const char *say_ms(char out[SAY_BYTES], uint64_t ms);

#endif
