/* refblock.h - counts in refcount blocks: what refcount.c and alloc.c share; q->lock held */
#ifndef MINIVMM_DEVICES_BLOCK_QCOW2_REFBLOCK_H
#define MINIVMM_DEVICES_BLOCK_QCOW2_REFBLOCK_H

#include <stdint.h>

struct qcow2;
struct qcow2_block;

/* Count i of a block's bytes, 2^order bits each.  No lock. */
uint64_t refblock_get(uint32_t order, const uint8_t *p, uint32_t i);
void refblock_set(uint32_t order, uint8_t *p, uint32_t i, uint64_t v);

/* A place in a block: the piece, pinned (NULL: no block), and which count of it. */
struct rb_pos {
	struct qcow2_block *b;
	uint32_t i;
	uint64_t n; /* counts from it to the end of the piece, or of what the block would cover */
};

int rb_get(struct qcow2 *q, uint64_t cluster, struct rb_pos *pos);
void rb_put(struct rb_pos *pos);
/* The k-th from the place on; 0 without a block. */
uint64_t rb_count(const struct qcow2 *q, const struct rb_pos *pos, uint64_t k);
void rb_set(struct qcow2 *q, const struct rb_pos *pos, uint64_t k, uint64_t v);

#endif
