/*
 * Snapshots of qcow2 images: made, read through, deleted and applied, judged by the check of the
 * program itself at every step, and by qemu-img.
 */
#include <zstd.h>

#include "tests/unit/qcow2-judge.h"

#define DISK (4 * MiB)

static const char *const layouts[] = {
    "-o cluster_size=65536",
    "-o cluster_size=512",
    "-o cluster_size=4096,refcount_bits=8",
    "-o cluster_size=65536,extended_l2=on",
    "-o compat=0.10",
    "-o cluster_size=1024,refcount_bits=64",
    "-o cluster_size=2M,lazy_refcounts=on",
    "-o cluster_size=4096,refcount_bits=2", /* too narrow for QEMU, which counts to 4 for a moment
					     */
};

static void save_and_look(const char *layout)
{
	struct rig *m = new_image(layout, DISK);
	struct qcow2 *q = open_image(m);
	uint8_t *first = malloc(DISK), *now = malloc(DISK);
	struct qcow2_saving *s;
	struct err err = {0};
	const struct iovec iov = {first, 300000};

	ck_assert_int_eq(fill(q, 0xa1, 0, 65536), 0);
	ck_assert_int_eq(fill(q, 0xa2, 1000000, 200000), 0);
	ck_assert_int_eq(fill(q, 0xa3, DISK - 5000, 5000), 0);
	read_all(q, first, DISK);
	must_save(q, "first", 450000);
	assert_clean(q);
	ck_assert_int_eq(fill(q, 0xb1, 0, 70000), 0);
	assert_clean(q);
	ck_assert_int_eq(qcow2_write_zeroes(q, 1024 * 1024, 65536, true), 0);
	ck_assert_int_eq(qcow2_flush(q), 0);
	assert_clean(q);
	assert_state(q, "first", 450000);
	assert_disk_of(q, "first", first, DISK);
	close_image(q);
	ck_assert_int_eq(qemu_check(m), 0);

	q = open_image(m);
	assert_state(q, "first", 450000);
	assert_disk_of(q, "first", first, DISK);
	read_all(q, now, DISK);
	ck_assert(now[0] == 0xb1 && memcmp(now, now + 1, 69999) == 0);
	must_save(q, "second", 0);
	assert_clean(q);
	ck_assert_str_eq(qcow2_snapshot_at(q, 1)->id, "2");
	/* one that is given up leaves nothing */
	ck_assert_int_eq(qcow2_saving_begin(q, &s, &err), 0);
	ck_assert_int_eq(fill(q, 0xc1, 40000, 100000), 0);
	ck_assert_int_eq(qcow2_saving_write(s, &iov, 1, 5000, &err), 0);
	ck_assert_int_eq(qcow2_flush(q), 0);
	qcow2_saving_abort(s);
	ck_assert_int_eq(qcow2_flush(q), 0);
	assert_clean(q);
	read_all(q, now, DISK);
	ck_assert_uint_eq(now[40000], 0xc1);
	assert_disk_of(q, "first", first, DISK);
	ck_assert_msg(qcow2_snapshot_apply(q, "1", &err) == 0, "%s", err.msg);
	assert_clean(q);
	read_all(q, now, DISK);
	ck_assert_int_eq(memcmp(now, first, DISK), 0);
	ck_assert_int_eq(fill(q, 0xd1, 100, 100000), 0);
	assert_clean(q);
	ck_assert_msg(qcow2_snapshot_delete(q, "1", &err) == 0, "%s", err.msg);
	assert_clean(q);
	ck_assert_ptr_null(qcow2_snapshot_named(q, "first"));
	ck_assert_msg(qcow2_snapshot_delete(q, "2", &err) == 0, "%s", err.msg);
	assert_clean(q);
	close_image(q);
	ck_assert_int_eq(qemu_check(m), 0);
	free(first);
	free(now);
	free_image(m);
}

static __attribute__((noinline)) void must_delete(struct qcow2 *q, const char *id)
{
	struct err err = {0};

	ck_assert_msg(qcow2_snapshot_delete(q, id, &err) == 0, "%s", err.msg);
	assert_clean(q);
}

static __attribute__((noinline)) void must_apply(struct qcow2 *q, const char *id)
{
	struct err err = {0};

	ck_assert_msg(qcow2_snapshot_apply(q, id, &err) == 0, "%s", err.msg);
	assert_clean(q);
}

/* ---- QEMU's ---- */

static __attribute__((noinline)) struct rig *sample(const char *name)
{
	struct rig packed = {0}, *m = NEW(struct rig);
	char *path = xasprintf("tests/data/qcow2/%s.qcow2.zst", name);
	size_t n;

	rig_load(&packed, path);
	rig_room(m, 4 * MiB);
	n = ZSTD_decompress(m->p, m->cap, packed.p, packed.bytes);
	ck_assert_msg(!ZSTD_isError(n), "%s", path);
	m->bytes = n;
	m->remember = true;
	rig_fini(&packed);
	free(path);
	return m;
}

static void assert_filled(struct qcow2 *q, const char *id, uint64_t off, size_t n, uint8_t v)
{
	uint8_t *p = xcalloc(1, n);
	struct err err = {0};

	ck_assert_msg(qcow2_snapshot_read(q, id, p, n, off, &err) == 0, "%s", err.msg);
	ck_assert_msg(p[0] == v && memcmp(p, p + 1, n - 1) == 0, "snapshot %s at %#llx", id,
		      (unsigned long long)off);
	free(p);
}

struct sample_snapshot {
	const char *image, *id, *name;
	uint64_t vmstate_bytes, icount;
	struct {
		uint64_t off;
		size_t n;
		uint8_t v;
	} data[4];
};

#define SECOND (1 * MiB)

/* The data as tests/data/qcow2 was written; what is not named reads as zero. */
static const struct sample_snapshot samples[] = {
    {"snap-7.2",
     "1",			  "disk-only",
     0,					    0,
     {{0, 65536, 0xa1}, {65536, 65536, 0}, {SECOND, 131072, 0xa2}, {2 * MiB, 14 * MiB, 0}}                    },
    {"snap-7.2",
     "2",			  "first",
     447633,				       QCOW2_NO_ICOUNT,
     {{0, 65536, 0xa1}, {65536, 65536, 0}, {SECOND, 131072, 0xa2}, {2 * MiB, 14 * MiB, 0}}                    },
    {"snap-7.2",
     "3",			  "second",
     447633,				       QCOW2_NO_ICOUNT,
     {{0, 65536, 0xc1}, {SECOND, 131072, 0xa2}}							       },
    {"snap-11.1",             "1", "disk-only", 0, 0,               {{0, 65536, 0xa1}, {SECOND, 131072, 0xa2}}},
    {"snap-11.1",
     "2",			  "first",
     521824,				       QCOW2_NO_ICOUNT,
     {{0, 65536, 0xa1}, {SECOND, 131072, 0xa2}}							       },
    {"snap-11.1",
     "3",			  "second",
     521824,				       QCOW2_NO_ICOUNT,
     {{0, 65536, 0xc1}, {SECOND, 131072, 0xa2}}							       },
    {"snap-7.2-second-disk",
     "1",			  "first",
     0,					    QCOW2_NO_ICOUNT,
     {{0, 4096, 0xb1}, {4096, 2 * MiB - 4096, 0}}							     },
    {"snap-7.2-second-disk",
     "2",			  "second",
     0,					    QCOW2_NO_ICOUNT,
     {{0, 4096, 0xb1}, {8192, 4096, 0xc2}, {12288, 4096, 0}}                                                  },
    {"snap-11.1-second-disk", "1", "first",     0, QCOW2_NO_ICOUNT, {{0, 4096, 0xb1}, {8192, 4096, 0}}        },
    {"snap-11.1-second-disk",
     "2",			  "second",
     0,					    QCOW2_NO_ICOUNT,
     {{0, 4096, 0xb1}, {8192, 4096, 0xc2}}								    },
};

static __attribute__((noinline)) void assert_stream(struct qcow2 *q, const struct qcow2_snapshot *s)
{
	uint8_t magic[8];
	struct err err = {0};

	ck_assert_uint_eq(s->vmstate_off, 0x20000000);
	ck_assert_msg(qcow2_snapshot_read(q, s->id, magic, 8, s->vmstate_off, &err) == 0, "%s",
		      err.msg);
	ck_assert_int_eq(memcmp(magic, "QEVM\0\0\0\3", 8), 0);
}

START_TEST(test_samples)
{
	(void)log_open("/dev/null", NULL);
	for (size_t i = 0; i < ARRAY_LEN(samples); i++) {
		const struct sample_snapshot *want = &samples[i];
		struct rig *m = sample(want->image);
		struct qcow2 *q = open_image(m);
		const struct qcow2_snapshot *s = qcow2_snapshot_named(q, want->name);

		ck_assert_ptr_nonnull(s);
		ck_assert_str_eq(s->id, want->id);
		ck_assert_uint_eq(s->vmstate_bytes, want->vmstate_bytes);
		ck_assert_uint_eq(s->icount, want->icount);
		ck_assert_uint_eq(s->disk_bytes, qcow2_info(q)->bytes);
		for (size_t k = 0; k < ARRAY_LEN(want->data) && want->data[k].n; k++)
			assert_filled(q, s->id, want->data[k].off, want->data[k].n,
				      want->data[k].v);
		if (want->vmstate_bytes)
			assert_stream(q, s);
		assert_clean(q);
		close_image(q);
		free_image(m);
	}
}
END_TEST

/* Applied, saved over and deleted by us; qemu-img finds nothing to say. */
START_TEST(test_samples_changed)
{
	static const char *const names[] = {"snap-7.2", "snap-11.1", "snap-7.2-second-disk",
					    "snap-11.1-second-disk", "v2-snapshot"};

	if (!qemu_img_there())
		return;
	begin_dir();
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		struct rig *m = sample(names[i]);
		struct qcow2 *q = open_image(m);

		must_save(q, "ours", 100000);
		assert_clean(q);
		must_apply(q, "1");
		ck_assert_int_eq(fill(q, 0x77, 0, 200000), 0);
		close_image(q);
		ck_assert_int_eq(qemu_check(m), 0);
		q = open_image(m);
		while (qcow2_snapshot_at(q, 0))
			must_delete(q, qcow2_snapshot_at(q, 0)->id);
		close_image(q);
		ck_assert_int_eq(qemu_check(m), 0);
		free_image(m);
	}
	end_dir();
}
END_TEST

/* Ours, listed, applied and deleted by qemu-img, and the other way round. */
static void with_qemu_img(const char *layout)
{
	struct rig *m = new_image(layout, DISK);
	struct qcow2 *q = open_image(m);
	uint8_t *first = malloc(DISK), *now = malloc(DISK);

	ck_assert_int_eq(fill(q, 0x01, 0, 500000), 0);
	read_all(q, first, DISK);
	must_save(q, "ours", 300000);
	must_save(q, "=", 200000);
	ck_assert_int_eq(fill(q, 0x02, 100000, 500000), 0);
	close_image(q);
	ck_assert_int_eq(qemu_check(m), 0);
	ck_assert_int_eq(
	    shell("qemu-img snapshot -l %s | grep -q '^1 *ours *293 KiB .*00:00:00.000'",
		  image_path()),
	    0);
	ck_assert_int_eq(
	    shell("qemu-img snapshot -a = %s && qemu-img check -q %s && "
		  "qemu-io -f qcow2 -c 'read -b -P 0x3d 0 199680' %s | grep -q '^read 199680'",
		  image_path(), image_path(), image_path()),
	    0);
	ck_assert_int_eq(shell("qemu-img snapshot -c theirs %s", image_path()), 0);
	ck_assert_int_eq(shell("qemu-img snapshot -a ours %s", image_path()), 0);
	ck_assert_int_eq(shell("qemu-img check -q %s", image_path()), 0);
	load_again(m);
	q = open_image(m);
	read_all(q, now, DISK);
	ck_assert_int_eq(memcmp(now, first, DISK), 0);
	assert_state(q, "ours", 300000);
	ck_assert_str_eq(qcow2_snapshot_named(q, "theirs")->id, "3");
	ck_assert_int_eq(fill(q, 0x03, 50000, 300000), 0);
	assert_clean(q);
	must_save(q, "again", 1000);
	must_delete(q, "3");
	close_image(q);
	ck_assert_int_eq(qemu_check(m), 0);
	ck_assert_int_eq(shell("qemu-img snapshot -d ours %s", image_path()), 0);
	ck_assert_int_eq(shell("qemu-img check -q %s", image_path()), 0);
	load_again(m);
	q = open_image(m);
	assert_state(q, "again", 1000);
	assert_clean(q);
	close_image(q);
	free(first);
	free(now);
	free_image(m);
}

static void with_layout(void (*test)(const char *layout), size_t i)
{
	if (!qemu_img_there())
		return;
	begin_dir();
	test(layouts[i]);
	end_dir();
}

#define LAYOUT_TESTS(i)                                                                            \
	START_TEST(test_layout_##i)                                                                \
	{                                                                                          \
		with_layout(save_and_look, i);                                                     \
	}                                                                                          \
	END_TEST                                                                                   \
	START_TEST(test_qemu_img_##i)                                                              \
	{                                                                                          \
		with_layout(with_qemu_img, i);                                                     \
	}                                                                                          \
	END_TEST

LAYOUT_TESTS(0)
LAYOUT_TESTS(1)
LAYOUT_TESTS(2)
LAYOUT_TESTS(3)
LAYOUT_TESTS(4)
LAYOUT_TESTS(5)
LAYOUT_TESTS(6)

START_TEST(test_layout_7)
{
	with_layout(save_and_look, 7);
}
END_TEST

/* Clusters that a snapshot alone had are room once it is deleted, and no sooner. */
START_TEST(test_room)
{
	uint64_t before, saved, after;
	struct rig *m;
	struct qcow2 *q;

	if (!qemu_img_there())
		return;
	begin_dir();
	m = new_image("-o cluster_size=4096", DISK);
	q = open_image(m);
	ck_assert_int_eq(qcow2_room(q, UINT64_MAX, &before), 0);
	must_save(q, "first", 1000000);
	ck_assert_int_eq(qcow2_room(q, UINT64_MAX, &saved), 0);
	ck_assert_uint_le(saved, before + 65536); /* no more than tables that were replaced */
	ck_assert_int_eq(qcow2_snapshot_delete(q, "1", NULL), 0);
	ck_assert_int_eq(qcow2_room(q, UINT64_MAX, &after), 0);
	ck_assert_uint_ge(after, saved + 1000000);
	ck_assert_int_eq(qcow2_room(q, 4096, &after), 0); /* enough is enough */
	ck_assert_uint_ge(after, 4096);
	close_image(q);
	free_image(m);
	end_dir();
}
END_TEST

CHECK_MAIN("qcow2-snapshot", test_samples, test_samples_changed, test_layout_0, test_layout_1,
	   test_layout_2, test_layout_3, test_layout_4, test_layout_5, test_layout_6, test_layout_7,
	   test_qemu_img_0, test_qemu_img_1, test_qemu_img_2, test_qemu_img_3, test_qemu_img_4,
	   test_qemu_img_5, test_qemu_img_6, test_room)
