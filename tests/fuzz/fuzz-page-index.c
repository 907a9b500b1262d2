/*
 * Any bytes as the index behind a stream are taken or refused with a sentence; a page that is
 * taken is read within the stream.
 *
 * Input: a trailer and an index; the stream in front of them has the length that the trailer
 * says, and checksums are made to fit.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "migration/ram/lazy/page-index.h"
#include "migration/ram/lazy/stream-source.h"
#include "vmm/base/bitmap.h"
#include "vmm/base/buf.h"
#include "vmm/base/bytes.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"
#include "vmm/base/xxh64.h"
#include "vmm/memory/memory.h"

#define RAM_PAGES 70U

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

struct image {
	uint64_t stream_bytes, bytes;
	uint8_t trailer[PAGE_INDEX_TRAILER];
	const uint8_t *index;
	size_t index_bytes;
};

/* Stream, index and trailer in a row. */
static int read_image(void *opaque, void *to, size_t n, uint64_t pos, struct err *err)
{
	const struct image *im = opaque;
	uint64_t trailer = im->stream_bytes + im->index_bytes;

	(void)err;
	assert(n <= im->bytes && pos <= im->bytes - n);
	memset(to, 1, n);
	if (pos == trailer && n == sizeof(im->trailer))
		memcpy(to, im->trailer, n);
	else if (pos == im->stream_bytes && n == im->index_bytes)
		memcpy(to, im->index, n);
	else
		assert(n <= im->stream_bytes && pos <= im->stream_bytes - n);
	return 0;
}

static uint64_t hash(const void *p, size_t n)
{
	struct xxh64 h;

	xxh64_init(&h);
	xxh64_add(&h, p, n);
	return xxh64_value(&h);
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

static void use(struct page_index *ix, struct image *im, const struct memory *mem)
{
	static uint8_t to[RAM_PAGES * PAGE_BYTES];
	const struct stream_access access = {.read = read_image, .opaque = im, .name = "it"};
	struct page_source *s = stream_source_new(&access, mem);
	struct err err = {0};
	int ret = stream_source_use(s, ix, &err);

	assert(ret == 0 || err.msg[0]);
	if (ret == 0)
		read_all(s, to);
	s->ops->close(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static const struct ram_backend backend = {.kind = RAM_ANONYMOUS, .fd = -1};
	struct image im;
	struct page_index_file file = {.read = read_image, .opaque = &im};
	struct page_index *ix;
	struct memory mem;
	struct err err = {0};
	int ret;

	if (len < PAGE_INDEX_TRAILER || len > 4096)
		return 0;
	memcpy(im.trailer, data, PAGE_INDEX_TRAILER);
	im.index = data + PAGE_INDEX_TRAILER;
	im.index_bytes = len - PAGE_INDEX_TRAILER;
	im.stream_bytes = MIN(get_be64(data + 8), 1ULL << 50);
	im.bytes = im.stream_bytes + len;
	put_be64(im.trailer + 120, hash(im.index, im.index_bytes));
	put_be64(im.trailer + 128, hash(im.trailer, 128));
	file.bytes = im.bytes;
	memory_init(&mem, -1);
	if (!memory_add_block(&mem, "microvm.ram", RAM_PAGES * PAGE_BYTES, &backend, NULL))
		abort();
	ret = page_index_read(&ix, &file, &err);
	assert(ret == 0 || ret == -ENOENT || err.msg[0]);
	if (ret == 0)
		use(ix, &im, &mem);
	memory_fini(&mem);
	return 0;
}
