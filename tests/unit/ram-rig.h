/*
 * ram-rig.h - RAM from one machine to another without threads, KVM or a socket
 *
 * The source's records go into memory and from there, record by record, into
 * the destination.  What a guest would write is marked as a device's write.
 */
#ifndef MINIVMM_TESTS_RAM_RIG_H
#define MINIVMM_TESTS_RAM_RIG_H

#include <check.h>
#include <string.h>

#include "migration/channel/channel.h"
#include "migration/ram/ram.h"
#include "migration/settings/params.h"
#include "vmm/base/alloc.h"
#include "vmm/base/bitmap.h"
#include "vmm/base/buf.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"
#include "vmm/machine.h"

#define RAM_PAGES  64U
#define BIOS_PAGES 8U
#define NO_RECORD  (5 + 8 + 5) /* bytes of a section that says nothing: head, EOS, footer */

struct ram_rig {
	struct machine from, to;
	struct channel ch;
	struct buf out; /* what was sent and not yet loaded */
	struct writer *w;
	struct ram_save save;
	struct ram_load *load;
	struct migration_params params;
	bool caps[CAP_COUNT];
	uint64_t cache_bytes;
	void (*flushing)(struct ram_rig *r); /* called before bytes leave; NULL: nothing */
};

static inline ssize_t ram_rig_writev(struct channel *c, struct iovec *iov, int n_iov)
{
	struct ram_rig *r = container_of(c, struct ram_rig, ch);
	size_t before = r->out.len;

	if (r->flushing)
		r->flushing(r);
	for (int i = 0; i < n_iov; i++)
		buf_put(&r->out, iov[i].iov_base, iov[i].iov_len);
	return (ssize_t)(r->out.len - before);
}

static const struct channel_ops ram_rig_ops = {.kind = "memory", .writev = ram_rig_writev};

static inline void ram_rig_machine_of(struct machine *m, uint64_t pages)
{
	static const struct ram_backend anon = {.kind = RAM_ANONYMOUS, .fd = -1};

	m->kvm_fd = m->vm_fd = -1;
	pthread_mutex_init(&m->lock, NULL);
	memory_init(&m->mem, -1);
	ck_assert_ptr_nonnull(
	    memory_add_block(&m->mem, "microvm.ram", pages * PAGE_BYTES, &anon, NULL));
	ck_assert_ptr_nonnull(
	    memory_add_block(&m->mem, "pc.bios", BIOS_PAGES * PAGE_BYTES, &anon, NULL));
}

static inline void ram_rig_machine(struct machine *m)
{
	ram_rig_machine_of(m, RAM_PAGES);
}

/* The caller then sets caps, params and cache_bytes, and calls ram_rig_begin(). */
static inline struct ram_rig *ram_rig_new(void)
{
	struct ram_rig *r = NEW(struct ram_rig);

	ram_rig_machine(&r->from);
	ram_rig_machine(&r->to);
	r->ch = (struct channel){.ops = &ram_rig_ops, .fd = -1, .cancel_fd = -1, .steady = true};
	r->w = writer_new(&r->ch);
	r->load = ram_load_new(&r->to);
	migration_params_init(&r->params);
	r->cache_bytes = r->params.xbzrle_cache_size;
	return r;
}

static inline void ram_rig_free(struct ram_rig *r)
{
	ram_save_stop(&r->save);
	ram_save_fini(&r->save);
	ram_load_free(r->load);
	writer_free(r->w);
	buf_free(&r->out);
	memory_fini(&r->from.mem);
	memory_fini(&r->to.mem);
	pthread_mutex_destroy(&r->from.lock);
	pthread_mutex_destroy(&r->to.lock);
	free(r);
}

static inline uint8_t *ram_rig_page(struct ram_rig *r, size_t block, uint64_t page)
{
	return r->from.mem.blocks[block]->hva + page * PAGE_BYTES;
}

/* The page was written. */
static inline void ram_rig_dirty(struct ram_rig *r, size_t block, uint64_t page)
{
	bitmap_set_atomic(r->from.mem.blocks[block]->dma_dirty, page);
}

/* Content that does not compress to less than a page. */
static inline void ram_rig_noise(uint8_t *page, uint32_t seed)
{
	seed *= 2654435761U;
	for (size_t i = 0; i < PAGE_BYTES; i++) {
		seed = seed * 1664525 + 1013904223;
		page[i] = (uint8_t)(seed >> 24);
	}
}

/* Load everything that was sent; what the load said. */
static inline int ram_rig_try_load(struct ram_rig *r, struct err *err)
{
	struct src in = src_mem(r->out.data, r->out.len);
	int ret = 0;

	while (ret == 0 && in.at < in.len) {
		uint8_t tag;
		char name[256];

		ck_assert_int_eq(src_u8(&in, &tag), 0);
		ck_assert_int_eq(src_skip(&in, 4), 0);
		if (tag == TAG_START) {
			ck_assert_int_eq(src_str8(&in, name), 0);
			ck_assert_int_eq(src_skip(&in, 8), 0);
		}
		ret = ram_load_body(r->load, &in, err);
		if (ret == 0)
			ck_assert_int_eq(src_skip(&in, 5), 0);
	}
	buf_clear(&r->out);
	return ret;
}

static inline void ram_rig_load(struct ram_rig *r)
{
	struct err err = {0};

	ck_assert_msg(ram_rig_try_load(r, &err) == 0, "%s", err.msg);
}

static inline void ram_rig_check_same(struct ram_rig *r)
{
	for (size_t i = 0; i < r->from.mem.n_blocks; i++) {
		const struct ram_block *a = r->from.mem.blocks[i], *b = r->to.mem.blocks[i];

		for (uint64_t at = 0; at < a->bytes; at += PAGE_BYTES)
			ck_assert_msg(memcmp(a->hva + at, b->hva + at, PAGE_BYTES) == 0,
				      "%s differs at 0x%lx", a->name, at);
	}
}

/* The list of blocks, and the first sync. */
static inline void ram_rig_begin(struct ram_rig *r)
{
	uint64_t added;

	ram_save_init(&r->save, &r->from, r->w, 2);
	ck_assert_int_eq(ram_save_encoders(&r->save, r->caps, &r->params, &r->cache_bytes, NULL),
			 0);
	ck_assert_int_eq(ram_save_start(&r->save, NULL), 0);
	ck_assert_int_eq(ram_save_begin(&r->save, NULL), 0);
	ck_assert_int_eq(ram_save_sync(&r->save, &added, NULL), 0);
	ram_rig_load(r);
}

/* A record with all that is dirty; its bytes.  They are not loaded yet. */
static inline size_t ram_rig_send(struct ram_rig *r, enum stream_tag tag)
{
	size_t before = r->out.len;

	ck_assert_int_eq(ram_save_record(&r->save, tag, NULL, NULL), 0);
	return r->out.len - before;
}

/* The same, loaded and compared. */
static inline size_t ram_rig_move(struct ram_rig *r, enum stream_tag tag)
{
	size_t n = ram_rig_send(r, tag);

	ram_rig_load(r);
	ram_rig_check_same(r);
	return n;
}

static inline void ram_rig_sync(struct ram_rig *r)
{
	uint64_t added;

	ck_assert_int_eq(ram_save_sync(&r->save, &added, NULL), 0);
}

#endif
