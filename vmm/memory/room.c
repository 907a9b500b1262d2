/*
 * room.c - pages are allocated before they are written, where the host may have none
 *
 * MADV_POPULATE_WRITE allocates pages and fails with an error where a plain
 * write would raise SIGBUS.  A whole shared file is reserved with fallocate(),
 * which tmpfs undoes when the space does not suffice.  Kernels before 5.14 lack
 * the madvise: there the handler of SIGBUS (fault.c) is what names the block.
 */
#include "vmm/memory/room.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "vmm/base/error.h"
#include "vmm/base/units.h"
#include "vmm/memory/fault.h"
#include "vmm/memory/memory.h"

bool room_is_scarce(const struct ram_block *b)
{
	if (b->fd < 0)
		return false;
	if (b->page_bytes > PAGE_BYTES)
		return b->no_reserve;
	return !b->own_memfd;
}

struct size {
	char s[32];
};

static struct size size_text(uint64_t bytes)
{
	struct size t;

	if (bytes >= 10 * MiB || (bytes >= MiB && bytes % MiB == 0))
		(void)snprintf(t.s, sizeof(t.s), "%" PRIu64 " MiB", (uint64_t)(bytes / MiB));
	else
		(void)snprintf(t.s, sizeof(t.s), "%" PRIu64 " KiB", (uint64_t)(bytes / KiB));
	return t;
}

int room_say_none(const struct ram_block *b, struct err *err)
{
	struct ram_file file = ram_file_of(b->fd);
	uint64_t there, left;
	struct statfs fs;
	struct stat st;

	if (b->page_bytes > PAGE_BYTES)
		return err_set(err, ENOSPC,
			       "the host has no free huge page of %" PRIu64
			       " KiB left for guest RAM "
			       "'%s': raise nr_hugepages in /sys/kernel/mm/hugepages",
			       b->page_bytes >> 10, b->name);
	if (b->fd < 0 || fstatfs(b->fd, &fs) < 0 || fstat(b->fd, &st) < 0)
		return err_set(err, ENOSPC, "the host has no memory left for guest RAM '%s'",
			       b->name);
	if ((uint64_t)st.st_size < b->bytes)
		return err_set(
		    err, ENOSPC,
		    "somebody has cut %s, the file of guest RAM '%s', short: it has %" PRIi64
		    " bytes instead of %" PRIu64,
		    file.s, b->name, (int64_t)st.st_size, b->bytes);
	there = MIN((uint64_t)st.st_blocks * 512, b->bytes);
	left = (uint64_t)fs.f_bavail * (uint64_t)fs.f_bsize;
	return err_set(
	    err, ENOSPC,
	    "the %s of %s has no room for guest RAM '%s': of its %s %s are in place, %s are "
	    "free, up to %s are missing",
	    fs.f_type == TMPFS_MAGIC ? "tmpfs" : "file system", file.s, b->name,
	    size_text(b->bytes).s, size_text(there).s, size_text(left).s,
	    size_text(b->bytes - there > left ? b->bytes - there - left : 0).s);
}

int room_populate(const struct ram_block *b, uint64_t off, uint64_t len, struct err *err)
{
	uint64_t first = ALIGN_DOWN(off, PAGE_BYTES), end = ALIGN_UP(off + len, PAGE_BYTES);
	int ret;

	do
		ret = madvise(b->hva + first, end - first, MADV_POPULATE_WRITE);
	while (ret < 0 && (errno == EINTR || errno == EAGAIN));
	/* EINVAL: a kernel before 5.14.  A SIGBUS, if there is one, is reported by fault.c. */
	if (ret == 0 || errno == EINVAL)
		return 0;
	return room_say_none(b, err);
}

int room_reserve(const struct ram_block *b, struct err *err)
{
	int ret;

	if (b->fd < 0 || b->own_memfd || !b->share)
		return 0;
	do
		ret = fallocate(b->fd, 0, 0, (off_t)b->bytes);
	while (ret < 0 && errno == EINTR);
	if (ret == 0 || (errno != ENOSPC && errno != EDQUOT && errno != EFBIG))
		return 0;
	return room_say_none(b, err);
}
