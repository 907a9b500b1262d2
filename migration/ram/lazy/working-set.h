/*
 * working-set.h - which pages a guest touches first after a load
 *
 * Noted while the guest runs, kept in a file beside the one that it was loaded from
 * (FILE.working-set), and read at the next load, which brings these pages before all others.  It
 * is only advice: a file that is missing, damaged or another guest's is ignored.
 *
 *     "minivmm working set 1\n"     22 bytes
 *     identity                      32 bytes: of the source of pages (lazy/source.h)
 *     number of blocks              u8
 *       name                        u8 length, bytes
 *       number of runs              be32
 *         first page, pages         be32, be32; ascending, apart, within the block
 *     xxh64 of all of that          be64
 *
 * One thread at a time.
 */
#ifndef MINIVMM_MIGRATION_RAM_LAZY_WORKING_SET_H
#define MINIVMM_MIGRATION_RAM_LAZY_WORKING_SET_H

#include <stddef.h>
#include <stdint.h>

#include "vmm/memory/memory.h"

struct buf;
struct err;

#define WORKING_SET_MAX_BYTES 0x400000UL /* of the file */
#define WORKING_SET_MAX_RUNS  0x40000U

struct working_set_block {
	char name[RAM_NAME_BYTES];
	uint64_t pages;
	uint64_t *map; /* owned */
};

struct working_set {
	struct working_set_block blocks[MEMORY_MAX_BLOCKS];
	size_t n;
};

/* Of a guest with these blocks, empty.  0 or -ENOMEM. */
int working_set_init(struct working_set *ws, const struct memory *mem);
void working_set_fini(struct working_set *ws); /* a zeroed one is fine */
uint64_t working_set_pages(const struct working_set *ws);

/* As it stands in the file; the runs beyond WORKING_SET_MAX_RUNS are left out. */
void working_set_put(const struct working_set *ws, const uint8_t *identity, struct buf *out);
/*
 * Add what such bytes say.  0; -ESTALE: they are of another guest; -EINVAL with a sentence about
 * what is wrong where: nothing is added.
 */
int working_set_get(struct working_set *ws, const uint8_t *identity, const uint8_t *p, size_t n,
		    struct err *err);

/* The same from and into a file; written whole or not at all.  -ENOENT: there is none. */
int working_set_load(struct working_set *ws, const uint8_t *identity, const char *path,
		     struct err *err);
int working_set_save(const struct working_set *ws, const uint8_t *identity, const char *path,
		     struct err *err);

#endif
