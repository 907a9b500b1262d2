/* virtio-serial in the stream: sections of real streams, a chain that the peer has taken in part,
 * hostile sections. */
#include "tests/unit/check-main.h"
#include "tests/unit/stream-sections.h"
#include "tests/unit/virtio-ports.h"

#define PORT_OPEN   6
#define BODY_AT     (24 + 12 + 4 + 64 * 18) /* the device's own part in a section */
#define PORTS_MAP   (BODY_AT + 8)
#define N_PORTS     (PORTS_MAP + 4)
#define FIRST_PORT  (N_PORTS + 4)
#define PORT_BYTES  10
#define SECOND_PORT (FIRST_PORT + PORT_BYTES)
#define CHAIN_AT    (SECOND_PORT + PORT_BYTES + 12)

/* ---- real ones ---- */

static const struct {
	const char *stream, *idstr;
	bool legacy;
} sections[] = {
    {"linux2", "virtio-mmio@00000000feb00600/virtio-console", false},
    {"mod",    "virtio-mmio@00000000feb02600/virtio-console", false},
    {"irqk1",  "virtio-mmio@00000000feb00600/virtio-console", true },
};

/* QEMU 7.2 with a virtconsole, with and without Linux's driver: the same bytes again. */
START_TEST(real_sections_survive)
{
	for (size_t i = 0; i < ARRAY_LEN(sections); i++) {
		struct section s = section_open(sections[i].stream, sections[i].idstr, 0);
		struct ports *p =
		    ports_new_of(sections[i].legacy ? &guest_stock_config : &guest_no_config, 1);

		machine_lock(p->m);
		section_load(&s, p->entry->desc, p->entry->dev);
		section_compare(&s, p->entry->desc, p->entry->dev, sections[i].idstr, 0);
		machine_unlock(p->m);
		section_close(&s);
		ports_free(p);
	}
}
END_TEST

/* ---- a move ---- */

static struct buf save(struct ports *p)
{
	struct buf out = {0};
	struct err err = {0};

	guest_pause(p->m);
	machine_lock(p->m);
	ck_assert_msg(vms_save(p->entry->desc, p->entry->dev, &out, NULL, &err) == 0, "%s",
		      err.msg);
	machine_unlock(p->m);
	return out;
}

static int load(struct ports *p, const struct buf *b, struct err *err)
{
	struct src in = src_mem(b->data, b->len);
	int ret;

	machine_lock(p->m);
	ret = vms_load(p->entry->desc, p->entry->dev, &in, p->entry->desc->version, err);
	machine_unlock(p->m);
	return ret;
}

/* A guest whose port has a chain of 20000 bytes, of which the peer has taken 'taken'. */
static struct ports *in_flight(size_t taken)
{
	struct ports *p = ports_new();

	ports_start(p, PORTS_FEATURES);
	ports_say(p, 1, 3, 1);
	ports_offer(p, CONTROL_IN, 0, 0x1000, 64);
	ports_connect(p, true);
	ports_say(p, 1, PORT_OPEN, 1);
	for (size_t i = 0; i < 20000; i++)
		*ports_at(p, i) = (uint8_t)(i * 7 / 3);
	p->chr[1].room = taken;
	ring_desc(&p->ring[PORT_OUT], 0, PORTS_DATA, 7000, VIRTQ_DESC_NEXT, 1);
	ring_desc(&p->ring[PORT_OUT], 1, PORTS_DATA + 7000, 13000, 0, 0);
	ring_avail(&p->ring[PORT_OUT], 0);
	kick(p->m, PORTS_SLOT, PORT_OUT);
	ports_settle(p);
	ck_assert_uint_eq(p->chr[1].n_got, taken);
	return p;
}

static void copy_memory(struct ports *to, struct ports *from)
{
	memcpy(memory_ptr(&to->m->mem, 0, GUEST_SEAM), memory_ptr(&from->m->mem, 0, GUEST_SEAM),
	       GUEST_SEAM);
	memcpy(to->ring, from->ring, sizeof(to->ring));
	for (size_t i = 0; i < ARRAY_LEN(to->ring); i++)
		to->ring[i].mem = &to->m->mem;
}

/* Whatever the source's peer has taken, the destination's gets the rest, late or early. */
START_TEST(rest_comes_out_there)
{
	static const size_t taken[] = {0, 1, 4095, 4096, 4097, 6999, 7000, 7001, 19999};

	for (size_t i = 0; i < 2 * ARRAY_LEN(taken); i++) {
		size_t n = taken[i / 2];
		bool late = i & 1;
		struct ports *a = in_flight(n), *b = ports_new();
		struct err err = {0};
		struct buf out = save(a), again;

		ck_assert_uint_eq(out.data[SECOND_PORT + 9], 1);
		ck_assert_uint_eq(get_be32(out.data + SECOND_PORT + 10), n >= 7000);
		ck_assert_uint_eq(get_be64(out.data + SECOND_PORT + 14), n >= 7000 ? n - 7000 : n);
		copy_memory(b, a);
		if (!late)
			ports_connect(b, true);
		ck_assert_msg(load(b, &out, &err) == 0, "%s", err.msg);
		again = save(b);
		ck_assert_uint_eq(again.len, out.len);
		ck_assert_mem_eq(again.data, out.data, out.len);
		guest_resume(b->m);
		ports_settle(b);
		ck_assert(late == (ring_used_idx(&b->ring[PORT_OUT]) == 0));
		if (late)
			ports_connect(b, true);
		(void)ring_take(&b->ring[PORT_OUT], 0);
		ck_assert_uint_eq(b->chr[1].n_got, 20000 - n);
		ck_assert_mem_eq(b->chr[1].got, ports_at(b, n), 20000 - n);
		buf_free(&out);
		buf_free(&again);
		ports_free(a);
		ports_free(b);
	}
}
END_TEST

/* No peer will ever come to a port without a chardev: nothing waits for one. */
START_TEST(port_without_a_chardev)
{
	struct ports *a = in_flight(4099), *b = ports_new_of(&guest_no_config, 1);
	struct buf out = save(a);
	struct err err = {0};

	machine_lock(b->m);
	ports_add(b, "virtserialport", "agent", NULL, NULL);
	machine_unlock(b->m);
	copy_memory(b, a);
	ck_assert_msg(load(b, &out, &err) == 0, "%s", err.msg);
	guest_resume(b->m);
	ports_settle(b);
	ck_assert_uint_eq(ring_used_idx(&b->ring[PORT_OUT]), 1);
	buf_free(&out);
	ports_free(a);
	ports_free(b);
}
END_TEST

/* The move fails after the save, and the source goes on. */
START_TEST(source_goes_on)
{
	struct ports *p = in_flight(4099);
	struct buf out = save(p);

	p->chr[1].room = SIZE_MAX;
	guest_resume(p->m);
	ports_settle(p);
	(void)ring_take(&p->ring[PORT_OUT], 0);
	ck_assert_uint_eq(p->chr[1].n_got, 20000);
	ck_assert_mem_eq(p->chr[1].got, ports_at(p, 0), 20000);
	buf_free(&out);
	ports_free(p);
}
END_TEST

/* A peer that leaves while the machine is paused leaves the chain behind. */
START_TEST(peer_leaves_during_the_pause)
{
	struct ports *a = in_flight(4099), *b = ports_new();
	struct buf out = save(a), later;
	struct err err = {0};

	ports_connect(a, false);
	later = save(a);
	ck_assert_uint_eq(get_be32(later.data + SECOND_PORT + 10), 2); /* behind its last piece */
	copy_memory(b, a);
	ck_assert_msg(load(b, &later, &err) == 0, "%s", err.msg);
	guest_resume(b->m);
	ports_connect(b, true);
	(void)ring_take(&b->ring[PORT_OUT], 0);
	ck_assert_uint_eq(b->chr[1].n_got, 0);
	buf_free(&out);
	buf_free(&later);
	ports_free(a);
	ports_free(b);
}
END_TEST

/* ---- hostile ---- */

static const struct {
	size_t at;
	unsigned bytes; /* big-endian, or little where there are 4 or 8 behind CHAIN_AT */
	uint64_t value;
	const char *says; /* NULL: it loads, and the device fails or runs on */
} hostile[] = {
    {PORTS_MAP,		     4, 1,          "has ports 0x1"  },
    {N_PORTS,		       4, 32,         NULL             },
    {N_PORTS,		       4, UINT32_MAX, NULL             },
    {FIRST_PORT,		    4, 5,          "has port 5"     },
    {FIRST_PORT,		    4, 1,          ""               },
    {SECOND_PORT + 10,              4, 3,          "of its chain"   },
    {SECOND_PORT + 14,              8, 7001,       "of its chain"   },
    {SECOND_PORT + 14,              8, UINT64_MAX, "of its chain"   },
    {CHAIN_AT,		      4, 1024,       "chain in flight"},
    {CHAIN_AT + 4,                  4, 1025,       "chain in flight"},
    {CHAIN_AT + 4,                  4, UINT32_MAX, "chain in flight"},
    {CHAIN_AT + 4,                  4, 3,          "is empty"       },
    {CHAIN_AT + 16 + 32 * 1024 + 8, 8, 1ULL << 40, "too large"      },
    {CHAIN_AT,		      4, 16,         ""               },
    {CHAIN_AT,		      4, 9,          ""               },
    {CHAIN_AT + 4,                  4, 2,          ""               },
    {CHAIN_AT + 8,                  4, UINT32_MAX, ""               },
    {CHAIN_AT + 16 + 8 * 1024,      8, GUEST_RAM,  ""               },
    {CHAIN_AT + 16 + 8 * 1024,      8, UINT64_MAX, ""               },
    {CHAIN_AT + 16 + 32 * 1024 + 8, 8, UINT32_MAX, ""               },
};

static void poke(struct buf *b, size_t i)
{
	uint8_t raw[8];

	put_be64(raw, hostile[i].value << (64 - 8 * hostile[i].bytes));
	if (hostile[i].at >= CHAIN_AT)
		put_le64(raw, hostile[i].value);
	memcpy(b->data + hostile[i].at, raw, hostile[i].bytes);
}

START_TEST(hostile_sections)
{
	for (size_t i = 0; i < ARRAY_LEN(hostile); i++) {
		struct ports *a = in_flight(100), *b = ports_new();
		struct buf out = save(a);
		struct err err = {0};
		int ret;

		poke(&out, i);
		copy_memory(b, a);
		ret = load(b, &out, &err);
		ck_assert_msg((ret < 0) == (!hostile[i].says || *hostile[i].says), "%zu: %s", i,
			      err.msg);
		if (ret < 0 && hostile[i].says)
			ck_assert_msg(strstr(err.msg, hostile[i].says) != NULL, "%zu: %s", i,
				      err.msg);
		if (ret >= 0) {
			ports_connect(b, true);
			guest_resume(b->m);
			ports_settle(b);
		}
		buf_free(&out);
		ports_free(a);
		ports_free(b);
	}
}
END_TEST

START_TEST(cut_sections)
{
	struct ports *a = in_flight(100), *b = ports_new();
	struct buf out = save(a);
	size_t whole = out.len;

	for (out.len = 0; out.len < whole; out.len += out.len < 2000 ? 1 : 4999)
		ck_assert_int_lt(load(b, &out, NULL), 0);
	out.len = whole;
	ck_assert_int_eq(load(b, &out, NULL), 0);
	buf_free(&out);
	ports_free(a);
	ports_free(b);
}
END_TEST

CHECK_MAIN("virtio-serial-state", real_sections_survive, rest_comes_out_there,
	   port_without_a_chardev, source_goes_on, peer_leaves_during_the_pause, hostile_sections,
	   cut_sections)
