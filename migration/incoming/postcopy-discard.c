/*
 * postcopy-discard.c - RAM_DISCARD: pages that came and will come again (migration-stream 5.3)
 *
 *     u8 version = 0, str8 block, u8 0, then 1 to 12 times { be64 start, be64 length }
 */
#include <errno.h>
#include <inttypes.h>

#include "migration/incoming/postcopy.h"
#include "migration/ram/load.h"
#include "vmm/base/buf.h"
#include "vmm/base/units.h"

#define VERSION     0
#define RANGE_BYTES 16U
#define MAX_RANGES  12U

static int drop(struct postcopy_ram *ram, struct postcopy_block *pb, const struct load_block *lb,
		uint64_t start, uint64_t bytes, struct err *err)
{
	uint64_t page_bytes = pb ? pb->block->page_bytes : PAGE_BYTES;

	if (start % page_bytes || bytes % page_bytes || !bytes)
		return err_set(err, EINVAL,
			       "the range 0x%" PRIx64 " + 0x%" PRIx64
			       " of RAM block '%s' is not made of pages of 0x%" PRIx64 " bytes",
			       start, bytes, lb->name, page_bytes);
	if (start >= lb->bytes || bytes > lb->bytes - start)
		return err_set(err, EINVAL,
			       "the range 0x%" PRIx64 " + 0x%" PRIx64
			       " is not in RAM block '%s' of 0x%" PRIx64 " bytes",
			       start, bytes, lb->name, lb->bytes);
	if (pb)
		postcopy_ram_drop(ram, pb, start, bytes);
	return 0;
}

int postcopy_discard_load(struct postcopy_ram *ram, struct ram_load *load, const uint8_t *payload,
			  size_t n, struct err *err)
{
	struct src in = src_mem(payload, n);
	const struct load_block *lb;
	uint8_t version, zero = 0;
	char name[256];
	int ret;

	if (src_u8(&in, &version) < 0 || version != VERSION)
		return err_set(err, EINVAL, "its version is not %d", VERSION);
	ret = src_str8(&in, name);
	if (ret == 0)
		ret = src_u8(&in, &zero);
	if (ret < 0 || zero)
		return err_set(err, EINVAL, "the name of its RAM block is broken");
	lb = ram_load_find(load, name);
	if (!lb || ram_load_ignores(load, lb))
		return err_set(err, EINVAL, "%s RAM block '%s'", lb ? "shared" : "unknown", name);
	n = in.len - in.at;
	if (n == 0 || n % RANGE_BYTES || n / RANGE_BYTES > MAX_RANGES)
		return err_set(err, EINVAL, "%zu bytes are not 1 to %u ranges", n, MAX_RANGES);
	for (; n > 0 && ret == 0; n -= RANGE_BYTES) {
		uint64_t start, bytes;

		if (src_be64(&in, &start) < 0 || src_be64(&in, &bytes) < 0)
			return -EINVAL; /* not reached: they are there */
		ret = drop(ram, lb->block ? postcopy_ram_find(ram, lb->block) : NULL, lb, start,
			   bytes, err);
	}
	return ret;
}
