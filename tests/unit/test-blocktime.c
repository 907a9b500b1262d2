/* How long threads wait for pages: by waiter, whatever messages there are, and in what order. */
#include <pthread.h>
#include <string.h>

#include "migration/ram/postcopy/blocktime.h"
#include "migration/settings/info.h"
#include "tests/unit/check-main.h"
#include "vmm/base/units.h"

#define US      ((int64_t)1000)
#define MS      ((int64_t)1000000)
#define SECOND  ((int64_t)1000000000)
#define IO_TID  77U
#define THREADS 4U

/* Not in order, as the kernel gives them. */
static const uint32_t tids[] = {305, 12, 200};

static struct migration_blocktime read_at(struct blocktime *b, int64_t now_ns)
{
	struct migration_blocktime out;

	memset(&out, 0xff, sizeof(out));
	blocktime_read(b, now_ns, &out);
	return out;
}

static uint64_t total(const struct migration_blocktime *f)
{
	uint64_t n = 0;

	for (size_t i = 0; i < ARRAY_LEN(f->latency_dist); i++)
		n += f->latency_dist[i];
	return n;
}

/* Nothing has happened: all is zero, and there is a place for each vCPU. */
START_TEST(test_empty)
{
	struct blocktime *b = blocktime_new(tids, ARRAY_LEN(tids));
	struct migration_blocktime f;

	blocktime_placed(b, 0, UINT64_MAX, SECOND);
	f = read_at(b, SECOND);
	ck_assert_uint_eq(f.vcpus, 3);
	ck_assert_uint_eq(f.blocktime_ms, 0);
	ck_assert_uint_eq(f.latency_ns, 0);
	ck_assert_uint_eq(total(&f), 0);
	for (unsigned i = 0; i < 3; i++)
		ck_assert(f.vcpu_blocktime_ms[i] == 0 && f.vcpu_latency_ns[i] == 0);
	ck_assert_ptr_eq(blocktime_ref(b), b);
	blocktime_unref(b);
	ck_assert_uint_eq(read_at(b, SECOND).vcpus, 3);
	blocktime_unref(b);
	blocktime_unref(NULL);
	ck_assert_ptr_null(blocktime_ref(NULL));
}
END_TEST

/* One page, three waiters: each has waited its own time, and all go on at once. */
START_TEST(test_one_page)
{
	struct blocktime *b = blocktime_new(tids, ARRAY_LEN(tids));
	struct migration_blocktime f;

	blocktime_fault(b, 5, 200, 10 * MS); /* vCPU 2 */
	blocktime_fault(b, 5, 305, 20 * MS); /* vCPU 0 */
	blocktime_fault(b, 5, IO_TID, 25 * MS);
	blocktime_placed(b, 4, 1, 30 * MS);
	blocktime_placed(b, 6, 100, 30 * MS);
	f = read_at(b, 30 * MS);
	ck_assert_uint_eq(total(&f), 0);
	blocktime_placed(b, 5, 1, 40 * MS);
	f = read_at(b, 90 * MS);
	ck_assert_uint_eq(f.vcpu_blocktime_ms[0], 20);
	ck_assert_uint_eq(f.vcpu_blocktime_ms[1], 0);
	ck_assert_uint_eq(f.vcpu_blocktime_ms[2], 30);
	ck_assert_uint_eq(f.blocktime_ms, 0); /* vCPU 1 never waited */
	ck_assert_uint_eq(f.vcpu_latency_ns[0], 20 * MS);
	ck_assert_uint_eq(f.vcpu_latency_ns[2], 30 * MS);
	ck_assert_uint_eq(f.other_latency_ns, 15 * MS);
	ck_assert_uint_eq(f.latency_ns, 65 * MS / 3);
	ck_assert_uint_eq(total(&f), 3);
	blocktime_unref(b);
}
END_TEST

/* Only the time in which all vCPUs waited at once is the guest's; also while it goes on. */
START_TEST(test_all_wait)
{
	struct blocktime *b = blocktime_new(tids, ARRAY_LEN(tids));

	blocktime_fault(b, 1, 305, 0);
	blocktime_fault(b, 2, 12, 10 * MS);
	blocktime_fault(b, 3, IO_TID, 11 * MS); /* does not count */
	ck_assert_uint_eq(read_at(b, 15 * MS).blocktime_ms, 0);
	blocktime_fault(b, 4, 200, 20 * MS);
	ck_assert_uint_eq(read_at(b, 25 * MS).blocktime_ms, 5);
	blocktime_placed(b, 2, 1, 30 * MS);
	ck_assert_uint_eq(read_at(b, 40 * MS).blocktime_ms, 10);
	blocktime_fault(b, 2, 12, 50 * MS);
	blocktime_placed(b, 1, 4, 57 * MS);
	ck_assert_uint_eq(read_at(b, 99 * MS).blocktime_ms, 17);
	ck_assert_uint_eq(read_at(b, 99 * MS).vcpu_blocktime_ms[1], 27);
	blocktime_unref(b);
}
END_TEST

/*
 * A signal takes a thread out of its wait: it waits on for the same page, and has given up one for
 * which it does not come back.
 */
START_TEST(test_signals)
{
	struct blocktime *b = blocktime_new(tids, ARRAY_LEN(tids));
	struct migration_blocktime f;

	blocktime_fault(b, 1, 12, 0);
	blocktime_fault(b, 1, 12, 5 * MS);
	blocktime_placed(b, 1, 1, 8 * MS);
	f = read_at(b, 8 * MS);
	ck_assert_uint_eq(f.vcpu_blocktime_ms[1], 8);
	ck_assert_uint_eq(total(&f), 1);
	blocktime_fault(b, 2, 12, 10 * MS);
	blocktime_fault(b, 3, 12, 14 * MS);
	blocktime_placed(b, 2, 1, 20 * MS); /* nobody waits for it now */
	blocktime_placed(b, 3, 1, 24 * MS);
	f = read_at(b, 30 * MS);
	ck_assert_uint_eq(f.vcpu_blocktime_ms[1], 8 + 14);
	ck_assert_uint_eq(total(&f), 2);
	ck_assert_uint_eq(f.vcpu_latency_ns[1], 9 * MS);
	blocktime_unref(b);
}
END_TEST

/* A page that was there when the fault was read made nobody wait. */
START_TEST(test_drop)
{
	struct blocktime *b = blocktime_new(tids, ARRAY_LEN(tids));
	struct migration_blocktime f;

	blocktime_fault(b, 1, 12, 5 * MS);
	blocktime_fault(b, 2, 305, 5 * MS);
	blocktime_drop(b, 1, 12);
	blocktime_drop(b, 1, 305); /* waits for another page */
	blocktime_drop(b, 1, 999); /* never waited */
	blocktime_placed(b, 0, 9, 15 * MS);
	f = read_at(b, 30 * MS);
	ck_assert_uint_eq(total(&f), 1);
	ck_assert_uint_eq(f.vcpu_blocktime_ms[1], 0);
	ck_assert_uint_eq(f.vcpu_blocktime_ms[0], 10);
	blocktime_unref(b);
}
END_TEST

/* Bucket n: [2^n, 2^(n+1)) microseconds. */
START_TEST(test_buckets)
{
	static const struct {
		int64_t ns;
		unsigned bucket;
	} rows[] = {
	    {-5,            0 },
	    {0,             0 },
	    {999,           0 },
	    {1 * US,        0 },
	    {1999,          0 },
	    {2 * US,        1 },
	    {255 * US,      7 },
	    {256 * US,      8 },
	    {511 * US,      8 },
	    {512 * US,      9 },
	    {1 * SECOND,    19},
	    {8 * SECOND,    22},
	    {9 * SECOND,    23},
	    {60 * SECOND,   23},
	    {INT64_MAX / 2, 23},
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct blocktime *b = blocktime_new(tids, ARRAY_LEN(tids));
		struct migration_blocktime f;

		blocktime_fault(b, 1, 12, SECOND);
		blocktime_placed(b, 1, 1, SECOND + rows[i].ns);
		f = read_at(b, SECOND + rows[i].ns);
		ck_assert_uint_eq(f.latency_dist[rows[i].bucket], 1);
		ck_assert_uint_eq(total(&f), 1);
		blocktime_unref(b);
	}
}
END_TEST

/* A kernel that does not name threads: a waiter a page, no vCPU's.  More than there is room for. */
START_TEST(test_unknown)
{
	struct blocktime *b = blocktime_new(tids, ARRAY_LEN(tids));
	struct migration_blocktime f;

	for (uint64_t page = 0; page < 2000; page++) {
		blocktime_fault(b, page, 0, 0);
		blocktime_fault(b, page, 0, 1);
	}
	blocktime_placed(b, 0, 2000, 7 * MS);
	f = read_at(b, 9 * MS);
	ck_assert_uint_ge(total(&f), MIGRATION_MAX_VCPUS);
	ck_assert_uint_lt(total(&f), 2000);
	ck_assert_uint_eq(f.other_latency_ns, 7 * MS);
	ck_assert_uint_eq(f.vcpu_blocktime_ms[0] + f.vcpu_blocktime_ms[1], 0);
	blocktime_unref(b);
}
END_TEST

/* As in the wild: a fault thread, and threads that place pages; no wait is left over. */
struct race {
	struct blocktime *b;
	bool here[4096]; /* atomic */
};

static void *place(void *opaque)
{
	struct race *r = opaque;

	for (unsigned i = 0; i < ARRAY_LEN(r->here); i++) {
		__atomic_store_n(&r->here[i], true, __ATOMIC_SEQ_CST);
		blocktime_placed(r->b, i, 1, SECOND);
	}
	return NULL;
}

static void *fault(void *opaque)
{
	struct race *r = opaque;

	for (unsigned i = 0; i < ARRAY_LEN(r->here); i++) {
		uint32_t tid = tids[i % ARRAY_LEN(tids)];

		blocktime_fault(r->b, i, tid, SECOND);
		if (__atomic_load_n(&r->here[i], __ATOMIC_SEQ_CST))
			blocktime_drop(r->b, i, tid);
	}
	return NULL;
}

START_TEST(test_race)
{
	static struct race r;
	pthread_t t[THREADS];

	r.b = blocktime_new(tids, ARRAY_LEN(tids));
	for (unsigned i = 0; i < THREADS; i++)
		ck_assert_int_eq(pthread_create(&t[i], NULL, i ? place : fault, &r), 0);
	for (unsigned i = 0; i < THREADS; i++)
		ck_assert_int_eq(pthread_join(t[i], NULL), 0);
	/* A wait that is left over would grow. */
	ck_assert_uint_eq(read_at(r.b, 100 * SECOND).vcpu_blocktime_ms[0], 0);
	ck_assert_uint_eq(read_at(r.b, 100 * SECOND).vcpu_blocktime_ms[1], 0);
	ck_assert_uint_eq(read_at(r.b, 100 * SECOND).blocktime_ms, 0);
	blocktime_unref(r.b);
}
END_TEST

CHECK_MAIN("blocktime", test_empty, test_one_page, test_all_wait, test_signals, test_drop,
	   test_buckets, test_unknown, test_race)
