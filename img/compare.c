/*
 * compare.c - "compare": do two images hold the same disk?
 *
 * Pieces that read as zero in both are not read.  Where one is zero, the other is looked at for
 * a byte that is not; where both have data they are read and compared.  Behind the end of the
 * shorter disk the other must be zero.
 *
 * Exit codes as qemu-img's: 0 same, 1 different, 2 an image cannot be opened, 3 its map cannot be
 * read, 4 its data cannot be read.
 */
#include "img/img.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "img/commands.h"
#include "img/progress.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"
#include "vmm/base/zero.h"

#define SAME      0
#define DIFFERENT 1
#define NO_IMAGE  2
#define NO_MAP    3
#define NO_DATA   4

#define CHUNK (2 * MiB)

struct compare {
	struct image *img[2];
	unsigned char *buf[2]; /* CHUNK each; owned */
	bool strict, quiet;
	struct progress progress;
};

static int differs(const struct compare *c, const char *what)
{
	if (!c->quiet)
		printf("%s\n", what);
	return DIFFERENT;
}

static int mismatch(const struct compare *c, uint64_t off)
{
	if (!c->quiet)
		printf("Content mismatch at offset %" PRIu64 "!\n", off);
	return DIFFERENT;
}

static int read_piece(struct compare *c, int i, uint64_t off, uint64_t bytes)
{
	struct iovec v = {.iov_base = c->buf[i], .iov_len = (size_t)bytes};
	int ret = image_readv(c->img[i], &v, 1, off);

	if (ret < 0)
		return img_refuse(NO_DATA, "Error while reading offset %" PRIu64 " of '%s': %s",
				  off, c->img[i]->filename, err_text(-ret));
	return SAME;
}

/* The first sector that is not the same in both buffers, or not zero in a's; 'bytes': none. */
static uint64_t first_different(const unsigned char *a, const unsigned char *b, uint64_t bytes)
{
	for (uint64_t at = 0; at < bytes; at += 512) {
		size_t n = (size_t)MIN(bytes - at, 512);

		if (b ? memcmp(a + at, b + at, n) != 0 : !buffer_is_zero(a + at, n))
			return at;
	}
	return bytes;
}

static int compare_data(struct compare *c, uint64_t off, uint64_t bytes)
{
	uint64_t at;
	int ret = read_piece(c, 0, off, bytes);

	if (ret == SAME)
		ret = read_piece(c, 1, off, bytes);
	if (ret != SAME || !memcmp(c->buf[0], c->buf[1], (size_t)bytes))
		return ret;
	at = first_different(c->buf[0], c->buf[1], bytes);
	return mismatch(c, off + at);
}

static int compare_zero(struct compare *c, int i, uint64_t off, uint64_t bytes)
{
	int ret = read_piece(c, i, off, bytes);

	if (ret != SAME || buffer_is_zero(c->buf[i], (size_t)bytes))
		return ret;
	return mismatch(c, off + first_different(c->buf[i], NULL, bytes));
}

static int map_piece(struct compare *c, int i, uint64_t off, uint64_t bytes, struct image_extent *e)
{
	int ret = image_map(c->img[i], off, bytes, e);

	if (ret < 0)
		return img_refuse(NO_MAP,
				  "Error while reading the map of '%s' at offset %" PRIu64 ": %s",
				  c->img[i]->filename, off, err_text(-ret));
	return SAME;
}

static bool same_status(const struct image_extent e[2], uint64_t off)
{
	bool present[2] = {true, true};

	for (int i = 0; i < 2; i++)
		(void)img_map_present(&e[i], off, &present[i]);
	return e[0].data == e[1].data && e[0].zero == e[1].zero && present[0] == present[1];
}

static int compare_piece(struct compare *c, uint64_t off, uint64_t bytes, uint64_t *done)
{
	struct image_extent e[2];
	int ret = map_piece(c, 0, off, bytes, &e[0]);

	if (ret == SAME)
		ret = map_piece(c, 1, off, bytes, &e[1]);
	if (ret != SAME)
		return ret;
	*done = MIN(e[0].bytes, e[1].bytes);
	if (c->strict && !same_status(e, off)) {
		if (!c->quiet)
			printf("Strict mode: Offset %" PRIu64 " block status mismatch!\n", off);
		return DIFFERENT;
	}
	if (e[0].zero && e[1].zero)
		return SAME;
	*done = MIN(*done, CHUNK);
	if (e[0].zero || e[1].zero)
		return compare_zero(c, e[0].zero ? 1 : 0, off, *done);
	return compare_data(c, off, *done);
}

/* What the longer disk has behind the end of the other. */
static int compare_rest(struct compare *c, int i, uint64_t off)
{
	uint64_t end = c->img[i]->bytes, n;
	struct image_extent e;
	int ret = SAME;

	for (; off < end && ret == SAME; off += n) {
		ret = map_piece(c, i, off, end - off, &e);
		if (ret != SAME)
			return ret;
		n = e.zero ? e.bytes : MIN(e.bytes, CHUNK);
		if (!e.zero)
			ret = compare_zero(c, i, off, n);
		progress_add(&c->progress, n);
	}
	return ret;
}

static int compare_all(struct compare *c)
{
	uint64_t both = MIN(c->img[0]->bytes, c->img[1]->bytes), n = 0;
	int longer = c->img[0]->bytes > c->img[1]->bytes ? 0 : 1, ret = SAME;

	if (c->img[0]->bytes != c->img[1]->bytes && c->strict)
		return differs(c, "Strict mode: Image size mismatch!");
	for (uint64_t off = 0; off < both && ret == SAME; off += n) {
		ret = compare_piece(c, off, both - off, &n);
		progress_add(&c->progress, n);
	}
	if (ret == SAME && c->img[longer]->bytes > both) {
		if (!c->quiet)
			printf("Warning: Image size mismatch!\n");
		ret = compare_rest(c, longer, both);
	}
	if (ret == SAME && !c->quiet)
		printf("Images are identical.\n");
	return ret;
}

static int open_both(const struct img_args *a, struct compare *c)
{
	struct img_open how = {.force_share = img_has(a, 'U')};
	struct err err = {0};

	if (img_cache_parse(a->val['T'], &how.cache, &err) < 0)
		return img_fail(NO_IMAGE, &err);
	for (int i = 0; i < 2; i++) {
		how.format = a->val[i == 0 ? 'f' : 'F'];
		c->img[i] = img_open(a->file[i], &how, &err);
		if (!c->img[i])
			return img_fail(NO_IMAGE, &err);
		c->buf[i] = aligned_alloc(PAGE_BYTES, CHUNK);
		if (!c->buf[i])
			return img_refuse(NO_DATA, "there is no memory for %llu bytes", CHUNK);
	}
	return SAME;
}

static int run(const struct img_args *a)
{
	struct compare c = {.strict = img_has(a, 's'), .quiet = img_has(a, 'q')};
	bool shown = img_has(a, 'p') && !c.quiet;
	int ret = open_both(a, &c);

	if (ret == SAME && c.img[0] && c.img[1]) {
		progress_init(&c.progress, shown ? stdout : NULL,
			      MAX(c.img[0]->bytes, c.img[1]->bytes));
		ret = compare_all(&c);
		progress_fini(&c.progress, ret == SAME);
	}
	for (int i = 0; i < 2; i++) {
		(void)image_close(c.img[i], NULL); /* only read */
		free(c.buf[i]);
	}
	return ret;
}

static const struct img_opt opts[] = {
    {'f', NULL,          "FORMAT", "the format of the first image; else what its first bytes say"},
    {'F', NULL,          "FORMAT", "the format of the second one"                                },
    {'s', NULL,          NULL,     "strict: sizes, and what is allocated, must be equal too"     },
    {'T', NULL,          "CACHE",  "the cache mode to read with"                                 },
    {'p', NULL,          NULL,     "show progress"					       },
    {'q', NULL,          NULL,     "quiet: print nothing but errors"                             },
    {'U', "force-share", NULL,     "also while another program writes to one"                    },
    IMG_COMMON_OPTS,
};

const struct img_command img_compare_command = {
    .name = "compare",
    .files = "FILE1 FILE2",
    .help = "do two images hold the same disk",
    .opts = opts,
    .min_files = 2,
    .max_files = 2,
    .run = run,
};
