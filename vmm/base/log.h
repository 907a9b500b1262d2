/*
 * log.h - what the program says on stderr or into -D FILE
 *
 * A line is "minivmm: text", with an ISO time first after log_set_timestamp().
 * Any thread; a line is written with one write(2).
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
/* Send all later lines to this file (appended, made if absent). */
int log_open(const char *path, struct err *err);

/* A whole line, from a signal handler. */
void log_write_signal(const char *line, size_t n);

void log_line(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...) log_line(LOG_ERROR, __VA_ARGS__)
#define log_warn(...)  log_line(LOG_WARN, "warning: " __VA_ARGS__)
#define log_info(...)  log_line(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_line(LOG_DEBUG, __VA_ARGS__)

#endif
