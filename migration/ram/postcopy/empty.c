/*
 * empty.c - pages that will come again are given back to the host, so that they are missing
 *
 * In a private copy of a file a page that the copy does not hold is the file's: it is not missing,
 * and would be seen instead of waited for.  So the file must have no data when the move begins.
 * Later it may have pages all the same, since to read a hole of a file in memory allocates one:
 * those are zero, and become holes again.  Other content is somebody else's, and is refused.
 */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "migration/ram/postcopy/postcopy-ram.h"
#include "vmm/base/bitmap.h"
#include "vmm/base/units.h"
#include "vmm/base/zero.h"

static int refuse_data(const struct ram_block *b, struct err *err)
{
	return err_set(err, ENOTSUP,
		       "RAM block '%s' is a private copy of a file with data, which would show "
		       "where no page has come: use an empty file, share=on, anonymous memory or a "
		       "memfd",
		       b->name);
}

int postcopy_check_file(const struct ram_block *b, struct err *err)
{
	off_t data;

	if (memory_discards_to_zero(b))
		return 0;
	data = lseek(b->fd, 0, SEEK_DATA);
	if (data < 0 ? errno == ENXIO : (uint64_t)data >= b->bytes)
		return 0;
	return refuse_data(b, err);
}

/* A page of the file that holds zeroes becomes a hole. */
static int drop_zero_page(const struct ram_block *b, uint64_t off, struct err *err)
{
	uint8_t page[PAGE_BYTES];

	if (pread(b->fd, page, sizeof(page), (off_t)off) != (ssize_t)sizeof(page) ||
	    !buffer_is_zero(page, sizeof(page)))
		return refuse_data(b, err);
	if (fallocate(b->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)off,
		      (off_t)sizeof(page)) < 0)
		return err_set(err, errno, "RAM block '%s': its file cannot be emptied: %s",
			       b->name, err_text(errno));
	return 0;
}

static int empty_file(const struct ram_block *b, uint64_t off, uint64_t end, struct err *err)
{
	int ret = 0;

	while (ret == 0 && off < end) {
		off_t data = lseek(b->fd, (off_t)off, SEEK_DATA);

		if (data < 0 ? errno == ENXIO : (uint64_t)data >= end)
			return 0;
		if (data < 0)
			return refuse_data(b, err);
		off = ALIGN_DOWN((uint64_t)data, PAGE_BYTES);
		ret = drop_zero_page(b, off, err);
		off += PAGE_BYTES;
	}
	return ret;
}

static int empty_range(const struct ram_block *b, uint64_t off, uint64_t end, struct err *err)
{
	int ret = memory_give_back(b, off, end - off);

	if (ret < 0)
		return err_set(err, -ret, "RAM block '%s' cannot be emptied: %s", b->name,
			       err_text(-ret));
	return memory_discards_to_zero(b) ? 0 : empty_file(b, off, end, err);
}

int postcopy_empty_block(struct postcopy_ram *p, struct postcopy_block *pb, struct err *err)
{
	uint64_t end;
	int ret = 0;

	for (uint64_t at = bitmap_next_clear(pb->received, pb->pages, 0);
	     ret == 0 && at < pb->pages; at = bitmap_next_clear(pb->received, pb->pages, end)) {
		end = bitmap_next_set(pb->received, pb->pages, at);
		ret = empty_range(pb->block, at * PAGE_BYTES, end * PAGE_BYTES, err);
		p->left_pages += end - at;
	}
	return ret;
}
