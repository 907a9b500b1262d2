/*
 * populated.c - which pages of guest memory were ever touched
 *
 * Private anonymous memory: /proc/self/pagemap says which pages are present
 * or swapped out; the others have never been written.  Memory in a memfd or
 * on tmpfs: a page that is not data (SEEK_DATA) does not exist, whoever maps
 * it; what a private mapping has copied shows in pagemap.  Files on other
 * file systems are not asked: what is dirty in their page cache need not be
 * known as data yet.
 */
#include "migration/ram/populated.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdbool.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "vmm/base/alloc.h"
#include "vmm/base/bitmap.h"
#include "vmm/base/units.h"
#include "vmm/memory.h"

#define PAGEMAP_PRESENT (1ULL << 63)
#define PAGEMAP_SWAPPED (1ULL << 62)
#define PIECE_PAGES     8192U

static int from_pagemap(const struct ram_block *b, uint64_t *map)
{
	CLEANUP(cleanup_close) int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	CLEANUP(cleanup_free) uint64_t *entry = xcalloc(PIECE_PAGES, sizeof(*entry));
	uint64_t pages = b->bytes / PAGE_BYTES, first = (uintptr_t)b->hva / PAGE_BYTES;

	if (fd < 0 || sysconf(_SC_PAGESIZE) != (long)PAGE_BYTES)
		return -ENOTSUP;
	for (uint64_t at = 0; at < pages; at += PIECE_PAGES) {
		size_t n = MIN(PIECE_PAGES, pages - at);
		ssize_t want = (ssize_t)(n * sizeof(*entry));

		if (pread(fd, entry, (size_t)want, (off_t)((first + at) * sizeof(*entry))) != want)
			return -EIO;
		for (size_t i = 0; i < n; i++)
			if (entry[i] & (PAGEMAP_PRESENT | PAGEMAP_SWAPPED))
				bitmap_set(map, at + i);
	}
	return 0;
}

static int from_data(const struct ram_block *b, uint64_t *map)
{
	off_t at = 0, end = (off_t)b->bytes;
	struct statfs fs;

	if (fstatfs(b->fd, &fs) < 0 || fs.f_type != TMPFS_MAGIC)
		return -ENOTSUP;
	while (at < end) {
		off_t data = lseek(b->fd, at, SEEK_DATA), hole;
		uint64_t first;

		if (data < 0 && errno == ENXIO)
			break; /* no more data */
		hole = data < 0 ? -1 : lseek(b->fd, data, SEEK_HOLE);
		if (hole < 0)
			return -errno;
		if (data >= end)
			break;
		hole = MIN(hole, end);
		first = (uint64_t)data / PAGE_BYTES;
		bitmap_set_range(map, first,
				 ((uint64_t)hole + PAGE_BYTES - 1) / PAGE_BYTES - first);
		at = hole;
	}
	return 0;
}

void ram_populated(const struct ram_block *b, uint64_t *map)
{
	int ret = b->fd >= 0 ? from_data(b, map) : 0;

	/* Anonymous shared memory shows in pagemap only where this process has mapped it. */
	if (ret == 0 && b->fd < 0 && b->share)
		ret = -ENOTSUP;
	if (ret == 0 && !b->share)
		ret = from_pagemap(b, map);
	if (ret < 0)
		bitmap_set_range(map, 0, b->bytes / PAGE_BYTES);
}
