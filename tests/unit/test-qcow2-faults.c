/*
 * An image whose storage fails, at each of its calls in turn: what was flushed is there afterwards,
 * and qemu-img finds leaks at most.
 *
 *   killed   nothing comes after the call, all before it is there
 *   cut      the same, and of what was not flushed, any of it is missing
 *   error    the call alone fails, with EIO or ENOSPC; the image is used on
 */
#include <sys/wait.h>

#include "tests/unit/check-main.h"
#include "tests/unit/qcow2-rig.h"
#include "vmm/base/bytes.h"
#include "vmm/base/error.h"
#include "vmm/base/log.h"

#define DISK     (1 * MiB)
#define SECTORS  (DISK / 512)
#define MAX_VALS 24
#define OPS      60

enum how { KILLED, CUT, EIO_ONCE, ENOSPC_ONCE, HOWS };

struct layout {
	uint32_t cluster, refcount_bits;
	bool extended, v2, lazy, backing, discards;
};

static const struct layout layouts[] = {
    {512,   64, false, false, false, false, true },
    {512,   16, false, false, false, true,  false},
    {4096,  16, false, true,  false, false, true },
    {65536, 16, false, false, false, true,  true },
    {16384, 16, true,  false, false, false, false},
    {4096,  16, false, false, true,  false, false},
};

/* What a sector may hold: the value of the last flush, and those that were written since. */
struct sector {
	uint32_t vals[MAX_VALS];
	unsigned n;
	bool known; /* the last one is what is there now */
};

struct test {
	const struct layout *l;
	struct rig rig;
	struct qcow2 *q;
	unsigned seed;
	uint32_t version;
	char what[100]; /* the row, for messages */
	uint8_t buf[DISK];
	struct sector s[SECTORS];
};

static int read_below(void *opaque, const struct iovec *iov, int n_iov, uint64_t off)
{
	uint64_t n = iov_bytes(iov, (size_t)n_iov);
	uint8_t sector[512];

	(void)opaque;
	for (uint64_t at = 0; at < n; at += 512) {
		memset(sector, 0, 512);
		put_le32(sector, 1000000 + (uint32_t)((off + at) / 512));
		for (size_t i = 4; i < 512; i += 4)
			memcpy(sector + i, sector, 4);
		(void)iov_write(iov, (size_t)n_iov, at, sector, 512);
	}
	return 0;
}

static unsigned rnd(struct test *t, unsigned n)
{
	return (unsigned)rand_r(&t->seed) % n;
}

static void put_sector(uint8_t *p, uint32_t v)
{
	for (size_t i = 0; i < 512; i += 4)
		put_le32(p + i, v);
}

static void add(struct sector *s, uint32_t v, bool sure)
{
	if (s->n == MAX_VALS) /* more than one test writes to one sector without a flush */
		abort();
	s->vals[s->n++] = v;
	s->known = sure;
}

static void range(struct test *t, uint64_t *off, uint64_t *bytes)
{
	uint64_t c = t->l->cluster;

	*off = rnd(t, SECTORS) * 512ULL;
	if (rnd(t, 2))
		*off = *off / c * c;
	*bytes = (rnd(t, (unsigned)(3 * c / 512)) + 1) * 512ULL;
	*bytes = MIN(*bytes, DISK - *off);
}

static void op_write(struct test *t)
{
	uint64_t off, bytes;
	struct iovec v;
	int ret;

	range(t, &off, &bytes);
	t->version++;
	for (uint64_t at = 0; at < bytes; at += 512)
		put_sector(t->buf + at, t->version);
	v = (struct iovec){t->buf, bytes};
	if (rnd(t, 5) == 0 && t->l->cluster <= bytes && off % t->l->cluster == 0) {
		bytes = t->l->cluster;
		ret = qcow2_write_compressed(t->q, t->buf, bytes, off);
	} else {
		ret = qcow2_writev(t->q, &v, 1, off);
	}
	for (uint64_t i = off / 512; i < (off + bytes) / 512; i++)
		add(&t->s[i], t->version, ret == 0);
}

/* A discard leaves what is not a whole cluster: either will do. */
static void op_zero(struct test *t)
{
	uint64_t off, bytes;
	bool discard = rnd(t, 2);
	int ret;

	range(t, &off, &bytes);
	if (discard)
		ret = qcow2_discard(t->q, off, bytes);
	else
		ret = qcow2_write_zeroes(t->q, off, bytes, rnd(t, 2));
	for (uint64_t i = off / 512; i < (off + bytes) / 512; i++)
		add(&t->s[i], 0, ret == 0 && !discard);
}

static void op_flush(struct test *t)
{
	if (qcow2_flush(t->q) < 0)
		return;
	for (size_t i = 0; i < SECTORS; i++)
		if (t->s[i].known) {
			t->s[i].vals[0] = t->s[i].vals[t->s[i].n - 1];
			t->s[i].n = 1;
		}
}

static bool allowed(const struct sector *s, uint32_t v)
{
	for (unsigned i = 0; i < s->n; i++)
		if (s->vals[i] == v)
			return true;
	return false;
}

static void look(struct test *t)
{
	struct iovec v = {t->buf, DISK};

	ck_assert_int_eq(qcow2_readv(t->q, &v, 1, 0), 0);
	for (size_t i = 0; i < SECTORS; i++) {
		const uint8_t *p = t->buf + i * 512;

		if (memcmp(p, p + 4, 508) != 0 || !allowed(&t->s[i], get_le32(p)))
			ck_abort_msg("%s: sector %zu reads %u, the last of %u allowed is %u",
				     t->what, i, get_le32(p), t->s[i].n,
				     t->s[i].vals[t->s[i].n - 1]);
	}
}

/* The calls of this do not count. */
static void look_between(struct test *t)
{
	unsigned long calls = t->rig.calls, at = t->rig.fail_at;

	t->rig.fail_at = 0;
	look(t);
	t->rig.fail_at = at > calls ? at + (t->rig.calls - calls) : 0;
}

static int open_it(struct test *t)
{
	struct qcow2_storage s = rig_storage(&t->rig);
	struct qcow2_open how = {.writable = true,
				 .discards = t->l->discards,
				 .read_backing = t->l->backing ? read_below : NULL};

	return qcow2_open(&t->q, &s, &how, NULL);
}

static void setup(struct test *t, const struct layout *l, unsigned seed)
{
	struct qcow2_create c = {.bytes = DISK,
				 .version = l->v2 ? 2 : 3,
				 .cluster_bytes = l->cluster,
				 .refcount_bits = l->v2 ? 0 : l->refcount_bits,
				 .extended_l2 = l->extended,
				 .lazy_refcounts = l->lazy};
	struct qcow2_storage s;

	*t = (struct test){.l = l, .seed = seed};
	s = rig_storage(&t->rig);
	ck_assert_int_eq(qcow2_create(&s, &c, NULL), 0);
	ck_assert_int_eq(open_it(t), 0);
	for (size_t i = 0; i < SECTORS; i++)
		add(&t->s[i], l->backing ? 1000000 + (uint32_t)i : 0, true);
	t->rig.remember = true;
}

static void work(struct test *t)
{
	for (unsigned i = 0; i < OPS; i++) {
		unsigned k = rnd(t, 10);

		if (k < 6)
			op_write(t);
		else if (k < 8)
			op_zero(t);
		else
			op_flush(t);
	}
}

static void judge(const struct test *t, const char *path)
{
	char cmd[200];
	int status;

	rig_store(&t->rig, path);
	(void)snprintf(cmd, sizeof(cmd), "qemu-img check -q -f qcow2 %s >%s.out 2>&1", path, path);
	status = system(cmd);
	if (WIFEXITED(status) && (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 3))
		return;
	(void)snprintf(cmd, sizeof(cmd), "cat %s.out", path);
	(void)system(cmd);
	ck_abort_msg("%s: qemu-img check: %d, the image is in %s", t->what, status, path);
}

/* The calls of this test up to the end of its close. */
static unsigned long count_calls(const struct layout *l, unsigned seed)
{
	struct test *t = xcalloc(1, sizeof(*t));
	unsigned long before, n;

	setup(t, l, seed);
	before = t->rig.calls;
	work(t);
	(void)qcow2_close(t->q, NULL);
	n = t->rig.calls - before;
	rig_fini(&t->rig);
	free(t);
	return n;
}

static void fail_once(const struct layout *l, unsigned seed, enum how how, unsigned long at,
		      const char *path)
{
	struct test *t = xcalloc(1, sizeof(*t));
	bool for_good = how == KILLED || how == CUT;

	setup(t, l, seed);
	(void)snprintf(t->what, sizeof(t->what), "layout %zu seed %u how %d call %lu",
		       (size_t)(l - layouts), seed, (int)how, at);
	rig_fail(&t->rig, at, how == ENOSPC_ONCE ? -ENOSPC : -EIO, for_good);
	work(t);
	if (!for_good)
		look_between(t);
	(void)qcow2_close(t->q, NULL);
	rig_fail(&t->rig, 0, 0, false);
	if (how == CUT)
		rig_cut(&t->rig, &t->seed);
	/* With lazy refcounts and the dirty bit the refcounts are made right at the next open. */
	if (!l->lazy)
		judge(t, path);
	if (open_it(t) == 0) {
		look(t);
		(void)qcow2_close(t->q, NULL);
		judge(t, path);
	} else {
		ck_assert_msg(l->lazy, "%s: does not open", t->what);
	}
	rig_fini(&t->rig);
	free(t);
}

static void run(const struct layout *l)
{
	/* For a search by hand: how many calls of each row, and another seed. */
	const char *more = getenv("QCOW2_FAULT_POINTS"), *other = getenv("QCOW2_FAULT_SEED");
	unsigned points = more ? (unsigned)atoi(more) : 6;
	unsigned seed = other ? (unsigned)atoi(other) : 11;
	char path[] = "/tmp/qcow2-faults-XXXXXX", out[100];
	int fd = mkstemp(path);

	ck_assert_int_ge(fd, 0);
	(void)close(fd);
	(void)log_open("/dev/null", NULL);
	for (int how = 0; how < HOWS; how++) {
		unsigned long n = count_calls(l, seed), step = MAX(n / points, 1);

		if (more)
			printf("layout %zu, %d: %lu calls\n", (size_t)(l - layouts), how, n);
		for (unsigned long at = 1 + (unsigned)how; at <= n; at += step)
			fail_once(l, seed, (enum how)how, at, path);
	}
	(void)snprintf(out, sizeof(out), "%s.out", path);
	(void)unlink(out);
	(void)unlink(path);
}

START_TEST(test_faults_small)
{
	run(&layouts[0]);
}
END_TEST

START_TEST(test_faults_small_backing)
{
	run(&layouts[1]);
}
END_TEST

START_TEST(test_faults_v2)
{
	run(&layouts[2]);
}
END_TEST

START_TEST(test_faults_common)
{
	run(&layouts[3]);
}
END_TEST

START_TEST(test_faults_extended)
{
	run(&layouts[4]);
}
END_TEST

START_TEST(test_faults_lazy)
{
	run(&layouts[5]);
}
END_TEST

CHECK_MAIN("qcow2-faults", test_faults_small, test_faults_small_backing, test_faults_v2,
	   test_faults_common, test_faults_extended, test_faults_lazy)
