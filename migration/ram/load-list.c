/*
 * load-list.c - the list of RAM blocks at the head of a stream
 *
 * Blocks that exist here must have the length that the source says, but for the
 * firmware's of a machine without -bios, which takes it.  QEMU
 * also sends the fw_cfg blobs that carry ACPI tables ("/rom@etc/..."); a
 * guest that runs has read them long ago, and after a reset our own are used,
 * so those are read and dropped.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "migration/ram/encode/page-pool.h"
#include "migration/ram/lazy/lazy.h"
#include "migration/ram/lazy/stream-source.h"
#include "migration/ram/load.h"
#include "migration/ram/mapped/mapped.h"
#include "vmm/base/alloc.h"
#include "vmm/base/bitmap.h"
#include "vmm/base/log.h"
#include "vmm/base/units.h"
#include "vmm/base/zero.h"
#include "vmm/machine.h"
#include "vmm/memory/populated.h"

#define BLOB_MAX_BYTES (2 * MiB) /* what QEMU lets these grow to */

static const char *const dropped_names[RAM_LOAD_DROPPED] = {
    "/rom@etc/acpi/tables",
    "/rom@etc/table-loader",
    "/rom@etc/acpi/rsdp",
};

struct ram_load *ram_load_new(struct machine *m)
{
	struct ram_load *l = NEW(struct ram_load);

	l->m = m;
	l->placer = &placer_copy;
	for (size_t i = 0; i < m->mem.n_blocks; i++) {
		struct ram_block *b = m->mem.blocks[i];
		struct load_block *lb = &l->blocks[l->n_blocks++];

		memcpy(lb->name, b->name, sizeof(lb->name));
		lb->block = b;
		lb->bytes = b->bytes;
	}
	for (size_t i = 0; i < ARRAY_LEN(dropped_names); i++)
		(void)snprintf(l->blocks[l->n_blocks++].name, RAM_NAME_BYTES, "%s",
			       dropped_names[i]);
	return l;
}

void ram_load_free(struct ram_load *l)
{
	if (!l)
		return;
	page_pool_free(l->unpack);
	for (size_t i = 0; i < l->n_blocks; i++)
		free(l->blocks[i].touched);
	free(l);
}

int ram_load_sparse(struct ram_load *l, const struct ram_block *b, struct err *err)
{
	if (l->listed)
		return err_set(err, EBUSY, "it comes after the list of RAM blocks");
	for (size_t i = 0; i < l->n_blocks; i++)
		if (l->blocks[i].block == b)
			l->blocks[i].sparse = true;
	return 0;
}

bool ram_load_ignores(const struct ram_load *l, const struct load_block *lb)
{
	return l->ignore_shared && lb->block && lb->block->share;
}

struct load_block *ram_load_find(struct ram_load *l, const char *name)
{
	for (size_t i = 0; i < l->n_blocks; i++)
		if (!strcmp(l->blocks[i].name, name))
			return &l->blocks[i];
	return NULL;
}

int ram_load_say_ended(struct src *in, const char *what, struct err *err)
{
	return err_set(err, EIO, "the stream ends at offset 0x%" PRIx64 " in %s: it is cut short",
		       src_offset(in), what);
}

static int adopt_length(struct ram_load *l, struct load_block *lb, uint64_t bytes, struct err *err)
{
	int ret;

	if (l->checks) {
		lb->bytes = bytes;
		return 0;
	}
	if (lb->touched) /* the stream has named it before */
		return err_set(err, EINVAL, "RAM block '%s' comes twice, with two lengths",
			       lb->name);
	machine_lock(l->m);
	ret = l->m->board.ops->adopt(l->m, lb->block, bytes, err);
	machine_unlock(l->m);
	if (ret == 0)
		lb->bytes = bytes;
	return ret;
}

static int check_length(struct ram_load *l, struct load_block *lb, uint64_t bytes, struct err *err)
{
	if (lb->block && bytes != lb->bytes && machine_adopts(l->m, lb->block, bytes))
		return adopt_length(l, lb, bytes, err);
	if (lb->block && bytes != lb->bytes)
		return err_set(err, EINVAL,
			       "RAM block '%s' has 0x%" PRIx64 " bytes at the source and 0x%" PRIx64
			       " here%s",
			       lb->name, bytes, lb->bytes,
			       strcmp(lb->name, "pc.bios") == 0
				   ? ": give -bios a file of that size, or leave it out"
				   : "");
	if (!lb->block && bytes > BLOB_MAX_BYTES)
		return err_set(err, EINVAL,
			       "RAM block '%s' has 0x%" PRIx64
			       " bytes at the source, at most 0x%llx are possible",
			       lb->name, bytes, BLOB_MAX_BYTES);
	lb->bytes = bytes;
	return 0;
}

/* Where the source's guest sees the block; it matters for one that both ends share. */
static int load_place(const struct ram_load *l, const struct load_block *lb, struct src *in,
		      struct err *err)
{
	uint64_t gpa;

	if (!l->ignore_shared)
		return 0;
	if (src_be64(in, &gpa) < 0)
		return ram_load_say_ended(in, "the list of RAM blocks", err);
	if (ram_load_ignores(l, lb) && gpa != lb->block->gpa)
		return err_set(err, EINVAL,
			       "RAM block '%s' is at 0x%" PRIx64 " at the source and at 0x%" PRIx64
			       " here",
			       lb->name, gpa, lb->block->gpa);
	return 0;
}

/* Memory may hold firmware, or what an attempt that failed has left. */
static void clear_touched(const struct load_block *lb)
{
	bitmap_for_each_set (page, lb->touched, lb->bytes / PAGE_BYTES) {
		uint8_t *p = lb->block->hva + page * PAGE_BYTES;

		if (!buffer_is_zero(p, PAGE_BYTES))
			memset(p, 0, PAGE_BYTES);
	}
}

/* Its pages come while the guest runs, if memory of its kind can wait for them. */
static void take_late(struct ram_load *l, struct load_block *lb)
{
	size_t block = memory_block_index(&l->m->mem, lb->block);
	struct err why = {0};
	uint64_t *comes;

	if (!l->lazy)
		return;
	if (lb->bytes == stream_source_bytes(l->index, block)) {
		comes = stream_source_comes(l->index, block);
		lb->late = comes && lazy_take(l->lazy, lb->block, comes, &why) == 0;
	}
	l->n_now += !lb->late;
	if (!lb->late)
		log_info("RAM block '%s' is loaded before the guest runs, not lazily: %s", lb->name,
			 why.errnum ? why.msg : "it changes its size, or there is no memory");
}

static int load_list_entry(struct ram_load *l, struct src *in, uint64_t *left, struct err *err)
{
	struct load_block *lb;
	char name[256];
	uint64_t bytes;
	int ret = src_str8(in, name);

	if (ret == -EINVAL)
		return err_set(err, EINVAL, "the name of a RAM block contains a NUL byte");
	if (ret < 0 || src_be64(in, &bytes) < 0)
		return ram_load_say_ended(in, "the list of RAM blocks", err);
	lb = ram_load_find(l, name);
	if (!lb)
		return err_set(err, EINVAL, "unknown RAM block '%s'", name);
	ret = check_length(l, lb, bytes, err);
	if (ret < 0)
		return ret;
	if (bytes > *left || bytes == 0)
		return err_set(err, EINVAL,
			       "RAM block '%s' has 0x%" PRIx64 " bytes, of the total 0x%" PRIx64
			       " are left",
			       name, bytes, *left);
	*left -= bytes;
	ret = load_place(l, lb, in, err);
	if (ret < 0)
		return ret;
	if (lb->block && !lb->late && !ram_load_ignores(l, lb))
		take_late(l, lb);
	if (lb->block && !lb->touched && !lb->late && !l->checks && !ram_load_ignores(l, lb)) {
		lb->touched = bitmap_new(bytes / PAGE_BYTES);
		if (!lb->touched)
			return err_set(err, ENOMEM, "no memory for the bitmap of '%s'", name);
		ram_populated(lb->block, lb->touched);
		if (lb->sparse)
			clear_touched(lb);
	}
	return l->mapped ? mapped_load_block(l->mapped, lb, ram_load_ignores(l, lb), l->placer,
					     &l->m->mem, in, err)
			 : 0;
}

int ram_load_list(struct ram_load *l, struct src *in, uint64_t total, struct err *err)
{
	l->listed = true;
	while (total > 0) {
		int ret = load_list_entry(l, in, &total, err);

		if (ret < 0)
			return ret;
	}
	if (l->mapped)
		mapped_load_listed(l->mapped);
	return 0;
}
