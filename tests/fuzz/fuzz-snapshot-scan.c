/*
 * Any bytes as the stream of a snapshot are taken apart or refused with a sentence; a page that is
 * told of is in its block; and the mark of a parent that is found in the first bytes is the one
 * that the scan finds.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "migration/snapshot/scan.h"
#include "migration/stream/parent-mark.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static unsigned long sum; /* what a page has is read */

static int take_page(void *opaque, size_t block, uint64_t page, const uint8_t *content,
		     struct err *err)
{
	const struct stream_scan *s = opaque;

	(void)err;
	assert(block < s->n && page < s->blocks[block].pages);
	for (unsigned i = 0; content && i < PAGE_BYTES; i += 64)
		sum += content[i];
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct src in = src_mem(data, len);
	struct stream_scan s = {.in = &in};
	struct parent_mark mark;
	struct err err = {0}, why = {0};
	size_t n = MIN(len, PARENT_HEAD_BYTES);
	uint8_t *head = malloc(n + 1); /* of that length, so that nothing behind it is read */
	int found, ret;

	memcpy(head, data, n);
	found = parent_mark_find(&mark, head, n, &why);
	assert(found >= 0 || *why.msg);
	ret = stream_scan_begin(&s, &err);
	if (ret == 0) {
		assert(s.n && s.n <= MEMORY_MAX_BLOCKS);
		assert(s.marked == (found == 1));
		assert(!s.marked || !strcmp(s.parent.tag, mark.tag));
		ret = stream_scan_pages(&s, take_page, &s, &err);
	}
	assert(ret == 0 || *err.msg);
	stream_scan_fini(&s);
	free(head);
	return 0;
}
