/*
 * populated.c - which pages of guest memory were ever touched
 *
 * Two places hold what a block's pages contain: the file that backs it, and
 * the page tables of this process.
 *
 *    mapping   file                    touched is
 *    private   none (anonymous)        what the page tables have
 *    private   any                     what the page tables have, and the file's data
 *    shared    tmpfs, memfd, ext4, xfs the file's data (SEEK_DATA, SEEK_HOLE)
 *    shared    hugetlbfs               what the page tables have, if that is all there is
 *    any       another                 everything
 *
 * A private page is in the page tables or in the file, nowhere else.  A
 * shared one exists in the file, whichever process maps it, and may be missing in our
 * page tables although another process has written it: they prove nothing.
 * On ext4 and xfs, what is dirty in the page cache and has no place on the disk
 * yet is data, too.  Other file systems are not asked, for some have been wrong
 * about that.
 *
 * To look for the end of a file's data costs tmpfs 15 ms a GiB in one call, in which the kernel
 * lets no other thread run on that processor.  So our page tables are read first, which are all
 * that a guest's own writes need: what they have the file has, and it is asked for the rest.
 *
 * hugetlbfs does not know holes, but how much memory the file has in all.  If
 * our page tables have as much, they have all of it.
 *
 * A page that a lazy load has still to bring (missing.h) is neither here nor there, and
 * may hold something: it counts as touched.
 *
 * PAGEMAP_SCAN walks page tables and names only what is there, in time that
 * depends on that.  It also knows the zero page, which a page is that was only
 * read.  The older way reads eight bytes for every page, there or not.
 */
#include "vmm/memory/populated.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "vmm/base/alloc.h"
#include "vmm/base/bitmap.h"
#include "vmm/base/units.h"
#include "vmm/memory/memory.h"
#include "vmm/memory/missing.h"
#include "vmm/memory/pagemap-scan.h"

#define PAGEMAP_PRESENT (1ULL << 63)
#define PAGEMAP_SWAPPED (1ULL << 62)
#define PIECE_PAGES     8192U
#define REGIONS         2048U
#define STAT_BLOCK      512U /* bytes that st_blocks counts in */

static int open_pagemap(void)
{
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	if (sysconf(_SC_PAGESIZE) == (long)PAGE_BYTES)
		return fd;
	(void)close(fd);
	return -ENOTSUP;
}

/* ---- this process's page tables ---- */

static int tables_by_scan(const struct ram_block *b, bool swapped, uint64_t *map)
{
	CLEANUP(cleanup_close) int fd = open_pagemap();
	CLEANUP(cleanup_free) struct pm_region *r = xcalloc(REGIONS, sizeof(*r));
	uint64_t base = (uintptr_t)b->hva;
	struct pm_scan scan = {
	    .size = sizeof(scan),
	    .start = base,
	    .end = base + b->bytes,
	    .vec = (uintptr_t)r,
	    .vec_len = REGIONS,
	    .category_inverted = PM_ZERO,
	    .category_mask = PM_ZERO,
	    .category_anyof_mask = PM_PRESENT | (swapped ? PM_SWAPPED : 0),
	    .return_mask = PM_PRESENT,
	};

	if (fd < 0)
		return fd;
	while (scan.start < scan.end) {
		int n = ioctl(fd, PM_SCAN, &scan);

		if (n < 0)
			return -errno;
		for (int i = 0; i < n; i++)
			bitmap_set_range(map, (r[i].start - base) / PAGE_BYTES,
					 (r[i].end - r[i].start) / PAGE_BYTES);
		if (scan.walk_end <= scan.start)
			return -EIO;
		scan.start = scan.walk_end;
	}
	return 0;
}

static int tables_by_entry(const struct ram_block *b, bool swapped, uint64_t *map)
{
	const uint64_t wanted = PAGEMAP_PRESENT | (swapped ? PAGEMAP_SWAPPED : 0);
	CLEANUP(cleanup_close) int fd = open_pagemap();
	CLEANUP(cleanup_free) uint64_t *entry = xcalloc(PIECE_PAGES, sizeof(*entry));
	uint64_t pages = b->bytes / PAGE_BYTES, first = (uintptr_t)b->hva / PAGE_BYTES;

	if (fd < 0)
		return fd;
	for (uint64_t at = 0; at < pages; at += PIECE_PAGES) {
		size_t n = MIN(PIECE_PAGES, pages - at);
		ssize_t want = (ssize_t)(n * sizeof(*entry));

		if (pread(fd, entry, (size_t)want, (off_t)((first + at) * sizeof(*entry))) != want)
			return -EIO;
		for (size_t i = 0; i < n; i++)
			if (entry[i] & wanted)
				bitmap_set(map, at + i);
	}
	return 0;
}

const struct page_tables page_tables[] = {
    {"scan",           tables_by_scan},
    {"pagemap",		tables_by_entry},
    {0},
};

/* ---- the file ---- */

static long file_system(const struct ram_block *b)
{
	struct statfs fs;

	return fstatfs(b->fd, &fs) == 0 ? (long)fs.f_type : 0;
}

static bool knows_holes(long type)
{
	return type == TMPFS_MAGIC || type == EXT4_SUPER_MAGIC || type == XFS_SUPER_MAGIC;
}

/* The file's data behind 'at': its first page, and the one behind its last.  1, 0 (none) or -errno.
 */
static int next_data(const struct ram_block *b, uint64_t at, const uint64_t *map, uint64_t *first,
		     uint64_t *end)
{
	off_t data = lseek(b->fd, (off_t)(at * PAGE_BYTES), SEEK_DATA), hole;

	if ((data < 0 && errno == ENXIO) || data >= (off_t)b->bytes)
		return 0;
	if (data < 0)
		return -errno;
	*first = (uint64_t)data / PAGE_BYTES;
	*end = *first + 1;
	if (bitmap_test(map, *first))
		return 1;
	hole = lseek(b->fd, data, SEEK_HOLE);
	if (hole < 0)
		return -errno;
	*end = (MIN((uint64_t)hole, b->bytes) + PAGE_BYTES - 1) / PAGE_BYTES;
	return 1;
}

/* Adds what is not in the map. */
static int file_data(const struct ram_block *b, uint64_t *map)
{
	uint64_t pages = b->bytes / PAGE_BYTES, at = 0, first = 0, end = 0;
	int ret = 1;

	while (ret > 0 && (at = bitmap_next_clear(map, pages, at)) < pages) {
		ret = next_data(b, at, map, &first, &end);
		if (ret <= 0)
			break;
		bitmap_set_range(map, first, end - first);
		at = end;
	}
	return ret < 0 ? ret : 0;
}

/* Has the file that much memory and no more? */
static bool file_holds(const struct ram_block *b, uint64_t bytes)
{
	struct stat st;

	return fstat(b->fd, &st) == 0 && (uint64_t)st.st_blocks * STAT_BLOCK == bytes;
}

/* ---- both ---- */

/* With these, or (NULL) with the first that the kernel has. */
static int read_tables(const struct page_tables *only, const struct ram_block *b, bool swapped,
		       uint64_t *map)
{
	int ret = -ENOTSUP;

	if (only)
		return only->find(b, swapped, map);
	for (const struct page_tables *t = page_tables; ret < 0 && t->name; t++)
		ret = t->find(b, swapped,
			      map); /* what a method that failed has found stays in the map */
	return ret;
}

static int find_private(const struct page_tables *only, const struct ram_block *b, uint64_t *map)
{
	long type = b->fd >= 0 ? file_system(b) : 0;
	int ret = read_tables(only, b, true, map);

	if (ret < 0 || b->fd < 0)
		return ret;
	if (type == HUGETLBFS_MAGIC)
		return file_holds(b, 0) ? 0 : -ENOTSUP;
	return knows_holes(type) ? file_data(b, map) : -ENOTSUP;
}

static int find_shared(const struct page_tables *only, const struct ram_block *b, uint64_t *map)
{
	long type = b->fd >= 0 ? file_system(b) : 0;
	int ret;

	if (type == TMPFS_MAGIC)
		(void)read_tables(only, b, false, map); /* spares looking for it in the file */
	if (knows_holes(type))
		return file_data(b, map);
	if (type != HUGETLBFS_MAGIC)
		return -ENOTSUP;
	ret = read_tables(only, b, true, map);
	if (ret < 0)
		return ret;
	return file_holds(b, bitmap_count(map, b->bytes / PAGE_BYTES) * PAGE_BYTES) ? 0 : -ENOTSUP;
}

/* Returns owned; NULL: none, or no memory to tell. */
static uint64_t *pages_to_come(const struct ram_block *b, bool *none)
{
	uint64_t *map;

	pthread_rwlock_rdlock(b->missing_lock);
	*none = !b->missing;
	map = *none ? NULL : bitmap_new(b->bytes / PAGE_BYTES);
	if (map)
		b->missing->ops->mark(b->missing, b, map);
	pthread_rwlock_unlock(b->missing_lock);
	return map;
}

void ram_populated_by(const struct page_tables *only, const struct ram_block *b, uint64_t *map)
{
	/* First: a page that comes while we look is in the page tables afterwards. */
	bool none;
	CLEANUP(cleanup_free) uint64_t *coming = pages_to_come(b, &none);
	int ret = b->share ? find_shared(only, b, map) : find_private(only, b, map);

	if (ret < 0 || (!none && !coming))
		bitmap_set_range(map, 0, b->bytes / PAGE_BYTES);
	else if (coming)
		(void)bitmap_or(map, coming, b->bytes / PAGE_BYTES);
}

void ram_populated(const struct ram_block *b, uint64_t *map)
{
	ram_populated_by(NULL, b, map);
}

bool ram_present(const struct ram_block *b, uint64_t *map)
{
	return read_tables(NULL, b, false, map) == 0;
}

bool ram_may_be_swapped(void)
{
	FILE *f = fopen("/proc/self/status", "re");
	unsigned long kib = 1;
	char line[256];

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "VmSwap: %lu", &kib) == 1)
			break;
	if (f)
		(void)fclose(f);
	return kib > 0;
}
