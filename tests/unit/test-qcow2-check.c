/*
 * Checks and repairs of qcow2 images beside those of qemu-img: the same findings in the same
 * numbers, and after a repair none for either.  Bitmaps: kept up, stored, and read by qemu-img.
 */
#include <zstd.h>

#include "tests/unit/qcow2-judge.h"
#include "vmm/base/bytes.h"

#define DISK (4 * MiB)

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

/* An open image of any state, as a check opens it. */
static struct qcow2 *open_checking(struct rig *m)
{
	const struct qcow2_storage s = rig_storage(m);
	const struct qcow2_open how = {.writable = true, .checking = true};
	struct qcow2 *q = NULL;
	struct err err = {0};

	ck_assert_msg(qcow2_open(&q, &s, &how, &err) == 0, "%s", err.msg);
	return q;
}

/* What qemu-img says of this key; 0 where it says nothing. */
static uint64_t qemu_number(const char *key)
{
	char value[40] = "";
	char *line = xasprintf("sed -n 's/.*\"%s\": \\([0-9]*\\).*/\\1/p' %s/json", key, dir);
	FILE *f = popen(line, "r");

	ck_assert_ptr_nonnull(f);
	if (!fgets(value, sizeof(value), f))
		value[0] = '\0';
	(void)pclose(f);
	free(line);
	return strtoull(value, NULL, 10);
}

/* Both find the same. */
static struct qcow2_check both_check(struct rig *m)
{
	struct qcow2 *q = open_checking(m);
	struct qcow2_check c = own_check_of(q);

	(void)qcow2_close(q, NULL);
	rig_store(m, image_path());
	(void)shell("qemu-img check --output=json -f qcow2 %s >%s/json 2>/dev/null", image_path(),
		    dir);
	ck_assert_uint_eq(c.errors, qemu_number("corruptions"));
	ck_assert_uint_eq(c.leaks, qemu_number("leaks"));
	ck_assert_uint_eq(c.end_off, qemu_number("image-end-offset"));
	ck_assert_uint_eq(c.clusters, qemu_number("total-clusters"));
	ck_assert_uint_eq(c.allocated, qemu_number("allocated-clusters"));
	ck_assert_uint_eq(c.fragmented, qemu_number("fragmented-clusters"));
	ck_assert_uint_eq(c.compressed, qemu_number("compressed-clusters"));
	return c;
}

static struct qcow2_check repair(struct rig *m, unsigned what)
{
	struct qcow2 *q = open_checking(m);
	struct qcow2_check c = {0};
	struct err err = {0};

	ck_assert_msg(qcow2_check(q, what, &c, &err) == 0, "%s", err.msg);
	close_image(q);
	return c;
}

/* Two snapshots, fragments, zeroes. */
static struct rig *rich_image(const char *layout)
{
	struct rig *m = new_image(layout, DISK);
	struct qcow2 *q = open_image(m);

	ck_assert_int_eq(fill(q, 1, 0, 1000000), 0);
	must_save(q, "a", 100000);
	ck_assert_int_eq(fill(q, 2, 300000, 300000), 0);
	ck_assert_int_eq(qcow2_write_zeroes(q, 0, 65536, false), 0);
	must_save(q, "b", 0);
	ck_assert_int_eq(fill(q, 3, 100, 1), 0);
	close_image(q);
	return m;
}

static const char *const layouts[] = {
    "-o cluster_size=65536",
    "-o cluster_size=512",
    "-o compat=0.10,cluster_size=4096",
    "-o cluster_size=16384,extended_l2=on",
    "-o cluster_size=4096,refcount_bits=64",
    "-o cluster_size=4096,refcount_bits=4",
};

static uint64_t be64_at(const struct rig *m, uint64_t off)
{
	return get_be64(m->p + off);
}

/* Where the refcount of cluster 0 is. */
static uint64_t first_block(const struct rig *m)
{
	return be64_at(m, be64_at(m, 48));
}

enum harm {
	HARM_NONE,
	HARM_LEAK,     /* refcounts of free clusters are 1 */
	HARM_LOW,      /* those of used ones 0 */
	HARM_COPIED,   /* flags the other way round */
	HARM_NO_TABLE, /* the refcount table says that there are no blocks */
	HARMS
};

static void harm_image(struct rig *m, enum harm harm)
{
	uint64_t l1 = be64_at(m, 40), block = first_block(m), l2 = 0, cluster, end;
	unsigned width = get_be32(m->p + 4) == 2 ? 4 : get_be32(m->p + 96);

	for (uint64_t i = 0; i < 8 && !l2; i++)
		l2 = be64_at(m, l1 + i * 8) & 0x00fffffffffffe00ULL;
	switch (harm) {
	case HARM_LEAK: /* a cluster more, which a count of any width says is in use */
		cluster = 1ULL << get_be32(m->p + 20);
		end = ALIGN_UP(m->bytes, cluster);
		rig_room(m, end + cluster);
		end /= cluster;
		block = be64_at(m, be64_at(m, 48) + ((end << width) / 8 / cluster) * 8);
		ck_assert_uint_ne(block, 0);
		m->p[block + (end << width) / 8 % cluster] |= width == 2 && end % 2 ? 0x10 : 1;
		break;
	case HARM_LOW:
		memset(m->p + block + 16, 0, 16);
		break;
	case HARM_COPIED:
		m->p[l2] ^= 0x80;
		m->p[l2 + 16] ^= 0x80;
		break;
	case HARM_NO_TABLE:
		memset(m->p + be64_at(m, 48), 0, 8);
		break;
	default:
		break;
	}
}

static void check_harm(const char *layout, enum harm harm)
{
	struct rig *m = rich_image(layout);
	struct qcow2_check c;
	uint8_t *before = malloc(DISK), *after = malloc(DISK);
	struct qcow2 *q = open_image(m);

	read_all(q, before, DISK);
	close_image(q);
	harm_image(m, harm);
	c = both_check(m);
	ck_assert((harm == HARM_NONE || harm == HARM_LEAK) == (c.errors == 0));
	ck_assert(harm == HARM_NO_TABLE || (harm == HARM_LEAK) == (c.leaks != 0));
	c = repair(m, QCOW2_REPAIR_LEAKS | QCOW2_REPAIR_ERRORS);
	ck_assert_uint_eq(c.errors, 0);
	ck_assert_uint_eq(c.leaks, 0);
	ck_assert((c.errors_fixed != 0) == (harm != HARM_NONE && harm != HARM_LEAK));
	c = both_check(m);
	ck_assert_uint_eq(c.errors + c.leaks, 0);
	q = open_image(m);
	read_all(q, after, DISK);
	ck_assert_int_eq(memcmp(before, after, DISK), 0);
	assert_state(q, "a", 100000);
	close_image(q);
	free(before);
	free(after);
	free_image(m);
}

static void all_harm(const char *layout)
{
	if (!qemu_img_there())
		return;
	begin_dir();
	errors_expected = true;
	for (enum harm h = HARM_NONE; h < HARMS; h++)
		check_harm(layout, h);
	end_dir();
}

START_TEST(test_harm)
{
	all_harm(layouts[0]);
	all_harm(layouts[2]);
}
END_TEST

START_TEST(test_harm_tiny)
{
	all_harm(layouts[1]);
}
END_TEST

START_TEST(test_harm_extended)
{
	all_harm(layouts[3]);
}
END_TEST

START_TEST(test_harm_widths)
{
	all_harm(layouts[4]);
	all_harm(layouts[5]);
}
END_TEST

/* A process that ended in the middle of a save leaves leaks, of which a repair leaves nothing. */
START_TEST(test_leaks)
{
	if (!qemu_img_there())
		return;
	begin_dir();
	for (size_t i = 0; i < ARRAY_LEN(layouts); i++) {
		struct rig *m = rich_image(layouts[i]);
		struct qcow2 *q = open_image(m);
		struct qcow2_saving *s;
		uint8_t p[5000] = {1};
		const struct iovec iov = {p, sizeof(p)};
		struct qcow2_check c;

		ck_assert_int_eq(qcow2_saving_begin(q, &s, NULL), 0);
		ck_assert_int_eq(qcow2_saving_write(s, &iov, 1, 0, NULL), 0);
		ck_assert_int_eq(fill(q, 9, 0, 100000), 0);
		ck_assert_int_eq(qcow2_flush(q), 0);
		rig_fail(m, 1, -EIO, true);
		(void)qcow2_close(q, NULL);
		rig_fail(m, 0, 0, false);
		c = both_check(m);
		ck_assert_uint_eq(c.errors, 0);
		ck_assert_uint_gt(c.leaks, 0);
		c = repair(m, QCOW2_REPAIR_LEAKS);
		ck_assert_uint_gt(c.leaks_fixed, 0);
		ck_assert_uint_eq(c.leaks + c.errors, 0);
		c = both_check(m);
		ck_assert_uint_eq(c.errors + c.leaks, 0);
		free_image(m);
	}
	end_dir();
}
END_TEST

/* Lazy refcounts: what a killed process has left is right after it has been opened. */
START_TEST(test_dirty)
{
	struct rig *m;
	struct qcow2 *q;
	struct qcow2_check c;

	if (!qemu_img_there())
		return;
	begin_dir();
	m = sample("lazy-dirty");
	c = both_check(m);
	ck_assert_uint_eq(c.errors, 2);
	q = open_image(m);
	assert_clean(q);
	ck_assert(!qcow2_info(q)->dirty);
	close_image(q);
	c = both_check(m);
	ck_assert_uint_eq(c.errors + c.leaks, 0);
	free_image(m);
	end_dir();
}
END_TEST

/* ---- bitmaps ---- */

#define BITMAP_DISK (16 * MiB)
#define GRANULARITY 65536

/* What qemu-img's mapping of the bitmap says through a server is not asked for: only its flags. */
static bool qemu_lists(const char *flags)
{
	(void)shell("qemu-img info --output=json %s >%s/json 2>/dev/null", image_path(), dir);
	return shell("tr -d ' \\n' <%s/json | grep -q '\"flags\":\\[%s\\],\"name\":\"b0\"'", dir,
		     flags) == 0;
}

/* The bits that qemu-img merges into a new raw listing: by the bytes of the bitmap's only cluster.
 */
static uint64_t stored_bits(const struct rig *m, unsigned word)
{
	uint64_t dir_host = 0, table, data;

	for (uint64_t at = get_be32(m->p + 100); get_be32(m->p + at);) {
		if (get_be32(m->p + at) == 0x23852875)
			dir_host = get_be64(m->p + at + 24);
		at += 8 + ALIGN_UP(get_be32(m->p + at + 4), 8);
	}
	ck_assert_uint_ne(dir_host, 0);
	table = get_be64(m->p + dir_host);
	data = get_be64(m->p + table) & ~1ULL;
	return data ? get_le64(m->p + data + word * 8) : 0;
}

START_TEST(test_bitmap)
{
	struct rig *m, *killed;
	struct qcow2 *q;

	if (!qemu_img_there())
		return;
	begin_dir();
	m = sample("bitmap-clean");
	q = open_image(m);
	ck_assert_str_eq(qcow2_bitmap_at(q, 0)->name, "b0");
	ck_assert_uint_eq(qcow2_bitmap_at(q, 0)->granularity, GRANULARITY);
	ck_assert(!qcow2_bitmap_at(q, 0)->in_use && qcow2_bitmap_at(q, 0)->automatic);
	ck_assert_ptr_null(qcow2_bitmap_at(q, 1));
	assert_clean(q);
	killed = copy_image(m);
	rig_store(killed, image_path());
	ck_assert(qemu_lists("\"in-use\",\"auto\""));
	ck_assert_int_eq(fill(q, 1, 3 * GRANULARITY + 5, GRANULARITY), 0);
	ck_assert_int_eq(qcow2_write_zeroes(q, 70 * GRANULARITY, 2 * GRANULARITY, true), 0);
	ck_assert_int_eq(qcow2_discard(q, 10 * GRANULARITY, GRANULARITY), 0);
	close_image(q);
	ck_assert_int_eq(qemu_check(m), 0);
	ck_assert(qemu_lists("\"auto\""));
	ck_assert_uint_eq(stored_bits(m, 0), 1ULL << 3 | 1ULL << 4 | 1ULL << 10);
	ck_assert_uint_eq(stored_bits(m, 1), 3ULL << 6);

	/* again: what was there stays */
	q = open_image(m);
	ck_assert_int_eq(fill(q, 1, 0, 1), 0);
	assert_clean(q);
	close_image(q);
	ck_assert_int_eq(qemu_check(m), 0);
	ck_assert_uint_eq(stored_bits(m, 0), 1ULL << 0 | 1ULL << 3 | 1ULL << 4 | 1ULL << 10);

	/* the one whose process was killed is left as it is */
	q = open_image(killed);
	ck_assert(qcow2_bitmap_at(q, 0)->in_use);
	ck_assert_int_eq(fill(q, 1, 0, 1), 0);
	ck_assert_int_eq(qcow2_resize(q, BITMAP_DISK * 2, NULL), -ENOTSUP);
	close_image(q);
	ck_assert_int_eq(qemu_check(killed), 0);
	ck_assert(qemu_lists("\"in-use\",\"auto\""));
	free_image(killed);
	free_image(m);
	end_dir();
}
END_TEST

/* By qemu-img: several of them, larger than a cluster, resized by us, then merged by it. */
START_TEST(test_bitmaps_of_qemu_img)
{
	struct rig *m;
	struct qcow2 *q;
	struct err err = {0};

	if (!qemu_img_there())
		return;
	begin_dir();
	free_image(new_image("-o cluster_size=512", DISK));
	ck_assert_int_eq(
	    shell("qemu-img bitmap --add -g 512 %s one && qemu-img bitmap --add -g 64k %s "
		  "two && qemu-img bitmap --add --disable %s three",
		  image_path(), image_path(), image_path()),
	    0);
	m = NEW(struct rig);
	load_again(m);
	q = open_image(m);
	assert_clean(q);
	ck_assert_int_eq(fill(q, 1, 5000, 3000000), 0);
	ck_assert_msg(qcow2_resize(q, DISK + 300032, &err) == 0, "%s", err.msg);
	ck_assert_int_eq(fill(q, 1, DISK + 290000, 9000), 0);
	must_save(q, "s", 5);
	ck_assert_msg(qcow2_snapshot_apply(q, "1", &err) == 0, "%s", err.msg);
	assert_clean(q);
	close_image(q);
	ck_assert_int_eq(qemu_check(m), 0);
	ck_assert_int_eq(
	    shell("qemu-img bitmap --merge one %s two && qemu-img bitmap --remove %s three",
		  image_path(), image_path()),
	    0);
	load_again(m);
	q = open_image(m);
	assert_clean(q);
	ck_assert_ptr_null(qcow2_bitmap_at(q, 2));
	close_image(q);
	free_image(m);
	end_dir();
}
END_TEST

/* Killed at any call of opening, writing and closing: never a bitmap that is believed and wrong. */
START_TEST(test_bitmap_killed)
{
	bool hit = true;

	if (!qemu_img_there())
		return;
	begin_dir();
	for (unsigned n = 1; hit; n++) {
		struct rig *m = sample("bitmap-clean");
		const struct qcow2_storage s = rig_storage(m);
		const struct qcow2_open how = {.writable = true};
		struct qcow2 *q;
		struct qcow2_check c;
		bool wrote = false;

		rig_fail(m, n, -EIO, true);
		if (qcow2_open(&q, &s, &how, NULL) == 0) {
			wrote = fill(q, 1, 0, 1) == 0 && qcow2_flush(q) == 0;
			(void)qcow2_close(q, NULL);
		}
		hit = m->failed;
		rig_fail(m, 0, 0, false);
		c = both_check(m);
		ck_assert_uint_eq(c.errors, 0);
		q = open_image(m);
		ck_assert(!wrote || qcow2_bitmap_at(q, 0)->in_use || stored_bits(m, 0) == 1);
		close_image(q);
		free_image(m);
	}
	end_dir();
}
END_TEST

CHECK_MAIN("qcow2-check", test_harm, test_harm_tiny, test_harm_extended, test_harm_widths,
	   test_leaks, test_dirty, test_bitmap, test_bitmaps_of_qemu_img, test_bitmap_killed)
