/*
 * Any file as a working set is taken or refused with a sentence; what is taken is within the
 * blocks, and written again it is read as the same.
 *
 * Input: the file without its checksum, which is added: else nothing would get further.  The
 * identity is that of the input where it has one.
 */
#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "migration/ram/lazy/source.h"
#include "migration/ram/lazy/working-set.h"
#include "vmm/base/bitmap.h"
#include "vmm/base/buf.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"
#include "vmm/base/xxh64.h"

#define MAGIC_BYTES 22U

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* Freed by memory_fini(). */
static void add_blocks(struct memory *mem)
{
	static const struct ram_backend backend = {.kind = RAM_ANONYMOUS, .fd = -1};

	memory_init(mem, -1);
	if (!memory_add_block(mem, "microvm.ram", 300 * PAGE_BYTES, &backend, NULL) ||
	    !memory_add_block(mem, "pc.bios", 8 * PAGE_BYTES, &backend, NULL))
		abort();
}

static void check_again(const struct working_set *ws, const uint8_t *identity,
			const struct memory *mem)
{
	struct working_set again;
	struct buf out = {0};

	working_set_put(ws, identity, &out);
	if (working_set_init(&again, mem) < 0)
		abort();
	assert(working_set_get(&again, identity, out.data, out.len, NULL) == 0);
	assert(working_set_pages(&again) == working_set_pages(ws));
	working_set_fini(&again);
	buf_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	uint8_t identity[PAGE_SOURCE_IDENTITY] = {0};
	struct working_set ws;
	struct err err = {0};
	struct buf file = {0};
	struct memory mem;
	struct xxh64 h;
	int ret;

	if (len > 4096)
		return 0;
	add_blocks(&mem);
	if (working_set_init(&ws, &mem) < 0)
		abort();
	if (len >= MAGIC_BYTES + sizeof(identity))
		memcpy(identity, data + MAGIC_BYTES, sizeof(identity));
	buf_put(&file, data, len);
	xxh64_init(&h);
	xxh64_add(&h, data, len);
	buf_be64(&file, xxh64_value(&h));
	ret = working_set_get(&ws, identity, file.data, file.len, &err);
	assert(ret == 0 || err.msg[0]);
	assert(ret == 0 || working_set_pages(&ws) == 0);
	assert(working_set_pages(&ws) <= 308);
	if (ret == 0)
		check_again(&ws, identity, &mem);
	working_set_fini(&ws);
	memory_fini(&mem);
	buf_free(&file);
	return 0;
}
