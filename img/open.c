/*
 * open.c - images that a subcommand works on, and their locks
 *
 * The lock comes before the format's driver sees the file: opening a qcow2 image for writing
 * already writes to it.  The files below are locked when they are open; they are only read.
 */
#include "img/img.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "devices/block/file-open.h"
#include "devices/block/lock.h"
#include "devices/block/qcow2/qcow2.h"
#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"

static const unsigned char magic[4] = {'Q', 'F', 'I', 0xfb};

static int format_of(int fd, const char *filename, enum image_format *f, struct err *err)
{
	unsigned char first[sizeof(magic)];
	ssize_t n = pread(fd, first, sizeof(first), 0);

	if (n < 0)
		return err_set(err, errno, "Could not read '%s': %s", filename, err_text(errno));
	*f = n == sizeof(first) && !memcmp(first, magic, sizeof(magic)) ? IMAGE_QCOW2 : IMAGE_RAW;
	return 0;
}

char *img_full_name(const char *top, const char *name)
{
	const char *slash = strrchr(top, '/');

	if (name[0] == '/' || !slash || name[strcspn(name, ":/")] == ':')
		return xstrdup(name);
	return xasprintf("%.*s%s", (int)(slash + 1 - top), top, name);
}

static struct block_perms perms_of(const struct img_open *how, enum image_format f)
{
	struct block_perms p = {.used = how->no_io ? 0 : BLOCK_PERM_READ};

	if (how->force_share)
		return p;
	if (how->writable)
		p.used |= BLOCK_PERM_WRITE | BLOCK_PERM_RESIZE;
	/* Tables that another program changes cannot be read; a raw file has none. */
	if (f == IMAGE_QCOW2)
		p.unshared = BLOCK_PERM_WRITE | BLOCK_PERM_RESIZE;
	return p;
}

/* What block_lock() advises is for guests. */
static int say_locked(int ret, bool writable, struct err *err)
{
	char *advice = strstr(err->msg, " (two guests");

	if (advice)
		*advice = '\0';
	if (advice && !writable)
		(void)snprintf(advice, sizeof(err->msg) - (size_t)(advice - err->msg),
			       " (-U reads it all the same)");
	return ret;
}

int img_lock(int fd, const char *filename, struct block_perms perms, bool writable, struct err *err)
{
	int ret = block_lock(fd, filename, perms, false, err);

	if (ret == -ENOTSUP)
		return 0; /* a file system without locks, as qemu-img takes it */
	return ret < 0 ? say_locked(ret, writable, err) : 0;
}

/* The files below, which are open already. */
static int lock_chain(struct image *img, const struct img_open *how, struct err *err)
{
	struct img_open below = {.no_io = how->no_io, .force_share = how->force_share};
	int ret = 0;

	for (struct image *i = img->backing; i && ret == 0; i = i->backing) {
		struct block_perms perms = perms_of(&below, i->format);

		if (!how->force_share)
			perms.unshared = BLOCK_PERM_WRITE | BLOCK_PERM_RESIZE;
		ret = img_lock(i->fd, i->filename, perms, false, err);
	}
	return ret;
}

/* Whoever wrote the header may have been a guest that was given a raw disk. */
static int check_guessed(const struct image *img, struct err *err)
{
	const struct qcow2_info *info = img->q ? qcow2_info(img->q) : NULL;

	if (!info || !info->backing)
		return 0;
	return err_set(err, EINVAL,
		       "'%s' looks like a qcow2 image with the backing file '%.200s', and its "
		       "format was not given: -f qcow2 believes it (a guest whose disk is raw can "
		       "write such a header, to read '%.200s')",
		       img->filename, info->backing, info->backing);
}

static struct image *open_locked(int fd, const char *filename, const struct img_open *how,
				 enum image_format f, struct err *err)
{
	struct image_open open = {.format = f,
				  .writable = how->writable,
				  .direct = how->cache.direct,
				  .no_flush = how->cache.no_flush,
				  .discards = true,
				  .checking = how->checking,
				  .no_backing = how->no_backing || !how->format};
	struct image *img = image_open_fd(fd, filename, &open, err);
	int ret;

	if (!img)
		return NULL;
	ret = !how->format && !how->no_backing ? check_guessed(img, err) : 0;
	if (ret == 0)
		ret = lock_chain(img, how, err);
	if (ret == 0)
		return img;
	img->fd = -1; /* the caller's still */
	(void)image_close(img, NULL);
	return NULL;
}

struct image *img_open(const char *filename, const struct img_open *how, struct err *err)
{
	enum image_format f = IMAGE_RAW;
	struct image *img = NULL;
	int fd, ret = how->format ? image_format_parse(how->format, &f, err) : 0;

	if (ret == 0 && how->writable && how->force_share)
		ret = err_set(err, EINVAL,
			      "Could not open '%s': -U is for images that are only read", filename);
	if (ret < 0)
		return NULL;
	fd = file_open(filename, how->writable, how->cache.direct, err);
	if (fd < 0)
		return NULL;
	if (!how->format)
		ret = format_of(fd, filename, &f, err);
	if (ret == 0)
		ret = img_lock(fd, filename, perms_of(how, f), how->writable, err);
	if (ret == 0)
		img = open_locked(fd, filename, how, f, err);
	if (!img)
		(void)close(fd);
	return img;
}
