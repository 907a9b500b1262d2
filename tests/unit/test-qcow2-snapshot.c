/*
 * Snapshots of qcow2 images: made, read through, deleted and applied, judged by the check of the
 * program itself at every step, and by qemu-img.
 */
#include "tests/unit/qcow2-judge.h"

#define DISK (4 * MiB)

static const char *const layouts[] = {
    "-o cluster_size=65536",
    "-o cluster_size=512",
    "-o cluster_size=4096,refcount_bits=8",
    "-o cluster_size=65536,extended_l2=on",
    "-o compat=0.10",
    "-o cluster_size=1024,refcount_bits=64",
    "-o cluster_size=4096,refcount_bits=2",
    "-o cluster_size=2M,lazy_refcounts=on",
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
	for (size_t i = 0; i < 70000; i++)
		ck_assert_uint_eq(now[i], 0xb1);
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

START_TEST(test_layouts)
{
	if (!qemu_img_there())
		return;
	begin_dir();
	for (size_t i = 0; i < ARRAY_LEN(layouts); i++) {
		(void)printf("%s\n", layouts[i]);
		(void)fflush(stdout);
		save_and_look(layouts[i]);
	}
	end_dir();
}
END_TEST

CHECK_MAIN("qcow2-snapshot", test_layouts)
