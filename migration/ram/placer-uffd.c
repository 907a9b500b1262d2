/*
 * placer-uffd.c - each page once, in whole pages of the host
 *
 *     comes  here
 *       1     0    to come
 *       1     1    it has been put in; or discarded, and is zero
 *       0     0    zero, and left out: a touch puts a zero page in
 *       0     1    the same, done
 *
 * 'here' is set together with the copy, under the lock.  Were it set in front of it, a fault in
 * between would take the page for a discarded one and put zeroes in; were it set
 * behind, a page could be discarded between the two and come back with its old content.
 *
 * What is put in is copied at most PUT_PAGES at a time under the lock: a thread that waits for a
 * page of its own does not wait long.
 */
#include "migration/ram/placer-uffd.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "vmm/base/bitmap.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"

#define PUT_PAGES 32U

int uffd_placer_init(struct uffd_placer *p, struct err *err)
{
	int ret;

	*p = (struct uffd_placer){.uffd.fd = -1};
	ret = userfault_open(&p->uffd, USERFAULT_MISSING, err);
	if (ret == 0)
		pthread_mutex_init(&p->lock, NULL);
	return ret;
}

void uffd_placer_drop_old(struct uffd_placer *p, const bool *stop)
{
	for (size_t i = 0; i < p->n; i++)
		memory_aside_free(&p->blocks[i].aside, stop);
}

void uffd_placer_fini(struct uffd_placer *p)
{
	static const bool at_once = true;

	uffd_placer_drop_old(p, &at_once);
	for (size_t i = 0; i < p->n; i++) {
		userfault_unregister(&p->uffd, p->blocks[i].block);
		free(p->blocks[i].here);
	}
	userfault_close(&p->uffd);
	pthread_mutex_destroy(&p->lock);
	p->n = 0;
}

static int check_kind(const struct ram_block *b, struct err *err)
{
	if (b->page_bytes > UFFD_PLACER_MAX_PAGE_BYTES)
		return err_set(err, ENOTSUP,
			       "RAM block '%s' has huge pages of %" PRIu64
			       " MiB, and the guest would stand still until all of one has come: "
			       "use pages of 2 MiB or of 4 KiB",
			       b->name, b->page_bytes >> 20);
	if (!memory_discards_to_zero(b))
		return err_set(
		    err, ENOTSUP,
		    "RAM block '%s' is a private copy of a file, whose content would show "
		    "where no page has come",
		    b->name);
	return 0;
}

int uffd_placer_check(const struct memory *mem, struct err *err)
{
	for (size_t i = 0; i < mem->n_blocks; i++) {
		int ret = check_kind(mem->blocks[i], err);

		if (ret < 0)
			return ret;
	}
	return userfault_probe(mem, USERFAULT_MISSING, err);
}

int uffd_placer_add(struct uffd_placer *p, const struct ram_block *b, const uint64_t *comes,
		    struct err *err)
{
	struct uffd_block *ub = &p->blocks[p->n];
	int ret = check_kind(b, err);
	bool moved;

	if (ret < 0)
		return ret;
	*ub = (struct uffd_block){
	    .block = b,
	    .pages = b->bytes / PAGE_BYTES,
	    .unit = b->page_bytes / PAGE_BYTES,
	    .comes = comes,
	    .here = bitmap_new(b->bytes / PAGE_BYTES),
	};
	if (!ub->here)
		return err_set(err, ENOMEM, "no memory for the bitmap of '%s'", b->name);
	moved = memory_move_aside(b, &ub->aside) == 0;
	ret = userfault_register(&p->uffd, b, USERFAULT_MISSING, err);
	if (ret == 0 && !moved) {
		ret = memory_give_back(b, 0, b->bytes);
		if (ret < 0) {
			userfault_unregister(&p->uffd, b);
			(void)err_set(err, -ret, "RAM block '%s' cannot be emptied: %s", b->name,
				      err_text(-ret));
		}
	}
	if (ret < 0) {
		memory_aside_free(&ub->aside, &moved);
		free(ub->here);
		return ret;
	}
	p->left_pages += bitmap_count(comes, ub->pages);
	return (int)p->n++;
}

int uffd_placer_find(const struct uffd_placer *p, const struct ram_block *b)
{
	for (size_t i = 0; i < p->n; i++)
		if (p->blocks[i].block == b)
			return (int)i;
	return -1;
}

bool uffd_placer_is_here(const struct uffd_placer *p, int block, uint64_t page)
{
	return bitmap_test_atomic(p->blocks[block].here, page);
}

static uint64_t to_come(const struct uffd_block *ub, uint64_t word)
{
	return ub->comes[word] & ~__atomic_load_n(&ub->here[word], __ATOMIC_SEQ_CST);
}

static bool comes_still(const struct uffd_block *ub, uint64_t page)
{
	return to_come(ub, page / BITS_PER_WORD) >> (page % BITS_PER_WORD) & 1;
}

/* The first page at or behind 'page' that is to come; ub->pages: none. */
static uint64_t next_to_come(const struct uffd_block *ub, uint64_t page)
{
	uint64_t word = page / BITS_PER_WORD, bits;

	if (page >= ub->pages)
		return ub->pages;
	bits = to_come(ub, word) & ~0ULL << (page % BITS_PER_WORD);
	while (!bits) {
		if (++word >= BITMAP_WORDS(ub->pages))
			return ub->pages;
		bits = to_come(ub, word);
	}
	return word * BITS_PER_WORD + (uint64_t)__builtin_ctzll(bits);
}

uint64_t uffd_placer_next(const struct uffd_placer *p, int block, uint64_t *page, uint64_t max)
{
	const struct uffd_block *ub = &p->blocks[block];
	uint64_t first = ALIGN_DOWN(next_to_come(ub, *page), ub->unit), n;

	if (first >= ub->pages)
		return 0;
	*page = first;
	if (ub->unit > 1)
		return ub->unit;
	max = MIN(max, ub->pages - first);
	for (n = 1; n < max && comes_still(ub, first + n); n++)
		;
	return n;
}

/* ---- putting in ---- */

/* Lock held: these are here from now on. */
static void set_here(struct uffd_placer *p, struct uffd_block *ub, uint64_t page, uint64_t n)
{
	uint64_t came = 0;

	for (uint64_t i = page; i < page + n; i++) {
		came += comes_still(ub, i);
		bitmap_set_atomic(ub->here, i);
	}
	__atomic_fetch_sub(&p->left_pages, came, __ATOMIC_SEQ_CST);
}

/* Lock held: the pages of [*page, end) from the first on that are not here; 0: all are. */
static uint64_t next_absent(const struct uffd_block *ub, uint64_t *page, uint64_t end)
{
	uint64_t last;

	*page = bitmap_next_clear(ub->here, end, *page);
	last = bitmap_next_set(ub->here, end, *page);
	return last - *page;
}

/* Lock held.  'from' NULL: zeroes. */
static int put_absent(struct uffd_placer *p, struct uffd_block *ub, uint64_t page, uint64_t end,
		      const uint8_t *from)
{
	uint64_t first = page, n;

	while ((n = next_absent(ub, &page, end))) {
		uint64_t off = page * PAGE_BYTES, bytes = n * PAGE_BYTES;
		const uint8_t *src = from ? from + (page - first) * PAGE_BYTES : NULL;
		int ret = src ? userfault_copy(&p->uffd, ub->block, off, src, bytes, false)
			      : userfault_zero(&p->uffd, ub->block, off, bytes);

		if (ret < 0)
			return ret;
		set_here(p, ub, page, n);
		page += n;
	}
	return 0;
}

static int put_pieces(struct uffd_placer *p, int block, uint64_t page, uint64_t n,
		      const uint8_t *from)
{
	struct uffd_block *ub = &p->blocks[block];
	uint64_t step = MAX(PUT_PAGES, ub->unit);
	int ret = 0;

	for (uint64_t at = page; ret == 0 && at < page + n; at += step) {
		uint64_t end = MIN(at + step, page + n);

		pthread_mutex_lock(&p->lock);
		ret = put_absent(p, ub, at, end, from ? from + (at - page) * PAGE_BYTES : NULL);
		pthread_mutex_unlock(&p->lock);
	}
	return ret;
}

int uffd_placer_put(struct uffd_placer *p, int block, uint64_t page, uint64_t n,
		    const uint8_t *from)
{
	return put_pieces(p, block, page, n, from);
}

int uffd_placer_put_zero(struct uffd_placer *p, int block, uint64_t page, uint64_t n)
{
	const struct uffd_block *ub = &p->blocks[block];

	/* Those that are here may have been discarded since, or the message is an old one. */
	for (uint64_t at = page; at < page + n; at += ub->unit) {
		int ret = 0;

		if (bitmap_test_atomic(ub->here, at))
			ret = userfault_zero(&p->uffd, ub->block, at * PAGE_BYTES,
					     ub->unit * PAGE_BYTES);
		if (ret < 0)
			return ret;
	}
	return put_pieces(p, block, page, n, NULL);
}

/* ---- beside it ---- */

void uffd_placer_mark(struct uffd_placer *p, int block, uint64_t *map)
{
	const struct uffd_block *ub = &p->blocks[block];

	for (uint64_t w = 0; w < BITMAP_WORDS(ub->pages); w++)
		map[w] |= to_come(ub, w);
}

int uffd_placer_discard(struct uffd_placer *p, int block, uint64_t off, uint64_t bytes,
			int (*give_back)(const struct ram_block *b, uint64_t off, uint64_t bytes))
{
	struct uffd_block *ub = &p->blocks[block];
	int ret;

	pthread_mutex_lock(&p->lock);
	set_here(p, ub, off / PAGE_BYTES, bytes / PAGE_BYTES);
	ret = give_back(ub->block, off, bytes);
	pthread_mutex_unlock(&p->lock);
	return ret;
}
