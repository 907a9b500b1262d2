/*
 * log.c - lines to stderr and to the log file, without blocking
 *
 * Each sink counts the lines that it could not take.  The next line that finds
 * room is preceded by one that states the number.  A line that was taken in
 * part ('cut') is ended before the next one begins, so that a reader's lines
 * stay lines.  The file is reopened on SIGHUP; both sinks are under one mutex,
 * the last in the order of locks.
 */
#include "vmm/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#include "vmm/base/error.h"
#include "vmm/base/nonblock.h"

/* Where lines go. */
struct sink {
	struct nonblock out;
	unsigned long lost; /* lines since the last that was written */
	bool cut;           /* only the beginning of the last line was taken */
};

/* The one place with state at file scope: everything that can fail may log. */
static enum log_level level_max = LOG_INFO;
static bool timestamp;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER; /* the last of all locks */
/* under mutex */
static struct sink to_stderr = {
    .out = {.fd = STDERR_FILENO, .kind = NONBLOCK_POLL}
};
static struct sink to_file = {.out = {.fd = -1}};
static int file_fd = -1;
static char *file_path;

void log_set_level(enum log_level level)
{
	level_max = level;
}

void log_set_timestamp(bool on)
{
	timestamp = on;
}

void log_use_stderr(void)
{
	pthread_mutex_lock(&mutex);
	nonblock_fini(&to_stderr.out);
	nonblock_init(&to_stderr.out, STDERR_FILENO, O_WRONLY);
	pthread_mutex_unlock(&mutex);
}

/* ---- the file ---- */

/* A named pipe without a reader cannot be opened for writing alone, except by waiting. */
static int open_file(const char *path)
{
	int flags = O_CREAT | O_APPEND | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
	int fd = open(path, O_WRONLY | flags, 0666);

	return fd >= 0 || errno != ENXIO ? fd : open(path, O_RDWR | flags, 0666);
}

static void use_file(int fd)
{
	nonblock_fini(&to_file.out);
	if (file_fd >= 0)
		(void)close(file_fd);
	file_fd = fd;
	if (fd >= 0)
		nonblock_init(&to_file.out, fd, O_WRONLY);
	to_file.cut = false;
}

int log_open(const char *path, struct err *err)
{
	int fd = open_file(path);
	char *copy = fd < 0 ? NULL : strdup(path);

	if (fd < 0)
		return err_set(err, errno, "Error opening logfile %s: %s", path, err_text(errno));
	pthread_mutex_lock(&mutex);
	free(file_path);
	file_path = copy;
	use_file(fd);
	pthread_mutex_unlock(&mutex);
	return 0;
}

int log_reopen(struct err *err)
{
	int ret = 0, fd;

	pthread_mutex_lock(&mutex);
	fd = file_path ? open_file(file_path) : -1;
	if (fd >= 0)
		use_file(fd);
	else if (file_path)
		ret = err_set(err, errno, "cannot open the log file %s again: %s", file_path,
			      err_text(errno));
	pthread_mutex_unlock(&mutex);
	return ret;
}

/* ---- lines ---- */

static bool sink_put(struct sink *s, const char *text, size_t n)
{
	size_t done = 0;

	while (done < n) {
		ssize_t got = nonblock_write(&s->out, text + done, n - done);

		if (got == -EINTR)
			continue;
		if (got <= 0)
			break;
		done += (size_t)got;
	}
	if (done > 0)
		s->cut = done < n;
	return done == n;
}

/* Say how many lines were lost before this one; false: the sink still takes nothing. */
static bool tell_lost(struct sink *s)
{
	char text[80];
	int n;

	if (!s->lost)
		return true;
	n = snprintf(text, sizeof(text), "%sminivmm: %lu message%s lost: they were not read\n",
		     s->cut ? "\n" : "", s->lost, s->lost == 1 ? " was" : "s were");
	if (!sink_put(s, text, (size_t)n))
		return false;
	s->lost = 0;
	return true;
}

/* Under the mutex. */
static void put_line(struct sink *s, const char *text, size_t n)
{
	if (s->out.fd < 0)
		return;
	if (!tell_lost(s) || !sink_put(s, text, n))
		s->lost++;
}

static size_t put_time(char *out, size_t size)
{
	struct timespec now;
	struct tm tm;
	size_t n;

	if (clock_gettime(CLOCK_REALTIME, &now) < 0 || !gmtime_r(&now.tv_sec, &tm))
		return 0;
	n = strftime(out, size, "%Y-%m-%dT%H:%M:%S", &tm);
	return n + (size_t)snprintf(out + n, size - n, ".%06ldZ ", now.tv_nsec / 1000);
}

static void log_text(bool both, const char *text, size_t n)
{
	pthread_mutex_lock(&mutex);
	if (file_fd >= 0)
		put_line(&to_file, text, n);
	if (both || file_fd < 0)
		put_line(&to_stderr, text, n);
	pthread_mutex_unlock(&mutex);
}

/* A line that does not fit into 'line', of which the first n bytes are its beginning. */
__attribute__((format(printf, 4, 0))) static void say_long(bool both, const char *line, size_t n,
							   const char *fmt, va_list ap)
{
	char *text = NULL, *whole = NULL;
	int len = vasprintf(&text, fmt, ap);

	len = len < 0 ? -1 : asprintf(&whole, "%.*s%s\n", (int)n, line, text);
	if (len > 0)
		log_text(both, whole, (size_t)len);
	else
		whole = NULL;
	free(whole);
	free(text);
}

void log_write_signal(const char *line, size_t n)
{
	if (file_fd >= 0)
		(void)!write(file_fd, line, n);
	(void)!write(STDERR_FILENO, line, n);
}

__attribute__((format(printf, 2, 0))) static void say_format(bool both, const char *fmt, va_list ap)
{
	char line[1024];
	size_t n = 0;
	va_list again;
	int len;

	if (timestamp)
		n = put_time(line, sizeof(line));
	n += (size_t)snprintf(line + n, sizeof(line) - n, "minivmm: ");
	va_copy(again, ap);
	len = vsnprintf(line + n, sizeof(line) - n, fmt, again);
	va_end(again);
	if (len < 0)
		return;
	if (n + (size_t)len < sizeof(line)) {
		n += (size_t)len;
		line[n] = '\n';
		log_text(both, line, n + 1);
	} else {
		say_long(both, line, n, fmt, ap);
	}
}

void log_line(enum log_level level, const char *fmt, ...)
{
	va_list ap;

	if (level > level_max)
		return;
	va_start(ap, fmt);
	say_format(false, fmt, ap);
	va_end(ap);
}

void log_notice(const char *fmt, ...)
{
	va_list ap;

	if (level_max < LOG_INFO)
		return;
	va_start(ap, fmt);
	say_format(true, fmt, ap);
	va_end(ap);
}

void log_close(void)
{
	pthread_mutex_lock(&mutex);
	(void)tell_lost(&to_stderr);
	if (file_fd >= 0)
		(void)tell_lost(&to_file);
	use_file(-1);
	free(file_path);
	file_path = NULL;
	nonblock_fini(&to_stderr.out);
	to_stderr.out.fd = STDERR_FILENO;
	pthread_mutex_unlock(&mutex);
}
