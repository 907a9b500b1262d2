/*
 * error.h - error reporting for set-up, control and migration paths
 *
 * A function that can fail for a reason that the user must read takes a last
 * parameter 'struct err *err' and returns 0 or -errno (or NULL).  The caller
 * owns the storage, so there is nothing to free and nothing to leak.
 * 'err' may be NULL.  On success it is not touched.  Per-page and per-exit
 * paths return -errno only.
 */
#ifndef MINIVMM_BASE_ERROR_H
#define MINIVMM_BASE_ERROR_H

struct err {
	int errnum;    /* positive errno value */
	char msg[764]; /* one sentence, no trailing newline or full stop */
};

/* A message within another: what is put around it has room for 240 bytes. */
#define ERR_WITHIN "%.520s"

/*
 * Fill in *err; always returns -errnum so callers can 'return err_set(...)'.  What is too long for
 * the message ends with " ..." behind a whole word.
 */
int err_set(struct err *err, int errnum, const char *fmt, ...)
    __attribute__((format(printf, 3, 4), cold));

/* Put "context: " in front of the message; returns 'ret'. */
int err_prefix(struct err *err, int ret, const char *fmt, ...)
    __attribute__((format(printf, 3, 4), cold));

/* The host's words for an errno value; a string of static lifetime, any thread. */
const char *err_text(int errnum);

#endif
