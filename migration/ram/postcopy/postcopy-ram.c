/*
 * postcopy-ram.c - the session: blocks, what the rest of the program asks of it, the end
 *
 *     fault thread     request.c: a page is touched: ask the source for it, once; or put a zero
 *                      page in, where one has been received
 *     stream's threads records.c, place.c: pages come, in any order, are put in, and so wake
 *                      whoever waits
 *
 * Of each block two bitmaps are shared without a lock.  A placer sets 'received' and looks at
 * 'requested' afterwards; the fault thread sets 'requested' and looks at 'received' again
 * afterwards: so one of both sees the other, and no zero page is left that somebody waits for.
 *
 * Blocks are registered first and given back afterwards: in between no page can be put in their
 * place by the host's own merging of huge pages.
 */
#include "migration/ram/postcopy/postcopy-ram.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "migration/ram/postcopy/blocktime.h"
#include "vmm/base/alloc.h"
#include "vmm/base/bitmap.h"
#include "vmm/base/units.h"

static bool is_left_out(const struct ram_block *b, bool ignore_shared)
{
	return ignore_shared && b->share;
}

/* ---- can it be? ---- */

static int check_page_bytes(const struct ram_block *b, bool take_1g, struct err *err)
{
	uint64_t mib = b->page_bytes / MiB;

	if (b->page_bytes <= (take_1g ? POSTCOPY_ASKED_PAGE_BYTES : POSTCOPY_MAX_PAGE_BYTES))
		return 0;
	if (b->page_bytes > POSTCOPY_ASKED_PAGE_BYTES)
		return err_set(err, ENOTSUP,
			       "RAM block '%s' has huge pages of %" PRIu64
			       " MiB, and the guest would stand still while one of them comes: use "
			       "huge pages of 2 MiB",
			       b->name, mib);
	return err_set(err, ENOTSUP,
		       "RAM block '%s' has huge pages of %" PRIu64
		       " MiB: use huge pages of 2 MiB, or '-global "
		       "migration.x-minivmm-postcopy-1g=on' here, with which the guest stands "
		       "still for a second or more for each such page that it touches, and each "
		       "connection takes %" PRIu64 " MiB of memory beyond the guest's",
		       b->name, mib, mib);
}

static int check_kind(const struct ram_block *b, bool take_1g, struct err *err)
{
	int ret = check_page_bytes(b, take_1g, err);

	return ret < 0 ? ret : postcopy_check_file(b, err);
}

int postcopy_ram_check(const struct memory *mem, bool ignore_shared, bool take_1g, struct err *err)
{
	struct memory some = {.n_blocks = 0};

	for (size_t i = 0; i < mem->n_blocks; i++) {
		int ret;

		if (is_left_out(mem->blocks[i], ignore_shared))
			continue;
		ret = check_kind(mem->blocks[i], take_1g, err);
		if (ret < 0)
			return ret;
		some.blocks[some.n_blocks++] = mem->blocks[i];
	}
	return userfault_probe(&some, USERFAULT_MISSING, err);
}

/* ---- what the memory asks ---- */

static struct postcopy_ram *ram_of(struct missing *x)
{
	return container_of(x, struct postcopy_ram, missing);
}

static void ram_mark(struct missing *x, const struct ram_block *b, uint64_t *map)
{
	const struct postcopy_block *pb = postcopy_ram_find(ram_of(x), b);

	for (uint64_t page = 0; pb && page < pb->pages; page++)
		if (!postcopy_ram_has(pb, page))
			bitmap_set(map, page);
}

/* What the guest does not need any more is zero from now on, and needs not come. */
static int ram_discard(struct missing *x, const struct ram_block *b, uint64_t off, uint64_t bytes,
		       int (*give_back)(const struct ram_block *b, uint64_t off, uint64_t bytes))
{
	struct postcopy_ram *p = ram_of(x);
	struct postcopy_block *pb = postcopy_ram_find(p, b);
	int ret;

	(void)postcopy_ram_put_zero(p, pb, off / PAGE_BYTES, bytes / PAGE_BYTES);
	pthread_rwlock_wrlock(&p->giving_back);
	ret = give_back(b, off, bytes);
	pthread_rwlock_unlock(&p->giving_back);
	return ret;
}

static int ram_check(struct missing *x, struct err *err)
{
	uint64_t left = postcopy_ram_left(ram_of(x));

	return err_set(err, EBUSY,
		       "the guest has come by postcopy, and %llu MiB of its memory are still to "
		       "come ('query-migrate' says 'completed' when all is there)",
		       (unsigned long long)((left * PAGE_BYTES + MiB - 1) / MiB));
}

static bool ram_end(struct missing *x, bool wait)
{
	struct postcopy_ram *p = ram_of(x);

	(void)wait; /* the fault thread waits for nobody but the source's socket */
	(void)postcopy_ram_attach(p, NULL, NULL);
	fault_thread_stop(&p->fault_thread);
	for (size_t i = 0; i < p->n; i++)
		userfault_unregister(&p->uffd, p->blocks[i].block);
	postcopy_ram_free(p);
	return true;
}

static const struct missing_ops ram_ops = {
    .mark = ram_mark,
    .discard = ram_discard,
    .check = ram_check,
    .end = ram_end,
};

/* ---- from the beginning ---- */

static int add_block(struct postcopy_ram *p, const struct ram_block *b, struct err *err)
{
	struct postcopy_block *pb = &p->blocks[p->n++];

	*pb = (struct postcopy_block){
	    .block = b,
	    .pages = b->bytes / PAGE_BYTES,
	    .unit = b->page_bytes / PAGE_BYTES,
	    .received = bitmap_new(b->bytes / PAGE_BYTES),
	    .requested = bitmap_new(b->bytes / PAGE_BYTES),
	};
	if (!pb->received || !pb->requested)
		return err_set(err, ENOMEM, "no memory for the bitmaps of '%s'", b->name);
	bitmap_set_range(pb->received, 0, pb->pages);
	return 0;
}

struct postcopy_ram *postcopy_ram_new(struct memory *mem, bool ignore_shared, struct err *err)
{
	struct postcopy_ram *p = NEW(struct postcopy_ram);
	int ret = 0;

	p->missing.ops = &ram_ops;
	p->mem = mem;
	p->uffd.fd = -1;
	rp_out_init(&p->out);
	pthread_rwlock_init(&p->giving_back, NULL);
	pthread_mutex_init(&p->owner_lock, NULL);
	for (size_t i = 0; ret == 0 && i < mem->n_blocks; i++)
		if (!is_left_out(mem->blocks[i], ignore_shared))
			ret = add_block(p, mem->blocks[i], err);
	if (ret == 0)
		return p;
	postcopy_ram_free(p);
	return NULL;
}

void postcopy_ram_free(struct postcopy_ram *p)
{
	if (!p)
		return;
	userfault_close(&p->uffd);
	for (size_t i = 0; i < p->n; i++) {
		free(p->blocks[i].received);
		free(p->blocks[i].requested);
	}
	rp_out_fini(&p->out);
	blocktime_unref(p->blocktime);
	pthread_rwlock_destroy(&p->giving_back);
	pthread_mutex_destroy(&p->owner_lock);
	free(p);
}

struct postcopy_block *postcopy_ram_find(struct postcopy_ram *p, const struct ram_block *b)
{
	for (size_t i = 0; i < p->n; i++)
		if (p->blocks[i].block == b)
			return &p->blocks[i];
	return NULL;
}

void postcopy_ram_drop(struct postcopy_ram *p, struct postcopy_block *pb, uint64_t off,
		       uint64_t bytes)
{
	uint64_t first = off / PAGE_BYTES, n = bytes / PAGE_BYTES;

	(void)p;
	bitmap_clear_range(pb->received, first, n);
}

int postcopy_ram_begin(struct postcopy_ram *p, const struct postcopy_ram_owner *owner, bool *begun,
		       struct err *err)
{
	int ret = 0;

	for (size_t i = 0; ret == 0 && i < p->n; i++)
		if (p->blocks[i].block->bytes != p->blocks[i].pages * PAGE_BYTES)
			ret =
			    err_set(err, EINVAL,
				    "RAM block '%s' got another size after its pages were dropped",
				    p->blocks[i].block->name);
	if (ret == 0)
		ret = userfault_open(&p->uffd, USERFAULT_MISSING, err);
	*begun = ret == 0;
	if (ret < 0)
		return ret;
	p->owner = *owner;
	memory_set_missing(p->mem, &p->missing);
	for (size_t i = 0; ret == 0 && i < p->n; i++)
		ret = userfault_register(&p->uffd, p->blocks[i].block, USERFAULT_MISSING, err);
	for (size_t i = 0; ret == 0 && i < p->n; i++)
		ret = postcopy_empty_block(p, &p->blocks[i], err);
	for (size_t i = 0; ret == 0 && i < p->mem->n_blocks; i++)
		if (postcopy_ram_find(p, p->mem->blocks[i]))
			missing_set_block(p->mem->blocks[i], &p->missing);
	if (ret == 0)
		ret = fault_thread_start(&p->fault_thread, &p->uffd, &postcopy_fault_ops, p, err);
	return ret;
}

void postcopy_ram_disown(struct postcopy_ram *p)
{
	pthread_mutex_lock(&p->owner_lock);
	p->owner = (struct postcopy_ram_owner){.opaque = NULL};
	pthread_mutex_unlock(&p->owner_lock);
}
