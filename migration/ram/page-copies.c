/*
 * page-copies.c - slots are taken one behind the other, and all over again once the pool is empty
 *
 * The sender gives slots back in about the order in which they were taken, so what is free lies in
 * one piece or two.  A pool that is emptied between two faults uses its first slots only, and the
 * memory of the others is never touched.
 */
#include "migration/ram/page-copies.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "vmm/base/alloc.h"
#include "vmm/base/bitmap.h"

static void put_free(struct page_copies *c, struct page_copy *copy)
{
	if (!copy->slots) {
		free(copy->content);
		free(copy);
		return;
	}
	bitmap_clear_range(c->used, (size_t)(copy - c->copies), copy->slots);
	c->n_free += copy->slots;
}

int page_copies_init(struct page_copies *c, size_t bytes, size_t slot_bytes)
{
	unsigned n = (unsigned)(bytes / slot_bytes);
	void *arena = NULL;

	if (n) {
		arena = mmap(NULL, n * slot_bytes, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (arena == MAP_FAILED)
			return -ENOMEM;
	}
	*c = (struct page_copies){.arena = arena, .slot_bytes = slot_bytes, .n = n, .n_free = n};
	c->ready_end = &c->ready;
	c->copies = xcalloc(n ? n : 1, sizeof(c->copies[0]));
	c->used = bitmap_new(n);
	return c->used ? 0 : -ENOMEM;
}

void page_copies_fini(struct page_copies *c)
{
	while (page_copies_next(c)) {
	}
	page_copies_recycle(c);
	if (c->arena)
		(void)munmap(c->arena, c->n * c->slot_bytes);
	free(c->copies);
	free(c->used);
	*c = (struct page_copies){0};
}

struct page_copy *page_copies_get(struct page_copies *c, unsigned slots)
{
	size_t first, end;
	struct page_copy *copy;

	if (!c->n_free)
		return NULL;
	if (c->n_free == c->n)
		c->at = 0;
	first = bitmap_next_clear(c->used, c->n, c->at);
	if (first == c->n)
		first = bitmap_next_clear(c->used, c->n, 0);
	end = bitmap_next_set(c->used, MIN(c->n, first + slots), first);
	copy = &c->copies[first];
	copy->content = c->arena + first * c->slot_bytes;
	copy->slots = (unsigned)(end - first);
	copy->next = NULL;
	bitmap_set_range(c->used, first, copy->slots);
	c->n_free -= copy->slots;
	c->at = (unsigned)end;
	return copy;
}

struct page_copy *page_copies_extra(size_t slot_bytes)
{
	struct page_copy *copy = NEW(struct page_copy);

	copy->content = malloc(slot_bytes);
	if (copy->content)
		return copy;
	free(copy);
	return NULL;
}

void page_copies_ready(struct page_copies *c, struct page_copy *copy)
{
	copy->next = NULL;
	*c->ready_end = copy;
	c->ready_end = &copy->next;
}

struct page_copy *page_copies_next(struct page_copies *c)
{
	struct page_copy *copy = c->ready;

	if (!copy)
		return NULL;
	c->ready = copy->next;
	if (!c->ready)
		c->ready_end = &c->ready;
	copy->next = c->given;
	c->given = copy;
	c->n_given += copy->slots;
	return copy;
}

void page_copies_recycle(struct page_copies *c)
{
	while (c->given) {
		struct page_copy *copy = c->given;

		c->given = copy->next;
		put_free(c, copy);
	}
	c->n_given = 0;
}
