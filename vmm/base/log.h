/*
 * log.h - what the program says on stderr or into -D FILE
 *
 * A line is "minivmm: text", with an ISO time first after log_set_timestamp().
 * Any thread; a line is written with one write(2).
 *
 * The log never blocks.  A line that the sink does not take (stderr is a pipe that is
 * full, a terminal that is stopped) is dropped and counted; when the next one
 * can be written, a line in front of it says how many were lost.
 */
#ifndef MINIVMM_BASE_LOG_H
#define MINIVMM_BASE_LOG_H

#include <stdbool.h>
#include <stddef.h>

struct err;

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

/* Lines above 'level' are dropped; LOG_INFO at start. */
void log_set_level(enum log_level level);
void log_set_timestamp(bool on);
/* Use descriptor 2 as it is now: at start, and when it has been replaced. */
void log_use_stderr(void);
/*
 * Send all later lines to this file (appended, made if absent; a named pipe
 * does not wait for its reader).  'path' is copied.
 */
int log_open(const char *path, struct err *err);
/* Open log_open()'s file anew, for it was renamed; on failure the old one stays. */
int log_reopen(struct err *err);
/* At the end of the program: say how many lines were lost, and free. */
void log_close(void);

/* A whole line, from a signal handler. */
void log_write_signal(const char *line, size_t n);

void log_line(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* A line for the user: into the file and on stderr too. */
void log_notice(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#define log_error(...) log_line(LOG_ERROR, __VA_ARGS__)
#define log_warn(...)  log_line(LOG_WARN, "warning: " __VA_ARGS__)
#define log_info(...)  log_line(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_line(LOG_DEBUG, __VA_ARGS__)

#endif
