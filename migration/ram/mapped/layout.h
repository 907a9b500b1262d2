/*
 * layout.h - where a mapped-ram file has what (migration-stream 6.1)
 *
 * In the list of RAM blocks each entry is followed by a header of 28 bytes, and
 * the stream goes on behind the block's pages:
 *
 *     name, bytes [, gpa] | header | bitmap | hole, to a MiB of the file | pages | next entry
 *
 * Offsets are those of the file, also when the stream begins behind its start.  A
 * page is at pages_off + its offset in the block; a bit of the bitmap (LSB of
 * byte 0 first) says that it is there, else it is zero.  A block that both
 * ends share has neither: both offsets are 0, and the next entry follows at once.
 *
 * Pure; any thread.
 */
#ifndef MINIVMM_MIGRATION_RAM_MAPPED_LAYOUT_H
#define MINIVMM_MIGRATION_RAM_MAPPED_LAYOUT_H

#include <stddef.h>
#include <stdint.h>

#define MAPPED_HEADER_BYTES 28U

struct err;

struct mapped_place {
	uint64_t bitmap_off, pages_off; /* bytes, in the file */
};

/* Of the bitmap of a block of so many bytes. */
uint64_t mapped_bitmap_bytes(uint64_t block_bytes);
/* Where QEMU puts a block whose header ends at 'at'. */
struct mapped_place mapped_place_at(uint64_t at, uint64_t block_bytes);

void mapped_put_header(uint8_t out[MAPPED_HEADER_BYTES], const struct mapped_place *place);
/*
 * Decode the header of block 'name', which ends at 'at' of a file of file_bytes, and
 * check that bitmap and pages follow each other and are all in the file.  0, or
 * -EINVAL with a sentence that names the field.
 */
int mapped_get_header(struct mapped_place *place, const uint8_t in[MAPPED_HEADER_BYTES],
		      const char *name, uint64_t block_bytes, uint64_t at, uint64_t file_bytes,
		      struct err *err);
/* The same for a block without pages: both offsets have to be 0. */
int mapped_get_empty(const uint8_t in[MAPPED_HEADER_BYTES], const char *name, struct err *err);

#endif
