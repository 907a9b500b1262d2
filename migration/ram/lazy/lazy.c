/*
 * lazy.c - the session: blocks, the fault thread's work, questions, the end
 *
 *     fault thread    a page is touched: read it and the pages to come beside it, put them in,
 *                     and so wake who waits; zeroes for a page that does not come
 *     eager thread    eager.c: the working set, then everything in order; then the end
 *
 * Both may read the same page; the placer takes the first one, and the other is dropped.
 *
 * A read that fails stalls the session: the page stays missing, whoever touched it waits, the
 * owner stops the guest, and the eager thread tries again each second.  When it
 * succeeds all who wait are woken, touch their pages again, and so ask again.  Nothing ever
 * becomes zero instead.  When the fault thread cannot read its descriptor any more the owner
 * is told the same, and the eager thread brings all the rest.
 *
 * The end has two ways.  All has come: the eager thread ends the fault thread and
 * unregisters the blocks; who waits then waits for a page that does not come, and zero is
 * right.  Or the program ends: behind vCPUs and I/O (memory_end_missing()).
 */
#include "migration/ram/lazy/lazy.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "migration/ram/lazy/internal.h"
#include "vmm/base/alloc.h"
#include "vmm/base/bitmap.h"
#include "vmm/vclock.h"

#define END_MS 2000U /* how long a read may take, once the program ends */

/* ---- reading ---- */

int lazy_read(struct lazy *l, int block, uint64_t page, uint64_t n, uint8_t *buf, struct err *err)
{
	const uint64_t *comes = l->comes[block];
	uint64_t end = page + n, at = page;

	while (at < end) {
		uint64_t first = MIN(bitmap_next_set(comes, end, at), end);
		uint64_t last = MIN(bitmap_next_clear(comes, end, first), end);
		uint8_t *to = buf + (first - page) * PAGE_BYTES;
		int ret = 0;

		memset(buf + (at - page) * PAGE_BYTES, 0, (first - at) * PAGE_BYTES);
		if (last > first)
			ret = l->source->ops->read(l->source, l->index[block], first, last - first,
						   to, err);
		if (ret < 0)
			return ret;
		at = last;
	}
	return 0;
}

bool lazy_is_stalled(struct lazy *l)
{
	bool stalled;

	pthread_mutex_lock(&l->lock);
	stalled = l->stalled;
	pthread_mutex_unlock(&l->lock);
	return stalled;
}

void lazy_set_stalled(struct lazy *l, const struct err *why, bool lost)
{
	pthread_mutex_lock(&l->lock);
	if (!l->stalled && !l->lost)
		l->why = *why;
	l->stalled = true;
	l->lost |= lost;
	pthread_cond_broadcast(&l->changed);
	pthread_mutex_unlock(&l->lock);
}

/* ---- the fault thread ---- */

/* The pages to come around 'page', as far as they are in a row, in one piece of the file. */
static uint64_t neighbours(const struct uffd_placer *p, int block, uint64_t *page)
{
	const struct uffd_block *ub = &p->blocks[block];
	uint64_t first = ALIGN_DOWN(*page, MAX(LAZY_FAULT_PAGES, ub->unit));
	uint64_t end = first + MAX(LAZY_FAULT_PAGES, ub->unit), n;

	while ((n = uffd_placer_next(p, block, &first, end - first))) {
		if (first + n > *page) {
			n = MIN(n, end - first);
			break;
		}
		first += n;
	}
	*page = first;
	return n;
}

/* Zero pages cost nothing where they are the host's own: a guest that fills memory has some more.
 */
static uint64_t zero_pages(const struct lazy *l, int block, uint64_t page)
{
	const struct uffd_block *ub = &l->placer.blocks[block];
	uint64_t end = MIN(ALIGN_DOWN(page, LAZY_FAULT_PAGES) + LAZY_FAULT_PAGES, ub->pages);

	if (ub->unit > 1)
		return ub->unit;
	if (ub->block->fd >= 0 || ub->block->share)
		return 1;
	return MAX(bitmap_next_set(l->comes[block], end, page) - page, 1); /* 0: discarded */
}

static void note_fault(struct lazy *l, int block, uint64_t page)
{
	struct working_set_block *w = &l->faulted.blocks[l->index[block]];
	int64_t started = __atomic_load_n(&l->started_ns, __ATOMIC_RELAXED);

	__atomic_fetch_add(&l->faults, 1, __ATOMIC_RELAXED);
	if (l->notes && started && host_now_ns() - started < LAZY_NOTE_NS)
		bitmap_set(w->map, page);
}

static int serve_page(struct lazy *l, int block, uint64_t page)
{
	const struct uffd_block *ub = &l->placer.blocks[block];
	uint64_t first = page, n = neighbours(&l->placer, block, &first);
	struct err err = {0};
	int ret;

	if (!n || page < first || page >= first + n) /* it came meanwhile, or never will */
		return uffd_placer_put_zero(&l->placer, block, page, zero_pages(l, block, page));
	ret = lazy_read(l, block, first, n, l->fault_buf, &err);
	if (ret == 0) {
		ret = uffd_placer_put(&l->placer, block, first, n, l->fault_buf);
		if (ret < 0)
			(void)err_set(&err, -ret,
				      "a page of RAM block '%s' cannot be put into memory: %s",
				      ub->block->name, err_text(-ret));
	}
	if (ret < 0) {
		lazy_set_stalled(l, &err, false);
		return 0;
	}
	note_fault(l, block, page);
	/* If it was discarded in between nobody has woken the thread: it asks again. */
	return userfault_wake(&l->placer.uffd, ub->block, page * PAGE_BYTES, ub->block->page_bytes);
}

static int on_fault(void *opaque, const struct userfault_msg *msg)
{
	struct lazy *l = opaque;
	uint64_t off, page;
	const struct ram_block *b = userfault_block_at(&l->placer.uffd, msg->hva, &off);
	int block = b ? uffd_placer_find(&l->placer, b) : -1, ret;

	if (block < 0 || lazy_is_stalled(l)) /* who waits is woken when it has recovered */
		return 0;
	page = ALIGN_DOWN(off, b->page_bytes) / PAGE_BYTES;
	ret = serve_page(l, block, page);
	if (ret == -ENOMEM || ret == -ENOSPC) {
		struct err err;

		(void)err_set(&err, -ret, "the host has no page for RAM block '%s': %s", b->name,
			      err_text(-ret));
		lazy_set_stalled(l, &err, false);
		ret = 0;
	}
	return ret;
}

static void on_fault_thread_failed(void *opaque, const struct err *why)
{
	lazy_set_stalled(opaque, why, true);
}

static const struct fault_ops fault_ops = {
    .name = "lazy-fault",
    .handle = on_fault,
    .failed = on_fault_thread_failed,
};

/* ---- what the memory asks ---- */

static void lazy_mark(struct missing *x, const struct ram_block *b, uint64_t *map)
{
	struct lazy *l = lazy_of(x);

	uffd_placer_mark(&l->placer, uffd_placer_find(&l->placer, b), map);
}

static int lazy_discard(struct missing *x, const struct ram_block *b, uint64_t off, uint64_t bytes,
			int (*give_back)(const struct ram_block *b, uint64_t off, uint64_t bytes))
{
	struct lazy *l = lazy_of(x);

	return uffd_placer_discard(&l->placer, uffd_placer_find(&l->placer, b), off, bytes,
				   give_back);
}

static uint64_t left_pages(const struct lazy *l)
{
	return __atomic_load_n(&l->placer.left_pages, __ATOMIC_SEQ_CST);
}

static int lazy_check(struct missing *x, struct err *err)
{
	struct lazy *l = lazy_of(x);

	if (__atomic_load_n(&l->resident_ns, __ATOMIC_SEQ_CST))
		return 0;
	if (!left_pages(l)) /* the blocks are still registered: no one else can have them */
		return err_set(err, EBUSY,
			       "the last of the guest's memory has just been loaded: ask again "
			       "('query-migrate' says 'completed')");
	return err_set(err, EBUSY,
		       "%llu MiB of the guest's memory are still being loaded ('query-migrate' "
		       "says 'completed' when all is there)",
		       (unsigned long long)((left_pages(l) * PAGE_BYTES + MiB - 1) / MiB));
}

/* Both threads have ended, or the fault thread was never started. */
static void free_parts(struct lazy *l)
{
	fault_thread_stop(&l->fault_thread);
	thread_join(&l->dropper);
	for (size_t i = 0; i < l->placer.n; i++)
		userfault_unregister(&l->placer.uffd, l->placer.blocks[i].block);
	userfault_close(&l->placer.uffd);
	if (l->source)
		l->source->ops->close(l->source);
	l->source = NULL;
	free(l->fault_buf);
	free(l->eager_buf);
	l->fault_buf = l->eager_buf = NULL;
	working_set_fini(&l->first);
	working_set_fini(&l->faulted);
}

void lazy_finish(struct lazy *l)
{
	free_parts(l);
	__atomic_store_n(&l->resident_ns, host_now_ns(), __ATOMIC_SEQ_CST);
}

/* It may be in a read that takes for ever. */
static bool join(struct thread *t, bool wait)
{
	if (!wait)
		return thread_join_ms(t, END_MS);
	thread_join(t);
	return true;
}

static bool end_fault_thread(struct lazy *l, bool wait)
{
	struct fault_thread *t = &l->fault_thread;

	if (!t->thread.live)
		return true;
	__atomic_store_n(&t->stop, true, __ATOMIC_SEQ_CST);
	fault_thread_wake(t);
	if (!join(&t->thread, wait))
		return false;
	(void)close(t->wake_fd);
	return true;
}

static bool lazy_end(struct missing *x, bool wait)
{
	struct lazy *l = lazy_of(x);

	pthread_mutex_lock(&l->lock);
	l->stop = true;
	pthread_cond_broadcast(&l->changed);
	pthread_mutex_unlock(&l->lock);
	__atomic_store_n(&l->hurry, true, __ATOMIC_RELAXED);
	if (!join(&l->eager, wait) || !end_fault_thread(l, wait))
		return false;
	lazy_free(l);
	return true;
}

static const struct missing_ops lazy_ops = {
    .mark = lazy_mark,
    .discard = lazy_discard,
    .check = lazy_check,
    .end = lazy_end,
};

/* ---- from the beginning ---- */

struct lazy *lazy_new(struct memory *mem, struct page_source *source, struct err *err)
{
	struct lazy *l = NEW(struct lazy);

	l->missing.ops = &lazy_ops;
	l->mem = mem;
	l->source = source;
	l->placer.uffd.fd = -1;
	pthread_mutex_init(&l->lock, NULL);
	pthread_mutex_init(&l->owner_lock, NULL);
	thread_cond_init(&l->changed);
	if (uffd_placer_init(&l->placer, err) < 0) {
		lazy_free(l);
		return NULL;
	}
	return l;
}

struct page_source *lazy_source(struct lazy *l)
{
	return l->source;
}

int lazy_take(struct lazy *l, const struct ram_block *b, uint64_t *comes, struct err *err)
{
	int block = uffd_placer_add(&l->placer, b, comes, err);

	if (block < 0) {
		free(comes);
		return block;
	}
	l->comes[block] = comes;
	l->index[block] = memory_block_index(l->mem, b);
	l->total_pages += bitmap_count(comes, b->bytes / PAGE_BYTES);
	return 0;
}

size_t lazy_blocks(const struct lazy *l)
{
	return l->placer.n;
}

void lazy_free(struct lazy *l)
{
	if (!l)
		return;
	free_parts(l);
	uffd_placer_fini(&l->placer);
	for (size_t i = 0; i < MEMORY_MAX_BLOCKS; i++)
		free(l->comes[i]);
	free(l->notes);
	pthread_mutex_destroy(&l->lock);
	pthread_mutex_destroy(&l->owner_lock);
	pthread_cond_destroy(&l->changed);
	free(l);
}

static int alloc_parts(struct lazy *l)
{
	uint64_t pages = LAZY_FAULT_PAGES;

	for (size_t i = 0; i < l->placer.n; i++)
		pages = MAX(pages, l->placer.blocks[i].unit);
	l->fault_buf = aligned_alloc(PAGE_SOURCE_ALIGN, pages * PAGE_BYTES);
	l->eager_buf = aligned_alloc(PAGE_SOURCE_ALIGN, (size_t)LAZY_READ_PAGES * PAGE_BYTES);
	if (!l->fault_buf || !l->eager_buf || working_set_init(&l->first, l->mem) < 0 ||
	    working_set_init(&l->faulted, l->mem) < 0)
		return -ENOMEM;
	return 0;
}

int lazy_begin(struct lazy *l, const struct lazy_owner *owner, struct err *err)
{
	l->owner = *owner;
	l->notes = l->source->ops->notes_path(l->source);
	memory_set_missing(l->mem, &l->missing);
	for (size_t i = 0; i < l->placer.n; i++)
		missing_set_block(l->mem->blocks[l->index[i]], &l->missing);
	if (alloc_parts(l) < 0)
		return err_set(err, ENOMEM, "no memory to load the guest's lazily");
	return fault_thread_start(&l->fault_thread, &l->placer.uffd, &fault_ops, l, err);
}

static void *drop_old(void *opaque)
{
	struct lazy *l = opaque;

	uffd_placer_drop_old(&l->placer, &l->hurry);
	thread_set_done(&l->dropper);
	return NULL;
}

int lazy_run(struct lazy *l, struct err *err)
{
	int ret = thread_start(&l->dropper, "lazy-drop", THREAD_MIGRATION, drop_old, l, err);

	if (ret < 0)
		return ret;
	__atomic_store_n(&l->started_ns, host_now_ns(), __ATOMIC_RELAXED);
	return thread_start(&l->eager, "lazy-eager", THREAD_MIGRATION, lazy_eager, l, err);
}

void lazy_disown(struct lazy *l)
{
	pthread_mutex_lock(&l->owner_lock);
	l->owner = (struct lazy_owner){.opaque = NULL};
	pthread_mutex_unlock(&l->owner_lock);
}

void lazy_set_rate(struct lazy *l, uint64_t bytes_s)
{
	pthread_mutex_lock(&l->lock);
	__atomic_store_n(&l->rate, bytes_s, __ATOMIC_RELAXED);
	pthread_cond_broadcast(&l->changed);
	pthread_mutex_unlock(&l->lock);
}

void lazy_query(struct lazy *l, struct lazy_info *info)
{
	*info = (struct lazy_info){
	    .total_bytes = l->total_pages * PAGE_BYTES,
	    .left_bytes = left_pages(l) * PAGE_BYTES,
	    .faults = __atomic_load_n(&l->faults, __ATOMIC_RELAXED),
	    .working_set_pages = __atomic_load_n(&l->first_pages, __ATOMIC_RELAXED),
	    .resident_ns = __atomic_load_n(&l->resident_ns, __ATOMIC_SEQ_CST),
	    .stalled = lazy_is_stalled(l),
	};
}
