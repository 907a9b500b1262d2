/* Image files and their chains: what is read, what is refused, and qemu-img's opinion. */
#include "devices/block/image.h"

#include <errno.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "tests/unit/check-main.h"
#include "tests/unit/image-files.h"

#define DISK (256 * KiB)

static struct image *must_open(const char *path, const struct image_open *how)
{
	struct err err = {0};
	struct image *img = image_open(path, how, &err);

	ck_assert_msg(img != NULL, "%s", err.msg);
	return img;
}

static void must_close(struct image *img)
{
	struct err err = {0};

	ck_assert_msg(image_close(img, &err) == 0, "%s", err.msg);
}

static void refused(const char *path, const struct image_open *how, const char *words)
{
	struct err err = {0};

	ck_assert_ptr_null(image_open(path, how, &err));
	ck_assert_msg(strstr(err.msg, words) != NULL, "%s", err.msg);
}

static int read_at(struct image *img, void *p, size_t n, uint64_t off)
{
	struct iovec v[2] = {
	    {.iov_base = p,                    .iov_len = n / 3    },
	    {.iov_base = (uint8_t *)p + n / 3, .iov_len = n - n / 3}
        };

	return image_readv(img, v, 2, off);
}

static int write_at(struct image *img, const void *p, size_t n, uint64_t off)
{
	struct iovec v = {.iov_base = (void *)(uintptr_t)p, .iov_len = n};

	return image_writev(img, &v, 1, off);
}

static void all_are(const uint8_t *p, size_t n, uint8_t value)
{
	for (size_t i = 0; i < n; i++)
		if (p[i] != value)
			ck_abort_msg("byte %zu is %u, not %u", i, p[i], value);
}

START_TEST(test_raw)
{
	const struct image_open how = {.writable = true};
	uint8_t p[1024], zero[512] = {0};
	struct image_extent e;
	struct image *img;
	struct files f;
	const char *path;

	files_init(&f);
	path = file_raw(&f, "raw", 1500, 3);
	img = must_open(path, &how);
	ck_assert_uint_eq(img->bytes, 1536); /* 1500, rounded up */
	ck_assert_int_eq(read_at(img, p, 512, 1024), 0);
	all_are(p, 476, 5);
	all_are(p + 476, 36, 0); /* behind the end of the file */
	ck_assert_int_eq(read_at(img, p, 1024, 1024), -EINVAL);
	ck_assert_int_eq(write_at(img, zero, 512, 512), 0);
	ck_assert_int_eq(image_write_zeroes(img, 0, 512, true), 0);
	ck_assert_int_eq(read_at(img, p, 1024, 0), 0);
	all_are(p, 1024, 0);
	ck_assert_int_eq(image_resize(img, 8 * MiB, NULL), 0);
	ck_assert_int_eq(image_map(img, 1 * MiB, MiB, &e), 0);
	ck_assert(e.zero && !e.data && e.bytes == MiB && e.depth == 0 && e.file == img);
	ck_assert_int_eq(image_flush(img), 0);
	must_close(img);
	img = must_open(path, &(struct image_open){0});
	ck_assert_int_eq(write_at(img, zero, 512, 0), -EROFS);
	ck_assert_int_eq(image_discard(img, 0, 512), -EROFS);
	must_close(img);
	files_fini(&f);
}
END_TEST

/* base.raw <- mid (of half the size, with its own cluster 1) <- top */
static const char *make_chain(struct files *f)
{
	struct qcow2_create mid = {.bytes = DISK / 2,
				   .cluster_bytes = 4096,
				   .backing = "base.raw",
				   .backing_format = "raw"};
	struct qcow2_create top = {.bytes = DISK,
				   .cluster_bytes = 65536,
				   .backing = "mid.qcow2",
				   .backing_format = "qcow2"};
	const struct image_open how = {.format = IMAGE_QCOW2, .writable = true};
	struct image *img;
	uint8_t p[4096];

	(void)file_raw(f, "base.raw", DISK, 1);
	img = must_open(file_qcow2(f, "mid.qcow2", &mid), &how);
	memset(p, 0xaa, sizeof(p));
	ck_assert_int_eq(write_at(img, p, sizeof(p), 4096), 0);
	must_close(img);
	return file_qcow2(f, "top.qcow2", &top);
}

/* What the map remembers of a raw file: all of its data at once, and nothing that is no more. */
START_TEST(test_raw_map)
{
	const struct image_open how = {.writable = true, .discards = true};
	struct image_extent e;
	struct image *img;
	struct files f;
	off_t data;

	files_init(&f);
	img = must_open(file_raw(&f, "raw", DISK, 1), &how);
	ck_assert_int_eq(image_map(img, 0, 4096, &e), 0);
	ck_assert(e.data && !e.zero && e.bytes == 4096 && e.off == 0 && e.file == img);
	ck_assert_int_eq(image_map(img, 512, DISK - 512, &e), 0);
	ck_assert(e.data && e.has_off && e.bytes == DISK - 512 && e.off == 512);
	ck_assert_int_eq(image_discard(img, DISK / 2, DISK / 4), 0);
	data = lseek(img->fd, DISK / 2, SEEK_DATA);
	ck_assert_int_eq(image_map(img, DISK / 2, DISK / 2, &e), 0);
	if (data == DISK / 2) /* the file system makes no holes, or does not tell of them */
		ck_assert(e.data && !e.zero);
	else
		ck_assert(e.zero && e.bytes == DISK / 4);
	ck_assert_int_eq(image_map(img, 0, DISK, &e), 0);
	ck_assert_uint_eq(e.bytes, data == DISK / 2 ? DISK : DISK / 2);
	ck_assert_int_eq(image_resize(img, DISK / 4, NULL), 0);
	ck_assert_int_eq(image_resize(img, DISK, NULL), 0);
	ck_assert_int_eq(image_map(img, 0, DISK, &e), 0);
	ck_assert_uint_eq(e.bytes, data == DISK / 2 ? DISK : DISK / 4);
	must_close(img);
	files_fini(&f);
}
END_TEST

START_TEST(test_chain)
{
	const struct image_open how = {.format = IMAGE_QCOW2, .writable = true};
	struct image_extent e;
	uint8_t *p = xcalloc(1, 12288);
	struct files f;
	const char *path;
	struct image *img;

	files_init(&f);
	path = make_chain(&f);
	img = must_open(path, &how);
	ck_assert_int_eq(read_at(img, p, 12288, 0), 0);
	ck_assert_uint_eq(p[0], 1);
	all_are(p + 4096, 4096, 0xaa);
	ck_assert_uint_eq(p[8192], 17);
	/* behind the end of the file in the middle nothing shows, though the lowest has it */
	ck_assert_int_eq(read_at(img, p, 8192, DISK / 2 - 4096), 0);
	ck_assert_uint_ne(p[0], 0);
	all_are(p + 4096, 4096, 0);
	ck_assert_int_eq(image_map(img, 0, DISK, &e), 0);
	ck_assert(e.data && e.depth == 2 && e.bytes == 4096 && e.file == img->backing->backing);
	ck_assert_int_eq(image_map(img, 4096, DISK - 4096, &e), 0);
	ck_assert(e.data && e.depth == 1 && e.bytes == 4096 && e.has_off);
	ck_assert_int_eq(image_map(img, DISK / 2, DISK / 2, &e), 0);
	ck_assert(e.zero && e.depth == 0 && e.bytes == DISK / 2);
	ck_assert_int_eq(write_at(img, p, 512, 5 * 512), 0);
	must_close(img);
	judge(path, false);
	files_fini(&f);
	free(p);
}
END_TEST

START_TEST(test_chain_given)
{
	struct image_open how = {.format = IMAGE_QCOW2}, below = {0};
	struct files f;
	uint8_t p[512];
	struct image *img;
	const char *path;

	files_init(&f);
	path = make_chain(&f);
	how.backing = must_open(file_raw(&f, "other", DISK, 100), &below);
	img = must_open(path, &how);
	ck_assert_int_eq(read_at(img, p, 512, 512), 0);
	all_are(p, 512, 101);
	must_close(img);
	how = (struct image_open){.format = IMAGE_QCOW2, .no_backing = true};
	img = must_open(path, &how);
	ck_assert_int_eq(read_at(img, p, 512, 512), 0);
	all_are(p, 512, 0);
	ck_assert_ptr_null(img->backing);
	must_close(img);
	/* itself, by another way: the one below stays the caller's */
	how = (struct image_open){.format = IMAGE_QCOW2, .backing = must_open(path, &how)};
	refused(path, &how, "is a backing file of itself");
	must_close(how.backing);
	files_fini(&f);
}
END_TEST

/* What an image says lies below it, and what is said about that. */
static const struct {
	const char *backing, *format, *words;
} bad_backings[] = {
    {"json:{\"driver\":\"null-co\"}", "raw",   "names its backing file as 'json:...'"      },
    {"nbd://host/x",                  "raw",   "names its backing file as 'nbd:...'"       },
    {"file:x",			"raw",   "names its backing file as 'file:...'"      },
    {"base.raw",		      NULL,    "without its format, which is never guessed"},
    {"base.raw",		      "vmdk",  "format 'vmdk' is not supported"            },
    {"base.raw",		      "wrong", "Unknown format 'wrong'"                    },
    {"gone",			  "raw",   "No such file or directory"                 },
    {"bad.qcow2",		     "qcow2", "'bad.qcow2' is a backing file of itself"   },
    {".",			     "raw",   "Is a directory"                            },
};

START_TEST(test_refused)
{
	const struct image_open how = {.format = IMAGE_QCOW2};
	struct qcow2_create c = {.bytes = DISK,
				 .backing = bad_backings[_i].backing,
				 .backing_format = bad_backings[_i].format};
	char words[128];
	struct files f;
	const char *path;

	files_init(&f);
	(void)file_raw(&f, "base.raw", DISK, 1);
	path = file_qcow2(&f, "bad.qcow2", &c);
	(void)snprintf(words, sizeof(words), "%s", bad_backings[_i].words);
	if (words[0] == '\'') /* the message has the folder in it */
		(void)snprintf(words, sizeof(words), "%s",
			       "bad.qcow2' is a backing file of itself");
	refused(path, &how, words);
	files_fini(&f);
}
END_TEST

START_TEST(test_too_long)
{
	const struct image_open how = {.format = IMAGE_QCOW2};
	struct files f;
	char name[32], last[32] = "base.raw";
	const char *path = NULL;

	files_init(&f);
	(void)file_raw(&f, "base.raw", DISK, 1);
	for (unsigned i = 0; i < 64; i++) {
		struct qcow2_create c = {.bytes = DISK,
					 .cluster_bytes = 512,
					 .backing = last,
					 .backing_format = i ? "qcow2" : "raw"};

		(void)snprintf(name, sizeof(name), "%u.qcow2", i);
		path = file_qcow2(&f, name, &c);
		if (i == 62) /* 64 with the raw one */
			must_close(must_open(path, &how));
		memcpy(last, name, sizeof(last));
	}
	refused(path, &how, "the chain of backing files has more than 64 files");
	files_fini(&f);
}
END_TEST

/* Random pieces of sectors, with O_DIRECT where /tmp has it: metadata is smaller than a sector. */
START_TEST(test_random)
{
	struct qcow2_create c = {.bytes = DISK, .cluster_bytes = 512 << (_i * 2)};
	struct image_open how = {.format = IMAGE_QCOW2, .writable = true, .direct = true};
	uint8_t *disk = xcalloc(2, DISK), *p = disk + DISK;
	unsigned seed = (unsigned)_i + 1;
	struct err err = {0};
	struct files f;
	const char *path;
	struct image *img;

	files_init(&f);
	path = file_qcow2(&f, "r.qcow2", &c);
	img = image_open(path, &how, &err);
	if (!img) {
		skip_test("/tmp without O_DIRECT: %s", err.msg);
		how.direct = false;
		img = must_open(path, &how);
	}
	for (unsigned i = 0; i < 400; i++) {
		uint64_t off = (unsigned)rand_r(&seed) % (DISK / 512) * 512ULL;
		uint64_t n = (1 + (unsigned)rand_r(&seed) % 40) * 512ULL;

		n = MIN(n, DISK - off);
		switch (rand_r(&seed) % 5) {
		case 0:
			ck_assert_int_eq(image_write_zeroes(img, off, n, i % 2), 0);
			memset(disk + off, 0, n);
			break;
		case 1:
			ck_assert_int_eq(read_at(img, p, n, off), 0);
			ck_assert_mem_eq(p, disk + off, n);
			break;
		case 2:
			ck_assert_int_eq(image_flush(img), 0);
			break;
		default:
			memset(disk + off, (int)i + 1, n);
			ck_assert_int_eq(write_at(img, disk + off, n, off), 0);
		}
	}
	must_close(img);
	img = must_open(path, &how);
	ck_assert_int_eq(read_at(img, p, DISK, 0), 0);
	ck_assert_mem_eq(p, disk, DISK);
	must_close(img);
	judge(path, false);
	free(disk);
	files_fini(&f);
}
END_TEST

/* A disk that has grown shows nothing of the file below. */
START_TEST(test_resize)
{
	struct qcow2_create c = {
	    .bytes = DISK / 2, .cluster_bytes = 65536, .backing = "b", .backing_format = "raw"};
	const struct image_open how = {.format = IMAGE_QCOW2, .writable = true};
	uint8_t *p = xcalloc(1, DISK);
	struct err err = {0};
	struct files f;
	const char *path;
	struct image *img;

	files_init(&f);
	(void)file_raw(&f, "b", DISK, 1);
	path = file_qcow2(&f, "r.qcow2", &c);
	img = must_open(path, &how);
	ck_assert_int_eq(image_resize(img, DISK + 100, &err), -EINVAL);
	ck_assert_str_eq(err.msg, "The new size must be a multiple of 512");
	ck_assert_int_eq(image_resize(img, 2 * DISK, NULL), 0);
	ck_assert_uint_eq(img->bytes, 2 * DISK);
	ck_assert_int_eq(read_at(img, p, DISK, DISK / 2), 0);
	all_are(p, DISK, 0);
	ck_assert_int_eq(read_at(img, p, 512, 0), 0);
	all_are(p, 512, 1);
	must_close(img);
	judge(path, false);
	files_fini(&f);
	free(p);
}
END_TEST

/* The image is written by one; the files below may be read by many, and written by nobody. */
START_TEST(test_locks)
{
	const struct image_open how = {.format = IMAGE_QCOW2, .writable = true};
	const struct image_open raw = {.writable = true};
	const struct block_perms writer = block_disk_perms(false, false);
	struct image *one, *two, *base;
	struct err err = {0};
	struct qcow2_create c = {.bytes = DISK, .backing = "base.raw", .backing_format = "raw"};
	struct files f;
	const char *path;

	files_init(&f);
	path = make_chain(&f);
	one = must_open(path, &how);
	two = must_open(path, &how);
	ck_assert_int_eq(image_lock(one, writer, false, &err), 0);
	ck_assert_int_eq(image_lock(two, writer, false, &err), -EBUSY);
	ck_assert_msg(strstr(err.msg, path) != NULL, "%s", err.msg);
	must_close(two);
	two = must_open(file_qcow2(&f, "other.qcow2", &c), &how);
	ck_assert_int_eq(image_lock(two, writer, false, &err), 0);
	base = must_open(file_path(&f, "base.raw"), &raw);
	ck_assert_int_eq(image_lock(base, writer, true, &err), -EBUSY);
	image_unlock(one);
	image_unlock(two);
	ck_assert_int_eq(image_lock(base, writer, false, &err), 0);
	/* nothing is held of a chain that cannot be locked in full */
	ck_assert_int_eq(image_lock(one, writer, false, &err), -EBUSY);
	must_close(two);
	two = must_open(path, &(struct image_open){.format = IMAGE_QCOW2, .no_backing = true});
	ck_assert_int_eq(image_lock(two, writer, false, &err), 0);
	must_close(two);
	must_close(one);
	must_close(base);
	files_fini(&f);
}
END_TEST

START_TEST(test_formats)
{
	enum image_format f = IMAGE_RAW;
	struct err err = {0};

	ck_assert_int_eq(image_format_parse("qcow2", &f, NULL), 0);
	ck_assert_int_eq(f, IMAGE_QCOW2);
	ck_assert_str_eq(image_format_name(f), "qcow2");
	ck_assert_int_eq(image_format_parse("vdi", &f, &err), -ENOTSUP);
	ck_assert_int_eq(image_format_parse("", &f, &err), -EINVAL);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("image");
	TCase *tc = tcase_create("image");
	SRunner *r;
	int failed;

	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, test_raw);
	tcase_add_test(tc, test_raw_map);
	tcase_add_test(tc, test_chain);
	tcase_add_test(tc, test_chain_given);
	tcase_add_loop_test(tc, test_refused, 0, ARRAY_LEN(bad_backings));
	tcase_add_test(tc, test_too_long);
	tcase_add_loop_test(tc, test_random, 0, 4);
	tcase_add_test(tc, test_resize);
	tcase_add_test(tc, test_locks);
	tcase_add_test(tc, test_formats);
	suite_add_tcase(s, tc);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}
