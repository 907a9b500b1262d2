/*
 * place.c - pages that have come are put in: each once, in whole pages of the host
 *
 * Several threads do so at the same time, for different pages: the sweep's and the urgent ones
 * come over two connections.  No lock keeps one from the other, for the kernel refuses to put
 * a page in twice.  Who gives pages back to the host waits until none is being put in, and has
 * marked them as received before: so nothing comes back with its old content.
 *
 * Zero pages are marked only.  If a thread waits for one, or begins to at the same time, a zero
 * page is put in (postcopy-ram.c has the order).
 */
#include <errno.h>

#include "migration/ram/postcopy/postcopy-ram.h"
#include "vmm/base/bitmap.h"
#include "vmm/base/units.h"

bool postcopy_ram_has(const struct postcopy_block *pb, uint64_t page)
{
	return bitmap_test_atomic(pb->received, page);
}

bool postcopy_ram_wanted(const struct postcopy_block *pb, uint64_t page)
{
	return bitmap_test_atomic(pb->requested, ALIGN_DOWN(page, pb->unit));
}

/* n pages are received from now on: how many were not. */
static uint64_t set_received(struct postcopy_block *pb, uint64_t page, uint64_t n)
{
	uint64_t fresh = 0;

	for (uint64_t at = page, end = page + n; at < end;) {
		uint64_t bit = at % BITS_PER_WORD, some = MIN(BITS_PER_WORD - bit, end - at);
		uint64_t mask = postcopy_bits(bit, some);
		uint64_t old =
		    __atomic_fetch_or(&pb->received[at / BITS_PER_WORD], mask, __ATOMIC_SEQ_CST);

		fresh += (uint64_t)__builtin_popcountll(mask & ~old);
		at += some;
	}
	return fresh;
}

/* The same, with all that depends on it: how many host pages of these had been asked for. */
static uint64_t settle(struct postcopy_ram *p, struct postcopy_block *pb, uint64_t page, uint64_t n)
{
	uint64_t fresh = set_received(pb, page, n);

	__atomic_fetch_sub(&p->left_pages, fresh, __ATOMIC_SEQ_CST);
	return postcopy_request_end(p, pb, page, n);
}

/* The first pages of [*page, end) that have not come: how many in a row. */
static uint64_t next_absent(const struct postcopy_block *pb, uint64_t *page, uint64_t end)
{
	uint64_t n = 0;

	while (*page < end && postcopy_ram_has(pb, *page))
		(*page)++;
	while (*page + n < end && !postcopy_ram_has(pb, *page + n))
		n++;
	return n;
}

int postcopy_ram_put(struct postcopy_ram *p, struct postcopy_block *pb, uint64_t page, uint64_t n,
		     const uint8_t *from)
{
	uint64_t first = page, end = page + n, some;
	int ret = 0;

	pthread_rwlock_rdlock(&p->giving_back);
	while (ret == 0 && (some = next_absent(pb, &page, end))) {
		ret = userfault_copy(&p->uffd, pb->block, page * PAGE_BYTES,
				     from + (page - first) * PAGE_BYTES, some * PAGE_BYTES, false);
		if (ret == 0)
			(void)settle(p, pb, page, some);
		page += some;
	}
	pthread_rwlock_unlock(&p->giving_back);
	return ret;
}

int postcopy_ram_put_zero(struct postcopy_ram *p, struct postcopy_block *pb, uint64_t page,
			  uint64_t n)
{
	uint64_t end = page + n, some;
	int ret = 0;

	while (ret == 0 && (some = next_absent(pb, &page, end))) {
		if (settle(p, pb, page, some)) /* of these somebody waits for one at least */
			ret = userfault_zero(&p->uffd, pb->block, page * PAGE_BYTES,
					     some * PAGE_BYTES);
		/* The host has none: who waits touches it again, and the fault thread sees to it.
		 */
		if (ret == -ENOMEM || ret == -ENOSPC)
			ret = userfault_wake(&p->uffd, pb->block, page * PAGE_BYTES,
					     some * PAGE_BYTES);
		page += some;
	}
	return ret;
}
