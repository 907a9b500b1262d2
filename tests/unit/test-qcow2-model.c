/*
 * Random operations on images of each layout, mirrored in memory: what is read is what was written,
 * also after the image was closed and opened again, and qemu-img finds nothing wrong.
 */
#include <sys/wait.h>

#include "tests/unit/check-main.h"
#include "tests/unit/qcow2-rig.h"
#include "vmm/base/error.h"

#define MAX_DISK (6 * MiB)

struct layout {
	uint32_t cluster, refcount_bits;
	bool extended, v2, lazy, backing, discards, zstd;
	uint64_t cache;
	unsigned ops;
};

static const struct layout layouts[] = {
    {512,     16, false, false, false, false, false, false, 0,     1000},
    {512,     1,  false, false, false, true,  true,  false, 8192,  800 },
    {1024,    64, false, false, true,  false, true,  false, 0,     600 },
    {4096,    2,  false, false, false, true,  false, true,  65536, 800 },
    {4096,    16, false, true,  false, true,  true,  false, 0,     800 },
    {65536,   16, false, false, false, false, true,  false, 0,     1200},
    {65536,   16, false, true,  false, false, false, false, 0,     600 },
    {65536,   16, false, false, true,  true,  true,  true,  0,     800 },
    {65536,   32, true,  false, false, true,  true,  false, 0,     1000},
    {16384,   4,  true,  false, false, false, true,  false, 0,     1000},
    {2097152, 8,  true,  false, false, true,  true,  true,  0,     400 },
    {2097152, 16, false, false, false, false, true,  false, 0,     300 },
    {131072,  16, false, false, false, true,  false, false, 0,     700 },
};

struct model {
	const struct layout *l;
	struct rig rig;
	struct qcow2 *q;
	uint64_t bytes;
	unsigned seed;
	uint8_t *disk, *below, *buf; /* MAX_DISK each */
};

static int read_below(void *opaque, const struct iovec *iov, int n_iov, uint64_t off)
{
	const struct model *m = opaque;
	size_t n = (size_t)iov_bytes(iov, (size_t)n_iov);

	(void)iov_zero(iov, (size_t)n_iov, 0, n);
	if (off < MAX_DISK)
		(void)iov_write(iov, (size_t)n_iov, 0, m->below + off, MIN(n, MAX_DISK - off));
	return 0;
}

static void open_it(struct model *m)
{
	struct qcow2_storage s = rig_storage(&m->rig);
	struct qcow2_open how = {.writable = true,
				 .discards = m->l->discards,
				 .cache_bytes = m->l->cache,
				 .read_backing = m->l->backing ? read_below : NULL,
				 .backing_opaque = m};
	struct err err = {0};

	ck_assert_msg(qcow2_open(&m->q, &s, &how, &err) == 0, "%s", err.msg);
}

static void close_it(struct model *m)
{
	struct err err = {0};

	ck_assert_msg(qcow2_close(m->q, &err) == 0, "%s", err.msg);
}

static void setup(struct model *m, const struct layout *l)
{
	struct qcow2_create c = {.bytes = 4 * MiB - 3 * 512,
				 .version = l->v2 ? 2 : 3,
				 .cluster_bytes = l->cluster,
				 .refcount_bits = l->v2 ? 0 : l->refcount_bits,
				 .extended_l2 = l->extended,
				 .lazy_refcounts = l->lazy,
				 .zstd = l->zstd};
	struct qcow2_storage s = rig_storage(&m->rig);
	struct err err = {0};

	m->l = l;
	m->bytes = c.bytes;
	m->disk = xcalloc(3, MAX_DISK);
	m->below = m->disk + MAX_DISK;
	m->buf = m->below + MAX_DISK;
	for (size_t i = 0; i < MAX_DISK && l->backing; i++)
		m->below[i] = (uint8_t)(i / 512 * 7 + 3);
	memcpy(m->disk, m->below, c.bytes);
	ck_assert_msg(qcow2_create(&s, &c, &err) == 0, "%s", err.msg);
	open_it(m);
}

static unsigned rnd(struct model *m, unsigned n)
{
	return (unsigned)rand_r(&m->seed) % n;
}

/* Sectors that begin anywhere, near borders of clusters more often. */
static void range(struct model *m, uint64_t *off, uint64_t *bytes)
{
	uint64_t c = m->l->cluster, span = rnd(m, 3) ? 4 * c : c;

	if (rnd(m, 16) == 0)
		span = MiB;
	*off = rnd(m, (unsigned)(m->bytes / 512)) * 512ULL;
	if (rnd(m, 3) == 0)
		*off = *off / c * c;
	*bytes = (rnd(m, (unsigned)(span / 512)) + 1) * 512ULL;
	if (rnd(m, 3) == 0)
		*bytes = ALIGN_UP(*bytes, c);
	*bytes = MIN(*bytes, m->bytes - *off);
}

static void fill(struct model *m, uint8_t *p, size_t n)
{
	uint8_t with = (uint8_t)(rnd(m, 255) + 1);

	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)(with + i / 512);
}

static void do_write(struct model *m)
{
	uint64_t off, bytes;
	struct iovec v[3];
	size_t cut;

	range(m, &off, &bytes);
	fill(m, m->disk + off, bytes);
	cut = bytes > 1024 ? rnd(m, (unsigned)bytes / 2) : 0;
	v[0] = (struct iovec){m->disk + off, cut};
	v[1] = (struct iovec){m->disk + off + cut, 7 * (bytes > 1024)};
	v[2] = (struct iovec){m->disk + off + cut + v[1].iov_len, bytes - cut - v[1].iov_len};
	ck_assert_int_eq(qcow2_writev(m->q, v, 3, off), 0);
}

static void do_mapped_write(struct model *m)
{
	struct qcow2_extent x;
	uint64_t off, bytes;
	int ret;

	range(m, &off, &bytes);
	ret = qcow2_map_write(m->q, off, bytes, &x);
	ck_assert(ret == 0 || ret == -EAGAIN);
	if (ret < 0)
		return;
	ck_assert_int_eq(x.kind, QCOW2_DATA);
	fill(m, m->disk + off, x.bytes);
	rig_room(&m->rig, x.host_off + x.bytes);
	memcpy(m->rig.p + x.host_off, m->disk + off, x.bytes);
}

static void do_zeroes(struct model *m)
{
	uint64_t off, bytes;

	range(m, &off, &bytes);
	ck_assert_int_eq(qcow2_write_zeroes(m->q, off, bytes, rnd(m, 2)), 0);
	memset(m->disk + off, 0, bytes);
}

/* What a discard leaves is zero or what was there, by the sector; whole clusters are zero. */
static void do_discard(struct model *m)
{
	static const uint8_t zero[512];
	uint64_t off, bytes, c = m->l->cluster;
	struct iovec v;

	range(m, &off, &bytes);
	ck_assert_int_eq(qcow2_discard(m->q, off, bytes), 0);
	v = (struct iovec){m->buf, bytes};
	ck_assert_int_eq(qcow2_readv(m->q, &v, 1, off), 0);
	for (uint64_t at = off; at < off + bytes; at += 512) {
		const uint8_t *p = m->buf + (at - off);
		bool whole = at / c * c >= off && MIN(at / c * c + c, m->bytes) <= off + bytes;

		if (memcmp(p, zero, 512) == 0)
			memset(m->disk + at, 0, 512);
		else if (whole && !(m->l->v2 && m->l->backing))
			ck_abort_msg("a discarded cluster at 0x%llx is not zero",
				     (unsigned long long)at);
		if (memcmp(p, m->disk + at, 512) != 0)
			ck_abort_msg("a discard has changed 0x%llx", (unsigned long long)at);
	}
}

static void do_compressed(struct model *m)
{
	uint64_t c = m->l->cluster, off = rnd(m, (unsigned)((m->bytes + c - 1) / c)) * c;
	uint64_t bytes = MIN(c, m->bytes - off);

	fill(m, m->disk + off, bytes);
	if (rnd(m, 4) == 0)
		for (size_t i = 0; i < bytes; i++)
			m->disk[off + i] = (uint8_t)rnd(m, 256);
	ck_assert_int_eq(qcow2_write_compressed(m->q, m->disk + off, bytes, off), 0);
}

static void compare(struct model *m, uint64_t off, uint64_t bytes)
{
	struct iovec v = {m->buf, bytes};

	ck_assert_int_eq(qcow2_readv(m->q, &v, 1, off), 0);
	for (uint64_t i = 0; i < bytes && memcmp(m->buf, m->disk + off, bytes) != 0; i++)
		if (m->buf[i] != m->disk[off + i])
			ck_abort_msg("at 0x%llx: %02x, not %02x", (unsigned long long)(off + i),
				     m->buf[i], m->disk[off + i]);
}

static void do_read(struct model *m)
{
	uint64_t off, bytes;

	range(m, &off, &bytes);
	compare(m, off, bytes);
}

static void do_resize(struct model *m)
{
	uint64_t bytes = MiB + rnd(m, (unsigned)((MAX_DISK - MiB) / 512)) * 512ULL;
	uint64_t old = m->bytes;
	struct err err = {0};

	ck_assert_msg(qcow2_resize(m->q, bytes, &err) == 0, "%s", err.msg);
	m->bytes = bytes;
	if (bytes > old) {
		memset(m->disk + old, 0, bytes - old);
		if (m->l->backing)
			ck_assert_int_eq(qcow2_write_zeroes(m->q, old, bytes - old, rnd(m, 2)), 0);
	}
	ck_assert_uint_eq(qcow2_info(m->q)->bytes, bytes);
}

static void do_hand_over(struct model *m)
{
	struct err err = {0};

	ck_assert_msg(qcow2_deactivate(m->q, &err) == 0, "%s", err.msg);
	ck_assert_msg(qcow2_activate(m->q, &err) == 0, "%s", err.msg);
}

static void one(struct model *m)
{
	unsigned k = rnd(m, 100);

	if (k < 40)
		do_write(m);
	else if (k < 50)
		do_mapped_write(m);
	else if (k < 60)
		do_zeroes(m);
	else if (k < 70)
		do_discard(m);
	else if (k < 78)
		do_compressed(m);
	else if (k < 90)
		do_read(m);
	else if (k < 95)
		ck_assert_int_eq(qcow2_flush(m->q), 0);
	else if (k < 96)
		do_resize(m);
	else if (k < 98)
		do_hand_over(m);
	else {
		close_it(m);
		open_it(m);
	}
}

static void judge(struct model *m, const char *path)
{
	char cmd[200];
	int status;

	rig_store(&m->rig, path);
	(void)snprintf(cmd, sizeof(cmd), "qemu-img check -q -f qcow2 %s", path);
	status = system(cmd);
	ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "qemu-img check: %d", status);
}

/* qemu-img reads the same; it has no backing file of ours. */
static void judge_content(struct model *m, const char *path)
{
	char cmd[300], raw[100];
	FILE *f;

	if (m->l->backing)
		return;
	(void)snprintf(raw, sizeof(raw), "%s.raw", path);
	f = fopen(raw, "wb");
	ck_assert(f && fwrite(m->disk, 1, m->bytes, f) == m->bytes && fclose(f) == 0);
	(void)snprintf(cmd, sizeof(cmd), "qemu-img compare -q -f qcow2 -F raw %s %s", path, raw);
	ck_assert_int_eq(system(cmd), 0);
	(void)unlink(raw);
}

static void run(const struct layout *l, unsigned seed)
{
	struct model m = {.seed = seed};
	char path[] = "/tmp/qcow2-model-XXXXXX";
	int fd = mkstemp(path);

	ck_assert_int_ge(fd, 0);
	(void)close(fd);
	setup(&m, l);
	for (unsigned i = 1; i <= l->ops; i++) {
		one(&m);
		if (i % 200 == 0) {
			compare(&m, 0, m.bytes);
			close_it(&m);
			judge(&m, path);
			open_it(&m);
		}
	}
	compare(&m, 0, m.bytes);
	close_it(&m);
	judge(&m, path);
	judge_content(&m, path);
	(void)unlink(path);
	rig_fini(&m.rig);
	free(m.disk);
}

/* Every fourth layout from 'first' on. */
static void run_some(size_t first)
{
	const char *more = getenv("QCOW2_MODEL_RUNS"); /* other seeds, for a search by hand */
	unsigned runs = more ? (unsigned)atoi(more) : 1;

	for (size_t i = first; i < ARRAY_LEN(layouts); i += 4)
		for (unsigned k = 0; k < runs; k++) {
			if (more)
				printf("layout %zu seed %u\n", i, 7 + k);
			run(&layouts[i], 7 + k);
		}
}

START_TEST(test_model_a)
{
	run_some(0);
}
END_TEST

START_TEST(test_model_b)
{
	run_some(1);
}
END_TEST

START_TEST(test_model_c)
{
	run_some(2);
}
END_TEST

START_TEST(test_model_d)
{
	run_some(3);
}
END_TEST

CHECK_MAIN("qcow2-model", test_model_a, test_model_b, test_model_c, test_model_d)
