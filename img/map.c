/*
 * map.c - "map": what is where in an image and the files below it
 *
 * Pieces that go on where the one before ended are printed as one.
 */
#include "img/img.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "devices/block/qcow2/qcow2.h"
#include "img/commands.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"

struct piece {
	uint64_t start;
	struct image_extent e;
	bool present; /* in one of the files, be it as zeroes */
};

/* Is it a cluster of its own that reads as zero, or nothing at all? */
static int find_present(const struct piece *p, bool *present)
{
	const struct image_extent *e = &p->e;
	struct qcow2_extent q;
	int ret;

	*present = true;
	if (!e->zero || e->has_off || !e->file->q)
		return 0;
	ret = qcow2_map(e->file->q, p->start, e->bytes, true, &q);
	*present = ret == 0 && q.kind != QCOW2_HOLE;
	return ret;
}

int img_map_present(const struct image_extent *e, uint64_t off, bool *present)
{
	struct piece p = {.start = off, .e = *e};

	return find_present(&p, present);
}

static int next_piece(struct image *img, uint64_t start, uint64_t end, struct piece *p)
{
	int ret = image_map(img, start, end - start, &p->e);

	p->start = start;
	return ret < 0 ? ret : find_present(p, &p->present);
}

static bool goes_on(const struct piece *p, const struct piece *next)
{
	const struct image_extent *a = &p->e, *b = &next->e;

	return a->data == b->data && a->zero == b->zero && a->depth == b->depth &&
	       a->has_off == b->has_off && a->compressed == b->compressed && a->file == b->file &&
	       p->present == next->present && (!a->has_off || a->off + a->bytes == b->off);
}

static int print_human(const struct piece *p, struct err *err)
{
	if (!p->e.data || p->e.zero)
		return 0;
	if (!p->e.has_off)
		return err_set(err, ENOTSUP,
			       "'%s' has compressed clusters: only --output=json shows them",
			       p->e.file->filename);
	printf("%#-16" PRIx64 "%#-16" PRIx64 "%#-16" PRIx64 "%s\n", p->start, p->e.bytes, p->e.off,
	       p->e.file->filename);
	return 0;
}

static const char *yes(bool b)
{
	return b ? "true" : "false";
}

static void print_json(const struct piece *p, bool first)
{
	printf("%s{ \"start\": %" PRIu64 ", \"length\": %" PRIu64 ", \"depth\": %u, \"present\": "
	       "%s, \"zero\": %s, \"data\": %s",
	       first ? "" : ",\n", p->start, p->e.bytes, p->e.depth, yes(p->present),
	       yes(p->e.zero), yes(p->e.data));
	if (p->e.has_off)
		printf(", \"offset\": %" PRIu64, p->e.off);
	printf("}");
}

static int print_piece(const struct piece *p, bool json, bool first, struct err *err)
{
	if (!json)
		return print_human(p, err);
	print_json(p, first);
	return 0;
}

static int map(struct image *img, uint64_t start, uint64_t end, bool json, struct err *err)
{
	struct piece p = {0}, next;
	bool first = true;
	int ret = 0;

	while (start < end) {
		ret = next_piece(img, start, end, &next);
		if (ret < 0)
			return err_set(err, -ret,
				       "Could not read the map of '%s' at %" PRIu64 ": %s",
				       img->filename, start, err_text(-ret));
		start += next.e.bytes;
		if (p.e.bytes && goes_on(&p, &next)) {
			p.e.bytes += next.e.bytes;
			continue;
		}
		if (p.e.bytes) {
			ret = print_piece(&p, json, first, err);
			first = false;
		}
		if (ret < 0)
			return ret;
		p = next;
	}
	return p.e.bytes ? print_piece(&p, json, first, err) : 0;
}

static int run_open(const struct img_args *a, struct image *img, bool json, struct err *err)
{
	uint64_t start = 0, length = INT64_MAX;
	int ret = img_arg_size(a, 's', "start offset", &start, err);

	if (ret == 0)
		ret = img_arg_size(a, 'l', "length", &length, err);
	if (ret < 0)
		return ret;
	if (start > img->bytes)
		start = img->bytes;
	if (json)
		printf("[");
	else
		printf("%-16s%-16s%-16s%s\n", "Offset", "Length", "Mapped to", "File");
	ret = map(img, start, start + MIN(length, img->bytes - start), json, err);
	if (json && ret == 0)
		printf("]\n");
	return ret;
}

static int run(const struct img_args *a)
{
	struct img_open how = {.format = a->val['f'], .force_share = img_has(a, 'U')};
	struct err err = {0};
	struct image *img = NULL;
	bool json;
	int ret = img_arg_json(a, &json, &err);

	if (ret == 0) {
		img = img_open(a->file[0], &how, &err);
		ret = img ? run_open(a, img, json, &err) : -EIO;
	}
	(void)image_close(img, NULL);
	(void)fflush(stdout);
	return ret < 0 ? img_fail(1, &err) : 0;
}

static const struct img_opt opts[] = {
    {'f',        NULL,           "FORMAT",     "the format of the image; else what its first bytes say"},
    {'s',        "start-offset", "OFFSET",     "where to begin"                                        },
    {'l',        "max-length",   "LENGTH",     "how much of it"                                        },
    {IMG_OUTPUT, "output",       "human|json", "how it is printed; human shows only what has data"     },
    {'U',        "force-share",  NULL,         "also while another program writes to it"               },
    IMG_COMMON_OPTS,
};

const struct img_command img_map_command = {
    .name = "map",
    .files = "FILE",
    .help = "which part of a disk lies where, in which file",
    .opts = opts,
    .min_files = 1,
    .max_files = 1,
    .run = run,
};
