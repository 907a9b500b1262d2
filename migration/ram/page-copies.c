#include "migration/ram/page-copies.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "vmm/base/alloc.h"

static void put_free(struct page_copies *c, struct page_copy *copy)
{
	if (copy < c->slots || copy >= c->slots + c->n) {
		free(copy->content);
		free(copy);
		return;
	}
	copy->next = c->free;
	c->free = copy;
	c->n_free++;
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
	*c = (struct page_copies){.arena = arena, .arena_bytes = n * slot_bytes, .n = n};
	c->ready_end = &c->ready;
	c->slots = xcalloc(n ? n : 1, sizeof(c->slots[0]));
	for (unsigned i = n; i-- > 0;) { /* the first are used first, and stay few */
		c->slots[i].content = c->arena + i * slot_bytes;
		put_free(c, &c->slots[i]);
	}
	return 0;
}

void page_copies_fini(struct page_copies *c)
{
	while (page_copies_next(c)) {
	}
	page_copies_recycle(c);
	if (c->arena)
		(void)munmap(c->arena, c->arena_bytes);
	free(c->slots);
	*c = (struct page_copies){0};
}

struct page_copy *page_copies_get(struct page_copies *c)
{
	struct page_copy *copy = c->free;

	if (!copy)
		return NULL;
	c->free = copy->next;
	c->n_free--;
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
	c->n_given++;
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
