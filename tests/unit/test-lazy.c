/*
 * Lazy loading without a guest: threads of the test touch memory whose pages come from a source
 * that the test holds, delays and lets fail; the placer alone; and the file of the working set.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "devices/block/lock.h"
#include "migration/channel/channel.h"
#include "migration/ram/lazy/lazy.h"
#include "migration/ram/lazy/source.h"
#include "migration/ram/lazy/working-set.h"
#include "migration/ram/mapped/source.h"
#include "migration/ram/placer-uffd.h"
#include "tests/unit/check-main.h"
#include "vmm/base/alloc.h"
#include "vmm/base/bitmap.h"
#include "vmm/base/buf.h"
#include "vmm/base/bytes.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"
#include "vmm/base/xxh64.h"
#include "vmm/memory/missing.h"
#include "vmm/memory/populated.h"

#define PAGES 1024U

static bool no_uffd(void)
{
	struct memory mem;
	struct err err = {0};
	int ret;

	memory_init(&mem, -1);
	ret = userfault_probe(&mem, USERFAULT_MISSING, &err);
	if (ret < 0)
		skip_test("%s", err.msg);
	return ret < 0;
}

/* What page i of block b holds. */
static uint64_t stamp(size_t block, uint64_t page)
{
	return (block + 1) * 0x100000001ULL * (page + 3);
}

static bool in_source(uint64_t page)
{
	return page % 5 != 2 && page / 100 != 3; /* single holes, and a large one */
}

/* ---- a source that the test holds ---- */

struct test_source {
	struct page_source base;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool held;  /* reads wait */
	bool fails; /* reads fail */
	unsigned reads, waiting;
	bool closed;
	char notes[64];
	struct memory *mem;
};

static int test_read(struct page_source *s, size_t block, uint64_t page, uint64_t n, uint8_t *to,
		     struct err *err)
{
	struct test_source *t = container_of(s, struct test_source, base);
	bool fails;

	pthread_mutex_lock(&t->lock);
	t->reads++;
	t->waiting++;
	pthread_cond_broadcast(&t->cond);
	while (t->held)
		pthread_cond_wait(&t->cond, &t->lock);
	t->waiting--;
	fails = t->fails;
	pthread_mutex_unlock(&t->lock);
	if (fails)
		return err_set(err, EIO, "the disk is gone");
	for (uint64_t i = 0; i < n; i++) {
		uint64_t v = stamp(block, page + i);

		ck_assert_msg(in_source(page + i), "page %lu is not in the source", page + i);
		for (size_t at = 0; at < PAGE_BYTES; at += sizeof(v))
			memcpy(to + i * PAGE_BYTES + at, &v, sizeof(v));
	}
	return 0;
}

static void test_identity(const struct page_source *s, uint8_t out[PAGE_SOURCE_IDENTITY])
{
	const struct test_source *t = container_of(s, const struct test_source, base);

	/* asked before the first page has come, and between the last one and the end */
	ck_assert_int_eq(memory_check_complete(t->mem, NULL), -EBUSY);
	memset(out, 7, PAGE_SOURCE_IDENTITY);
}

static char *test_notes(const struct page_source *s)
{
	const struct test_source *t = container_of(s, const struct test_source, base);

	return t->notes[0] ? xstrdup(t->notes) : NULL;
}

static void test_close(struct page_source *s)
{
	container_of(s, struct test_source, base)->closed = true;
}

static const struct page_source_ops test_ops = {test_read, test_identity, test_notes, test_close};

static void source_set(struct test_source *t, bool held, bool fails)
{
	pthread_mutex_lock(&t->lock);
	t->held = held;
	t->fails = fails;
	pthread_cond_broadcast(&t->cond);
	pthread_mutex_unlock(&t->lock);
}

/* ---- a machine's memory, loaded lazily ---- */

struct lazy_rig {
	struct memory mem;
	struct test_source source;
	struct lazy *lazy;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	unsigned resident, stalled, recovered;
	char why[256];
};

static void tell(struct lazy_rig *r, unsigned *what)
{
	pthread_mutex_lock(&r->lock);
	++*what;
	pthread_cond_broadcast(&r->cond);
	pthread_mutex_unlock(&r->lock);
}

static void on_resident(void *opaque)
{
	struct lazy_rig *r = opaque;

	tell(r, &r->resident);
}

static void on_stalled(void *opaque, const struct err *why)
{
	struct lazy_rig *r = opaque;

	(void)snprintf(r->why, sizeof(r->why), "%.255s", why->msg);
	tell(r, &r->stalled);
}

static void on_recovered(void *opaque)
{
	struct lazy_rig *r = opaque;

	tell(r, &r->recovered);
}

static void wait_for(struct lazy_rig *r, const unsigned *what, unsigned n)
{
	pthread_mutex_lock(&r->lock);
	while (*what < n)
		pthread_cond_wait(&r->cond, &r->lock);
	pthread_mutex_unlock(&r->lock);
}

static const struct ram_backend backends[] = {
    {.kind = RAM_ANONYMOUS, .fd = -1},
    { .kind = RAM_MEMFD,        .share = true, .fd = -1},
    { .kind = RAM_MEMFD,       .share = false, .fd = -1},
};

static struct lazy_rig *rig_with_notes(const struct ram_backend *backend, uint64_t rate,
				       const char *notes)
{
	struct lazy_rig *r = NEW(struct lazy_rig);
	const struct lazy_owner owner = {on_resident, on_stalled, on_recovered, r};
	struct err err = {0};

	pthread_mutex_init(&r->lock, NULL);
	pthread_cond_init(&r->cond, NULL);
	pthread_mutex_init(&r->source.lock, NULL);
	pthread_cond_init(&r->source.cond, NULL);
	r->source.base = (struct page_source){&test_ops, "'test'"};
	r->source.mem = &r->mem;
	(void)snprintf(r->source.notes, sizeof(r->source.notes), "%s", notes);
	memory_init(&r->mem, -1);
	ck_assert_ptr_nonnull(memory_add_block(&r->mem, "a", PAGES * PAGE_BYTES, backend, &err));
	ck_assert_ptr_nonnull(memory_add_block(
	    &r->mem, "b", PAGE_BYTES * (backend->hugetlb ? 512UL : 8UL), backend, &err));
	if (!backend->hugetlb)
		memset(r->mem.blocks[0]->hva, 0x5a, 64 * PAGE_BYTES); /* of an attempt before */
	r->lazy = lazy_new(&r->mem, &r->source.base, &err);
	ck_assert_msg(r->lazy != NULL, "%s", err.msg);
	for (size_t b = 0; b < 2; b++) {
		uint64_t pages = r->mem.blocks[b]->bytes / PAGE_BYTES;
		uint64_t *comes = bitmap_new(pages);

		for (uint64_t i = 0; i < pages; i++)
			if (in_source(i))
				bitmap_set(comes, i);
		ck_assert_msg(lazy_take(r->lazy, r->mem.blocks[b], comes, &err) == 0, "%s",
			      err.msg);
	}
	lazy_set_rate(r->lazy, rate);
	ck_assert_msg(lazy_begin(r->lazy, &owner, &err) == 0, "%s", err.msg);
	return r;
}

static struct lazy_rig *rig_new(const struct ram_backend *backend, uint64_t rate)
{
	return rig_with_notes(backend, rate, "");
}

static void rig_run(struct lazy_rig *r)
{
	ck_assert_int_eq(lazy_run(r->lazy, NULL), 0);
}

static void rig_free(struct lazy_rig *r)
{
	memory_fini(&r->mem);
	ck_assert(r->source.closed);
	free(r);
}

static uint64_t look(const struct lazy_rig *r, size_t block, uint64_t page)
{
	uint64_t v;

	memcpy(&v, r->mem.blocks[block]->hva + page * PAGE_BYTES + 8 * (page % 512), sizeof(v));
	return v;
}

static uint64_t expected(size_t block, uint64_t page)
{
	return in_source(page) ? stamp(block, page) : 0;
}

static void check_all(const struct lazy_rig *r)
{
	for (size_t b = 0; b < 2; b++)
		for (uint64_t i = 0; i < r->mem.blocks[b]->bytes / PAGE_BYTES; i++)
			ck_assert_msg(look(r, b, i) == expected(b, i), "block %zu page %lu", b, i);
}

static uint64_t left(const struct lazy_rig *r)
{
	struct lazy_info info;

	lazy_query(r->lazy, &info);
	return info.left_bytes / PAGE_BYTES;
}

/* ---- tests ---- */

/* Nobody touches anything: all comes, and the source is let go. */
START_TEST(test_eager)
{
	if (no_uffd())
		return;
	for (size_t i = 0; i < ARRAY_LEN(backends); i++) {
		struct lazy_rig *r = rig_new(&backends[i], 0);

		ck_assert_int_eq(memory_check_complete(&r->mem, NULL), -EBUSY);
		rig_run(r);
		wait_for(r, &r->resident, 1);
		ck_assert(r->source.closed);
		ck_assert_int_eq(memory_check_complete(&r->mem, NULL), 0);
		ck_assert_uint_eq(left(r), 0);
		check_all(r);
		rig_free(r);
	}
}
END_TEST

/* Everything is touched, and the eager thread is not there: each page is right the first time. */
START_TEST(test_touched)
{
	if (no_uffd())
		return;
	for (size_t i = 0; i < ARRAY_LEN(backends); i++) {
		struct lazy_rig *r = rig_new(&backends[i], 0);
		struct lazy_info info;

		check_all(r);
		lazy_query(r->lazy, &info);
		ck_assert_uint_eq(info.left_bytes, 0);
		ck_assert_uint_gt(info.faults, 0);
		ck_assert_uint_lt(info.faults, PAGES); /* neighbours came, too */
		rig_run(r);
		wait_for(r, &r->resident, 1);
		check_all(r);
		rig_free(r);
	}
}
END_TEST

static unsigned free_huge_pages(void)
{
	FILE *f = fopen("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "re");
	unsigned n = 0;

	if (!f)
		return 0;
	if (fscanf(f, "%u", &n) != 1)
		n = 0;
	(void)fclose(f);
	return n;
}

/* Whole huge pages come, zeroes between the pages with content. */
START_TEST(test_huge)
{
	static const struct ram_backend huge[] = {
	    {.kind = RAM_MEMFD, .hugetlb = true, .hugetlb_bytes = 2 * MiB, .share = true,                   .fd = -1},
	    {.kind = RAM_MEMFD,                 .hugetlb = true,                .hugetlb_bytes = 2 * MiB,         .fd = -1},
	};

	if (no_uffd())
		return;
	if (free_huge_pages() < 8) {
		skip_test("the host has fewer than 8 free huge pages of 2 MiB");
		return;
	}
	for (size_t i = 0; i < 2 * ARRAY_LEN(huge); i++) {
		struct lazy_rig *r = rig_new(&huge[i / 2], i & 1 ? 0 : PAGE_BYTES);
		struct lazy_info info;

		if (i & 1) {
			rig_run(r);
			wait_for(r, &r->resident, 1);
		}
		check_all(r);
		ck_assert_int_eq(memory_discard_pages(r->mem.blocks[0], 2 * MiB, 2 * MiB), 0);
		ck_assert_uint_eq(look(r, 0, 600), 0);
		lazy_query(r->lazy, &info);
		ck_assert_uint_eq(info.faults, i & 1 ? 0 : 3);
		rig_free(r);
	}
}
END_TEST

/* What has been written stays, whatever comes later. */
START_TEST(test_written)
{
	struct lazy_rig *r;

	if (no_uffd())
		return;
	r = rig_new(&backends[0], 0);
	for (uint64_t i = 0; i < PAGES; i += 3)
		r->mem.blocks[0]->hva[i * PAGE_BYTES + 4000] = 0xee;
	rig_run(r);
	wait_for(r, &r->resident, 1);
	for (uint64_t i = 0; i < PAGES; i++)
		ck_assert_uint_eq(r->mem.blocks[0]->hva[i * PAGE_BYTES + 4000],
				  i % 3 ? (uint8_t)(expected(0, i) & 0xff) : 0xee);
	rig_free(r);
}
END_TEST

/* Pages to come are not "never touched"; pages that do not come are. */
START_TEST(test_populated)
{
	uint64_t *map;

	if (no_uffd())
		return;
	for (size_t k = 0; k < ARRAY_LEN(backends); k++) {
		struct lazy_rig *r = rig_new(&backends[k], 0);

		for (unsigned resident = 0; resident < 3; resident++) {
			map = bitmap_new(PAGES);
			ram_populated(r->mem.blocks[0], map);
			for (uint64_t i = 0; i < PAGES; i++)
				ck_assert_msg(bitmap_test(map, i) || !in_source(i), "page %lu", i);
			ck_assert(!bitmap_test(map, 350)); /* in the large hole */
			free(map);
			if (resident == 0)
				(void)look(r, 0, 100);
			if (resident == 1) {
				rig_run(r);
				wait_for(r, &r->resident, 1);
			}
		}
		rig_free(r);
	}
}
END_TEST

/* What is given back does not come back, neither by a touch nor by the eager thread. */
START_TEST(test_discarded)
{
	if (no_uffd())
		return;
	for (size_t k = 0; k < ARRAY_LEN(backends); k++) {
		struct lazy_rig *r = rig_new(&backends[k], 0);
		const struct ram_block *b = r->mem.blocks[0];

		ck_assert_uint_eq(look(r, 0, 20), stamp(0, 20));
		ck_assert_int_eq(memory_discard_pages(b, 10 * PAGE_BYTES, 100 * PAGE_BYTES), 0);
		for (uint64_t i = 10; i < 60; i++)
			ck_assert_uint_eq(look(r, 0, i), 0);
		rig_run(r);
		wait_for(r, &r->resident, 1);
		for (uint64_t i = 0; i < PAGES; i++)
			ck_assert_uint_eq(look(r, 0, i), i >= 10 && i < 110 ? 0 : expected(0, i));
		rig_free(r);
	}
}
END_TEST

struct toucher {
	struct lazy_rig *r;
	uint64_t page, saw;
	pthread_t thread;
	bool done; /* atomic */
};

static void *touch(void *opaque)
{
	struct toucher *t = opaque;

	t->saw = look(t->r, 0, t->page);
	__atomic_store_n(&t->done, true, __ATOMIC_SEQ_CST);
	return NULL;
}

/* Discarded while it is being read for a thread that waits: that thread goes on, with zeroes. */
START_TEST(test_discarded_while_read)
{
	struct lazy_rig *r;
	struct toucher t;

	if (no_uffd())
		return;
	r = rig_new(&backends[0], 0);
	source_set(&r->source, true, false);
	t = (struct toucher){.r = r, .page = 500};
	ck_assert_int_eq(pthread_create(&t.thread, NULL, touch, &t), 0);
	pthread_mutex_lock(&r->source.lock);
	while (!r->source.waiting)
		pthread_cond_wait(&r->source.cond, &r->source.lock);
	pthread_mutex_unlock(&r->source.lock);
	ck_assert_int_eq(memory_discard_pages(r->mem.blocks[0], 400 * PAGE_BYTES, 200 * PAGE_BYTES),
			 0);
	source_set(&r->source, false, false);
	ck_assert_int_eq(pthread_join(t.thread, NULL), 0);
	ck_assert_uint_eq(t.saw, 0);
	rig_free(r);
}
END_TEST

/* A source that fails: those who wait see nothing, and the right thing once it works again. */
START_TEST(test_stalled)
{
	struct lazy_rig *r;
	struct toucher t[4];

	if (no_uffd())
		return;
	r = rig_new(&backends[1], PAGE_BYTES);
	source_set(&r->source, false, true);
	for (unsigned i = 0; i < 4; i++) {
		t[i] = (struct toucher){.r = r, .page = 100 * i + 100 + (i == 2 ? 300 : 0)};
		ck_assert_int_eq(pthread_create(&t[i].thread, NULL, touch, &t[i]), 0);
	}
	rig_run(r);
	wait_for(r, &r->stalled, 1);
	ck_assert_str_eq(r->why, "the disk is gone");
	ck_assert_int_eq(memory_check_complete(&r->mem, NULL), -EBUSY);
	for (unsigned i = 0; i < 4; i++)
		ck_assert(!__atomic_load_n(&t[i].done, __ATOMIC_SEQ_CST));
	source_set(&r->source, false, false);
	wait_for(r, &r->recovered, 1);
	for (unsigned i = 0; i < 4; i++) {
		ck_assert_int_eq(pthread_join(t[i].thread, NULL), 0);
		ck_assert_uint_eq(t[i].saw, expected(0, t[i].page));
	}
	lazy_set_rate(r->lazy, 0);
	wait_for(r, &r->resident, 1);
	check_all(r);
	rig_free(r);
}
END_TEST

/* The program ends in the middle, also while a read fails. */
START_TEST(test_end)
{
	if (no_uffd())
		return;
	for (unsigned i = 0; i < 4; i++) {
		struct lazy_rig *r = rig_new(&backends[i % 2], PAGE_BYTES);

		if (i & 1)
			(void)look(r, 0, 700);
		if (i & 2) {
			source_set(&r->source, false, true);
			rig_run(r);
			wait_for(r, &r->stalled, 1);
		}
		rig_free(r);
	}
}
END_TEST

struct dropping {
	struct lazy_rig *r;
	bool closed; /* the source, when it was done */
	bool done;   /* under the source's lock */
};

static void *drop(void *opaque)
{
	struct dropping *d = opaque;
	struct test_source *t = &d->r->source;

	memory_set_missing(&d->r->mem, NULL);
	pthread_mutex_lock(&t->lock);
	d->closed = t->closed;
	d->done = true;
	pthread_cond_broadcast(&t->cond);
	pthread_mutex_unlock(&t->lock);
	return NULL;
}

/* The load has failed while a read hangs: whoever drops the session waits until it has ended. */
START_TEST(test_dropped_while_read)
{
	struct dropping d = {0};
	struct test_source *t;
	struct lazy_rig *r;
	pthread_t thread;
	struct timespec until;

	if (no_uffd())
		return;
	d.r = r = rig_new(&backends[0], 0);
	t = &r->source;
	source_set(t, true, false);
	rig_run(r);
	pthread_mutex_lock(&t->lock);
	while (!t->waiting)
		pthread_cond_wait(&t->cond, &t->lock);
	ck_assert_int_eq(pthread_create(&thread, NULL, drop, &d), 0);
	/* longer than the end of the program would wait; no result depends on it */
	(void)clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 3;
	while (!d.done && pthread_cond_timedwait(&t->cond, &t->lock, &until) == 0)
		continue;
	pthread_mutex_unlock(&t->lock);
	source_set(t, false, false);
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	ck_assert(d.closed);
	rig_free(r);
}
END_TEST

/* A limit is kept, and may be lifted. */
START_TEST(test_rate)
{
	struct lazy_rig *r;

	if (no_uffd())
		return;
	r = rig_new(&backends[0], PAGE_BYTES);
	rig_run(r);
	while (left(r) > PAGES - PAGES / 5 - 85) /* the first page */
		(void)sched_yield();
	ck_assert_uint_gt(left(r), PAGES / 2);
	lazy_set_rate(r->lazy, 0);
	wait_for(r, &r->resident, 1);
	check_all(r);
	rig_free(r);
}
END_TEST

/* What was touched comes first the next time; a file that is damaged does no harm. */
START_TEST(test_working_set_kept)
{
	char dir[] = "/tmp/minivmm-test-XXXXXX", path[64];

	if (no_uffd())
		return;
	ck_assert_ptr_nonnull(mkdtemp(dir));
	(void)snprintf(path, sizeof(path), "%s/ws", dir);
	for (unsigned pass = 0; pass < 4; pass++) {
		struct lazy_rig *r = rig_with_notes(&backends[0], pass ? 0 : PAGE_BYTES, path);
		struct lazy_info info;

		rig_run(r);
		for (uint64_t page = 600; pass == 0 && page < 900; page += 100)
			ck_assert_uint_eq(look(r, 0, page), stamp(0, page));
		lazy_set_rate(r->lazy, 0);
		wait_for(r, &r->resident, 1);
		check_all(r);
		lazy_query(r->lazy, &info);
		/* all three, or fewer where the eager thread was first */
		ck_assert_uint_eq(info.working_set_pages > 0, pass == 1 || pass == 2);
		rig_free(r);
		if (pass == 2)
			ck_assert_int_eq(truncate(path, 50), 0);
	}
	(void)unlink(path);
	(void)rmdir(dir);
}
END_TEST

/* ---- a file as the source ---- */

struct file_source {
	char path[32];
	int fd;
	struct page_source *source;
};

static const struct timespec some_time[] = {
    {1700000000, 5},
    {1700000000, 5}
};

/* Four pages, the n-th full of n + 1. */
static void file_source_init(struct file_source *f)
{
	uint64_t comes[] = {0xf};
	struct channel *ch;
	struct err err = {0};
	uint8_t page[PAGE_BYTES];

	(void)snprintf(f->path, sizeof(f->path), "/tmp/minivmm-test-XXXXXX");
	f->fd = mkstemp(f->path);
	ck_assert_int_ge(f->fd, 0);
	for (int i = 0; i < 4; i++) {
		memset(page, i + 1, sizeof(page));
		ck_assert_int_eq(write(f->fd, page, sizeof(page)), PAGE_BYTES);
	}
	ck_assert_int_eq(futimens(f->fd, some_time), 0);
	ch = channel_file_read(f->path, 0, -1, &err);
	ck_assert_msg(ch != NULL, "%s", err.msg);
	f->source = mapped_source_new(ch, false, &err);
	channel_close(ch); /* it is not needed any more */
	ck_assert_msg(f->source != NULL, "%s", err.msg);
	mapped_source_add(f->source, 1, PAGE_BYTES, comes, 3);
}

static int file_source_read(struct file_source *f, uint8_t *page, struct err *err)
{
	return f->source->ops->read(f->source, 1, 1, 1, page, err);
}

/* Whatever another program does to the file, it is seen; and so is that the file is back. */
START_TEST(test_file_source)
{
	uint8_t page[PAGE_BYTES];
	struct err err = {0};
	struct file_source f;

	file_source_init(&f);
	ck_assert_int_eq(file_source_read(&f, page, &err), 0);
	ck_assert_uint_eq(page[77], 3);
	ck_assert_int_eq(pwrite(f.fd, "x", 1, 0), 1);
	ck_assert_int_eq(file_source_read(&f, page, &err), -ESTALE);
	ck_assert_msg(strstr(err.msg, "was written to by another program") != NULL, "%s", err.msg);
	ck_assert_int_eq(futimens(f.fd, some_time), 0);
	ck_assert_int_eq(file_source_read(&f, page, &err), 0);
	ck_assert_int_eq(ftruncate(f.fd, 100), 0);
	ck_assert_int_eq(file_source_read(&f, page, &err), -ESTALE);
	ck_assert_msg(strstr(err.msg, "has 100 bytes instead of 16384") != NULL, "%s", err.msg);
	f.source->ops->close(f.source);
	(void)close(f.fd);
	(void)unlink(f.path);
}
END_TEST

/* It is locked as long as it is the guest's memory: no program that writes it gets it. */
START_TEST(test_file_is_locked)
{
	const struct block_perms writer = block_disk_perms(false, true);
	struct file_source f;
	struct channel *ch;
	struct err err = {0};

	file_source_init(&f);
	ck_assert_int_eq(block_lock(f.fd, f.path, writer, false, NULL), -EBUSY);
	f.source->ops->close(f.source);
	ck_assert_int_eq(block_lock(f.fd, f.path, writer, false, NULL), 0);
	ch = channel_file_read(f.path, 0, -1, &err);
	ck_assert_ptr_null(mapped_source_new(ch, false, &err));
	ck_assert_msg(strstr(err.msg, "lock") != NULL, "%s", err.msg);
	channel_close(ch);
	(void)close(f.fd);
	(void)unlink(f.path);
}
END_TEST

/* The notes belong to the file by its times and bitmaps, and are beside it only while it has its
 * name. */
START_TEST(test_file_identity)
{
	uint8_t a[PAGE_SOURCE_IDENTITY], b[PAGE_SOURCE_IDENTITY];
	uint64_t comes[] = {1};
	struct file_source f;
	char *notes;

	file_source_init(&f);
	f.source->ops->identity(f.source, a);
	mapped_source_add(f.source, 0, 0, comes, 1);
	f.source->ops->identity(f.source, b);
	ck_assert_mem_ne(a, b, sizeof(a));
	notes = f.source->ops->notes_path(f.source);
	ck_assert_ptr_nonnull(notes);
	ck_assert_int_eq(strncmp(notes, f.path, strlen(f.path)), 0);
	free(notes);
	(void)unlink(f.path);
	ck_assert_ptr_null(f.source->ops->notes_path(f.source));
	f.source->ops->close(f.source);
	(void)close(f.fd);
}
END_TEST

/* ---- the working set's file ---- */

static void ws_memory(struct memory *mem)
{
	memory_init(mem, -1);
	ck_assert_ptr_nonnull(
	    memory_add_block(mem, "microvm.ram", 300 * PAGE_BYTES, &backends[0], NULL));
	ck_assert_ptr_nonnull(memory_add_block(mem, "pc.bios", 8 * PAGE_BYTES, &backends[0], NULL));
}

static const uint8_t identity[PAGE_SOURCE_IDENTITY] = {1, 2, 3};

static void ws_fill(struct working_set *ws)
{
	bitmap_set_range(ws->blocks[0].map, 3, 70);
	bitmap_set(ws->blocks[0].map, 299);
	bitmap_set(ws->blocks[1].map, 0);
}

START_TEST(test_working_set_file)
{
	char path[] = "/tmp/minivmm-test-XXXXXX";
	struct working_set a, b;
	struct memory mem;
	int fd = mkstemp(path);

	(void)close(fd);
	ws_memory(&mem);
	ck_assert_int_eq(working_set_init(&a, &mem), 0);
	ck_assert_int_eq(working_set_init(&b, &mem), 0);
	ws_fill(&a);
	ck_assert_int_eq(working_set_save(&a, identity, path, NULL), 0);
	bitmap_set(b.blocks[0].map, 100);
	ck_assert_int_eq(working_set_load(&b, identity, path, NULL), 0);
	ck_assert_uint_eq(working_set_pages(&b), 73);
	ck_assert(bitmap_test(b.blocks[0].map, 72) && !bitmap_test(b.blocks[0].map, 73));
	ck_assert_int_eq(unlink(path), 0);
	ck_assert_int_eq(working_set_load(&b, identity, path, NULL), -ENOENT);
	working_set_fini(&a);
	working_set_fini(&b);
	memory_fini(&mem);
}
END_TEST

static uint64_t sum(const uint8_t *p, size_t n)
{
	struct xxh64 h;

	xxh64_init(&h);
	xxh64_add(&h, p, n);
	return xxh64_value(&h);
}

/* Bytes at an offset that lie, with a checksum that fits (or not). */
START_TEST(test_working_set_hostile)
{
	enum { BLOCKS = 22 + 32, NAME = BLOCKS + 1, RUNS = NAME + 12, FIRST = RUNS + 4 };
	static const struct {
		size_t at;
		uint32_t value;
		unsigned bytes;
		bool unsummed;
		int ret;
		const char *words;
	} rows[] = {
	    {0,         0x6d696e69 + 1, 4, false, -EINVAL, "no working set"                      },
	    {30,        9,              1, false, -ESTALE, "another saved guest"                 },
	    {30,        9,              1, true,  -EINVAL, "checksum"                            },
	    {BLOCKS,    3,              1, false, -EINVAL, "it has 3 RAM blocks, the guest has 2"},
	    {BLOCKS,    1,              1, false, -EINVAL, "bytes follow"                        },
	    {NAME + 1,  'x',            1, false, -EINVAL, "unknown RAM block 'xicrovm.ram'"     },
	    {NAME + 3,  0,              1, false, -EINVAL, "NUL"                                 },
	    {RUNS,      0x40001,        4, false, -EINVAL, "262145 runs"                         },
	    {RUNS,      3,              4, false, -EINVAL, "not in order or beyond"              },
	    {FIRST,     300,            4, false, -EINVAL, "beyond the block"                    },
	    {FIRST + 4, 0,              4, false, -EINVAL, "is empty"                            },
	    {FIRST + 4, 298,            4, false, -EINVAL, "beyond the block"                    },
	    {FIRST + 8, 72,             4, false, -EINVAL, "not in order"                        },
	};
	struct working_set ws;
	struct memory mem;

	ws_memory(&mem);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct err err = {0};
		struct buf out = {0};

		ck_assert_int_eq(working_set_init(&ws, &mem), 0);
		ws_fill(&ws);
		working_set_put(&ws, identity, &out);
		bitmap_reset(ws.blocks[0].map, 300);
		bitmap_reset(ws.blocks[1].map, 8);
		if (rows[i].bytes == 1)
			out.data[rows[i].at] = (uint8_t)rows[i].value;
		else
			put_be32(out.data + rows[i].at, rows[i].value);
		if (!rows[i].unsummed)
			put_be64(out.data + out.len - 8, sum(out.data, out.len - 8));
		ck_assert_msg(working_set_get(&ws, identity, out.data, out.len, &err) ==
				  rows[i].ret,
			      "row %zu: '%s'", i, err.msg);
		ck_assert_msg(strstr(err.msg, rows[i].words) != NULL, "row %zu: '%s'", i, err.msg);
		ck_assert_uint_eq(working_set_pages(&ws), 0);
		for (size_t n = 0; n < out.len; n++)
			ck_assert_int_lt(working_set_get(&ws, identity, out.data, n, NULL), 0);
		working_set_fini(&ws);
		buf_free(&out);
	}
	memory_fini(&mem);
}
END_TEST

CHECK_MAIN("lazy", test_eager, test_touched, test_huge, test_written, test_populated,
	   test_discarded, test_discarded_while_read, test_stalled, test_end,
	   test_dropped_while_read, test_rate, test_working_set_kept, test_file_source,
	   test_file_is_locked, test_file_identity, test_working_set_file, test_working_set_hostile)
