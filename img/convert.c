/* convert.c - "convert": a disk into a new image, of another format, compressed, or without holes
 */
#include "img/img.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "devices/block/qcow2/qcow2.h"
#include "img/commands.h"
#include "img/copy.h"
#include "img/progress.h"
#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"
#include "vmm/options/numbers.h"

#define DEFAULT_THREADS 8
#define MAX_MIN_ZERO    (16 * MiB)

struct convert {
	const struct img_args *a;
	const char *target;
	struct img_cache cache;
	struct img_create create; /* the target's; fini'd at the end */
	struct copy copy;
	struct progress progress;
	char snapshot[256]; /* its id */
	bool made;          /* the target's file was not there before */
};

/* ---- sources ---- */

static int find_snapshot(struct convert *c, struct err *err)
{
	struct image *src = c->copy.src[0];
	const char *want = c->a->val['l'];
	const char *by_id = strncmp(want, "snapshot.id=", 12) ? NULL : want + 12;
	const char *by_name = strncmp(want, "snapshot.name=", 14) ? NULL : want + 14;
	const char *any = by_id || by_name ? NULL : want;
	const struct qcow2_snapshot *s = NULL;

	if (src->q)
		s = img_find_snapshot(src->q, by_id ? by_id : any, by_name ? by_name : any);
	if (s) {
		(void)snprintf(c->snapshot, sizeof(c->snapshot), "%s", s->id);
		c->copy.snapshot = c->snapshot;
		c->copy.bytes = s->disk_bytes;
		return 0;
	}
	return err_set(err, ENOENT, "'%s' has no snapshot '%s'", src->filename,
		       by_id     ? by_id
		       : by_name ? by_name
				 : want);
}

static int open_sources(struct convert *c, struct err *err)
{
	struct img_open how = {.format = c->a->val['f'], .force_share = img_has(c->a, 'U')};
	int ret = img_cache_parse(c->a->val['T'], &how.cache, err);

	if (ret < 0)
		return ret;
	c->copy.src = xcalloc((size_t)c->a->n_files, sizeof(struct image *));
	for (int i = 0; i + 1 < c->a->n_files; i++) {
		struct image *src = img_open(c->a->file[i], &how, err);

		if (!src)
			return -EIO;
		c->copy.src[c->copy.n_src++] = src;
		c->copy.bytes += src->bytes;
	}
	if (!img_has(c->a, 'l'))
		return 0;
	if (c->copy.n_src > 1)
		return err_set(err, EINVAL, "-l is for one image, not for several");
	return find_snapshot(c, err);
}

/* Truncating the target must not be the end of a source: raw files have no lock between them. */
static int check_apart(const struct convert *c, struct err *err)
{
	struct stat target, source;

	if (stat(c->target, &target) < 0)
		return 0;
	for (unsigned i = 0; i < c->copy.n_src; i++)
		for (const struct image *s = c->copy.src[i]; s; s = s->backing)
			if (fstat(s->fd, &source) == 0 && source.st_dev == target.st_dev &&
			    source.st_ino == target.st_ino)
				return err_set(err, EINVAL, "'%s' is a source and the target",
					       c->target);
	return 0;
}

/* ---- options ---- */

static int take_sparse(struct convert *c, struct err *err)
{
	uint64_t min = 4096;
	int ret = img_arg_size(c->a, 'S', "sparse size", &min, err);

	if (ret == 0 && (min % 512 || min > MAX_MIN_ZERO))
		ret = err_set(err, EINVAL,
			      "Invalid sparse size '%s': a multiple of 512 up to 16777216, or 0 to "
			      "write zeroes, too",
			      c->a->val['S']);
	c->copy.scan = min != 0;
	c->copy.min_zero = MAX(min, 512U);
	return ret;
}

static int take_threads(struct convert *c, struct err *err)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	uint64_t n = cpus > 0 ? (uint64_t)MIN(2 * cpus, DEFAULT_THREADS) : DEFAULT_THREADS;
	int ret = img_arg_number(c->a, 'm', "number of threads", 1, COPY_MAX_THREADS, &n, err);

	c->copy.threads = (unsigned)n;
	c->copy.any_order = img_has(c->a, 'W');
	return ret;
}

static int take_target(struct convert *c, struct err *err)
{
	const struct img_args *a = c->a;
	struct img_create *t = &c->create;

	c->copy.compress = img_has(a, 'c');
	if (c->copy.compress && t->format == IMAGE_RAW)
		return err_set(err, EINVAL, "Compression not supported for file format 'raw'");
	if (c->copy.compress && t->prealloc && strcmp(t->prealloc, "off") != 0)
		return err_set(err, EINVAL,
			       "Compression and preallocation not supported at the same time");
	if ((a->val['B'] || a->val['F']) && t->format == IMAGE_RAW)
		return err_set(err, EINVAL, "Backing file not supported for file format 'raw'");
	if (a->val['B'])
		t->backing = a->val['B'];
	if (a->val['F'])
		t->backing_format = a->val['F'];
	if (t->has_size)
		return err_set(err, EINVAL,
			       "the target is as large as the source: there is no size= in -o "
			       "('minivmm-img resize' changes it)");
	if (img_has(a, IMG_TARGET_IS_ZERO) && !img_has(a, 'n'))
		return err_set(err, EINVAL, "--target-is-zero requires use of -n flag");
	if (img_has(a, 'n') && (a->val['o'] || t->backing))
		return err_set(err, EINVAL, "-o and -B have no effect on a target that is there");
	return img_create_check(t, err);
}

static int take_options(struct convert *c, struct err *err)
{
	const char *mode = c->a->val['t'];
	int ret = take_target(c, err);

	if (ret == 0)
		ret = take_sparse(c, err);
	if (ret == 0)
		ret = take_threads(c, err);
	if (ret == 0)
		ret = img_cache_parse(mode ? mode : "unsafe", &c->cache, err);
	return ret;
}

/* ---- the target ---- */

static int make_target(struct convert *c, struct err *err)
{
	int ret = c->create.backing ? img_create_look_below(c->target, &c->create, err) : 0;

	if (ret < 0)
		return err_prefix(err, ret, "%s", c->target);
	c->create.bytes = c->copy.bytes;
	c->create.has_size = true;
	ret = img_create_file(c->target, &c->create, &c->made, err);
	return ret < 0 ? err_prefix(err, ret, "%s: error while converting %s", c->target,
				    image_format_name(c->create.format))
		       : 0;
}

static int open_target(struct convert *c, struct err *err)
{
	struct img_open how = {
	    .format = image_format_name(c->create.format), .writable = true, .cache = c->cache};
	bool is_new = !img_has(c->a, 'n');
	int ret = is_new ? make_target(c, err) : 0;

	if (ret < 0)
		return ret;
	c->copy.dst = img_open(c->target, &how, err);
	if (!c->copy.dst)
		return -EIO;
	if (c->copy.dst->bytes < c->copy.bytes)
		return err_set(err, ENOSPC,
			       "output file '%s' is smaller than input file: %" PRIu64
			       " bytes, not %" PRIu64,
			       c->target, c->copy.dst->bytes, c->copy.bytes);
	c->copy.above_backing = is_new && c->create.backing;
	c->copy.dst_is_zero = is_new ? !c->create.backing : img_has(c->a, IMG_TARGET_IS_ZERO);
	return 0;
}

/* The copy, its flush and the closing; what was begun is removed if it has failed. */
static int convert(struct convert *c, struct err *err)
{
	struct err why = {0};
	int ret = open_target(c, err), flushed;

	if (ret == 0) {
		bool shown = img_has(c->a, 'p') && !img_has(c->a, 'q');

		progress_init(&c->progress, shown ? stdout : NULL, c->copy.bytes);
		c->copy.progress = &c->progress;
		ret = copy_run(&c->copy, err);
		progress_fini(&c->progress, ret == 0);
	}
	if (ret == 0 && !c->cache.no_flush) {
		flushed = image_flush(c->copy.dst);
		if (flushed < 0)
			ret = err_set(err, -flushed, "Could not flush '%s': %s", c->target,
				      err_text(-flushed));
	}
	if (image_close(c->copy.dst, &why) < 0 && ret == 0)
		ret = err_set(err, why.errnum, "%s", why.msg);
	if (ret < 0 && c->made)
		(void)unlink(c->target);
	return ret;
}

static int run_parsed(struct convert *c, struct err *err)
{
	int ret = take_options(c, err);

	if (ret == 0)
		ret = open_sources(c, err);
	if (ret == 0)
		ret = check_apart(c, err);
	if (ret == 0)
		ret = convert(c, err);
	for (unsigned i = 0; i < c->copy.n_src; i++)
		(void)image_close(c->copy.src[i], NULL); /* only read */
	free(c->copy.src);
	return ret;
}

static int run(const struct img_args *a)
{
	struct convert c = {.a = a};
	struct err err = {0};
	int ret;

	ret = img_create_parse(&c.create, a->val['O'] ? a->val['O'] : "raw", a->val['o'], &err);
	if (img_create_wants_help(a->val['o'])) {
		img_create_help(stdout, c.create.format);
		img_create_fini(&c.create);
		return 0;
	}
	if (ret == 0) {
		c.target = a->file[a->n_files - 1];
		ret = run_parsed(&c, &err);
	}
	img_create_fini(&c.create);
	return ret < 0 ? img_fail(1, &err) : 0;
}

static const struct img_opt opts[] = {
    {'f',		NULL,		"FORMAT",   "the format of the source; else what its first bytes say"                 },
    {'O',		NULL,		"FORMAT",   "the format of the target: raw (default) or qcow2"                        },
    {'o',		NULL,		"OPTIONS",  "options of the target's format, key=value,...; -o help lists them"       },
    {'B',		NULL,		"FILE",     "the target's backing file: only what the source's own file has is copied"},
    {'F',		NULL,		"FORMAT",   "the format of the backing file"                                          },
    {'c',		NULL,		NULL,       "compress (qcow2; -o compression_type=zstd is faster than zlib)"          },
    {'l',		NULL,		"SNAPSHOT", "the disk of this snapshot: snapshot.id=, snapshot.name=, or either"      },
    {'S',		NULL,		"BYTES",    "shortest run of zeroes that is not written (4k); 0: all is written"      },
    {'n',		NULL,		NULL,       "the target is there already: it is written to"                           },
    {IMG_TARGET_IS_ZERO, "target-is-zero",    NULL,       "with -n: the target reads as zero"                                       },
    {'m',		NULL,		"THREADS",  "how many threads work, 1 to 16"                                          },
    {'W',		NULL,		NULL,       "write in any order"						      },
    {'t',		NULL,		"CACHE",    "the cache mode to write with (unsafe)"                                   },
    {'T',		NULL,		"CACHE",    "the cache mode to read with"                                             },
    {'p',		NULL,		NULL,       "show progress"							   },
    {'q',		NULL,		NULL,       "quiet: print nothing but errors"                                         },
    {'U',		"force-share",       NULL,       "also while another program writes to the source"                         },
    {'C',		NULL,		NULL,       NULL								      },
    {'r',		NULL,		"RATE",     NULL								      },
    {IMG_REFUSED + 3,    "salvage",           NULL,       NULL								      },
    {IMG_REFUSED + 4,    "bitmaps",           NULL,       NULL								      },
    {IMG_REFUSED + 5,    "target-image-opts", NULL,       NULL								      },
    IMG_COMMON_OPTS,
};

const struct img_command img_convert_command = {
    .name = "convert",
    .files = "FILE... TARGET",
    .help = "a disk into another image",
    .opts = opts,
    .min_files = 2,
    .max_files = 1000,
    .run = run,
};
