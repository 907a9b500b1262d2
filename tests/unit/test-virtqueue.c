/* The split ring walker: what a good driver does, and everything a bad one may try. */
#include <errno.h>

#include "tests/unit/check-main.h"
#include "tests/unit/virtio-guest.h"

#define NUM  8
#define BUFS 0x20000ULL /* where buffers lie */
#define NEXT VIRTQ_DESC_NEXT
#define WR   VIRTQ_DESC_WRITE
#define IND  VIRTQ_DESC_INDIRECT

struct fix {
	struct memory mem;
	struct ring r;
	struct virtq q;
	struct virtq_elem *e;
};

static void program(struct fix *f)
{
	f->q.desc = f->r.desc;
	f->q.avail = f->r.avail;
	f->q.used = f->r.used;
	f->q.ready = true;
}

static void fix_init(struct fix *f, bool event_idx)
{
	*f = (struct fix){.e = virtq_elem_new(), .q = {.num_default = NUM}};
	guest_memory(&f->mem);
	f->r = ring_at(&f->mem, 0x10000, NUM);
	virtq_reset(&f->q);
	program(f);
	ck_assert_int_eq(virtq_map(&f->q, &f->mem, event_idx, true), 0);
}

static void fix_fini(struct fix *f)
{
	free(f->e);
	memory_fini(&f->mem);
}

/* The chain at head is refused for this reason, and nothing was written. */
static void refused(struct fix *f, uint16_t head, const char *why)
{
	ring_avail(&f->r, head);
	ck_assert_int_eq(virtq_pop(&f->q, f->e), -EPROTO);
	ck_assert_str_eq(f->q.why, why);
	ck_assert_uint_eq(ring_used_idx(&f->r), 0);
}

START_TEST(chain_is_split_by_direction)
{
	struct fix f;

	fix_init(&f, false);
	ck_assert_int_eq(virtq_pop(&f.q, f.e), 0);
	ring_desc(&f.r, 3, BUFS, 16, NEXT, 1);
	ring_desc(&f.r, 1, BUFS + 0x1000, 512, NEXT | WR, 7);
	ring_desc(&f.r, 7, BUFS + 0x2000, 1, WR, 0);
	ring_avail(&f.r, 3);
	ck_assert_int_eq(virtq_available(&f.q), 1);
	ck_assert_int_eq(virtq_pop(&f.q, f.e), 1);
	ck_assert_uint_eq(f.e->head, 3);
	ck_assert_uint_eq(f.e->n_out, 1);
	ck_assert_uint_eq(f.e->n_in, 2);
	ck_assert_ptr_eq(f.e->in[0].hva, memory_ptr(&f.mem, BUFS + 0x1000, 512));
	ck_assert_uint_eq(f.e->in[0].bytes, 512);
	ck_assert_uint_eq(f.e->in[1].gpa, BUFS + 0x2000);
	virtq_push(&f.q, f.e->head, 513);
	ck_assert_uint_eq(ring_used_idx(&f.r), 1);
	ck_assert_uint_eq(ring_take(&f.r, 3), 513);
	ck_assert_int_eq(virtq_pop(&f.q, f.e), 0);
	fix_fini(&f);
}
END_TEST

START_TEST(indices_wrap)
{
	struct fix f;

	fix_init(&f, true);
	ring_desc(&f.r, 0, BUFS, 4, WR, 0);
	for (unsigned i = 0; i < 70000; i++) {
		ring_avail(&f.r, 0);
		ck_assert_int_eq(virtq_pop(&f.q, f.e), 1);
		virtq_push(&f.q, 0, 4);
		ck_assert_uint_eq(ring_take(&f.r, 0), 4);
	}
	fix_fini(&f);
}
END_TEST

START_TEST(indirect_table)
{
	struct fix f;
	uint64_t table = BUFS + 0x8004; /* no alignment is promised */

	fix_init(&f, false);
	/* A direct descriptor may stand before the indirect one. */
	ring_desc(&f.r, 2, BUFS, 16, NEXT, 5);
	ring_desc(&f.r, 5, table, 3 * 16, IND, 0);
	desc_at(&f.mem, table, BUFS + 0x100, 10, NEXT, 2);
	desc_at(&f.mem, table + 32, BUFS + 0x200, 20, NEXT | WR, 1);
	desc_at(&f.mem, table + 16, BUFS + 0x300, 30, WR, 0);
	ring_avail(&f.r, 2);
	ck_assert_int_eq(virtq_pop(&f.q, f.e), 1);
	ck_assert_uint_eq(f.e->n_out, 2);
	ck_assert_uint_eq(f.e->n_in, 2);
	ck_assert_uint_eq(f.e->in[1].bytes, 30);
	fix_fini(&f);
}
END_TEST

START_TEST(buffer_across_slots_becomes_two_pieces)
{
	struct fix f;

	fix_init(&f, false);
	ring_desc(&f.r, 0, GUEST_SEAM - 100, 300, WR, 0);
	ring_avail(&f.r, 0);
	ck_assert_int_eq(virtq_pop(&f.q, f.e), 1);
	ck_assert_uint_eq(f.e->n_in, 2);
	ck_assert_uint_eq(f.e->in[0].bytes, 100);
	ck_assert_uint_eq(f.e->in[1].gpa, GUEST_SEAM);
	ck_assert_uint_eq(f.e->in[1].bytes, 200);
	fix_fini(&f);
}
END_TEST

START_TEST(longest_chain)
{
	struct fix f;
	uint64_t table = 0x100000;

	fix_init(&f, false);
	for (unsigned i = 0; i < VIRTQ_MAX_NUM + 1; i++)
		desc_at(&f.mem, table + 16ULL * i, BUFS, 1, NEXT, (uint16_t)(i + 1));
	desc_at(&f.mem, table + 16ULL * (VIRTQ_MAX_NUM - 1), BUFS, 1, 0, 0);
	ring_desc(&f.r, 0, table, 16 * VIRTQ_MAX_NUM, IND, 0);
	ring_avail(&f.r, 0);
	ck_assert_int_eq(virtq_pop(&f.q, f.e), 1);
	ck_assert_uint_eq(f.e->n_out, VIRTQ_MAX_NUM);
	/* one more is too many, however large the table is */
	desc_at(&f.mem, table + 16ULL * (VIRTQ_MAX_NUM - 1), BUFS, 1, NEXT, VIRTQ_MAX_NUM);
	desc_at(&f.mem, table + 16ULL * VIRTQ_MAX_NUM, BUFS, 1, 0, 0);
	ring_desc(&f.r, 0, table, 16 * (VIRTQ_MAX_NUM + 1), IND, 0);
	refused(&f, 0, "a chain is too long");
	fix_fini(&f);
}
END_TEST

/* What the descriptor at index 0 (and 1) says, and the verdict. */
static const struct {
	struct {
		uint64_t addr;
		uint32_t len;
		uint16_t flags, next;
	} d[2];
	const char *why;
} hostile[] = {
    {{{BUFS, 16, NEXT, 0}},                         "a chain loops"                               },
    {{{BUFS, 16, NEXT, 1}, {BUFS, 16, NEXT, 0}},    "a chain loops"                               },
    {{{BUFS, 16, NEXT, NUM}},                       "a descriptor index is out of range"          },
    {{{BUFS, 16, NEXT, 0xffff}},                    "a descriptor index is out of range"          },
    {{{BUFS, 0, 0, 0}},			     "a descriptor is empty"                       },
    {{{GUEST_RAM, 1, 0, 0}},                        "a descriptor points outside RAM"             },
    {{{GUEST_RAM - 1, 2, 0, 0}},                    "a descriptor points outside RAM"             },
    {{{UINT64_MAX, 1, 0, 0}},                       "a descriptor points outside RAM"             },
    {{{UINT64_MAX - 3, UINT32_MAX, WR, 0}},         "a descriptor points outside RAM"             },
    {{{0, UINT32_MAX, WR, 0}},                      "a descriptor points outside RAM"             },
    {{{BUFS, 16, NEXT | WR, 1}, {BUFS, 16, 0, 0}},  "a readable descriptor follows a writable one"},
    {{{BUFS, 16, IND | NEXT, 1}, {BUFS, 16, 0, 0}}, "a descriptor is both indirect and chained"   },
    {{{BUFS, 0, IND, 0}},			   "an indirect table has a wrong length"        },
    {{{BUFS, 15, IND, 0}},                          "an indirect table has a wrong length"        },
    {{{BUFS, 0xffffffff, IND, 0}},                  "an indirect table has a wrong length"        },
    {{{BUFS, 0xfffffff0, IND, 0}},                  "an indirect table lies outside RAM"          },
    {{{GUEST_RAM - 16, 32, IND, 0}},                "an indirect table lies outside RAM"          },
    {{{GUEST_SEAM - 16, 32, IND, 0}},               "an indirect table lies outside RAM"          },
};

START_TEST(hostile_chains)
{
	for (size_t i = 0; i < ARRAY_LEN(hostile); i++) {
		struct fix f;

		fix_init(&f, false);
		for (uint16_t k = 0; k < 2; k++)
			ring_desc(&f.r, k, hostile[i].d[k].addr, hostile[i].d[k].len,
				  hostile[i].d[k].flags, hostile[i].d[k].next);
		refused(&f, 0, hostile[i].why);
		fix_fini(&f);
	}
}
END_TEST

START_TEST(hostile_indirect)
{
	struct fix f;

	fix_init(&f, false);
	ring_desc(&f.r, 0, BUFS, 32, IND, 0);
	desc_at(&f.mem, BUFS, BUFS + 0x100, 16, IND, 0);
	refused(&f, 0, "an indirect table points to another");
	desc_at(&f.mem, BUFS, BUFS + 0x100, 16, NEXT, 0);
	refused(&f, 0, "a chain loops");
	desc_at(&f.mem, BUFS, BUFS + 0x100, 16, NEXT, 2);
	refused(&f, 0, "a descriptor index is out of range");
	f.q.indirect = false;
	refused(&f, 0, "an indirect table was not negotiated");
	fix_fini(&f);
}
END_TEST

START_TEST(hostile_indices)
{
	struct fix f;

	fix_init(&f, false);
	refused(&f, NUM, "a descriptor index is out of range");
	refused(&f, 0xffff, "a descriptor index is out of range");
	put16(&f.mem, f.r.avail + 2, NUM + 1);
	ck_assert_int_eq(virtq_pop(&f.q, f.e), -EPROTO);
	ck_assert_str_eq(f.q.why, "its available index jumped");
	put16(&f.mem, f.r.avail + 2, 0xffff); /* backwards is a jump too */
	ck_assert_int_eq(virtq_available(&f.q), -EPROTO);
	fix_fini(&f);
}
END_TEST

START_TEST(more_in_flight_than_the_ring_holds)
{
	struct fix f;

	fix_init(&f, false);
	ring_desc(&f.r, 0, BUFS, 16, 0, 0);
	for (unsigned i = 0; i < NUM; i++) {
		ring_avail(&f.r, 0);
		ck_assert_int_eq(virtq_pop(&f.q, f.e), 1);
	}
	refused(&f, 0, "more chains are in flight than it has");
	fix_fini(&f);
}
END_TEST

START_TEST(rings_that_cannot_be)
{
	struct fix f;
	static const uint32_t sizes[] = {0, 3, 6, 1023, 2048, 0x10000, UINT32_MAX};

	fix_init(&f, false);
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		f.q.num = sizes[i];
		ck_assert_int_eq(virtq_map(&f.q, &f.mem, false, false), -EPROTO);
		ck_assert_ptr_null(f.q.mem);
	}
	f.q.num = NUM;
	f.q.desc = f.r.desc + 8;
	ck_assert_int_eq(virtq_map(&f.q, &f.mem, false, false), -EPROTO);
	ck_assert_str_eq(f.q.why, "a ring is misaligned");
	program(&f);
	f.q.used = GUEST_RAM - 16;
	ck_assert_int_eq(virtq_map(&f.q, &f.mem, false, false), -EPROTO);
	ck_assert_str_eq(f.q.why, "a ring lies outside RAM");
	f.q.used = UINT64_MAX - 3;
	ck_assert_int_eq(virtq_map(&f.q, &f.mem, false, false), -EPROTO);
	program(&f);
	f.q.avail = GUEST_SEAM - 4; /* rings do not cross slots */
	ck_assert_int_eq(virtq_map(&f.q, &f.mem, false, false), -EPROTO);
	fix_fini(&f);
}
END_TEST

START_TEST(loaded_ring_takes_used_idx_from_memory)
{
	struct fix f;

	fix_init(&f, false);
	f.q.last_avail = 5;
	f.q.used_idx_from_ring = true;
	put16(&f.mem, f.r.avail + 2, 5);
	put16(&f.mem, f.r.used + 2, 4);
	ck_assert_int_eq(virtq_map(&f.q, &f.mem, false, false), 0);
	ck_assert_uint_eq(f.q.used_idx, 4);
	f.q.used_idx_from_ring = true;
	put16(&f.mem, f.r.used + 2, 6); /* more used than taken */
	ck_assert_int_eq(virtq_map(&f.q, &f.mem, false, false), -EPROTO);
	put16(&f.mem, f.r.used + 2, 5);
	put16(&f.mem, f.r.avail + 2, 5 + NUM + 1);
	ck_assert_int_eq(virtq_map(&f.q, &f.mem, false, false), -EPROTO);
	fix_fini(&f);
}
END_TEST

START_TEST(unpop_gives_chains_back)
{
	struct fix f;

	fix_init(&f, false);
	ring_desc(&f.r, 1, BUFS, 16, 0, 0);
	ring_desc(&f.r, 2, BUFS, 16, 0, 0);
	ring_avail(&f.r, 1);
	ring_avail(&f.r, 2);
	ck_assert_int_eq(virtq_pop(&f.q, f.e), 1);
	ck_assert_int_eq(virtq_pop(&f.q, f.e), 1);
	virtq_unpop(&f.q, 2);
	ck_assert_int_eq(virtq_pop(&f.q, f.e), 1);
	ck_assert_uint_eq(f.e->head, 1);
	fix_fini(&f);
}
END_TEST

static void complete(struct fix *f, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		ring_avail(&f->r, 0);
		ck_assert_int_eq(virtq_pop(&f->q, f->e), 1);
		virtq_push(&f->q, 0, 0);
	}
}

START_TEST(interrupt_by_flag)
{
	struct fix f;

	fix_init(&f, false);
	ring_desc(&f.r, 0, BUFS, 16, 0, 0);
	complete(&f, 1);
	ck_assert(virtq_should_interrupt(&f.q));
	put16(&f.mem, f.r.avail, 1);
	complete(&f, 1);
	ck_assert(!virtq_should_interrupt(&f.q));
	/* the device's own wish */
	virtq_quiet(&f.q);
	ck_assert_uint_eq(get16(&f.mem, f.r.used), 1);
	ck_assert(!virtq_listen(&f.q));
	ck_assert_uint_eq(get16(&f.mem, f.r.used), 0);
	ring_avail(&f.r, 0);
	ck_assert(virtq_listen(&f.q));
	fix_fini(&f);
}
END_TEST

START_TEST(interrupt_by_event_index)
{
	struct fix f;
	uint64_t used_event, avail_event;

	fix_init(&f, true);
	used_event = f.r.avail + 4 + 2 * NUM;
	avail_event = f.r.used + 4 + 8 * NUM;
	ring_desc(&f.r, 0, BUFS, 16, 0, 0);
	complete(&f, 1);
	ck_assert(virtq_should_interrupt(&f.q)); /* nothing was signalled yet */
	put16(&f.mem, used_event, 3);            /* "when used index 3 is filled" */
	complete(&f, 2);
	ck_assert(!virtq_should_interrupt(&f.q));
	complete(&f, 1);
	ck_assert(virtq_should_interrupt(&f.q));
	ck_assert(!virtq_should_interrupt(&f.q)); /* nothing new since */
	/* several at once, passing the event */
	put16(&f.mem, used_event, 5);
	complete(&f, 5);
	ck_assert(virtq_should_interrupt(&f.q));
	/* so many that the index laps what was signalled: better one too many */
	put16(&f.mem, used_event, 2);
	complete(&f, 65536);
	ck_assert(virtq_should_interrupt(&f.q));
	ck_assert(!virtq_listen(&f.q));
	ck_assert_uint_eq(get16(&f.mem, avail_event), f.q.last_avail);
	fix_fini(&f);
}
END_TEST

static bool dirty(const struct memory *mem, uint64_t gpa)
{
	return mem->blocks[0]->dma_dirty[gpa / PAGE_BYTES / 64] >> (gpa / PAGE_BYTES % 64) & 1;
}

START_TEST(writes_are_reported)
{
	struct fix f;

	fix_init(&f, true);
	ring_desc(&f.r, 0, BUFS, 0x1000, NEXT, 1);
	ring_desc(&f.r, 1, BUFS + 0x1000, 0x2000, NEXT | WR, 2);
	ring_desc(&f.r, 2, BUFS + 0x5000, 0x1000, WR, 0);
	ring_avail(&f.r, 0);
	f.mem.tracking = true;
	ck_assert_int_eq(virtq_pop(&f.q, f.e), 1);
	virtq_elem_dma_done(f.e, 0, 0x2001);
	ck_assert(!dirty(&f.mem, f.r.used));
	virtq_push(&f.q, 0, 0x2001);
	ck_assert(!dirty(&f.mem, BUFS));
	ck_assert(dirty(&f.mem, BUFS + 0x1000));
	ck_assert(dirty(&f.mem, BUFS + 0x2000));
	ck_assert(!dirty(&f.mem, BUFS + 0x3000));
	ck_assert(dirty(&f.mem, BUFS + 0x5000));
	ck_assert(dirty(&f.mem, f.r.used));
	ck_assert(!dirty(&f.mem, f.r.avail));
	fix_fini(&f);
}
END_TEST

/* The accessors cut their run of bytes at the pieces' ends and at the run's own. */
START_TEST(writes_land_where_the_pieces_are)
{
	uint8_t data[64];
	struct iovec iov[3];
	struct fix f;

	memset(data, 0x5a, sizeof(data));
	fix_init(&f, true);
	ring_desc(&f.r, 0, BUFS, 8, NEXT | WR, 1);
	ring_desc(&f.r, 1, BUFS + 0x1000, 8, NEXT | WR, 2);
	ring_desc(&f.r, 2, BUFS + 0x2000, 8, WR, 0);
	ring_avail(&f.r, 0);
	f.mem.tracking = true;
	ck_assert_int_eq(virtq_pop(&f.q, f.e), 1);
	ck_assert_uint_eq(virtq_elem_room(f.e), 24);
	ck_assert_uint_eq(virtq_elem_gpa(f.e, 7), BUFS + 7);
	ck_assert_uint_eq(virtq_elem_gpa(f.e, 8), BUFS + 0x1000);
	ck_assert_uint_eq(virtq_elem_dma(f.e, 4, 13, iov), 3);
	ck_assert_ptr_eq(iov[0].iov_base, memory_ptr(&f.mem, BUFS + 4, 4));
	ck_assert_uint_eq(iov[1].iov_len, 8);
	ck_assert_uint_eq(iov[2].iov_len, 1);
	ck_assert_uint_eq(virtq_elem_write(f.e, 15, data, 1), 1);
	ck_assert(!dirty(&f.mem, BUFS));
	ck_assert(dirty(&f.mem, BUFS + 0x1000));
	ck_assert(!dirty(&f.mem, BUFS + 0x2000));
	ck_assert_uint_eq(*(uint8_t *)memory_ptr(&f.mem, BUFS + 0x1007, 1), 0x5a);
	ck_assert_uint_eq(virtq_elem_write(f.e, 22, data, sizeof(data)), 2);
	ck_assert(dirty(&f.mem, BUFS + 0x2000));
	ck_assert_uint_eq(virtq_elem_write(f.e, 24, data, 1), 0);
	ck_assert_uint_eq(virtq_elem_write(f.e, 0, data, 0), 0);
	ck_assert_uint_eq(virtq_elem_dma(f.e, 24, 1, iov), 0);
	fix_fini(&f);
}
END_TEST

START_TEST(elem_dup_is_independent)
{
	struct fix f;
	struct virtq_elem *d;

	fix_init(&f, false);
	ring_desc(&f.r, 4, BUFS, 16, NEXT, 5);
	ring_desc(&f.r, 5, BUFS + 64, 16, WR, 0);
	ring_avail(&f.r, 4);
	ck_assert_int_eq(virtq_pop(&f.q, f.e), 1);
	d = virtq_elem_dup(f.e);
	f.e->in[0].bytes = 0;
	ck_assert_uint_eq(d->head, 4);
	ck_assert_uint_eq(d->in[0].bytes, 16);
	ck_assert_uint_eq(d->in[0].gpa, BUFS + 64);
	free(d);
	fix_fini(&f);
}
END_TEST

CHECK_MAIN("virtqueue", chain_is_split_by_direction, indices_wrap, indirect_table,
	   buffer_across_slots_becomes_two_pieces, longest_chain, hostile_chains, hostile_indirect,
	   hostile_indices, more_in_flight_than_the_ring_holds, rings_that_cannot_be,
	   loaded_ring_takes_used_idx_from_memory, unpop_gives_chains_back, interrupt_by_flag,
	   interrupt_by_event_index, writes_are_reported, writes_land_where_the_pieces_are,
	   elem_dup_is_independent)
