/*
 * Any bytes as the index of a stream's pages are taken or refused with a sentence; a page that is
 * taken is read within the stream.
 *
 * Input: two bytes of the stream's length in KiB, then the index.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "migration/ram/lazy/stream-source.h"
#include "vmm/base/bitmap.h"
#include "vmm/base/buf.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"
#include "vmm/memory/memory.h"

#define RAM_PAGES 70U

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static int read_nothing(void *opaque, void *to, size_t n, uint64_t pos, struct err *err)
{
	const uint64_t *bytes = opaque;

	(void)err;
	assert(n <= *bytes && pos <= *bytes - n);
	memset(to, 1, n);
	return 0;
}

static void read_all(struct page_source *s, uint8_t *to)
{
	uint64_t *comes = stream_source_comes(s, 0), n;

	for (uint64_t page = 0; page < RAM_PAGES; page += n) {
		n = 1;
		if (!bitmap_test(comes, page))
			continue;
		n = bitmap_next_clear(comes, RAM_PAGES, page) - page;
		assert(s->ops->read(s, 0, page, n, to, NULL) == 0);
	}
	free(comes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static const struct ram_backend backend = {.kind = RAM_ANONYMOUS, .fd = -1};
	static uint8_t to[RAM_PAGES * PAGE_BYTES];
	uint64_t bytes;
	struct stream_access access = {.read = read_nothing, .opaque = &bytes, .name = "it"};
	struct page_source *s;
	struct memory mem;
	struct err err = {0};
	int ret;

	if (len < 2 || len > 4096)
		return 0;
	bytes = ((uint64_t)data[0] << 8 | data[1]) * KiB;
	memory_init(&mem, -1);
	if (!memory_add_block(&mem, "microvm.ram", RAM_PAGES * PAGE_BYTES, &backend, NULL))
		abort();
	s = stream_source_new(&access, &mem);
	if (!s)
		abort();
	ret = stream_index_get(s, data + 2, len - 2, bytes, &err);
	assert(ret == 0 || err.msg[0]);
	if (ret == 0)
		read_all(s, to);
	s->ops->close(s);
	memory_fini(&mem);
	return 0;
}
