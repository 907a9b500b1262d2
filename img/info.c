/*
 * info.c - "info": what an image is, for people and as JSON
 *
 * The members of the JSON objects stand in the order in which qemu-img 7.2 prints them.
 */
#include "img/img.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "devices/block/qcow2/qcow2.h"
#include "img/commands.h"
#include "qmp/json.h"
#include "vmm/base/alloc.h"
#include "vmm/base/buf.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"

static uint64_t space_of(const struct image *img)
{
	struct stat st;

	return fstat(img->fd, &st) == 0 ? (uint64_t)st.st_blocks * 512 : 0;
}

/* ---- for people ---- */

static const char *yes(bool b)
{
	return b ? "true" : "false";
}

static void print_bitmaps(const struct qcow2 *q)
{
	const struct qcow2_bitmap *b = qcow2_bitmap_at(q, 0);

	if (b)
		printf("    bitmaps:\n");
	for (size_t i = 0; (b = qcow2_bitmap_at(q, i)) != NULL; i++) {
		unsigned n = 0;

		printf("        [%zu]:\n            flags:\n", i);
		if (b->in_use)
			printf("                [%u]: in-use\n", n++);
		if (b->automatic)
			printf("                [%u]: auto\n", n);
		printf("            name: %s\n            granularity: %" PRIu64 "\n", b->name,
		       b->granularity);
	}
}

static void print_specific(const struct qcow2 *q)
{
	const struct qcow2_info *i = qcow2_info(q);

	printf("Format specific information:\n    compat: %s\n    compression type: %s\n",
	       i->version == 2 ? "0.10" : "1.1", i->compression);
	if (i->version > 2)
		printf("    lazy refcounts: %s\n", yes(i->lazy_refcounts));
	print_bitmaps(q);
	printf("    refcount bits: %" PRIu32 "\n", i->refcount_bits);
	if (i->version > 2)
		printf("    corrupt: %s\n    extended l2: %s\n", yes(i->corrupt),
		       yes(i->extended_l2));
}

static void print_backing(const struct image *img)
{
	const struct qcow2_info *i = qcow2_info(img->q);
	CLEANUP(cleanup_free)
	char *full = i->backing ? img_full_name(img->filename, i->backing) : NULL;

	if (!full)
		return;
	printf("backing file: %s", i->backing);
	if (strcmp(full, i->backing) != 0)
		printf(" (actual path: %s)", full);
	printf("\n");
	if (i->backing_format)
		printf("backing file format: %s\n", i->backing_format);
}

static void print_image(const struct image *img)
{
	char size[IMG_SIZE_BYTES], space[IMG_SIZE_BYTES];

	printf("image: %s\nfile format: %s\nvirtual size: %s (%" PRIu64 " bytes)\ndisk size: %s\n",
	       img->filename, image_format_name(img->format), img_size_text(size, img->bytes),
	       img->bytes, img_size_text(space, space_of(img)));
	if (!img->q)
		return;
	printf("cluster_size: %" PRIu32 "\n", qcow2_info(img->q)->cluster_bytes);
	if (qcow2_info(img->q)->dirty)
		printf("cleanly shut down: no\n");
	print_backing(img);
	img_print_snapshots(stdout, img->q);
	print_specific(img->q);
}

/* ---- JSON ---- */

static void put_str(struct json_writer *w, const char *key, const char *v)
{
	jw_key(w, key);
	jw_str(w, v);
}

static void put_num(struct json_writer *w, const char *key, uint64_t v)
{
	jw_key(w, key);
	jw_uint(w, v);
}

static void put_bool(struct json_writer *w, const char *key, bool v)
{
	jw_key(w, key);
	jw_bool(w, v);
}

static void put_snapshot(struct json_writer *w, struct qcow2 *q, const struct qcow2_snapshot *s)
{
	CLEANUP(cleanup_free) char *parent = img_snapshot_parent(q, s);

	jw_open(w, '{');
	if (s->icount != QCOW2_NO_ICOUNT)
		put_num(w, "icount", s->icount);
	put_num(w, "vm-clock-nsec", s->vm_clock_ns % 1000000000);
	put_str(w, "name", s->name);
	put_num(w, "date-sec", s->date_s);
	put_num(w, "date-nsec", s->date_ns);
	put_num(w, "vm-clock-sec", s->vm_clock_ns / 1000000000);
	put_str(w, "id", s->id);
	put_num(w, "vm-state-size", s->vmstate_bytes);
	if (parent)
		put_str(w, "x-minivmm-parent", parent);
	jw_close(w, '}');
}

static void put_snapshots(struct json_writer *w, struct qcow2 *q)
{
	const struct qcow2_snapshot *s;

	if (!qcow2_snapshot_at(q, 0))
		return;
	jw_key(w, "snapshots");
	jw_open(w, '[');
	for (size_t i = 0; (s = qcow2_snapshot_at(q, i)) != NULL; i++)
		put_snapshot(w, q, s);
	jw_close(w, ']');
}

static void put_bitmaps(struct json_writer *w, const struct qcow2 *q)
{
	const struct qcow2_bitmap *b;

	if (!qcow2_bitmap_at(q, 0))
		return;
	jw_key(w, "bitmaps");
	jw_open(w, '[');
	for (size_t i = 0; (b = qcow2_bitmap_at(q, i)) != NULL; i++) {
		jw_open(w, '{');
		jw_key(w, "flags");
		jw_open(w, '[');
		if (b->in_use)
			jw_str(w, "in-use");
		if (b->automatic)
			jw_str(w, "auto");
		jw_close(w, ']');
		put_str(w, "name", b->name);
		put_num(w, "granularity", b->granularity);
		jw_close(w, '}');
	}
	jw_close(w, ']');
}

static void put_specific(struct json_writer *w, const struct qcow2 *q)
{
	const struct qcow2_info *i = qcow2_info(q);

	jw_key(w, "format-specific");
	jw_open(w, '{');
	put_str(w, "type", "qcow2");
	jw_key(w, "data");
	jw_open(w, '{');
	put_str(w, "compat", i->version == 2 ? "0.10" : "1.1");
	put_str(w, "compression-type", i->compression);
	if (i->version > 2)
		put_bool(w, "lazy-refcounts", i->lazy_refcounts);
	put_bitmaps(w, q);
	put_num(w, "refcount-bits", i->refcount_bits);
	if (i->version > 2) {
		put_bool(w, "corrupt", i->corrupt);
		put_bool(w, "extended-l2", i->extended_l2);
	}
	jw_close(w, '}');
	jw_close(w, '}');
}

static void put_image(struct json_writer *w, const struct image *img)
{
	const struct qcow2_info *i = img->q ? qcow2_info(img->q) : NULL;
	const char *backing = i ? i->backing : NULL;
	CLEANUP(cleanup_free) char *full = backing ? img_full_name(img->filename, backing) : NULL;

	jw_open(w, '{');
	if (backing && i->backing_format)
		put_str(w, "backing-filename-format", i->backing_format);
	if (i)
		put_snapshots(w, img->q);
	put_num(w, "virtual-size", img->bytes);
	put_str(w, "filename", img->filename);
	if (i)
		put_num(w, "cluster-size", i->cluster_bytes);
	put_str(w, "format", image_format_name(img->format));
	put_num(w, "actual-size", space_of(img));
	if (i)
		put_specific(w, img->q);
	if (full) {
		put_str(w, "full-backing-filename", full);
		put_str(w, "backing-filename", backing);
	}
	put_bool(w, "dirty-flag", i && i->dirty);
	jw_close(w, '}');
}

/* ---- the chain ---- */

struct info {
	bool json, chain;
	struct img_open how;
	struct json_writer w;
};

/* One image, and the name and format of the next: owned, or NULL. */
static int show(struct info *n, const char *filename, unsigned depth, char **next,
		enum image_format *f, struct err *err)
{
	struct image *img = img_open(filename, &n->how, err);
	int ret = 0;

	*next = NULL;
	if (!img)
		return -EIO;
	if (n->json)
		put_image(&n->w, img);
	else
		printf("%s", depth ? "\n" : "");
	if (!n->json)
		print_image(img);
	if (n->chain)
		ret = image_backing_file(img, next, f, err);
	(void)image_close(img, NULL); /* only read */
	return ret;
}

static int show_all(struct info *n, const char *filename, struct err *err)
{
	CLEANUP(cleanup_free) char *name = xstrdup(filename);
	enum image_format f = IMAGE_RAW;
	char *next = NULL;
	int ret = 0;

	/* A file that comes twice is found by its depth: info reads only headers. */
	for (unsigned depth = 0; name && ret == 0; depth++) {
		if (depth == 200)
			return err_set(err, ELOOP, "the chain of backing files of '%s' has no end",
				       filename);
		ret = show(n, name, depth, &next, &f, err);
		free(name);
		name = next;
		n->how.format = image_format_name(f);
	}
	return ret;
}

static int run(const struct img_args *a)
{
	struct info n = {
	    .chain = img_has(a, IMG_BACKING_CHAIN),
	    .how = {.format = a->val['f'],
		    .no_backing = true,
		    .no_io = true,
		    .force_share = img_has(a, 'U')}
        };
	struct buf text = {0};
	struct err err = {0};
	int ret = img_arg_json(a, &n.json, &err);

	n.w = json_writer(&text, true);
	if (n.json && n.chain)
		jw_open(&n.w, '[');
	if (ret == 0)
		ret = show_all(&n, a->file[0], &err);
	if (n.json && n.chain)
		jw_close(&n.w, ']');
	if (ret == 0 && n.json)
		printf("%.*s\n", (int)text.len, (const char *)text.data);
	buf_free(&text);
	return ret < 0 ? img_fail(1, &err) : 0;
}

static const struct img_opt opts[] = {
    {'f',	       NULL,            "FORMAT",     "the format of the image; else what its first bytes say"},
    {IMG_OUTPUT,        "output",        "human|json", "how it is printed"                                     },
    {IMG_BACKING_CHAIN, "backing-chain", NULL,         "the files below it, too"                               },
    {'U',	       "force-share",   NULL,         "also while another program writes to it"               },
    IMG_COMMON_OPTS,
};

const struct img_command img_info_command = {
    .name = "info",
    .files = "FILE",
    .help = "what an image is: size, format, snapshots",
    .opts = opts,
    .min_files = 1,
    .max_files = 1,
    .run = run,
};
