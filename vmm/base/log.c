#include "vmm/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "vmm/base/error.h"

/* The one place with state at file scope: everything that can fail may log. */
static enum log_level level_max = LOG_INFO;
static bool timestamp;
static int log_fd = STDERR_FILENO;

void log_set_level(enum log_level level)
{
	level_max = level;
}

void log_set_timestamp(bool on)
{
	timestamp = on;
}

int log_open(const char *path, struct err *err)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);

	if (fd < 0)
		return err_set(err, errno, "Error opening logfile %s: %s", path, err_text(errno));
	if (log_fd != STDERR_FILENO)
		(void)close(log_fd);
	log_fd = fd;
	return 0;
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

/* A line that does not fit into 'line', of which the first n bytes are its beginning. */
__attribute__((format(printf, 3, 0))) static void put_long(const char *line, size_t n,
							   const char *fmt, va_list ap)
{
	char *text = NULL, *whole = NULL;
	int len = vasprintf(&text, fmt, ap);

	len = len < 0 ? -1 : asprintf(&whole, "%.*s%s\n", (int)n, line, text);
	if (len > 0)
		(void)!write(log_fd, whole, (size_t)len);
	else
		whole = NULL;
	free(whole);
	free(text);
}

void log_write_signal(const char *line, size_t n)
{
	(void)!write(log_fd, line, n);
}

void log_line(enum log_level level, const char *fmt, ...)
{
	char line[1024];
	size_t n = 0;
	va_list ap;
	int len;

	if (level > level_max)
		return;
	if (timestamp)
		n = put_time(line, sizeof(line));
	n += (size_t)snprintf(line + n, sizeof(line) - n, "minivmm: ");
	va_start(ap, fmt);
	len = vsnprintf(line + n, sizeof(line) - n, fmt, ap);
	va_end(ap);
	if (len < 0)
		return;
	if (n + (size_t)len < sizeof(line)) {
		n += (size_t)len;
		line[n] = '\n';
		(void)!write(log_fd, line, n + 1);
		return;
	}
	va_start(ap, fmt);
	put_long(line, n, fmt, ap);
	va_end(ap);
}
