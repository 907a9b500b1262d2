#include "migration/ram/mapped/layout.h"

#include <errno.h>
#include <inttypes.h>

#include "vmm/base/bitmap.h"
#include "vmm/base/bytes.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"

#define MAPPED_VERSION 1U
#define PAGES_ALIGN    MiB /* what O_DIRECT and a mapping in huge pages want, too */

uint64_t mapped_bitmap_bytes(uint64_t block_bytes)
{
	return BITMAP_WORDS(block_bytes / PAGE_BYTES) * sizeof(uint64_t);
}

struct mapped_place mapped_place_at(uint64_t at, uint64_t block_bytes)
{
	return (struct mapped_place){
	    .bitmap_off = at,
	    .pages_off = ALIGN_UP(at + mapped_bitmap_bytes(block_bytes), PAGES_ALIGN),
	};
}

void mapped_put_header(uint8_t out[MAPPED_HEADER_BYTES], const struct mapped_place *place)
{
	put_be32(out, MAPPED_VERSION);
	put_be64(out + 4, PAGE_BYTES);
	put_be64(out + 12, place->bitmap_off);
	put_be64(out + 20, place->pages_off);
}

/* What does not depend on the block. */
static int get_fixed(struct mapped_place *place, const uint8_t in[MAPPED_HEADER_BYTES],
		     const char *name, struct err *err)
{
	uint32_t version = get_be32(in);
	uint64_t page = get_be64(in + 4);

	if (version != MAPPED_VERSION)
		return err_set(err, EINVAL,
			       "the mapped-ram header of RAM block '%s' has version %u, only %u is "
			       "understood",
			       name, version, MAPPED_VERSION);
	if (page != PAGE_BYTES)
		return err_set(
		    err, EINVAL,
		    "the mapped-ram header of RAM block '%s' has a page size of 0x%" PRIx64
		    " bytes, here it is 0x%llx",
		    name, page, (unsigned long long)PAGE_BYTES);
	place->bitmap_off = get_be64(in + 12);
	place->pages_off = get_be64(in + 20);
	return 0;
}

int mapped_get_header(struct mapped_place *place, const uint8_t in[MAPPED_HEADER_BYTES],
		      const char *name, uint64_t block_bytes, uint64_t at, uint64_t file_bytes,
		      struct err *err)
{
	uint64_t bitmap = mapped_bitmap_bytes(block_bytes), end;
	int ret = get_fixed(place, in, name, err);

	if (ret < 0)
		return ret;
	if (place->bitmap_off < at)
		return err_set(err, EINVAL,
			       "the bitmap of RAM block '%s' is at file offset 0x%" PRIx64
			       ", in front of the end of its header at 0x%" PRIx64,
			       name, place->bitmap_off, at);
	if (__builtin_add_overflow(place->bitmap_off, bitmap, &end) || end > file_bytes)
		return err_set(err, EINVAL,
			       "the bitmap of RAM block '%s' is at file offset 0x%" PRIx64
			       ", and its 0x%" PRIx64 " bytes end beyond the file of 0x%" PRIx64,
			       name, place->bitmap_off, bitmap, file_bytes);
	if (place->pages_off % PAGE_BYTES)
		return err_set(err, EINVAL,
			       "the pages of RAM block '%s' are at file offset 0x%" PRIx64
			       ", no multiple of a page",
			       name, place->pages_off);
	if (place->pages_off < end)
		return err_set(err, EINVAL,
			       "the pages of RAM block '%s' are at file offset 0x%" PRIx64
			       " and overlap its bitmap, which ends at 0x%" PRIx64,
			       name, place->pages_off, end);
	if (__builtin_add_overflow(place->pages_off, block_bytes, &end) || end > file_bytes)
		return err_set(err, EINVAL,
			       "the pages of RAM block '%s' are at file offset 0x%" PRIx64
			       ", and its 0x%" PRIx64 " bytes end beyond the file of 0x%" PRIx64,
			       name, place->pages_off, block_bytes, file_bytes);
	return 0;
}

int mapped_get_empty(const uint8_t in[MAPPED_HEADER_BYTES], const char *name, struct err *err)
{
	struct mapped_place place = {0};
	int ret = get_fixed(&place, in, name, err);

	if (ret < 0 || (!place.bitmap_off && !place.pages_off))
		return ret;
	return err_set(err, EINVAL,
		       "RAM block '%s' is shared by both ends (x-ignore-shared), but the file has "
		       "pages of it at 0x%" PRIx64,
		       name, place.pages_off);
}
