/*
 * rng-source.c - a file is read without blocking: one that has nothing (a hardware generator, a
 * FIFO) is watched on the I/O loop while the device waits for it, and no thread waits
 */
#include "devices/virtio/rng-source.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/base/fdset.h"
#include "vmm/base/log.h"
#include "vmm/host.h"
#include "vmm/loop.h"
#include "vmm/machine.h"
#include "vmm/objects.h"
#include "vmm/options/config.h"
#include "vmm/options/device-row.h"

struct rng_source {
	/* set at creation and then constant */
	struct machine *m;
	void (*ready)(void *opaque);
	void *opaque;
	char *filename; /* owned; NULL: getrandom() */
	int fd;         /* -1: getrandom() */
	/* I/O loop */
	struct loop_fd *watch; /* while somebody waits */
	bool warned;           /* that the file gives no more */
};

static int find_object(struct machine *m, const char *id, const struct cfg_object **out,
		       struct err *err)
{
	const struct cfg_object *o = config_object(m->cfg, id);

	if (!o)
		return err_set(err, ENOENT,
			       "Device '%s' not found: rng= is the id of an -object rng-random or "
			       "rng-builtin",
			       id);
	if (strncmp(o->type, "rng-", 4) != 0)
		return err_set(err, EINVAL,
			       "Invalid parameter type for 'rng', expected: rng-backend "
			       "('%s' is a %s)",
			       id, o->type);
	*out = o;
	return 0;
}

/* A descriptor, or -errno. */
static int open_file(const char *filename)
{
	int fd = path_open(filename, O_RDONLY | O_NONBLOCK, 0, NULL), ret = 0;
	struct stat st;

	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0)
		ret = -errno;
	else if (S_ISDIR(st.st_mode))
		ret = -EISDIR;
	if (ret == 0)
		return fd;
	path_close(fd);
	return ret;
}

static int open_source(struct rng_source *s, const struct cfg_object *o, struct err *err)
{
	s->filename = xstrdup(o->filename);
	s->fd = open_file(s->filename);
	if (s->fd >= 0)
		return 0;
	return err_set(err, -s->fd, "-object %s,id=%s: Could not open '%s': %s", o->type, o->id,
		       s->filename, err_text(-s->fd));
}

/* There is no device to read it: only that it could be. */
static int rng_random_make(struct machine *m, struct object *o, bool later, struct err *err)
{
	CLEANUP(cleanup_free) char *path = host_path(m->host, o->cfg.filename);
	int fd = later ? open_file(path) : -1;

	path_close(fd);
	return later && fd < 0
		   ? err_set(err, -fd, "Could not open '%.200s': %s", path, err_text(-fd))
		   : 0;
}

const struct object_kind rng_random_kind = {.type = "rng-random", .make = rng_random_make};

struct rng_source *rng_source_new(struct machine *m, const struct cfg_device *cfg,
				  void (*ready)(void *opaque), void *opaque, struct err *err)
{
	struct rng_source *s = NEW(struct rng_source);
	const char *id = device_text(cfg, "rng");
	const struct cfg_object *o = NULL;
	int ret = id ? find_object(m, id, &o, err) : 0;

	*s = (struct rng_source){.m = m, .ready = ready, .opaque = opaque, .fd = -1};
	if (ret >= 0 && o && o->filename)
		ret = open_source(s, o, err);
	if (ret >= 0) {
		if (id)
			objects_use(m, id);
		return s;
	}
	free(s->filename);
	free(s);
	return NULL;
}

static void file_ready(void *opaque, int ready)
{
	struct rng_source *s = opaque;

	(void)ready;
	rng_source_quiet(s);
	s->ready(s->opaque);
}

static void warn_once(struct rng_source *s, const char *why)
{
	if (!s->warned)
		log_warn("virtio-rng: '%s' gives no more random bytes (%s), the guest gets none: "
			 "start with another filename= of -object rng-random",
			 s->filename, why);
	s->warned = true;
}

ssize_t rng_source_read(struct rng_source *s, uint8_t *buf, size_t n)
{
	ssize_t got;

	if (s->fd < 0) {
		got = getrandom(buf, n, 0);
		return got < 0 ? -errno : got;
	}
	if (s->watch)
		return -EAGAIN;
	do
		got = read(s->fd, buf, n);
	while (got < 0 && errno == EINTR);
	if (got > 0)
		return got;
	if (got < 0 && errno == EAGAIN) {
		s->watch = loop_fd_add(s->m->io, s->fd, LOOP_READABLE, file_ready, s);
		return -EAGAIN;
	}
	got = got < 0 ? -errno : 0;
	warn_once(s, got < 0 ? err_text((int)-got) : "it has ended");
	return got;
}

void rng_source_quiet(struct rng_source *s)
{
	loop_fd_del(s->watch);
	s->watch = NULL;
}

static void quiet_on_io(void *opaque)
{
	rng_source_quiet(opaque);
}

void rng_source_free(struct rng_source *s)
{
	if (!s)
		return;
	if (s->fd >= 0) {
		loop_call(s->m->io, quiet_on_io, s);
		path_close(s->fd);
	}
	free(s->filename);
	free(s);
}
