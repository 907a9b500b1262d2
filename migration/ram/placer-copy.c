/* placer-copy.c - pages straight into guest memory, while the guest does not run */
#include <string.h>

#include "migration/ram/placer.h"
#include "vmm/base/bitmap.h"
#include "vmm/base/units.h"
#include "vmm/base/zero.h"
#include "vmm/memory/room.h"

static bool is_touched(const struct load_block *lb, uint64_t page)
{
	return !lb->touched || bitmap_test_atomic(lb->touched, page);
}

static uint8_t *copy_begin(struct load_block *lb, uint64_t off, uint64_t pages, bool *fresh)
{
	uint64_t first = off / PAGE_BYTES;
	bool any = false;

	if (!lb->block)
		return NULL;
	for (uint64_t i = first; i < first + pages; i++) {
		if (is_touched(lb, i))
			continue;
		any = true;
		bitmap_set_atomic(lb->touched, i); /* multifd channels do so at the same time */
	}
	if (fresh)
		*fresh = any;
	return lb->block->hva + off;
}

int placer_make_room(const struct load_block *lb, uint64_t off, uint64_t bytes, struct err *err)
{
	bool scarce = lb->block->scarce;
	int ret = room_populate(lb->block, off, bytes, scarce ? err : NULL);

	return scarce ? ret : 0;
}

static int copy_commit(struct load_block *lb, uint64_t off, uint64_t pages)
{
	(void)lb;
	(void)off;
	(void)pages;
	return 0;
}

static int copy_zero(struct load_block *lb, uint64_t off)
{
	uint8_t *to;

	if (!lb->block || !is_touched(lb, off / PAGE_BYTES))
		return 0; /* is zero, and stays unpopulated */
	to = lb->block->hva + off;
	if (!buffer_is_zero(to, PAGE_BYTES))
		memset(to, 0, PAGE_BYTES);
	return 0;
}

const struct page_placer placer_copy = {
    .name = "copy",
    .begin = copy_begin,
    .commit = copy_commit,
    .zero = copy_zero,
};
