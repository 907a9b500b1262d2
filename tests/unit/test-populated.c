/*
 * Which pages were touched: one body over every kind of memory and every way
 * of reading the page tables.  A page with content that is not named is lost
 * guest memory, so each page is looked at afterwards; pages that were not
 * touched must not be named, and must not be there because of the question.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/check-main.h"
#include "vmm/base/alloc.h"
#include "vmm/base/bitmap.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"
#include "vmm/base/zero.h"
#include "vmm/memory/memory.h"
#include "vmm/memory/populated.h"

#define BYTES      (16 * MiB)
#define PAGES      (BYTES / PAGE_BYTES)
#define HUGE_BYTES (2 * MiB)
#define HUGE_COUNT 24 /* two mappings of the block, and a private one's copies */
#define POOL       "/proc/sys/vm/nr_hugepages"

/* Where: pages in the first, third ... huge page; the others are not touched. */
enum {
	IN_FILE = 5,       /* in the file before it is mapped */
	WRITTEN = 1029,    /* by this process */
	BY_ANOTHER = 2055, /* by another mapping of the file: another process's */
	ONLY_READ = 3080,
	AWAY = 600, /* not touched, nor is the huge page that it is in */
};

static const struct kind {
	const char *name;
	const char *dir; /* of a file to make there, or the type of a file system to mount for it */
	int backend;
	bool share, hugetlb;
	bool vague; /* more than what was touched may be named */
} kinds[] = {
    {"anonymous",         NULL,        RAM_ANONYMOUS, false, false, false},
    {"anonymous shared",  NULL,        RAM_ANONYMOUS, true,  false, false},
    {"memfd",             NULL,        RAM_MEMFD,     true,  false, false},
    {"memfd private",     NULL,        RAM_MEMFD,     false, false, false},
    {"tmpfs",             "/dev/shm",  RAM_FILE,      true,  false, false},
    {"tmpfs private",     "/dev/shm",  RAM_FILE,      false, false, false},
    {"disk",	      "/var/tmp",  RAM_FILE,      true,  false, false},
    {"disk private",      "/var/tmp",  RAM_FILE,      false, false, false},
    {"unknown",           "ramfs",     RAM_FILE,      true,  false, true },
    {"unknown private",   "ramfs",     RAM_FILE,      false, false, true },
    {"hugetlb",           NULL,        RAM_MEMFD,     true,  true,  false},
    {"hugetlb private",   NULL,        RAM_MEMFD,     false, true,  false},
    {"hugetlbfs",         "hugetlbfs", RAM_FILE,      true,  true,  true },
    {"hugetlbfs private", "hugetlbfs", RAM_FILE,      false, true,  true },
};

static bool have_huge; /* set before the tests run */

struct fixture {
	const struct kind *kind;
	struct memory mem;
	struct ram_block *b;
	char dir[64], path[96];
	bool mounted;
};

static bool lacks(const struct kind *k, const char *what)
{
	skip_test("%s: %s", k->name, what);
	return false;
}

/* A file system of that type, which is gone with this process. */
static bool mount_here(struct fixture *f)
{
	(void)snprintf(f->dir, sizeof(f->dir), "/tmp/minivmm-populated-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(f->dir));
	f->mounted = unshare(CLONE_NEWNS) == 0 &&
		     mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
		     mount("none", f->dir, f->kind->dir, 0, NULL) == 0;
	return f->mounted || lacks(f->kind, "mounting needs root");
}

/* A page of the file, as another process would write it; not in our block's page tables. */
static void write_file(int fd, uint64_t page)
{
	uint8_t *p = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	ck_assert_ptr_ne(p, MAP_FAILED);
	memset(p + page * PAGE_BYTES, (int)page & 0xff, PAGE_BYTES);
	ck_assert_int_eq(munmap(p, BYTES), 0);
}

/* A file with content in one page. */
static void make_file(struct fixture *f)
{
	int fd;

	(void)snprintf(f->path, sizeof(f->path), "%s/populated-XXXXXX", f->dir);
	fd = mkstemp(f->path);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, BYTES), 0);
	write_file(fd, IN_FILE);
	ck_assert_int_eq(close(fd), 0);
}

static bool fixture_init(struct fixture *f, const struct kind *k)
{
	struct ram_backend be = {.kind = k->backend,
				 .share = k->share,
				 .hugetlb = k->hugetlb && k->backend == RAM_MEMFD,
				 .fd = -1};
	struct err err = {0};

	*f = (struct fixture){.kind = k};
	if (k->hugetlb && !have_huge)
		return lacks(k, "no huge pages of 2 MiB can be reserved");
	if (k->dir && k->dir[0] == '/')
		(void)snprintf(f->dir, sizeof(f->dir), "%s", k->dir);
	else if (k->dir && !mount_here(f))
		return false;
	if (k->dir) {
		make_file(f);
		be.path = f->path;
	}
	memory_init(&f->mem, -1);
	f->b = memory_add_block(&f->mem, "ram", BYTES, &be, &err);
	if (f->path[0]) /* it lives as long as the block */
		ck_assert_int_eq(unlink(f->path), 0);
	if (!f->b && k->hugetlb && err.errnum == ENOMEM)
		return lacks(k, err.msg); /* another program has them now */
	ck_assert_msg(f->b != NULL, "%s: %s", k->name, err.msg);
	return true;
}

static void fixture_fini(struct fixture *f)
{
	if (f->b)
		memory_fini(&f->mem);
	if (f->mounted)
		(void)umount(f->dir);
	if (!strncmp(f->dir, "/tmp/", 5))
		(void)rmdir(f->dir);
}

static uint64_t *ask(const struct fixture *f, const struct page_tables *tables)
{
	uint64_t *map = bitmap_new(PAGES);

	ck_assert_ptr_nonnull(map);
	ram_populated_by(tables, f->b, map);
	return map;
}

static void check_content(const struct fixture *f, const uint64_t *map)
{
	for (uint64_t i = 0; i < PAGES; i++)
		ck_assert_msg(bitmap_test(map, i) ||
				  buffer_is_zero(f->b->hva + i * PAGE_BYTES, PAGE_BYTES),
			      "%s: page %lu has content and was not named", f->kind->name, i);
}

/* Each kind with each way: touched in every manner. */
static void touch_and_ask(const struct kind *k, const struct page_tables *tables)
{
	CLEANUP(cleanup_free) uint64_t *first = NULL, *second = NULL, *third = NULL;
	struct fixture f;

	if (!fixture_init(&f, k)) {
		fixture_fini(&f);
		return;
	}
	first = ask(&f, tables);
	ck_assert_msg(k->vague || bitmap_count(first, PAGES) <= (k->dir ? 1U : 0U),
		      "%s: %zu pages before any was touched", k->name, bitmap_count(first, PAGES));
	f.b->hva[WRITTEN * PAGE_BYTES + 9] = 1;
	ck_assert_uint_eq(((volatile uint8_t *)f.b->hva)[ONLY_READ * PAGE_BYTES], 0);
	second = ask(&f, tables);
	ck_assert_msg(k->vague || !bitmap_test(second, AWAY), "%s: untouched, but named", k->name);
	if (f.b->fd >= 0)
		write_file(f.b->fd, BY_ANOTHER);
	third = ask(&f, tables);
	if (!k->vague &&
	    !k->hugetlb) /* there, one that only others have leads to all being named */
		ck_assert_msg(!bitmap_test(third, AWAY), "%s: untouched, but named", k->name);
	check_content(&f, third);
	ck_assert(bitmap_test(second, WRITTEN));
	fixture_fini(&f);
}

START_TEST(test_every_memory)
{
	const struct kind *k = &kinds[_i];

	for (const struct page_tables *t = page_tables; t->name; t++)
		touch_and_ask(k, t);
	touch_and_ask(k, NULL);
}
END_TEST

/* What was only read is the zero page; PAGEMAP_SCAN knows it. */
START_TEST(test_read_only_pages)
{
	CLEANUP(cleanup_free) uint64_t *map = NULL, *scratch = bitmap_new(PAGES);
	struct fixture f;

	ck_assert(fixture_init(&f, &kinds[0]));
	if (page_tables[0].find(f.b, true, scratch) == -ENOTTY) {
		(void)lacks(&kinds[0], "the kernel has no PAGEMAP_SCAN");
	} else {
		for (uint64_t i = 0; i < PAGES; i += 2)
			ck_assert_uint_eq(((volatile uint8_t *)f.b->hva)[i * PAGE_BYTES], 0);
		f.b->hva[7 * PAGE_BYTES] = 1;
		map = ask(&f, NULL);
		ck_assert(bitmap_test(map, 7));
		ck_assert_uint_le(bitmap_count(map, PAGES), HUGE_BYTES / PAGE_BYTES);
		check_content(&f, map);
	}
	fixture_fini(&f);
}
END_TEST

/* Far more pieces than one call returns, to the last page. */
START_TEST(test_many_pieces)
{
	static const struct ram_backend be = {.kind = RAM_ANONYMOUS, .fd = -1};
	const uint64_t bytes = 64 * MiB, pages = bytes / PAGE_BYTES;
	CLEANUP(cleanup_free) uint64_t *map = bitmap_new(pages);
	struct memory mem;
	struct ram_block *b;

	memory_init(&mem, -1);
	b = memory_add_block(&mem, "ram", bytes, &be, NULL);
	ck_assert_ptr_nonnull(b);
	(void)madvise(b->hva, bytes, MADV_NOHUGEPAGE);
	for (uint64_t i = 1; i < pages; i += 2)
		b->hva[i * PAGE_BYTES] = 1;
	for (const struct page_tables *t = page_tables; t->name; t++) {
		bitmap_reset(map, pages);
		if (t->find(b, true, map) < 0) {
			skip_test("%s: the kernel does not offer it", t->name);
			continue;
		}
		for (uint64_t i = 0; i < pages; i++)
			ck_assert_msg(bitmap_test(map, i) == (i & 1), "%s: page %lu", t->name, i);
	}
	memory_fini(&mem);
}
END_TEST

/* Asking populates nothing. */
START_TEST(test_asking_is_free)
{
	CLEANUP(cleanup_free) uint64_t *map = NULL;
	unsigned char present[PAGES];
	const struct kind *k = &kinds[_i];
	struct fixture f;
	struct stat st;

	if (k->hugetlb || k->dir || !fixture_init(&f, k))
		return;
	map = ask(&f, NULL);
	ck_assert_uint_eq(bitmap_count(map, PAGES), 0);
	ck_assert_int_eq(mincore(f.b->hva, BYTES, present), 0);
	for (size_t i = 0; i < PAGES; i++)
		ck_assert_int_eq(present[i] & 1, 0);
	ck_assert(f.b->fd < 0 || (fstat(f.b->fd, &st) == 0 && st.st_blocks == 0));
	fixture_fini(&f);
}
END_TEST

/* ---- huge pages, refused ---- */

START_TEST(test_huge_pages_refused)
{
	static const char too_few[] =
	    "cannot set up guest memory 'ram': the host has not enough free huge pages of 2048 KiB "
	    "for 4194304 MiB: raise nr_hugepages in /sys/kernel/mm/hugepages";
	struct ram_backend be = {.kind = RAM_MEMFD, .share = true, .hugetlb = true, .fd = -1};
	struct memory mem;
	struct err err = {0};

	memory_init(&mem, -1);
	be.hugetlb_bytes = HUGE_BYTES;
	ck_assert_ptr_null(memory_add_block(&mem, "ram", HUGE_BYTES + PAGE_BYTES, &be, &err));
	ck_assert_str_eq(err.msg, "guest memory 'ram': 0x201000 bytes are no multiple of its huge "
				  "pages of 2048 KiB");
	ck_assert_ptr_null(memory_add_block(&mem, "ram", 4096 * GiB, &be, &err));
	ck_assert_str_eq(err.msg, too_few);
	be.share = false;
	ck_assert_ptr_null(memory_add_block(&mem, "ram", 4096 * GiB, &be, &err));
	ck_assert_str_eq(err.msg, too_few);
	be.no_reserve = true; /* then it is the guest's risk */
	ck_assert_ptr_nonnull(memory_add_block(&mem, "ram", 4096 * GiB, &be, &err));
	memory_fini(&mem);
}
END_TEST

/* ---- the host's pool ---- */

static long pool_size(void)
{
	FILE *f = fopen(POOL, "re");
	char text[32] = "-1";

	if (f && !fgets(text, sizeof(text), f))
		text[0] = 0;
	if (f)
		(void)fclose(f);
	return strtol(text, NULL, 10);
}

/* More pages, or fewer: others may be changing it at the same time.  Did it become so? */
static bool pool_add(long pages)
{
	long want = pool_size() + pages;
	FILE *f = fopen(POOL, "we");
	bool ok = f && fprintf(f, "%ld", want) > 0;

	if (f && fclose(f) != 0)
		ok = false;
	return ok && pool_size() >= want;
}

int main(void)
{
	Suite *s = suite_create("populated");
	TCase *tc = tcase_create("populated");
	SRunner *r = srunner_create(s);
	int failed;

	have_huge = pool_add(HUGE_COUNT);
	tcase_set_timeout(tc, 60); /* a guard against hangs */
	tcase_add_loop_test(tc, test_every_memory, 0, (int)ARRAY_LEN(kinds));
	tcase_add_loop_test(tc, test_asking_is_free, 0, (int)ARRAY_LEN(kinds));
	tcase_add_test(tc, test_read_only_pages);
	tcase_add_test(tc, test_many_pieces);
	tcase_add_test(tc, test_huge_pages_refused);
	suite_add_tcase(s, tc);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	if (have_huge)
		(void)pool_add(-HUGE_COUNT);
	return failed != 0;
}
