/*
 * secret.c - the bytes of a secret, from the command or a file, plain or in base64
 *
 * They are read when the object is made, and wiped when it goes.
 */
#include "vmm/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm/base/alloc.h"
#include "vmm/base/base64.h"
#include "vmm/base/error.h"
#include "vmm/base/fdset.h"
#include "vmm/base/units.h"
#include "vmm/host.h"
#include "vmm/machine.h"
#include "vmm/objects.h"

#define FILE_MAX (64 * KiB)

struct secret {
	size_t n;
	uint8_t bytes[FILE_MAX + 1]; /* a NUL follows */
};

static int say_unread(const char *path, int errnum, struct err *err)
{
	return err_set(err, errnum, "Unable to read %.200s: %s", path, err_text(errnum));
}

static int read_all(int fd, struct secret *s, const char *path, struct err *err)
{
	while (s->n <= FILE_MAX) {
		ssize_t got = read(fd, s->bytes + s->n, FILE_MAX + 1 - s->n);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return say_unread(path, errno, err);
		if (got == 0)
			return 0;
		s->n += (size_t)got;
	}
	return err_set(err, EFBIG, "Unable to read %.200s: it has more than %zu bytes", path,
		       (size_t)FILE_MAX);
}

/* At start a pipe is fine, and its writer is waited for. */
static int read_file(struct secret *s, const char *path, bool later, struct err *err)
{
	int fd = path_open(path, O_RDONLY | O_NOCTTY | (later ? O_NONBLOCK : 0), 0, NULL), ret;
	struct stat st;

	if (fd < 0)
		return say_unread(path, -fd, err);
	if (fstat(fd, &st) < 0)
		ret = say_unread(path, errno, err);
	else if (later && !S_ISREG(st.st_mode))
		ret = err_set(err, EINVAL, "Unable to read %.200s: it is not a regular file", path);
	else
		ret = read_all(fd, s, path, err);
	path_close(fd);
	return ret;
}

static int decode(struct secret *s, struct err *err)
{
	ssize_t n = base64_decode(s->bytes, (const char *)s->bytes, s->n);

	if (n < 0)
		return err_set(err, EINVAL, "the secret is not valid base64");
	s->n = (size_t)n;
	return 0;
}

static void secret_free(struct object *o)
{
	if (o->state)
		explicit_bzero(o->state, sizeof(struct secret));
	free(o->state);
}

static int take_data(struct secret *s, const char *data, struct err *err)
{
	if (strlen(data) > FILE_MAX)
		return err_set(err, EFBIG, "the secret has more than %zu bytes", (size_t)FILE_MAX);
	s->n = strlen(data);
	memcpy(s->bytes, data, s->n);
	return 0;
}

static int secret_make(struct machine *m, struct object *o, bool later, struct err *err)
{
	const char *data = keyvals_get(&o->cfg.props, "data");
	const char *path = keyvals_get(&o->cfg.props, "file");
	const char *format = keyvals_get(&o->cfg.props, "format");
	CLEANUP(cleanup_free) char *there = data ? NULL : host_path(m->host, path);
	struct secret *s = NEW(struct secret);
	int ret = data ? take_data(s, data, err) : read_file(s, there, later, err);

	o->state = s;
	if (ret == 0 && format && !strcmp(format, "base64"))
		ret = decode(s, err);
	if (ret == 0)
		s->bytes[s->n] = 0;
	else
		secret_free(o);
	return ret;
}

const struct object_kind secret_kind = {.type = "secret", .make = secret_make, .free = secret_free};

int secret_lookup(const struct machine *m, const char *id, const uint8_t **bytes, size_t *n,
		  struct err *err)
{
	const struct object *o = objects_find(m, id);
	const struct secret *s;

	if (!o)
		return err_set(err, ENOENT, "No secret with id '%.96s'", id);
	if (o->kind != &secret_kind)
		return err_set(err, EINVAL, "Object with id '%.96s' is not a secret", id);
	s = o->state;
	*bytes = s->bytes;
	*n = s->n;
	return 0;
}
