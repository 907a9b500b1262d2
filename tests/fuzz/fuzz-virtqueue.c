/*
 * Any bytes in guest memory are rings that can be walked or are refused: no chain leads outside
 * RAM, none is endless, and what is written stays in the used ring and the buffers.
 *
 * Input: flags (bit 0 event index, bit 1 indirect, bits 2-5 log2 of the ring's size), le16 of the
 * last available index, le16 each of where the three rings lie; the rest is memory from 0 on.
 */
#include <stdlib.h>
#include <string.h>

#include "devices/virtio/queue.h"
#include "vmm/base/bytes.h"
#include "vmm/base/iov.h"
#include "vmm/base/units.h"
#include "vmm/memory/memory.h"

#define HEADER  9
#define RAM     (64 * KiB)
#define SEAM    (32 * KiB) /* the boundary of two slots */
#define MAX_POP 4096

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check_piece(const struct memory *mem, const uint8_t *base, size_t bytes)
{
	const uint8_t *ram = mem->blocks[0]->hva;

	if (!bytes || base < ram || base + bytes > ram + RAM)
		abort();
}

static void serve(struct virtq *q, struct memory *mem, struct virtq_elem *e)
{
	for (unsigned i = 0; i < MAX_POP && virtq_pop(q, e) > 0; i++) {
		static const uint8_t zeros[64];
		uint64_t bytes;

		if (e->n_out + e->n_in > VIRTQ_MAX_NUM)
			abort();
		for (unsigned k = 0; k < e->n_out; k++) {
			check_piece(mem, e->out[k].iov_base, e->out[k].iov_len);
			if (memory_ptr(mem, e->out_gpa[k], e->out[k].iov_len) != e->out[k].iov_base)
				abort();
		}
		for (unsigned k = 0; k < e->n_in; k++)
			check_piece(mem, e->in[k].hva, e->in[k].bytes);
		bytes = virtq_elem_room(e);
		/* The device's own writes may hit the rings; the walker must bear that too. */
		(void)virtq_elem_write(e, 0, zeros, sizeof(zeros));
		virtq_elem_dma_done(e, 0, bytes);
		virtq_push(q, e->head, (uint32_t)bytes);
		(void)virtq_should_interrupt(q);
	}
	(void)virtq_listen(q);
	virtq_quiet(q);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	const struct ram_backend backend = {.kind = RAM_ANONYMOUS, .fd = -1};
	struct virtq q = {.num_default = 8};
	struct memory mem;
	struct ram_block *b;
	struct virtq_elem *e;

	if (len < HEADER)
		return 0;
	memory_init(&mem, -1);
	b = memory_add_block(&mem, "ram", RAM, &backend, NULL);
	if (!b || memory_map_block(&mem, b, 0, 0, SEAM, NULL) < 0 ||
	    memory_map_block(&mem, b, SEAM, SEAM, RAM - SEAM, NULL) < 0)
		abort();
	memcpy(b->hva, data + HEADER, MIN(len - HEADER, RAM));
	mem.tracking = true;
	virtq_reset(&q);
	q.num = 1U << (data[0] >> 2 & 15);
	q.last_avail = get_le16(data + 1);
	q.desc = get_le16(data + 3);
	q.avail = get_le16(data + 5);
	q.used = get_le16(data + 7);
	q.used_idx_from_ring = true;
	e = virtq_elem_new();
	if (virtq_map(&q, &mem, data[0] & 1, data[0] & 2) == 0)
		serve(&q, &mem, e);
	free(e);
	memory_fini(&mem);
	return 0;
}
