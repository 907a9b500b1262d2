/*
 * hints.c - free page hints of the balloon during the first pass
 *
 *     first sync     every page that was touched has to go; the dirty log has all writes since
 *     hints_start    the guest takes free pages and tells of them: each leaves the page-set
 *     hints_stop     no more hints are taken, and the guest may use its pages again
 *     second sync    pages that were written since the first one are back in the page-set
 *
 * A hinted page may be written again at any moment, also before the hint is seen.  The
 * dirty log has that write, for a hint never touches the log, and the second sync brings the page
 * back.  That is why hints count in the first pass only, and end before the sync: what a later sync
 * has put into the page-set, the log may have forgotten, and a late hint would lose it.
 */
#include "migration/outgoing/hints.h"

#include "devices/virtio/virtio-devices.h"
#include "migration/outgoing/outgoing.h"
#include "vmm/base/units.h"
#include "vmm/machine.h"

/* I/O thread, a leaf lock held. */
static void drop(void *opaque, uint64_t gpa, uint64_t len)
{
	struct page_set *s = opaque;

	while (len > 0) {
		uint64_t n = len, off, first, end;
		const struct ram_block *b = memory_block_at(s->mem, gpa, &off, &n);

		if (!b)
			return;
		first = ALIGN_UP(off, PAGE_BYTES) / PAGE_BYTES;
		end = (off + n) / PAGE_BYTES;
		if (first < end)
			page_set_remove(s, memory_block_index(s->mem, b), first, end - first);
		gpa += n;
		len -= n;
	}
}

void hints_start(struct outgoing *o)
{
	struct balloon *b = balloon_find(o->m);

	if (b && balloon_hints_start(b, drop, &o->ram.pages))
		o->hints = b;
}

void hints_stop(struct outgoing *o)
{
	if (o->hints)
		balloon_hints_stop(o->hints);
	o->hints = NULL;
}
