/*
 * Writing: several threads in shared clusters, images with snapshots of QEMU's, how a file grows
 * and what is flushed.
 */
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <zstd.h>

#include "tests/unit/check-main.h"
#include "tests/unit/qcow2-rig.h"
#include "vmm/base/error.h"
#include "vmm/base/log.h"

static __attribute__((format(printf, 1, 2))) int shell(const char *fmt, ...)
{
	char cmd[500];
	va_list args;
	int status;

	va_start(args, fmt);
	(void)vsnprintf(cmd, sizeof(cmd), fmt, args);
	va_end(args);
	status = system(cmd);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void temp_path(char *path)
{
	int fd = mkstemp(path);

	ck_assert_int_ge(fd, 0);
	(void)close(fd);
}

static struct qcow2 *made(struct rig *r, const struct qcow2_create *c)
{
	static const struct qcow2_open how = {.writable = true};
	struct qcow2_storage s = rig_storage(r);
	struct err err = {0};
	struct qcow2 *q;

	ck_assert_msg(qcow2_create(&s, c, &err) == 0, "%s", err.msg);
	ck_assert_msg(qcow2_open(&q, &s, &how, &err) == 0, "%s", err.msg);
	return q;
}

static int put(struct qcow2 *q, uint64_t off, size_t bytes, uint8_t v)
{
	uint8_t *p = malloc(bytes);
	struct iovec iov = {p, bytes};
	int ret;

	memset(p, v, bytes);
	ret = qcow2_writev(q, &iov, 1, off);
	free(p);
	return ret;
}

/* ---- threads ---- */

#define DISK    (8 * MiB)
#define THREADS 4U

struct crowd {
	struct qcow2 *q;
	uint8_t *model; /* each thread's own pieces */
	unsigned id;
};

static void *worker(void *opaque)
{
	const struct crowd *c = opaque;
	unsigned seed = c->id + 1;
	uint8_t buf[4096];

	for (unsigned i = 0; i < 1500; i++) {
		size_t piece = (unsigned)rand_r(&seed) % (DISK / 4096) / THREADS * THREADS + c->id;
		struct iovec v = {buf, sizeof(buf)};
		uint8_t *mine = c->model + piece * 4096;
		unsigned k = (unsigned)rand_r(&seed) % 20;
		struct qcow2_extent x;

		if (k < 12) {
			memset(buf, rand_r(&seed) | 1, sizeof(buf));
			memcpy(mine, buf, sizeof(buf));
			if (qcow2_writev(c->q, &v, 1, piece * 4096) < 0)
				return opaque;
		} else if (k < 19) {
			(void)qcow2_map(c->q, piece * 4096, 4096, false, &x);
			if (qcow2_readv(c->q, &v, 1, piece * 4096) < 0 ||
			    memcmp(buf, mine, sizeof(buf)) != 0)
				return opaque;
		} else if (qcow2_flush(c->q) < 0) {
			return opaque;
		}
	}
	return NULL;
}

static void crowd_run(uint32_t cluster, bool extended)
{
	const struct qcow2_create c = {
	    .bytes = DISK, .cluster_bytes = cluster, .extended_l2 = extended};
	const struct qcow2_open how = {.writable = true, .cache_bytes = 1};
	char path[] = "/tmp/qcow2-threads-XXXXXX";
	int fd = mkstemp(path);
	struct qcow2_storage s = {&qcow2_storage_file, &fd};
	uint8_t *model = xcalloc(2, DISK), *all = model + DISK;
	struct iovec v = {all, DISK};
	struct crowd crowd[THREADS];
	pthread_t threads[THREADS];
	struct qcow2 *q;

	ck_assert_int_eq(qcow2_create(&s, &c, NULL), 0);
	ck_assert_int_eq(qcow2_open(&q, &s, &how, NULL), 0);
	for (uint64_t off = 0; off < DISK; off += 2 * cluster) {
		memset(model + off, 0x77, cluster);
		ck_assert_int_eq(qcow2_write_compressed(q, model + off, cluster, off), 0);
	}
	for (unsigned i = 0; i < THREADS; i++) {
		crowd[i] = (struct crowd){q, model, i};
		ck_assert_int_eq(pthread_create(&threads[i], NULL, worker, &crowd[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++) {
		void *failed;

		(void)pthread_join(threads[i], &failed);
		ck_assert_ptr_null(failed);
	}
	ck_assert_int_eq(qcow2_readv(q, &v, 1, 0), 0);
	ck_assert(memcmp(all, model, DISK) == 0);
	ck_assert_int_eq(qcow2_close(q, NULL), 0);
	ck_assert_int_eq(shell("qemu-img check -q %s", path), 0);
	(void)unlink(path);
	(void)close(fd);
	free(model);
}

START_TEST(test_threads)
{
	crowd_run(65536, false);
	crowd_run(16384, true);
	crowd_run(4096, false);
}
END_TEST

/* ---- snapshots that are there ---- */

#define SAMPLE_MAX_BYTES (64 * MiB)

static void unpack(const char *name, const char *path)
{
	char *from = xasprintf("tests/data/qcow2/%s.qcow2.zst", name);
	struct rig packed = {0}, image = {0};
	size_t n;

	rig_load(&packed, from);
	rig_room(&image, SAMPLE_MAX_BYTES);
	n = ZSTD_decompress(image.p, image.cap, packed.p, packed.bytes);
	ck_assert_msg(!ZSTD_isError(n), "%s", from);
	image.bytes = n;
	rig_store(&image, path);
	rig_fini(&packed);
	rig_fini(&image);
	free(from);
}

static void overwrite(const char *path, uint64_t bytes)
{
	static const struct qcow2_open how = {.writable = true, .discards = true};
	int fd = open(path, O_RDWR | O_CLOEXEC);
	struct qcow2_storage s = {&qcow2_storage_file, &fd};
	struct err err = {0};
	struct qcow2 *q;

	ck_assert_msg(qcow2_open(&q, &s, &how, &err) == 0, "%s", err.msg);
	for (uint64_t off = 0; off < bytes; off += 128 * KiB)
		ck_assert_int_eq(put(q, off + 4096, 40960, 0xee), 0);
	ck_assert_int_eq(qcow2_discard(q, 0, 256 * KiB), 0);
	ck_assert_int_eq(qcow2_write_zeroes(q, MiB, 70000 / 512 * 512, true), 0);
	ck_assert_int_eq(qcow2_flush(q), 0);
	ck_assert_int_eq(put(q, 0, bytes, 0xdd), 0);
	ck_assert_int_eq(qcow2_close(q, NULL), 0);
	(void)close(fd);
}

/* What a snapshot holds is the same after all of the disk has been written. */
START_TEST(test_snapshots_unharmed)
{
	static const struct {
		const char *name, *snapshot;
		uint64_t bytes;
	} rows[] = {
	    {"snap-7.2",             "first",     4 * MiB},
            {"snap-11.1",            "disk-only", 4 * MiB},
	    {"snap-11.1",            "second",    2 * MiB},
            {"snap-7.2-second-disk", "second",    2 * MiB},
	    {"v2-snapshot",          "s",         2 * MiB},
	};
	char path[] = "/tmp/qcow2-snap-XXXXXX";

	temp_path(path);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		unpack(rows[i].name, path);
		ck_assert_int_eq(shell("qemu-img convert -q -l snapshot.name=%s -O raw %s %s.a",
				       rows[i].snapshot, path, path),
				 0);
		overwrite(path, rows[i].bytes);
		ck_assert_msg(shell("qemu-img check -q %s", path) == 0, "row %zu", i);
		ck_assert_int_eq(shell("qemu-img convert -q -l snapshot.name=%s -O raw %s %s.b && "
				       "cmp -s %s.a %s.b && rm %s.a %s.b",
				       rows[i].snapshot, path, path, path, path, path, path),
				 0);
		ck_assert_int_eq(shell("qemu-img snapshot -a %s %s && qemu-img check -q %s",
				       rows[i].snapshot, path, path),
				 0);
	}
	(void)unlink(path);
}
END_TEST

/* ---- how the file grows ---- */

/* A guest that flushes after each write and discard, and one that never does. */
START_TEST(test_growth)
{
	static const struct qcow2_create c = {.bytes = 4 * MiB};

	for (int flushes = 0; flushes < 2; flushes++) {
		struct rig r = {0};
		struct qcow2 *q = made(&r, &c);
		unsigned seed = 1;

		for (unsigned i = 0; i < 3000; i++) {
			uint64_t off = (uint64_t)rand_r(&seed) % 64 * 65536;

			if (rand_r(&seed) % 2)
				ck_assert_int_eq(put(q, off, 65536, 1), 0);
			else
				ck_assert_int_eq(qcow2_discard(q, off, 65536), 0);
			if (flushes)
				ck_assert_int_eq(qcow2_flush(q), 0);
		}
		ck_assert_int_eq(qcow2_close(q, NULL), 0);
		ck_assert_msg(r.bytes <= (flushes ? 5 : 10) * MiB, "%llu",
			      (unsigned long long)r.bytes);
		rig_fini(&r);
	}
}
END_TEST

/* A flush with nothing to write back is one of the storage's; no_flush: none at all. */
START_TEST(test_flushes)
{
	static const struct qcow2_create c = {.bytes = 4 * MiB};
	static const struct qcow2_open fast = {.writable = true, .no_flush = true};
	struct rig r = {0};
	struct qcow2 *q = made(&r, &c);
	struct qcow2_storage s = rig_storage(&r);
	unsigned long before;

	ck_assert_int_eq(put(q, 0, 65536, 1), 0);
	before = r.flushes;
	ck_assert_int_eq(qcow2_flush(q), 0);
	ck_assert_uint_eq(r.flushes - before, 2); /* one between refcounts and tables */
	ck_assert_int_eq(put(q, 4096, 4096, 2), 0);
	before = r.flushes;
	ck_assert_int_eq(qcow2_flush(q), 0);
	ck_assert_uint_eq(r.flushes - before, 1);
	ck_assert_int_eq(qcow2_close(q, NULL), 0);
	before = r.flushes;
	ck_assert_int_eq(qcow2_open(&q, &s, &fast, NULL), 0);
	ck_assert_int_eq(put(q, MiB, 65536, 1), 0);
	ck_assert_int_eq(qcow2_flush(q), 0);
	ck_assert_int_eq(qcow2_close(q, NULL), 0);
	ck_assert_uint_eq(r.flushes, before);
	rig_fini(&r);
}
END_TEST

/* Nothing is written around the data where the storage never had anything, and in one piece. */
START_TEST(test_writes)
{
	static const struct qcow2_create c = {.bytes = 64 * MiB};
	struct rig r = {0};
	struct qcow2 *q = made(&r, &c);
	unsigned long before = r.writes;

	ck_assert_int_eq(put(q, 65536 + 4096, 4096, 1), 0);
	ck_assert_uint_eq(r.writes - before, 1);
	ck_assert_uint_lt(r.bytes, 5 * 65536 + 8192 + 1);
	before = r.writes;
	ck_assert_int_eq(put(q, MiB, MiB, 1), 0);
	ck_assert_uint_eq(r.writes - before, 1);
	before = r.writes;
	ck_assert_int_eq(put(q, 4 * MiB + 512, MiB, 1), 0);
	ck_assert_uint_eq(r.writes - before, 1);
	ck_assert_int_eq(qcow2_close(q, NULL), 0);
	rig_fini(&r);
}
END_TEST

/* The refcount table grows more than once. */
START_TEST(test_refcount_table)
{
	static const struct qcow2_create c = {
	    .bytes = 24 * MiB, .cluster_bytes = 512, .refcount_bits = 64};
	char path[] = "/tmp/qcow2-table-XXXXXX";
	struct rig r = {0};
	struct qcow2 *q = made(&r, &c);

	temp_path(path);
	for (uint64_t off = 0; off < c.bytes; off += MiB)
		ck_assert_int_eq(put(q, off, MiB, (uint8_t)(off / MiB + 1)), 0);
	ck_assert_int_eq(qcow2_close(q, NULL), 0);
	rig_store(&r, path);
	ck_assert_int_eq(shell("qemu-img check -q %s", path), 0);
	ck_assert_int_eq(shell("qemu-io -f qcow2 -c 'read -P 24 23M 1M' %s | grep -q failed", path),
			 1);
	(void)unlink(path);
	rig_fini(&r);
}
END_TEST

CHECK_MAIN("qcow2-write", test_threads, test_snapshots_unharmed, test_growth, test_flushes,
	   test_writes, test_refcount_table)
