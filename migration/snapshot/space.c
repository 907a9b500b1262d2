/*
 * space.c - is there room for the guest's memory in an image?
 *
 * A save that cannot fit is refused before anything is touched, and one that might fit never is.
 * So only what is certain counts:
 *
 *     needed   pages that are not zero, for each is written as it is
 *     there    what is free in the file system, of its reserve too, and all free clusters of the
 *              image, whether they have space of their own or not
 *
 * A file system that compresses, deduplicates, keeps space back that it would give, or that is
 * another host's, cannot tell: of those that can, ext2 to ext4 and tmpfs, the type is known.  A
 * block device ends where it ends.  Memory is looked at only where what was ever touched of it
 * would not fit.
 */
#include "migration/snapshot/space.h"

#include <errno.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "devices/block/image.h"
#include "devices/block/node.h"
#include "devices/block/qcow2/qcow2.h"
#include "migration/snapshot/nodes.h"
#include "vmm/base/alloc.h"
#include "vmm/base/bitmap.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"
#include "vmm/base/zero.h"
#include "vmm/memory/memory.h"
#include "vmm/memory/populated.h"

#define STAT_BLOCK_BYTES 512 /* what st_blocks counts */

/* ---- what is needed ---- */

/* Bytes of pages that may hold something, or ('look') that do. */
static uint64_t block_bytes(const struct ram_block *b, bool look)
{
	uint64_t pages = b->bytes / PAGE_BYTES, n = 0;
	uint64_t *map = bitmap_new(pages);

	if (!map)
		return 0;
	ram_populated(b, map);
	if (!look)
		n = bitmap_count(map, pages);
	else
		bitmap_for_each_set (page, map, pages)
			n += !buffer_is_zero(b->hva + page * PAGE_BYTES, PAGE_BYTES);
	free(map);
	return n * PAGE_BYTES;
}

static uint64_t memory_bytes(const struct memory *mem, bool look)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < mem->n_blocks; i++)
		bytes += block_bytes(mem->blocks[i], look);
	return bytes;
}

/* ---- what is there ---- */

static bool file_can_grow(int fd, const struct stat *st, uint64_t *bytes)
{
	uint64_t has = (uint64_t)st->st_blocks * STAT_BLOCK_BYTES;
	struct statfs fs;

	if (fstatfs(fd, &fs) < 0 || fs.f_blocks == 0)
		return false;
	if (fs.f_type != EXT4_SUPER_MAGIC && fs.f_type != TMPFS_MAGIC)
		return false;
	*bytes = (uint64_t)fs.f_bfree * (uint64_t)fs.f_bsize;
	if (has > (uint64_t)st->st_size) /* preallocated behind its end */
		*bytes += has - (uint64_t)st->st_size;
	return true;
}

static bool can_grow(int fd, uint64_t *bytes)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return false;
	if (S_ISREG(st.st_mode))
		return file_can_grow(fd, &st, bytes);
	*bytes = 0;
	return S_ISBLK(st.st_mode);
}

int snapshot_check_space(const struct memory *mem, const struct block_node *n, struct err *err)
{
	uint64_t grows = 0, free_bytes = 0, needed, there;

	if (!can_grow(n->img->fd, &grows) || memory_total_bytes(mem) <= grows)
		return 0;
	needed = memory_bytes(mem, false);
	if (needed <= grows ||
	    qcow2_room(snapshot_node_image(n), needed - grows, &free_bytes) < 0 ||
	    needed - grows <= free_bytes)
		return 0;
	needed = memory_bytes(mem, true);
	there = grows + free_bytes;
	if (needed <= there)
		return 0;
	return err_set(err, ENOSPC,
		       "the guest's memory does not fit into '%.200s': at least %llu bytes are "
		       "needed, and there are %llu (%llu free in the file system, %llu in free "
		       "clusters of the image)",
		       snapshot_node_name(n), (unsigned long long)needed, (unsigned long long)there,
		       (unsigned long long)grows, (unsigned long long)free_bytes);
}
