/* create.c - "create": a new image */
#include "img/img.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "devices/block/lock.h"
#include "devices/block/qcow2/qcow2.h"
#include "img/commands.h"
#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"
#include "vmm/options/numbers.h"

/* ---- the file ---- */

/* Zeroes, written: there is no other way to be sure of the space. */
static int write_full(int fd, uint64_t from, uint64_t to)
{
	CLEANUP(cleanup_free) char *zeroes = xcalloc(1, 1 * MiB);

	while (from < to) {
		ssize_t n = pwrite(fd, zeroes, (size_t)MIN(to - from, 1 * MiB), (off_t)from);

		if (n < 0 && errno != EINTR)
			return -errno;
		from += n < 0 ? 0 : (uint64_t)n;
	}
	return 0;
}

int img_preallocate_raw(int fd, const char *filename, const char *mode, uint64_t from, uint64_t to,
			struct err *err)
{
	int ret = 0;

	if (from >= to)
		return 0;
	if (!strcmp(mode, "falloc"))
		ret = -posix_fallocate(fd, (off_t)from, (off_t)(to - from));
	else if (!strcmp(mode, "full"))
		ret = write_full(fd, from, to);
	return ret < 0
		   ? err_set(err, -ret, "Could not preallocate '%s': %s", filename, err_text(-ret))
		   : 0;
}

static enum qcow2_prealloc prealloc_of(const char *mode)
{
	static const char *const names[] = {"off", "metadata", "falloc", "full"};

	for (size_t i = 0; mode && i < ARRAY_LEN(names); i++)
		if (!strcmp(mode, names[i]))
			return (enum qcow2_prealloc)i;
	return QCOW2_PREALLOC_OFF;
}

static int make_raw(int fd, const char *filename, const struct img_create *c, struct err *err)
{
	uint64_t bytes = ALIGN_UP(c->bytes, 512);

	if (ftruncate(fd, 0) < 0 || ftruncate(fd, (off_t)bytes) < 0)
		return err_set(err, errno, "Could not resize '%s': %s", filename, err_text(errno));
	return img_preallocate_raw(fd, filename, c->prealloc ? c->prealloc : "off", 0, bytes, err);
}

static int make_qcow2(int fd, const struct img_create *c, struct err *err)
{
	struct qcow2_storage s = {.ops = &qcow2_storage_file, .opaque = &fd};
	struct qcow2_create q = {
	    .bytes = ALIGN_UP(c->bytes, 512),
	    .version = c->version,
	    .cluster_bytes = (uint32_t)c->cluster_bytes,
	    .refcount_bits = (uint32_t)c->refcount_bits,
	    .extended_l2 = c->extended_l2,
	    .lazy_refcounts = c->lazy_refcounts,
	    .zstd = c->compression && !strcmp(c->compression, "zstd"),
	    .backing = c->backing,
	    .backing_format = c->backing_format,
	    .prealloc = prealloc_of(c->prealloc),
	};

	return qcow2_create(&s, &q, err);
}

/* Is it a file that one can make an image of?  A block device keeps its size. */
static int check_file(int fd, const char *filename, struct err *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_set(err, errno, "Could not create '%s': %s", filename, err_text(errno));
	if (!S_ISREG(st.st_mode))
		return err_set(err, EINVAL, "Could not create '%s': not a regular file", filename);
	return 0;
}

static bool same_file(const char *one, const char *other)
{
	struct stat a, b;

	return stat(one, &a) == 0 && stat(other, &b) == 0 && a.st_dev == b.st_dev &&
	       a.st_ino == b.st_ino;
}

/* A new image in the place of what it would lie on is the end of both. */
static int refuse_itself(const char *filename, const struct img_create *c, struct err *err)
{
	CLEANUP(cleanup_free) char *full = NULL;

	if (!c->backing)
		return 0;
	full = img_full_name(filename, c->backing);
	if (strcmp(filename, full) != 0 && !same_file(filename, full))
		return 0;
	return err_set(err, EINVAL, "'%s' would be its own backing file", filename);
}

int img_create_file(const char *filename, const struct img_create *c, bool *made, struct err *err)
{
	struct block_perms perms = {.used = BLOCK_PERM_WRITE | BLOCK_PERM_RESIZE,
				    .unshared = BLOCK_PERM_RESIZE};
	bool is_new = true;
	int fd, ret = refuse_itself(filename, c, err);

	if (ret < 0)
		return ret;
	fd = open(filename, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (fd < 0 && errno == EEXIST) {
		is_new = false;
		fd = open(filename, O_RDWR | O_CLOEXEC | O_NONBLOCK);
	}
	if (fd < 0)
		return err_set(err, errno, "Could not create '%s': %s", filename, err_text(errno));
	ret = check_file(fd, filename, err);
	if (ret == 0)
		ret = img_lock(fd, filename, perms, true, err);
	if (ret == 0)
		ret = c->format == IMAGE_RAW ? make_raw(fd, filename, c, err)
					     : make_qcow2(fd, c, err);
	if (ret < 0 && is_new)
		(void)unlink(filename);
	(void)close(fd);
	if (made)
		*made = is_new;
	return ret;
}

/* ---- the subcommand ---- */

/* As qemu-img writes it, with the defaults. */
static void print_formatting(const char *filename, const struct img_create *c)
{
	printf("Formatting '%s', fmt=%s", filename, image_format_name(c->format));
	if (c->format == IMAGE_RAW) {
		printf(" size=%" PRIu64, c->bytes);
		if (c->prealloc)
			printf(" preallocation=%s", c->prealloc);
		printf("\n");
		return;
	}
	printf(" cluster_size=%" PRIu64 " extended_l2=%s",
	       c->cluster_bytes ? c->cluster_bytes : (uint64_t)(64 * KiB),
	       c->extended_l2 ? "on" : "off");
	if (c->prealloc)
		printf(" preallocation=%s", c->prealloc);
	printf(" compression_type=%s size=%" PRIu64, c->compression ? c->compression : "zlib",
	       c->bytes);
	if (c->backing)
		printf(" backing_file=%s", c->backing);
	if (c->backing_format)
		printf(" backing_fmt=%s", c->backing_format);
	if (c->compat)
		printf(" compat=%s", c->compat);
	printf(" lazy_refcounts=%s refcount_bits=%" PRIu64 "\n", c->lazy_refcounts ? "on" : "off",
	       c->refcount_bits ? c->refcount_bits : 16);
}

int img_create_look_below(const char *filename, struct img_create *c, struct err *err)
{
	CLEANUP(cleanup_free) char *full = img_full_name(filename, c->backing);
	struct img_open how = {.format = c->backing_format};
	struct image *below;
	int ret = refuse_itself(filename, c, err);

	if (ret < 0)
		return ret;
	below = img_open(full, &how, err);
	if (!below)
		return err_prefix(err, -EINVAL, "Could not open backing image");
	for (const struct image *i = below->backing; i && ret == 0; i = i->backing)
		if (same_file(filename, i->filename))
			ret = err_set(err, EINVAL,
				      "'%s' lies below its backing file '%s', which needs it",
				      filename, c->backing);
	if (!c->has_size)
		c->bytes = below->bytes;
	c->has_size = true;
	return ret < 0 ? (void)image_close(below, NULL), ret : image_close(below, err);
}

static int take_size(const struct img_args *a, struct img_create *c, struct err *err)
{
	if (a->n_files < 2)
		return 0;
	if (c->has_size)
		return err_set(err, EINVAL, "The image size must be specified only once");
	if (opt_parse_size(a->file[1], &c->bytes) < 0 || c->bytes > INT64_MAX - 511)
		return err_set(err, EINVAL,
			       "Invalid image size '%s': a number of bytes, or with one of the "
			       "suffixes k, M, G, T, P, E",
			       a->file[1]);
	c->has_size = true;
	return 0;
}

static int create(const struct img_args *a, struct img_create *c, struct err *err)
{
	const char *filename = a->file[0];
	int ret = take_size(a, c, err);

	if (ret == 0 && (a->val['b'] || a->val['F']) && c->format == IMAGE_RAW)
		ret = err_set(err, EINVAL, "Backing file not supported for file format 'raw'");
	if (a->val['b'])
		c->backing = a->val['b'];
	if (a->val['F'])
		c->backing_format = a->val['F'];
	if (ret == 0)
		ret = img_create_check(c, err);
	if (ret == 0 && c->backing && !img_has(a, 'u'))
		ret = img_create_look_below(filename, c, err);
	if (ret == 0)
		ret = refuse_itself(filename, c, err);
	if (ret == 0 && !c->has_size)
		ret = err_set(err, EINVAL, "Image creation needs a size parameter");
	if (ret < 0)
		return ret;
	if (!img_has(a, 'q')) {
		print_formatting(filename, c);
		(void)fflush(stdout);
	}
	return img_create_file(filename, c, NULL, err);
}

static int run(const struct img_args *a)
{
	const char *format = a->val['f'] ? a->val['f'] : "raw";
	struct err err = {0};
	struct img_create c;
	int ret = img_create_parse(&c, format, a->val['o'], &err);

	if (img_create_wants_help(a->val['o'])) {
		img_create_help(stdout, c.format);
		img_create_fini(&c);
		return 0;
	}
	if (ret == 0)
		ret = create(a, &c, &err);
	img_create_fini(&c);
	if (ret < 0)
		(void)err_prefix(&err, ret, "%s", a->file[0]);
	return ret < 0 ? img_fail(1, &err) : 0;
}

static const struct img_opt opts[] = {
    {'f', NULL, "FORMAT",  "the format of the image: raw (default) or qcow2"                   },
    {'o', NULL, "OPTIONS", "options of the format, key=value,...; -o help lists them"          },
    {'b', NULL, "FILE",    "the backing file: what the image does not have is read from there" },
    {'F', NULL, "FORMAT",  "the format of the backing file; it must be given, none is guessed" },
    {'u', NULL, NULL,      "unsafe: do not open the backing file (the size must be given then)"},
    {'q', NULL, NULL,      "quiet: print nothing but errors"                                   },
    IMG_COMMON_OPTS,
};

const struct img_command img_create_command = {
    .name = "create",
    .files = "FILE [SIZE]",
    .help = "make a new image",
    .opts = opts,
    .min_files = 1,
    .max_files = 2,
    .run = run,
};
