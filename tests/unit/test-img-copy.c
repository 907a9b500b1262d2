/*
 * The copy of minivmm-img convert: with every number of threads the same disk, in the order of the
 * disk, through pieces that end where clusters do.
 */
#include "img/copy.h"

#include <errno.h>

#include "img/copy-pieces.h"
#include "img/progress.h"
#include "tests/unit/check-main.h"
#include "tests/unit/image-files.h"

#define DISK (7 * MiB + 512)

/* Data, zeroes that are there, and holes; in pieces of many sizes. */
static const char *make_source(struct files *f, uint8_t *p)
{
	const char *path = file_path(f, "source");
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	uint64_t bytes;
	unsigned seed = 7;

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, DISK), 0);
	for (uint64_t off = 0; off < DISK; off += bytes) {
		seed = seed * 1103515245 + 12345;
		bytes = MIN(DISK - off, 512ULL << (seed >> 16) % 12);
		memset(p + off, seed >> 8 & 1 ? (int)(seed >> 24) | 1 : 0, bytes);
		for (uint64_t i = 1; seed >> 9 & 1 && p[off] && i < bytes; i += 7)
			p[off + i] = (uint8_t)(i * seed >> 11); /* does not shrink well */
		if (p[off] || seed >> 10 & 1)
			ck_assert_int_eq(pwrite(fd, p + off, bytes, (off_t)off), (ssize_t)bytes);
	}
	(void)close(fd);
	return path;
}

static struct image *must_open(const char *path, enum image_format format, bool writable)
{
	const struct image_open how = {.format = format, .writable = writable};
	struct err err = {0};
	struct image *img = image_open(path, &how, &err);

	ck_assert_msg(img != NULL, "%s", err.msg);
	return img;
}

static const char *make_target(struct files *f, uint32_t cluster, bool zstd)
{
	const struct qcow2_create c = {.bytes = DISK, .cluster_bytes = cluster, .zstd = zstd};
	const char *path = file_path(f, "target");
	struct err err = {0};
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	const struct qcow2_storage s = {.ops = &qcow2_storage_file, .opaque = &fd};

	ck_assert_int_ge(fd, 0);
	ck_assert_msg(qcow2_create(&s, &c, &err) == 0, "%s", err.msg);
	(void)close(fd);
	return path;
}

static void is_disk(struct image *img, const uint8_t *want)
{
	uint8_t *p = xcalloc(1, DISK);
	struct iovec v = {.iov_base = p, .iov_len = DISK};

	ck_assert_int_eq(image_readv(img, &v, 1, 0), 0);
	for (uint64_t i = 0; i < DISK; i++)
		if (p[i] != want[i])
			ck_abort_msg("byte %llu is %u, not %u", (unsigned long long)i, p[i],
				     want[i]);
	free(p);
}

/* Clusters lie in the file in the order of the disk. */
static void is_in_order(struct image *img)
{
	uint64_t last = 0;
	struct image_extent e;

	for (uint64_t off = 0; off < DISK; off += e.bytes) {
		ck_assert_int_eq(image_map(img, off, DISK - off, &e), 0);
		if (!e.data || !e.has_off)
			continue;
		ck_assert_uint_gt(e.off, last);
		last = e.off;
	}
	ck_assert_uint_gt(last, 0);
}

struct mode {
	uint32_t cluster;
	bool compress, zstd, any_order, raw, scan;
};

static const struct mode modes[] = {
    {.cluster = 65536,  .scan = true     },
    {.cluster = 65536 },
    {.cluster = 512,     .scan = true                 },
    {.cluster = 2097152,     .scan = true},
    {.cluster = 65536,     .scan = true,                  .any_order = true},
    {.cluster = 4096,   .scan = true,.compress = true},
    {.cluster = 65536,                 .scan = true,      .compress = true, .zstd = true},
    {.cluster = 65536, .compress = true                  },
    {.raw = true,  .scan = true},
};

static void copy_once(struct files *f, const struct mode *m, unsigned threads, const uint8_t *want)
{
	struct image *src = must_open(f->path[0], IMAGE_RAW, false), *dst;
	const char *path =
	    m->raw ? file_raw(f, "target", DISK, 0) : make_target(f, m->cluster, m->zstd);
	struct progress progress;
	struct err err = {0};
	struct copy c = {.src = &src,
			 .n_src = 1,
			 .bytes = src->bytes,
			 .dst_is_zero = true,
			 .compress = m->compress,
			 .scan = m->scan,
			 .min_zero = 4096,
			 .threads = threads,
			 .any_order = m->any_order,
			 .progress = &progress};

	dst = c.dst = must_open(path, m->raw ? IMAGE_RAW : IMAGE_QCOW2, true);
	progress_init(&progress, NULL, c.bytes);
	ck_assert_msg(copy_run(&c, &err) == 0, "%s", err.msg);
	ck_assert_uint_eq(progress.done_bytes, c.bytes);
	progress_fini(&progress, true);
	is_disk(dst, want);
	if (!m->raw && !m->any_order && !m->compress)
		is_in_order(dst);
	ck_assert_int_eq(image_close(dst, NULL), 0);
	ck_assert_int_eq(image_close(src, NULL), 0);
	ck_assert_int_eq(unlink(path), 0);
}

START_TEST(same_disk)
{
	static const unsigned threads[] = {1, 2, 5, COPY_MAX_THREADS};
	uint8_t *want = xcalloc(1, DISK);
	struct files f;

	files_init(&f);
	(void)make_source(&f, want);
	for (size_t i = 0; i < ARRAY_LEN(threads); i++)
		copy_once(&f, &modes[_i], threads[i], want);
	files_fini(&f);
	free(want);
}
END_TEST

/* A target that takes no writes: all threads end, and the error tells the first place. */
START_TEST(write_fails)
{
	uint8_t *want = xcalloc(1, DISK);
	struct progress progress;
	struct err err = {0};
	struct image *src;
	struct files f;
	struct copy c = {
	    .n_src = 1, .scan = true, .dst_is_zero = true, .min_zero = 4096, .threads = 4};

	files_init(&f);
	src = must_open(make_source(&f, want), IMAGE_RAW, false);
	c.src = &src;
	c.bytes = src->bytes;
	c.progress = &progress;
	c.dst = must_open(make_target(&f, 65536, false), IMAGE_QCOW2, false);
	progress_init(&progress, NULL, c.bytes);
	ck_assert_int_eq(copy_run(&c, &err), -EROFS);
	ck_assert_ptr_nonnull(strstr(err.msg, "Could not write '"));
	(void)image_close(c.dst, NULL);
	(void)image_close(src, NULL);
	files_fini(&f);
	free(want);
}
END_TEST

static void is_piece(const struct cutter *k, const struct piece *p, uint64_t at,
		     const uint8_t *want)
{
	ck_assert_uint_eq(p->off, at);
	ck_assert_uint_gt(p->bytes, 0);
	ck_assert(at + p->bytes == k->c->bytes || (at + p->bytes) % k->cluster == 0);
	ck_assert(p->kind == PIECE_DATA || p->kind == PIECE_ZERO);
	if (p->kind == PIECE_DATA)
		ck_assert_uint_le(p->bytes, k->piece_bytes);
	for (uint64_t i = 0; p->kind == PIECE_ZERO && i < p->bytes; i++)
		ck_assert_uint_eq(want[at + i], 0);
}

/* Every byte once, in order; pieces end at clusters; data never counts as zero. */
START_TEST(pieces)
{
	static const uint64_t clusters[] = {512, 4096, 65536, 2 * MiB};
	uint8_t *want = xcalloc(1, DISK);
	struct err err = {0};
	struct image *src;
	struct piece piece;
	struct files f;
	struct copy c = {.n_src = 1, .scan = true};
	struct cutter k = {.c = &c, .cluster = clusters[_i]};
	uint64_t at = 0;

	files_init(&f);
	src = must_open(make_source(&f, want), IMAGE_RAW, false);
	c.src = &src;
	c.bytes = src->bytes;
	k.piece_bytes = MAX(k.cluster, 64 * KiB);
	for (; cutter_next(&k, &piece, &err) == 1; at += piece.bytes)
		is_piece(&k, &piece, at, want);
	ck_assert_uint_eq(at, c.bytes);
	(void)image_close(src, NULL);
	files_fini(&f);
	free(want);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("img-copy");
	TCase *tc = tcase_create("img-copy");
	SRunner *r;
	int failed;

	tcase_set_timeout(tc, 120);
	tcase_add_loop_test(tc, same_disk, 0, ARRAY_LEN(modes));
	tcase_add_test(tc, write_fails);
	tcase_add_loop_test(tc, pieces, 0, 4);
	suite_add_tcase(s, tc);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}
