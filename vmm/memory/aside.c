/*
 * aside.c - mremap() moves page tables instead of pages
 *
 * MREMAP_DONTUNMAP leaves the block's own mapping where it is, empty, and KVM's memslots stay as
 * they are; what KVM has of the old pages it drops as for any other change of the address space.
 * Whole tables of page tables are moved where both ends lie alike in pieces of 1 GiB.
 *
 * Giving back holds the address space's lock against whoever maps memory, so it is done in pieces.
 */
#include "vmm/memory/aside.h"

#include <errno.h>
#include <sys/mman.h>

#include "vmm/base/units.h"
#include "vmm/memory/memory.h"

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

#define ALIGN_BYTES GiB
#define FREE_BYTES  (16 * MiB)

/* Address space that lies like the block in pieces of ALIGN_BYTES; NULL: none. */
static uint8_t *reserve(const struct ram_block *b)
{
	size_t bytes = b->bytes + ALIGN_BYTES, front;
	uint8_t *p =
	    mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		return NULL;
	front = ((uintptr_t)b->hva - (uintptr_t)p) % ALIGN_BYTES;
	if (front)
		(void)munmap(p, front);
	(void)munmap(p + front + b->bytes, ALIGN_BYTES - front);
	return p + front;
}

int memory_move_aside(const struct ram_block *b, struct memory_aside *a)
{
	uint8_t *to;

	if (b->fd >= 0 || b->share)
		return -ENOTSUP;
	to = reserve(b);
	if (!to)
		return -ENOMEM;
	if (mremap(b->hva, b->bytes, b->bytes, MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP,
		   to) == MAP_FAILED) {
		int e = errno;

		(void)munmap(to, b->bytes);
		return -e;
	}
	*a = (struct memory_aside){.map = to, .bytes = b->bytes};
	return 0;
}

void memory_aside_free(struct memory_aside *a, const bool *stop)
{
	if (!a->map)
		return;
	for (size_t at = 0; at < a->bytes && !__atomic_load_n(stop, __ATOMIC_RELAXED);
	     at += FREE_BYTES)
		(void)madvise(a->map + at, MIN(FREE_BYTES, a->bytes - at), MADV_DONTNEED);
	(void)munmap(a->map, a->bytes);
	*a = (struct memory_aside){.map = NULL};
}
