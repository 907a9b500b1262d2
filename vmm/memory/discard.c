/*
 * discard.c - pages that the guest does not need, back to the host
 *
 *     private, anonymous          MADV_DONTNEED
 *     private, our own memfd      MADV_DONTNEED, and a hole in the memfd
 *     private copy of a file      MADV_DONTNEED; the file's content shows again
 *     shared, anonymous           MADV_REMOVE
 *     shared, of a file or memfd  a hole in the file
 *
 * While memory is held (memory_hold) nothing is given back, and nothing marked.  Doing it later
 * instead would be wrong: the guest may use the page again by then.
 *
 * The host gives back whole pages of its own size only.  What was discarded reads
 * otherwise than before, and no dirty log of KVM sees that: so the pages are marked
 * dirty, after they have changed, like a device's writes.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>

#include "vmm/base/units.h"
#include "vmm/memory/memory.h"
#include "vmm/memory/missing.h"

int memory_give_back(const struct ram_block *b, uint64_t off, uint64_t bytes)
{
	const int hole = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;

	if (!b->share && madvise(b->hva + off, bytes, MADV_DONTNEED) < 0)
		return -errno;
	if (b->share && b->fd < 0 && madvise(b->hva + off, bytes, MADV_REMOVE) < 0)
		return -errno;
	if (b->fd >= 0 && (b->share || b->own_memfd) &&
	    fallocate(b->fd, hole, (off_t)off, (off_t)bytes) < 0)
		return -errno;
	return 0;
}

int memory_discard_pages(const struct ram_block *b, uint64_t off, uint64_t bytes)
{
	struct missing *x;
	int ret;

	pthread_rwlock_rdlock(b->missing_lock);
	x = b->missing;
	ret = x ? x->ops->discard(x, b, off, bytes, memory_give_back)
		: memory_give_back(b, off, bytes);
	pthread_rwlock_unlock(b->missing_lock);
	return ret;
}

void memory_hold(struct memory *mem)
{
	pthread_mutex_lock(&mem->discard_lock);
	mem->held++;
	pthread_mutex_unlock(&mem->discard_lock);
}

void memory_unhold(struct memory *mem)
{
	pthread_mutex_lock(&mem->discard_lock);
	mem->held--;
	pthread_mutex_unlock(&mem->discard_lock);
}

/* The block's pages [off, end), which the guest sees from gpa on. */
static int discard_unless_held(struct memory *mem, const struct ram_block *b, uint64_t off,
			       uint64_t end, uint64_t gpa)
{
	int ret = 0;

	pthread_mutex_lock(&mem->discard_lock);
	if (!mem->held) {
		ret = memory_discard_pages(b, off, end - off);
		memory_mark_dirty(mem, gpa, end - off);
	}
	pthread_mutex_unlock(&mem->discard_lock);
	return ret;
}

int memory_discard(struct memory *mem, uint64_t gpa, uint64_t len)
{
	int ret = 0;

	while (len > 0) {
		uint64_t n = len, off, first, end;
		const struct ram_block *b = memory_block_at(mem, gpa, &off, &n);

		if (!b)
			return -EFAULT;
		first = ALIGN_UP(off, b->page_bytes);
		end = ALIGN_DOWN(off + n, b->page_bytes);
		if (first < end) {
			int r = discard_unless_held(mem, b, first, end, gpa + (first - off));

			ret = ret ? ret : r;
		}
		gpa += n;
		len -= n;
	}
	return ret;
}
