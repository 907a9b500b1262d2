/*
 * Random operations with snapshots among them, mirrored in memory: what the disk and each snapshot
 * hold is what the model holds, and the image has neither errors nor leaks.
 */
#include "tests/unit/qcow2-judge.h"

#define DISK       (512 * KiB)
#define SNAPSHOTS  5
#define OPERATIONS 500

struct kept {
	char name[24];
	uint8_t *disk;
	size_t state_bytes;
};

struct model {
	struct rig *m;
	struct qcow2 *q;
	uint8_t *disk, *now;
	struct kept kept[SNAPSHOTS];
	unsigned seed, n, made;
};

static unsigned pick(struct model *x, unsigned n)
{
	return (unsigned)rand_r(&x->seed) % n;
}

/* A place and a length, often of whole clusters, mostly short. */
static void pick_range(struct model *x, uint64_t *off, size_t *bytes)
{
	*off = pick(x, DISK);
	*bytes = pick(x, pick(x, 8) ? 6000 : 200000);
	if (pick(x, 2)) {
		*off = ALIGN_DOWN(*off, 4096);
		*bytes = ALIGN_UP(*bytes, 4096);
	}
	*bytes = MIN(*bytes, DISK - *off);
}

static void change(struct model *x)
{
	uint64_t off;
	size_t bytes;
	uint8_t v = (uint8_t)(1 + pick(x, 255));

	pick_range(x, &off, &bytes);
	switch (bytes ? pick(x, 5) : 4) {
	case 0:
	case 1:
		ck_assert_int_eq(fill(x->q, v, off, bytes), 0);
		memset(x->disk + off, v, bytes);
		break;
	case 2:
		ck_assert_int_eq(qcow2_write_zeroes(x->q, off, bytes, pick(x, 2)), 0);
		memset(x->disk + off, 0, bytes);
		break;
	case 3: /* what of it became zero is for the image to say */
		ck_assert_int_eq(qcow2_discard(x->q, off, bytes), 0);
		read_all(x->q, x->now, DISK);
		for (size_t i = 0; i < DISK; i++) {
			bool in = i >= off && i < off + bytes;

			if (x->now[i] != x->disk[i])
				ck_assert(in && x->now[i] == 0);
		}
		memcpy(x->disk, x->now, DISK);
		break;
	default:
		ck_assert_int_eq(qcow2_flush(x->q), 0);
	}
}

static struct kept *kept_free(struct model *x)
{
	for (unsigned i = 0; i < SNAPSHOTS; i++)
		if (!x->kept[i].disk)
			return &x->kept[i];
	return NULL;
}

static struct kept *kept_any(struct model *x)
{
	struct kept *k = &x->kept[pick(x, SNAPSHOTS)];

	return k->disk ? k : NULL;
}

/* The instant is that of the beginning, however much is changed until the end. */
static void make_one(struct model *x)
{
	struct kept *k = kept_free(x);
	struct qcow2_snapshot what = {.name = "given up", .icount = 1};
	size_t n = pick(x, 100000), at = 0;
	uint8_t *state = malloc(n + 1), *disk = malloc(DISK);
	struct qcow2_saving *s;
	struct err err = {0};

	memcpy(disk, x->disk, DISK);
	ck_assert_msg(qcow2_saving_begin(x->q, &s, &err) == 0, "%s", err.msg);
	if (k) {
		(void)snprintf(k->name, sizeof(k->name), "%u of them", x->made++);
		what.name = k->name;
	}
	state_bytes(state, n, (uint8_t)what.name[0]);
	for (unsigned i = pick(x, 12); at < n || i > 0;) {
		size_t want = 1U + pick(x, 30000);
		const struct iovec iov = {state + at, MIN(n - at, want)};

		if (i > 0 && i--)
			change(x);
		ck_assert_msg(qcow2_saving_write(s, &iov, 1, at, &err) == 0, "%s", err.msg);
		at += iov.iov_len;
	}
	what.vmstate_bytes = n;
	free(state);
	if (!k || pick(x, 4) == 0) {
		qcow2_saving_abort(s);
		free(disk);
		return;
	}
	ck_assert_msg(qcow2_saving_commit(s, &what, &err) == 0, "%s", err.msg);
	k->disk = disk;
	k->state_bytes = n;
}

static void drop_one(struct model *x)
{
	struct kept *k = kept_any(x);
	struct err err = {0};

	if (!k)
		return;
	ck_assert_msg(qcow2_snapshot_delete(x->q, qcow2_snapshot_named(x->q, k->name)->id, &err) ==
			  0,
		      "%s", err.msg);
	free(k->disk);
	k->disk = NULL;
}

static void go_back(struct model *x)
{
	struct kept *k = kept_any(x);
	struct err err = {0};

	if (!k)
		return;
	ck_assert_msg(qcow2_snapshot_apply(x->q, qcow2_snapshot_named(x->q, k->name)->id, &err) ==
			  0,
		      "%s", err.msg);
	memcpy(x->disk, k->disk, DISK);
}

static void compare_all(struct model *x)
{
	read_all(x->q, x->now, DISK);
	ck_assert_msg(memcmp(x->now, x->disk, DISK) == 0, "operation %u", x->n);
	for (unsigned i = 0; i < SNAPSHOTS; i++)
		if (x->kept[i].disk) {
			assert_disk_of(x->q, x->kept[i].name, x->kept[i].disk, DISK);
			assert_state(x->q, x->kept[i].name, x->kept[i].state_bytes);
		}
}

static void operate(struct model *x)
{
	unsigned what = pick(x, 60);

	if (what < 3)
		make_one(x);
	else if (what == 3)
		drop_one(x);
	else if (what == 4)
		go_back(x);
	else
		change(x);
	if (x->n % 50 == 0) {
		compare_all(x);
		assert_clean(x->q);
	}
	if (pick(x, 200) == 0) {
		close_image(x->q);
		x->q = open_image(x->m);
	}
}

static void run_model(const char *layout, unsigned seed)
{
	struct model x = {.seed = seed, .disk = calloc(1, DISK), .now = calloc(1, DISK)};

	if (!qemu_img_there())
		return;
	begin_dir();
	image_discards = seed % 2;
	x.m = new_image(layout, DISK);
	x.q = open_image(x.m);
	for (x.n = 1; x.n <= OPERATIONS; x.n++)
		operate(&x);
	compare_all(&x);
	close_image(x.q);
	ck_assert_int_eq(qemu_check(x.m), 0);
	for (unsigned i = 0; i < SNAPSHOTS; i++)
		free(x.kept[i].disk);
	free(x.disk);
	free(x.now);
	free_image(x.m);
	end_dir();
}

START_TEST(test_clusters_64k)
{
	run_model("-o cluster_size=65536", 1);
}
END_TEST

START_TEST(test_clusters_512)
{
	run_model("-o cluster_size=512", 2);
}
END_TEST

START_TEST(test_extended_l2)
{
	run_model("-o cluster_size=16384,extended_l2=on", 3);
}
END_TEST

START_TEST(test_version_2)
{
	run_model("-o cluster_size=4096,compat=0.10", 4);
}
END_TEST

START_TEST(test_narrow_refcounts)
{
	run_model("-o cluster_size=1024,refcount_bits=4", 5);
}
END_TEST

START_TEST(test_lazy_refcounts)
{
	run_model("-o cluster_size=4096,lazy_refcounts=on", 6);
}
END_TEST

CHECK_MAIN("qcow2-snapshot-model", test_clusters_64k, test_clusters_512, test_extended_l2,
	   test_version_2, test_narrow_refcounts, test_lazy_refcounts)
