/*
 * Random operations with snapshots among them, mirrored in memory: what the disk and each snapshot
 * hold is what the model holds, and the image has neither errors nor leaks.
 */
#include "tests/unit/qcow2-judge.h"

#define DISK      (512 * KiB)
#define DISK_MAX  (768 * KiB)
#define SNAPSHOTS 5

struct layout {
	const char *options; /* of qemu-img create */
	bool backing, discards;
	unsigned ops;
};

static const struct layout layouts[] = {
    {"-o cluster_size=65536",                       false, true,  700},
    {"-o cluster_size=65536,compression_type=zstd", true,  false, 500},
    {"-o cluster_size=512",                         false, false, 500},
    {"-o cluster_size=512,refcount_bits=64",        true,  true,  400},
    {"-o cluster_size=16384,extended_l2=on",        false, true,  700},
    {"-o cluster_size=32768,extended_l2=on",        true,  true,  600},
    {"-o cluster_size=4096,compat=0.10",            false, false, 500},
    {"-o cluster_size=4096,compat=0.10",            true,  true,  500},
    {"-o cluster_size=1024,refcount_bits=4",        false, true,  500},
    {"-o cluster_size=4096,refcount_bits=8",        true,  false, 500},
    {"-o cluster_size=4096,refcount_bits=32",       false, true,  500},
    {"-o cluster_size=4096,lazy_refcounts=on",      false, false, 500},
    {"-o cluster_size=2097152,extended_l2=on",      true,  true,  150},
    {"-o cluster_size=2097152",                     false, true,  150},
};

struct kept {
	char name[24];
	uint8_t *disk;
	uint64_t bytes;
	size_t state_bytes;
};

struct model {
	const struct layout *l;
	struct rig *m;
	struct qcow2 *q;
	uint64_t bytes;
	uint8_t *disk, *now, *below; /* DISK_MAX each */
	struct kept kept[SNAPSHOTS];
	unsigned seed, n, made;
};

static int read_below(void *opaque, const struct iovec *iov, int n_iov, uint64_t off)
{
	const struct model *x = opaque;
	size_t n = (size_t)iov_bytes(iov, (size_t)n_iov);

	(void)iov_zero(iov, (size_t)n_iov, 0, n);
	if (off < DISK_MAX)
		(void)iov_write(iov, (size_t)n_iov, 0, x->below + off, MIN(n, DISK_MAX - off));
	return 0;
}

static void open_it(struct model *x)
{
	const struct qcow2_storage s = rig_storage(x->m);
	const struct qcow2_open how = {.writable = true,
				       .discards = x->l->discards,
				       .read_backing = x->l->backing ? read_below : NULL,
				       .backing_opaque = x};
	struct err err = {0};

	ck_assert_msg(qcow2_open(&x->q, &s, &how, &err) == 0, "%s", err.msg);
}

static unsigned pick(struct model *x, unsigned n)
{
	return (unsigned)rand_r(&x->seed) % n;
}

/* A place and a length, often of whole clusters, mostly short. */
static void pick_range(struct model *x, uint64_t *off, size_t *bytes)
{
	*off = pick(x, (unsigned)x->bytes);
	*bytes = pick(x, pick(x, 8) ? 6000 : 200000);
	if (pick(x, 2)) {
		*off = ALIGN_DOWN(*off, 4096);
		*bytes = ALIGN_UP(*bytes, 4096);
	}
	*bytes = MIN(*bytes, x->bytes - *off);
}

/* Where the clusters are there and not older than an instant: straight to the storage. */
static void write_mapped(struct model *x, uint8_t v, uint64_t off, size_t bytes)
{
	struct qcow2_extent e;
	int ret;

	if (bytes == 0)
		return;
	ret = qcow2_map_write(x->q, off, bytes, &e);
	ck_assert(ret == 0 || ret == -EAGAIN);
	if (ret < 0)
		return;
	ck_assert_int_eq(e.kind, QCOW2_DATA);
	rig_room(x->m, e.host_off + e.bytes);
	memset(x->m->p + e.host_off, v, e.bytes);
	memset(x->disk + off, v, e.bytes);
}

/* Many clusters in one of the file's, each with a reference from each snapshot: more than 15. */
static void write_compressed(struct model *x, uint8_t v)
{
	uint64_t c = qcow2_info(x->q)->cluster_bytes;
	uint64_t off = pick(x, (unsigned)((x->bytes + c - 1) / c)) * c;
	uint64_t bytes = MIN(c, x->bytes - off);

	if (qcow2_info(x->q)->refcount_bits < 8)
		return;
	for (uint64_t i = 0; i < bytes; i++)
		x->disk[off + i] = (uint8_t)(v + i / 300);
	ck_assert_int_eq(qcow2_write_compressed(x->q, x->disk + off, bytes, off), 0);
}

/* What of a discard became zero is for the image to say. */
static void discard(struct model *x, uint64_t off, size_t bytes)
{
	ck_assert_int_eq(qcow2_discard(x->q, off, bytes), 0);
	read_all(x->q, x->now, x->bytes);
	for (size_t i = 0; i < x->bytes; i++) {
		bool in = i >= off && i < off + bytes;

		if (x->now[i] != x->disk[i])
			ck_assert(in && x->now[i] == 0);
	}
	memcpy(x->disk, x->now, x->bytes);
}

static void change(struct model *x)
{
	uint64_t off;
	size_t bytes;
	uint8_t v = (uint8_t)(1 + pick(x, 255));

	pick_range(x, &off, &bytes);
	switch (bytes ? pick(x, 8) : 7) {
	case 0:
	case 1:
		ck_assert_int_eq(fill(x->q, v, off, bytes), 0);
		memset(x->disk + off, v, bytes);
		break;
	case 2:
		ck_assert_int_eq(qcow2_write_zeroes(x->q, off, bytes, pick(x, 2)), 0);
		memset(x->disk + off, 0, bytes);
		break;
	case 3:
		discard(x, off, bytes);
		break;
	case 4:
	case 5: /* of sectors, as from a guest's queue */
		off = ALIGN_DOWN(off, 512);
		write_mapped(x, v, off, ALIGN_DOWN(MIN(bytes, x->bytes - off), 512));
		break;
	case 6:
		write_compressed(x, v);
		break;
	default:
		ck_assert_int_eq(qcow2_flush(x->q), 0);
	}
}

/* Snapshots keep the size that they were made with. */
static void resize(struct model *x)
{
	uint64_t bytes = 128 * KiB + pick(x, (DISK_MAX - 128 * KiB) / 512) * 512ULL, old = x->bytes;
	const struct qcow2_info *info = qcow2_info(x->q);
	struct err err = {0};
	int ret = qcow2_resize(x->q, bytes, &err);

	if (info->version == 2 && qcow2_snapshot_at(x->q, 0) && bytes != old) {
		ck_assert_int_eq(ret, -ENOTSUP);
		return;
	}
	ck_assert_msg(ret == 0, "%s", err.msg);
	x->bytes = bytes;
	if (bytes <= old)
		return;
	memset(x->disk + old, 0, bytes - old);
	if (x->l->backing)
		ck_assert_int_eq(qcow2_write_zeroes(x->q, old, bytes - old, false), 0);
}

static void hand_over(struct model *x)
{
	struct err err = {0};

	ck_assert_msg(qcow2_deactivate(x->q, &err) == 0, "%s", err.msg);
	ck_assert_msg(qcow2_activate(x->q, &err) == 0, "%s", err.msg);
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
	uint8_t *state = malloc(n + 1), *disk = malloc(DISK_MAX);
	uint64_t bytes = x->bytes;
	struct qcow2_saving *s;
	struct err err = {0};

	memcpy(disk, x->disk, DISK_MAX);
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
	k->bytes = bytes;
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
	x->bytes = k->bytes;
	ck_assert_uint_eq(qcow2_info(x->q)->bytes, x->bytes);
	memcpy(x->disk, k->disk, DISK_MAX);
}

static void compare_all(struct model *x)
{
	read_all(x->q, x->now, x->bytes);
	ck_assert_msg(memcmp(x->now, x->disk, x->bytes) == 0, "operation %u", x->n);
	for (unsigned i = 0; i < SNAPSHOTS; i++)
		if (x->kept[i].disk) {
			assert_disk_of(x->q, x->kept[i].name, x->kept[i].disk, x->kept[i].bytes);
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
	else if (what == 5)
		resize(x);
	else if (what == 6)
		hand_over(x);
	else
		change(x);
	if (x->n % 50 == 0) {
		compare_all(x);
		assert_clean(x->q);
	}
	if (pick(x, 200) == 0) {
		close_image(x->q);
		open_it(x);
	}
}

static void setup(struct model *x)
{
	x->disk = xcalloc(3, DISK_MAX);
	x->now = x->disk + DISK_MAX;
	x->below = x->now + DISK_MAX;
	x->bytes = DISK;
	for (size_t i = 0; i < DISK_MAX && x->l->backing; i++)
		x->below[i] = (uint8_t)(i / 512 * 7 + 3);
	memcpy(x->disk, x->below, DISK);
	x->m = new_image(x->l->options, DISK);
	open_it(x);
}

static void run_model(const struct layout *l, unsigned seed)
{
	struct model x = {.l = l, .seed = seed};

	begin_dir();
	setup(&x);
	for (x.n = 1; x.n <= l->ops; x.n++)
		operate(&x);
	compare_all(&x);
	close_image(x.q);
	ck_assert_int_eq(qemu_check(x.m), 0);
	for (unsigned i = 0; i < SNAPSHOTS; i++)
		free(x.kept[i].disk);
	free(x.disk);
	free_image(x.m);
	end_dir();
}

/* Every fourth layout from 'first' on. */
static void run_some(size_t first)
{
	const char *more = getenv("QCOW2_MODEL_RUNS"); /* other seeds, for a search by hand */
	unsigned runs = more ? (unsigned)atoi(more) : 1;

	if (!qemu_img_there())
		return;
	for (size_t i = first; i < ARRAY_LEN(layouts); i += 4)
		for (unsigned k = 0; k < runs; k++) {
			if (more)
				(void)printf("layout %zu seed %u\n", i, 1 + k);
			run_model(&layouts[i], 1 + k);
		}
}

START_TEST(test_snapshots_a)
{
	run_some(0);
}
END_TEST

START_TEST(test_snapshots_b)
{
	run_some(1);
}
END_TEST

START_TEST(test_snapshots_c)
{
	run_some(2);
}
END_TEST

START_TEST(test_snapshots_d)
{
	run_some(3);
}
END_TEST

CHECK_MAIN("qcow2-snapshot-model", test_snapshots_a, test_snapshots_b, test_snapshots_c,
	   test_snapshots_d)
