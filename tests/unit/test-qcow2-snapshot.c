/*
 * Snapshots of qcow2 images: made, read through, deleted and applied, judged by the check of the
 * program itself at every step, and by qemu-img.
 */
#include <stdarg.h>
#include <sys/wait.h>

#include "tests/unit/check-main.h"
#include "tests/unit/qcow2-storage.h"
#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/base/log.h"

#define DISK (4 * MiB)

/* ---- qemu-img ---- */

static char dir[] = "/tmp/minivmm-test-XXXXXX";

static const char *image_path(void)
{
	static char path[64];

	(void)snprintf(path, sizeof(path), "%s/image", dir);
	return path;
}

static __attribute__((format(printf, 1, 2))) int shell(const char *fmt, ...)
{
	char line[500];
	va_list args;
	int status;

	va_start(args, fmt);
	(void)vsnprintf(line, sizeof(line), fmt, args);
	va_end(args);
	status = system(line);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static bool qemu_img_there(void)
{
	if (shell("command -v qemu-img >/dev/null") == 0)
		return true;
	skip_test("qemu-img is not installed");
	return false;
}

static void begin_dir(void)
{
	(void)log_open("/dev/null", NULL);
	ck_assert_ptr_nonnull(mkdtemp(dir));
}

static void end_dir(void)
{
	ck_assert_int_eq(shell("rm -r %s", dir), 0);
}

/* 0 clean, 2 errors, 3 leaks. */
static int qemu_check(const struct mem_storage *m)
{
	mem_save(m, image_path());
	return shell("qemu-img check -f qcow2 %s >%s/out 2>&1 || { rc=$?; cat %s/out; exit $rc; }",
		     image_path(), dir, dir);
}

static struct mem_storage *new_image(const char *options, uint64_t bytes)
{
	struct mem_storage *m = mem_new();

	ck_assert_int_eq(shell("qemu-img create -q -f qcow2 %s %s %llu", options, image_path(),
			       (unsigned long long)bytes),
			 0);
	mem_load(m, image_path());
	return m;
}

/* ---- our own check ---- */

static void say(void *opaque, const char *text)
{
	(void)opaque;
	(void)printf("%s\n", text);
	(void)fflush(stdout);
}

static struct qcow2_check own_check_of(struct qcow2 *q)
{
	struct qcow2_check c = {.say = say};
	struct err err = {0};

	ck_assert_msg(qcow2_check(q, 0, &c, &err) == 0, "%s", err.msg);
	return c;
}

static void assert_clean(struct qcow2 *q)
{
	struct qcow2_check c = own_check_of(q);

	ck_assert_uint_eq(c.errors, 0);
	ck_assert_uint_eq(c.leaks, 0);
}

static struct qcow2 *open_image(struct mem_storage *m)
{
	struct qcow2 *q = NULL;
	struct err err = {0};

	ck_assert_msg(mem_open(m, &q, true, &err) == 0, "%s", err.msg);
	return q;
}

static void close_image(struct qcow2 *q)
{
	struct err err = {0};

	ck_assert_msg(qcow2_close(q, &err) == 0, "%s", err.msg);
}

/* ---- the disk, and a model of it ---- */

static int fill(struct qcow2 *q, uint8_t v, uint64_t off, size_t bytes)
{
	uint8_t *p = malloc(bytes);
	const struct iovec iov = {p, bytes};
	int ret;

	memset(p, v, bytes);
	ret = qcow2_writev(q, &iov, 1, off);
	free(p);
	return ret;
}

static void read_all(struct qcow2 *q, uint8_t *p, size_t bytes)
{
	const struct iovec iov = {p, bytes};

	ck_assert_int_eq(qcow2_readv(q, &iov, 1, 0), 0);
}

static void state_bytes(uint8_t *p, size_t n, uint8_t seed)
{
	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)(i * 7 + i / 251 + seed);
}

/* A snapshot of that name and n bytes of VM state. */
static int save(struct qcow2 *q, const char *name, size_t n, struct err *err)
{
	const struct qcow2_snapshot what = {
	    .name = name, .date_s = 1700000000, .vm_clock_ns = 5, .vmstate_bytes = n,
	    .icount = QCOW2_NO_ICOUNT};
	struct qcow2_saving *s;
	uint8_t *p = malloc(n + 1);
	int ret = qcow2_saving_begin(q, &s, err);

	state_bytes(p, n, (uint8_t)name[0]);
	for (size_t at = 0; at < n && ret == 0; at += 100000) {
		const struct iovec iov = {p + at, MIN(n - at, 100000U)};

		ret = qcow2_saving_write(s, &iov, 1, at, err);
		if (ret < 0)
			qcow2_saving_abort(s);
	}
	free(p);
	return ret < 0 ? ret : qcow2_saving_commit(s, &what, err);
}

static void must_save(struct qcow2 *q, const char *name, size_t n)
{
	struct err err = {0};

	ck_assert_msg(save(q, name, n, &err) == 0, "%s", err.msg);
}

static void assert_state(struct qcow2 *q, const char *name, size_t n)
{
	const struct qcow2_snapshot *s = qcow2_snapshot_named(q, name);
	uint8_t *want = malloc(n + 1), *have = malloc(n + 1);
	struct err err = {0};

	ck_assert_ptr_nonnull(s);
	ck_assert_uint_eq(s->vmstate_bytes, n);
	state_bytes(want, n, (uint8_t)name[0]);
	ck_assert_msg(qcow2_snapshot_read(q, s->id, have, n, s->vmstate_off, &err) == 0, "%s",
		      err.msg);
	ck_assert_int_eq(memcmp(want, have, n), 0);
	free(want);
	free(have);
}

static void assert_disk_of(struct qcow2 *q, const char *name, const uint8_t *want, size_t n)
{
	const struct qcow2_snapshot *s = qcow2_snapshot_named(q, name);
	uint8_t *have = malloc(n);
	struct err err = {0};

	ck_assert_ptr_nonnull(s);
	ck_assert_msg(qcow2_snapshot_read(q, s->id, have, n, 0, &err) == 0, "%s", err.msg);
	ck_assert_int_eq(memcmp(want, have, n), 0);
	free(have);
}

/* ---- tests ---- */

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
	struct mem_storage *m = new_image(layout, DISK);
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
	mem_free(m);
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

/* ---- failing storage ---- */

#define FAULT_DISK (1 * MiB)
#define OLD_STATE  70000

/* What the disk is in each state that it may have after a fault. */
struct faulty {
	struct mem_storage *base;
	uint8_t *old;    /* at the snapshot 'old' */
	uint8_t *before; /* what the operation begins with, and has flushed */
	uint8_t *after;
};

enum fault_op { OP_SAVE, OP_DELETE, OP_APPLY };

static void faulty_init(struct faulty *f, const char *layout)
{
	struct qcow2 *q;

	f->base = new_image(layout, FAULT_DISK);
	f->old = malloc(FAULT_DISK);
	f->before = malloc(FAULT_DISK);
	f->after = malloc(FAULT_DISK);
	q = open_image(f->base);
	ck_assert_int_eq(fill(q, 0x11, 0, 300000), 0);
	ck_assert_int_eq(fill(q, 0x12, 600000, 100000), 0);
	read_all(q, f->old, FAULT_DISK);
	must_save(q, "old", OLD_STATE);
	ck_assert_int_eq(fill(q, 0x21, 100000, 300000), 0);
	must_save(q, "other", 5);
	ck_assert_int_eq(fill(q, 0x31, 50000, 100000), 0);
	read_all(q, f->before, FAULT_DISK);
	close_image(q);
}

static void faulty_fini(struct faulty *f)
{
	mem_free(f->base);
	free(f->old);
	free(f->before);
	free(f->after);
}

/* A save in which the guest writes and flushes. */
static int busy_save(struct qcow2 *q, struct err *err)
{
	const struct qcow2_snapshot what = {.name = "new", .vmstate_bytes = 50000};
	struct qcow2_saving *s;
	static uint8_t state[50000];
	const struct iovec iov = {state, sizeof(state)};
	int ret = qcow2_saving_begin(q, &s, err), guest;

	if (ret < 0)
		return ret;
	state_bytes(state, sizeof(state), 'n');
	guest = fill(q, 0x41, 200000, 50000);
	ret = qcow2_saving_write(s, &iov, 1, 0, err);
	if (guest == 0)
		guest = qcow2_write_zeroes(q, 0, 65536, true);
	if (guest == 0)
		guest = qcow2_flush(q);
	if (guest == 0)
		guest = fill(q, 0x51, 280000, 50000);
	if (ret == 0 && guest == 0)
		return qcow2_saving_commit(s, &what, err);
	qcow2_saving_abort(s);
	return ret < 0 ? ret : guest;
}

static int run_op(struct qcow2 *q, enum fault_op op, struct err *err)
{
	if (op == OP_SAVE)
		return busy_save(q, err);
	return op == OP_DELETE ? qcow2_snapshot_delete(q, "1", err)
			       : qcow2_snapshot_apply(q, "1", err);
}

/* Opens, has no errors, and every snapshot of before is what it was. */
static struct qcow2 *assert_whole(const struct faulty *f, enum fault_op op, struct mem_storage *m,
				  bool leaks)
{
	struct qcow2 *q = open_image(m);
	struct qcow2_check c = own_check_of(q);

	ck_assert_uint_eq(c.errors, 0);
	ck_assert(leaks || c.leaks == 0);
	if (op != OP_DELETE || qcow2_snapshot_named(q, "old")) {
		assert_disk_of(q, "old", f->old, FAULT_DISK);
		assert_state(q, "old", OLD_STATE);
	}
	assert_state(q, "other", 5);
	if (qcow2_snapshot_named(q, "new")) {
		assert_disk_of(q, "new", f->before, FAULT_DISK);
		assert_state(q, "new", 50000);
	}
	return q;
}

/* The disk of an apply is that of before or that of the snapshot; of a delete, as it was. */
static void assert_disk(const struct faulty *f, enum fault_op op, struct qcow2 *q)
{
	uint8_t *now = malloc(FAULT_DISK);

	read_all(q, now, FAULT_DISK);
	if (op == OP_APPLY && memcmp(now, f->old, FAULT_DISK) == 0)
		(void)0;
	else if (op != OP_SAVE)
		ck_assert_int_eq(memcmp(now, f->before, FAULT_DISK), 0);
	else /* what the save does not write */
		ck_assert_int_eq(memcmp(now + 400000, f->before + 400000, FAULT_DISK - 400000), 0);
	free(now);
}

/* Dead from the n-th call on; false: there are not so many. */
static bool killed_at(const struct faulty *f, enum fault_op op, unsigned n, bool judge)
{
	struct mem_storage *m = mem_copy(f->base);
	struct qcow2 *q = open_image(m);
	bool hit;

	m->calls = 0;
	m->fail_at = n;
	m->fail_errno = EIO;
	m->dead = true;
	(void)run_op(q, op, NULL);
	hit = m->calls >= n;
	for (unsigned seed = 0; seed < 4; seed++) {
		struct mem_storage *cut = mem_copy(m);
		struct qcow2 *again;

		for (size_t i = 0; i < m->n_log; i++) {
			mem_log(cut, m->log[i].off, m->log[i].n);
			memcpy(cut->log[i].old, m->log[i].old, m->log[i].n);
		}
		if (seed)
			mem_power_cut(cut, seed * 1000 + n);
		if (seed == 0 && judge) {
			int says = qemu_check(cut);

			ck_assert_msg(says == 0 || says == 3, "call %u: qemu-img says %d", n, says);
		}
		again = assert_whole(f, op, cut, true);
		assert_disk(f, op, again);
		close_image(again);
		mem_free(cut);
	}
	(void)qcow2_close(q, NULL);
	mem_free(m);
	return hit;
}

/* The n-th call alone fails: what was to be done is done or not, and nothing leaks. */
static bool failed_at(const struct faulty *f, enum fault_op op, unsigned n, int errnum, bool judge)
{
	struct mem_storage *m = mem_copy(f->base);
	struct qcow2 *q = open_image(m);
	struct err err = {0};
	bool hit;
	int ret;

	m->calls = 0;
	m->fail_at = n;
	m->fail_errno = errnum;
	ret = run_op(q, op, &err);
	hit = m->calls >= n;
	ck_assert(hit || ret == 0);
	ck_assert(ret == 0 || op != OP_SAVE || !qcow2_snapshot_named(q, "new"));
	assert_disk(f, op, q);
	ck_assert_int_eq(fill(q, 0x61, 900000, 1000), 0);
	m->fail_at = 0;
	close_image(q);
	if (judge)
		ck_assert_int_eq(qemu_check(m), 0);
	q = assert_whole(f, op, m, false);
	close_image(q);
	mem_free(m);
	return hit;
}

/* No byte more than now, and then a little more each time, until it is enough. */
static void full_disk(const struct faulty *f, enum fault_op op)
{
	for (uint64_t room = 0;; room += 8192) {
		struct mem_storage *m = mem_copy(f->base);
		struct qcow2 *q = open_image(m);
		int ret;

		m->limit = m->bytes + room;
		ret = run_op(q, op, NULL);
		ck_assert(ret == 0 || ret == -ENOSPC);
		close_image(q);
		ck_assert_int_eq(qemu_check(m), 0);
		q = assert_whole(f, op, m, false);
		assert_disk(f, op, q);
		close_image(q);
		mem_free(m);
		if (ret == 0)
			return;
		ck_assert_uint_lt(room, 16 * MiB);
	}
}

static const char *const fault_layouts[] = {"-o cluster_size=4096", "-o cluster_size=512"};

static void faults(enum fault_op op)
{
	if (!qemu_img_there())
		return;
	begin_dir();
	for (size_t i = 0; i < ARRAY_LEN(fault_layouts); i++) {
		struct faulty f;
		unsigned n;

		faulty_init(&f, fault_layouts[i]);
		for (n = 1; killed_at(&f, op, n, i == 0 || n % 16 == 0); n++)
			continue;
		(void)printf("%s: %u calls\n", fault_layouts[i], n - 1);
		for (n = 1; failed_at(&f, op, n, EIO, n % 16 == 0); n++)
			continue;
		for (n = 1; failed_at(&f, op, n, ENOSPC, n % 16 == 0); n++)
			continue;
		full_disk(&f, op);
		faulty_fini(&f);
	}
	end_dir();
}

START_TEST(test_faults_of_save)
{
	faults(OP_SAVE);
}
END_TEST

START_TEST(test_faults_of_delete)
{
	faults(OP_DELETE);
}
END_TEST

START_TEST(test_faults_of_apply)
{
	faults(OP_APPLY);
}
END_TEST

CHECK_MAIN("qcow2-snapshot", test_layouts, test_faults_of_save, test_faults_of_delete,
	   test_faults_of_apply)
