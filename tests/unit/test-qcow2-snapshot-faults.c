/*
 * Storage that fails, dies or is full at any call of a save, a delete and an apply of a snapshot,
 * and of another VM state for one: the image has leaks at most, and what it had before is what it
 * was.
 */
#include "tests/unit/qcow2-judge.h"

/* ---- failing storage ---- */

#define FAULT_DISK (1 * MiB)
#define OLD_STATE  70000
#define NEW_STATE  120000 /* that OP_RESTATE gives it */

/* What the disk is in each state that it may have after a fault. */
struct faulty {
	struct rig *base;
	uint8_t *old;    /* at the snapshot 'old' */
	uint8_t *before; /* what the operation begins with, and has flushed */
	uint8_t *after;
};

enum fault_op { OP_SAVE, OP_DELETE, OP_APPLY, OP_RESTATE };

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
	free_image(f->base);
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
		ret = qcow2_saving_commit(s, &what, err);
	if (ret < 0 || guest < 0)
		qcow2_saving_abort(s);
	return ret < 0 ? ret : guest;
}

/* Of the same bytes, and more of them. */
static int restate(struct qcow2 *q, struct err *err)
{
	static uint8_t state[NEW_STATE];
	struct qcow2_restate *r;
	int ret = qcow2_restate_begin(q, "1", &r, err);

	if (ret < 0)
		return ret;
	state_bytes(state, sizeof(state), 'o');
	for (size_t at = 0; at < sizeof(state) && ret == 0; at += 50000) {
		const struct iovec iov = {state + at, MIN(sizeof(state) - at, 50000U)};

		ret = qcow2_restate_write(r, &iov, 1, at, err);
	}
	if (ret == 0)
		return qcow2_restate_commit(r, sizeof(state), err);
	qcow2_restate_abort(r);
	return ret;
}

static int run_op(struct qcow2 *q, enum fault_op op, struct err *err)
{
	if (op == OP_SAVE)
		return busy_save(q, err);
	if (op == OP_RESTATE)
		return restate(q, err);
	return op == OP_DELETE ? qcow2_snapshot_delete(q, "1", err)
			       : qcow2_snapshot_apply(q, "1", err);
}

/* Opens, has no errors, and every snapshot of before is what it was. */
static struct qcow2 *assert_whole(const struct faulty *f, enum fault_op op, struct rig *m,
				  bool leaks)
{
	struct qcow2 *q = open_image(m);
	struct qcow2_check c = own_check_of(q);

	ck_assert_uint_eq(c.errors, 0);
	ck_assert(leaks || c.leaks == 0);
	if (op != OP_DELETE || qcow2_snapshot_named(q, "old")) {
		assert_disk_of(q, "old", f->old, FAULT_DISK);
		if (op == OP_RESTATE && qcow2_snapshot_named(q, "old")->vmstate_bytes != OLD_STATE)
			assert_state(q, "old", NEW_STATE);
		else
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

/* What of the writes since the last flush is on the medium is chance. */
static void power_cut(struct rig *cut, const struct rig *m, unsigned seed)
{
	for (size_t i = 0; i < m->n_log; i++) {
		rig_note(cut, m->log[i].off, m->log[i].bytes);
		memcpy(cut->log[i].was, m->log[i].was, m->log[i].bytes);
	}
	rig_cut(cut, &seed);
}

/* Dead from the n-th call on; false: there are not so many. */
static bool killed_at(const struct faulty *f, enum fault_op op, unsigned n, bool judge)
{
	struct rig *m = copy_image(f->base);
	struct qcow2 *q = open_image(m);
	bool hit;

	rig_fail(m, n, -EIO, true);
	(void)run_op(q, op, NULL);
	hit = m->failed;
	for (unsigned seed = 0; seed < 3; seed++) {
		struct rig *cut = copy_image(m);
		struct qcow2 *again;

		if (seed)
			power_cut(cut, m, seed * 1000 + n);
		if (seed == 0 && judge) {
			int says = qemu_check(cut);

			ck_assert_msg(says == 0 || says == 3, "call %u: qemu-img says %d", n, says);
		}
		again = assert_whole(f, op, cut, true);
		assert_disk(f, op, again);
		close_image(again);
		free_image(cut);
	}
	(void)qcow2_close(q, NULL);
	free_image(m);
	return hit;
}

/* The n-th call alone fails: what was to be done is done or not, and nothing leaks. */
static bool failed_at(const struct faulty *f, enum fault_op op, unsigned n, int errnum, bool judge)
{
	struct rig *m = copy_image(f->base);
	struct qcow2 *q = open_image(m);
	struct err err = {0};
	bool hit;
	int ret;

	rig_fail(m, n, -errnum, false);
	ret = run_op(q, op, &err);
	hit = m->failed;
	rig_fail(m, 0, 0, false);
	ck_assert(hit || ret == 0);
	if (op == OP_RESTATE)
		ck_assert_uint_eq(qcow2_snapshot_named(q, "old")->vmstate_bytes,
				  ret == 0 ? NEW_STATE : OLD_STATE);
	ck_assert(ret == 0 || op != OP_SAVE || !qcow2_snapshot_named(q, "new"));
	assert_disk(f, op, q);
	ck_assert_int_eq(fill(q, 0x61, 900000, 1000), 0);
	close_image(q);
	if (judge)
		ck_assert_int_eq(qemu_check(m), 0);
	q = assert_whole(f, op, m, false);
	close_image(q);
	free_image(m);
	return hit;
}

/* No byte more than now, and then a little more each time, until it is enough. */
static void full_disk(const struct faulty *f, enum fault_op op)
{
	for (uint64_t room = 0;; room += 65536) {
		struct rig *m = copy_image(f->base);
		struct qcow2 *q = open_image(m);
		int ret;

		m->max = m->bytes + room;
		ret = run_op(q, op, NULL);
		ck_assert(ret == 0 || ret == -ENOSPC);
		close_image(q);
		if (ret == 0)
			ck_assert_int_eq(qemu_check(m), 0);
		q = assert_whole(f, op, m, false);
		assert_disk(f, op, q);
		close_image(q);
		free_image(m);
		if (ret == 0)
			return;
		ck_assert_uint_lt(room, 16 * MiB);
	}
}

#define SMALL "-o cluster_size=4096"
#define TINY  "-o cluster_size=512"

/* qemu-img judges each 'every'-th image. */
static void kills(const char *layout, enum fault_op op, unsigned every)
{
	struct faulty f;
	unsigned n = 1;

	if (!qemu_img_there())
		return;
	begin_dir();
	faulty_init(&f, layout);
	while (killed_at(&f, op, n, n % every == 0))
		n++;
	(void)printf("%s: %u calls\n", layout, n - 1);
	faulty_fini(&f);
	end_dir();
}

static void failures(enum fault_op op, int errnum)
{
	struct faulty f;

	if (!qemu_img_there())
		return;
	begin_dir();
	faulty_init(&f, SMALL);
	for (unsigned n = 1; failed_at(&f, op, n, errnum, n % 32 == 0); n++)
		continue;
	faulty_fini(&f);
	end_dir();
}

START_TEST(test_save_killed)
{
	kills(SMALL, OP_SAVE, 4);
}
END_TEST

START_TEST(test_save_killed_tiny)
{
	kills(TINY, OP_SAVE, 50);
}
END_TEST

START_TEST(test_save_fails)
{
	failures(OP_SAVE, EIO);
}
END_TEST

START_TEST(test_save_without_room)
{
	failures(OP_SAVE, ENOSPC);
}
END_TEST

START_TEST(test_full_disk)
{
	struct faulty f;

	if (!qemu_img_there())
		return;
	begin_dir();
	faulty_init(&f, SMALL);
	full_disk(&f, OP_SAVE);
	full_disk(&f, OP_DELETE);
	full_disk(&f, OP_APPLY);
	full_disk(&f, OP_RESTATE);
	faulty_fini(&f);
	end_dir();
}
END_TEST

/* ---- requests in flight ---- */

static uint64_t host_of(struct qcow2 *q, uint64_t off)
{
	struct qcow2_extent e = {0};

	ck_assert_int_eq(qcow2_map(q, off, 4096, false, &e), 0);
	ck_assert_int_eq(e.kind, QCOW2_DATA);
	return e.host_off;
}

/* Write new clusters and flush, again and again: is one of them at 'host'? */
static bool is_used_again(struct qcow2 *q, uint64_t host)
{
	for (uint64_t off = 110 * 4096; off < 140 * 4096; off += 4096) {
		ck_assert_int_eq(fill(q, 0x71, off, 4096), 0);
		ck_assert_int_eq(qcow2_flush(q), 0);
		if (host_of(q, off) == host)
			return true;
	}
	return false;
}

static struct qcow2_saving *begin_and_write(struct qcow2 *q)
{
	struct qcow2_saving *s;
	struct err err = {0};

	ck_assert_msg(qcow2_saving_begin(q, &s, &err) == 0, "%s", err.msg);
	ck_assert_int_eq(fill(q, 0x42, 0, 4096), 0);
	return s;
}

/*
 * A commit fails while the guest reads a cluster that it has written anew since the instant: that
 * is nobody else's before the caller, with nothing in flight, aborts, or what comes next does.
 */
START_TEST(test_commit_fails_beside_a_read)
{
	const struct qcow2_snapshot what = {.name = "new"};
	struct rig *m;

	if (!qemu_img_there())
		return;
	begin_dir();
	m = new_image("-o cluster_size=4096", FAULT_DISK);
	for (int leaves = 0; leaves < 2; leaves++) {
		struct qcow2 *q = open_image(m);
		struct qcow2_saving *s;
		uint64_t host;

		ck_assert_int_eq(fill(q, 0x41, 0, 4096), 0);
		ck_assert_int_eq(qcow2_flush(q), 0);
		host = host_of(q, 0);
		s = begin_and_write(q);
		rig_fail(m, 1, -EIO, false);
		ck_assert_int_eq(qcow2_saving_commit(s, &what, NULL), -EIO);
		rig_fail(m, 0, 0, false);
		ck_assert_uint_ne(host_of(q, 0), host);
		ck_assert(!is_used_again(q, host));
		if (leaves) {
			qcow2_saving_leave(s);
			ck_assert_int_eq(qcow2_write_zeroes(q, 110 * 4096, 30 * 4096, true), 0);
			ck_assert(!is_used_again(q, host));
			ck_assert_int_eq(qcow2_snapshot_delete(q, "99", NULL), -ENOENT);
		} else {
			qcow2_saving_abort(s);
		}
		ck_assert_int_eq(qcow2_write_zeroes(q, 110 * 4096, 30 * 4096, true), 0);
		ck_assert(is_used_again(q, host));
		assert_clean(q);
		close_image(q);
		ck_assert_int_eq(qemu_check(m), 0);
	}
	free_image(m);
	end_dir();
}
END_TEST

START_TEST(test_delete_killed)
{
	kills(SMALL, OP_DELETE, 2);
	kills(TINY, OP_DELETE, 16);
}
END_TEST

START_TEST(test_delete_fails)
{
	failures(OP_DELETE, EIO);
	failures(OP_DELETE, ENOSPC);
}
END_TEST

START_TEST(test_apply_killed)
{
	kills(SMALL, OP_APPLY, 2);
	kills(TINY, OP_APPLY, 16);
}
END_TEST

START_TEST(test_apply_fails)
{
	failures(OP_APPLY, EIO);
	failures(OP_APPLY, ENOSPC);
}
END_TEST

START_TEST(test_restate_killed)
{
	kills(SMALL, OP_RESTATE, 2);
	kills(TINY, OP_RESTATE, 50);
}
END_TEST

START_TEST(test_restate_fails)
{
	failures(OP_RESTATE, EIO);
	failures(OP_RESTATE, ENOSPC);
}
END_TEST

/* The step from tables to tables is the same for all; the layouts that differ most. */
START_TEST(test_layouts_killed)
{
	kills("-o cluster_size=16384,extended_l2=on", OP_SAVE, 16);
	kills("-o cluster_size=8192,compat=0.10", OP_SAVE, 16);
	kills("-o cluster_size=65536,refcount_bits=64", OP_DELETE, 4);
	kills("-o cluster_size=65536,extended_l2=on", OP_APPLY, 4);
	kills("-o cluster_size=16384,extended_l2=on", OP_RESTATE, 16);
}
END_TEST

CHECK_MAIN("qcow2-snapshot-faults", test_layouts_killed, test_save_killed, test_save_killed_tiny,
	   test_save_fails, test_save_without_room, test_delete_killed, test_delete_fails,
	   test_apply_killed, test_apply_fails, test_restate_killed, test_restate_fails,
	   test_full_disk, test_commit_fails_beside_a_read)
