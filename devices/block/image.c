/*
 * image.c - opening an image and the chain of files below it
 *
 * Each file of a chain is opened before the next: its header says what lies below, and in which
 * format.  Guessing the format would let a guest that writes a header of its own into a raw
 * file name any file of the host as its backing file, so a header without the format is
 * refused.  A file that comes twice in a chain is found by its device and inode, whatever it
 * is called; each file knows those above it while the chain is being opened.
 */
#include "devices/block/image.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "devices/block/file-io.h"
#include "devices/block/file-open.h"
#include "devices/block/image-io.h"
#include "devices/block/qcow2/qcow2.h"
#include "vmm/base/alloc.h"
#include "vmm/base/bytes.h"
#include "vmm/base/error.h"
#include "vmm/base/fdset.h"
#include "vmm/base/units.h"

#define DEPTH_MAX     64 /* files in a chain */
#define HEADER_BYTES  16 /* enough to see whether there is a backing file */
#define FILE_PROTOCOL "file:"

/* A file of the chain that is being opened, and those above it. */
struct chain {
	const struct chain *above; /* NULL: the top */
	const char *filename;
	dev_t dev;
	ino_t ino;
	unsigned depth;
};

static struct image *image_open_in(const char *filename, const struct image_open *how,
				   const struct chain *above, struct err *err);

/* ---- formats ---- */

static const char *const format_names[] = {[IMAGE_RAW] = "raw", [IMAGE_QCOW2] = "qcow2"};
static const char *const other_formats[] = {"qcow", "qed",       "vmdk", "vdi",        "vpc",
					    "vhdx", "parallels", "dmg",  "bochs",      "cloop",
					    "luks", "vvfat",     "file", "host_device"};

int image_format_parse(const char *name, enum image_format *f, struct err *err)
{
	for (unsigned i = 0; i < ARRAY_LEN(format_names); i++)
		if (!strcmp(name, format_names[i])) {
			*f = (enum image_format)i;
			return 0;
		}
	for (unsigned i = 0; i < ARRAY_LEN(other_formats); i++)
		if (!strcmp(name, other_formats[i]))
			return err_set(err, ENOTSUP,
				       "format '%s' is not supported: use raw or qcow2 "
				       "('qemu-img convert' converts an image)",
				       name);
	return err_set(err, EINVAL, "Unknown format '%.64s': use raw or qcow2", name);
}

const char *image_format_name(enum image_format f)
{
	return format_names[f];
}

/* ---- what lies below ---- */

/* The name as it stands in the header -> as it is opened. */
static int resolve_name(const struct image *img, const char *name, char **out, struct err *err)
{
	const char *slash = strrchr(img->filename, '/');
	size_t n = strcspn(name, ":/");

	if (name[n] == ':' && !strncmp(name, FILE_PROTOCOL "/", strlen(FILE_PROTOCOL "/"))) {
		*out = xstrdup(name + strlen(FILE_PROTOCOL));
		return 0;
	}
	if (name[n] == ':')
		return err_set(
		    err, ENOTSUP,
		    "'%s' names its backing file as '%.*s:...': only plain file names "
		    "are supported ('qemu-img rebase -u -b FILE -F FORMAT %s' writes one)",
		    img->filename, (int)MIN(n, 32), name, img->filename);
	if (name[0] == '/' || !slash)
		*out = xstrdup(name);
	else
		*out = xasprintf("%.*s%s", (int)(slash + 1 - img->filename), img->filename, name);
	return 0;
}

int image_backing_file(const struct image *img, char **filename, enum image_format *f,
		       struct err *err)
{
	const struct qcow2_info *info = img->q ? qcow2_info(img->q) : NULL;
	int ret;

	if (!info || !info->backing) {
		*filename = NULL;
		return 0;
	}
	if (!info->backing_format)
		return err_set(err, EINVAL,
			       "'%s' names the backing file '%.200s' without its format, which is "
			       "never guessed: 'qemu-img rebase -u -b FILE -F FORMAT %s' writes it "
			       "down",
			       img->filename, info->backing, img->filename);
	ret = image_format_parse(info->backing_format, f, err);
	if (ret < 0)
		return err_prefix(err, ret, "the backing file of '%s'", img->filename);
	return resolve_name(img, info->backing, filename, err);
}

/* The file must not stand above itself. */
static int chain_enter(struct chain *c, const struct image *img, const struct chain *above,
		       struct err *err)
{
	struct stat st;

	if (fstat(img->fd, &st) < 0)
		return err_set(err, errno, "Could not open '%s': %s", img->filename,
			       err_text(errno));
	*c = (struct chain){.above = above,
			    .filename = img->filename,
			    .dev = st.st_dev,
			    .ino = st.st_ino,
			    .depth = above ? above->depth + 1 : 0};
	if (c->depth >= DEPTH_MAX)
		return err_set(err, ELOOP, "the chain of backing files has more than %d files",
			       DEPTH_MAX);
	for (const struct chain *a = above; a; a = a->above)
		if (a->dev == c->dev && a->ino == c->ino)
			return err_set(err, ELOOP, "'%s' is a backing file of itself",
				       img->filename);
	return 0;
}

static int check_given(const struct image *img, const struct chain *c, struct err *err)
{
	unsigned depth = c->depth;

	for (const struct image *b = img->backing; b; b = b->backing) {
		struct stat st;

		if (++depth >= DEPTH_MAX)
			return err_set(err, ELOOP,
				       "the chain of backing files has more than %d files",
				       DEPTH_MAX);
		if (fstat(b->fd, &st) == 0 && st.st_dev == c->dev && st.st_ino == c->ino)
			return err_set(err, ELOOP, "'%s' is a backing file of itself",
				       img->filename);
	}
	return 0;
}

/* The backing file that the header names. */
static int open_backing(struct image *img, const struct image_open *how, const struct chain *c,
			struct err *err)
{
	CLEANUP(cleanup_free) char *filename = NULL;
	struct image_open below = {.direct = how->direct, .cache_bytes = how->cache_bytes};
	int ret = image_backing_file(img, &filename, &below.format, err);

	if (ret < 0 || !filename)
		return ret;
	img->backing = image_open_in(filename, &below, c, err);
	if (!img->backing && c->above)
		return -EINVAL; /* the top is named below, the file at fault by itself */
	return img->backing ? 0
			    : err_prefix(err, -EINVAL, "the backing file of '%s'", img->filename);
}

/* ---- opening ---- */

/* Does the header name a backing file?  A damaged one is qcow2_open()'s affair. */
static bool names_backing(const struct image *img)
{
	uint8_t header[HEADER_BYTES];
	struct iovec v = {.iov_base = header, .iov_len = sizeof(header)};

	return image_storage.readv((void *)(uintptr_t)img, &v, 1, 0) == 0 &&
	       get_be64(header + 8) != 0;
}

static int open_qcow2(struct image *img, const struct image_open *how, const struct chain *c,
		      struct err *err)
{
	struct qcow2_storage s = {.ops = &image_storage, .opaque = img};
	bool alone = how->checking || how->no_backing;
	struct qcow2_open q = {.writable = how->writable,
			       .inactive = how->inactive,
			       .discards = how->discards,
			       .no_flush = how->no_flush,
			       .checking = how->checking,
			       .cache_bytes = how->cache_bytes};
	int ret;

	if (!alone && (how->backing || names_backing(img))) {
		q.read_backing = image_read_backing;
		q.backing_opaque = img;
	}
	ret = qcow2_open(&img->q, &s, &q, err);
	if (ret < 0)
		return err_prefix(err, ret, "Could not open '%s'", img->filename);
	img->bytes = qcow2_info(img->q)->bytes;
	if (alone)
		return 0;
	if (!how->backing)
		return open_backing(img, how, c, err);
	img->backing = how->backing;
	ret = check_given(img, c, err);
	if (ret < 0)
		img->backing = NULL; /* the caller's still */
	return ret;
}

static int open_raw(struct image *img, struct err *err)
{
	uint64_t bytes = 0;
	int ret = file_bytes(img->fd, img->filename, &bytes, err);

	if (ret == 0)
		img->bytes = ALIGN_UP(bytes, FILE_SECTOR_BYTES);
	return ret;
}

static int set_flags(struct image *img, const struct image_open *how, struct err *err)
{
	int flags = fcntl(img->fd, F_GETFL) & ~O_NONBLOCK;
	uint64_t bytes;
	int ret = file_bytes(img->fd, img->filename, &bytes, err);

	if (ret < 0)
		return ret;
	if (fcntl(img->fd, F_SETFL, how->direct ? flags | O_DIRECT : flags) < 0)
		return err_set(err, errno, "Could not open '%s': %s", img->filename,
			       err_text(errno));
	img->direct = how->direct && file_check_direct(img->fd, img->filename);
	return 0;
}

/* Everything but the file itself. */
static int image_end(struct image *img, struct err *err)
{
	int ret = img->q ? qcow2_close(img->q, err) : 0;

	if (ret < 0)
		ret = err_prefix(err, ret, "'%s'", img->filename);
	(void)image_close(img->backing, NULL); /* read only */
	pthread_mutex_destroy(&img->partial);
	pthread_mutex_destroy(&img->map_mutex);
	free(img->filename);
	free(img);
	return ret;
}

static struct image *open_fd_in(int fd, const char *filename, const struct image_open *how,
				const struct chain *above, struct err *err)
{
	struct image *img = NEW(struct image);
	struct chain c;
	int ret;

	*img = (struct image){.filename = xstrdup(filename),
			      .format = how->format,
			      .fd = fd,
			      .writable = how->writable,
			      .no_flush = how->no_flush,
			      .discards = how->discards};
	pthread_mutex_init(&img->partial, NULL);
	pthread_mutex_init(&img->map_mutex, NULL);
	ret = set_flags(img, how, err);
	if (ret == 0)
		ret = chain_enter(&c, img, above, err);
	if (ret == 0)
		ret =
		    img->format == IMAGE_QCOW2 ? open_qcow2(img, how, &c, err) : open_raw(img, err);
	if (ret == 0)
		return img;
	(void)image_end(img, NULL);
	return NULL;
}

static struct image *image_open_in(const char *filename, const struct image_open *how,
				   const struct chain *above, struct err *err)
{
	int fd = file_open(filename, how->writable, how->direct, err);
	struct image *img;

	if (fd < 0)
		return NULL;
	img = open_fd_in(fd, filename, how, above, err);
	if (!img)
		path_close(fd);
	return img;
}

struct image *image_open(const char *filename, const struct image_open *how, struct err *err)
{
	return image_open_in(filename, how, NULL, err);
}

struct image *image_open_fd(int fd, const char *filename, const struct image_open *how,
			    struct err *err)
{
	return open_fd_in(fd, filename, how, NULL, err);
}

int image_close(struct image *img, struct err *err)
{
	int ret, fd;

	if (!img)
		return 0;
	fd = img->fd;
	ret = image_end(img, err);
	path_close(fd);
	return ret;
}
