/* virtio-balloon: real sections, pages that go back, statistics, hints, reports, hostile rings. */
#include "devices/virtio/balloon.h"
#include "tests/unit/check-main.h"
#include "tests/unit/virtio-section.h"

#define LIST    0xa0000ULL  /* page numbers, a command id, statistics */
#define FREE    0x200000ULL /* memory that the guest gives up */
#define CFG     0x100
#define N_PAGES 8U

struct rig {
	struct fix f;
	struct balloon *b;
	struct ring rings[5];
	struct notify_listener listener;
	int64_t told;
	unsigned n_told;
};

static void on_notify(void *opaque, const struct notification *n)
{
	struct rig *r = opaque;

	if (n->kind != NOTIFY_BALLOON_CHANGE)
		return;
	r->told = n->number;
	r->n_told++;
}

static void rig_init(struct rig *r, const char *key, uint64_t want, unsigned queues)
{
	*r = (struct rig){0};
	fix_init(&r->f, false);
	(void)make_with(&r->f, "virtio-balloon", key, "on");
	r->b = balloon_find(r->f.m);
	ck_assert_ptr_nonnull(r->b);
	r->listener = (struct notify_listener){.fn = on_notify, .opaque = r};
	notify_subscribe(&r->f.m->notify, &r->listener);
	for (unsigned i = 0; i < 5; i++)
		r->rings[i] = ring_at(&r->f.m->mem, 0x10000ULL * (i + 1), 16);
	guest_resume(r->f.m);
	(void)driver_start(r->f.m, SLOT, want | VIRTIO_F_VERSION_1, r->rings, queues);
}

static void rig_fini(struct rig *r)
{
	notify_unsubscribe(&r->listener);
	fix_fini(&r->f);
}

static uint8_t *ram(struct rig *r, uint64_t gpa)
{
	return memory_ptr(&r->f.m->mem, gpa, 1);
}

static void fill(struct rig *r)
{
	memset(ram(r, FREE), 0x5a, N_PAGES * PAGE_BYTES);
}

static bool is_zero(struct rig *r, unsigned page)
{
	const uint8_t *p = ram(r, FREE + page * PAGE_BYTES);

	return !p[0] && !memcmp(p, p + 1, PAGE_BYTES - 1);
}

/* One chain with one piece; the device answers it. */
static void submit(struct rig *r, unsigned q, uint64_t gpa, uint32_t len, uint16_t flags)
{
	ring_desc(&r->rings[q], 0, gpa, len, flags, 0);
	ring_avail(&r->rings[q], 0);
	kick(r->f.m, SLOT, q);
	guest_wait_idle(r->f.m);
}

static void answered(struct rig *r, unsigned q)
{
	ck_assert_uint_eq(ring_take(&r->rings[q], 0), 0);
}

static void track(struct rig *r)
{
	__atomic_store_n(&r->f.m->mem.tracking, true, __ATOMIC_SEQ_CST);
}

static bool is_dirty(struct rig *r, uint64_t gpa)
{
	uint64_t page = gpa / PAGE_BYTES;

	return r->f.m->mem.blocks[0]->dma_dirty[page / 64] >> (page % 64) & 1;
}

/* ---- state ---- */

static const struct {
	const char *stream, *idstr;
	const struct config *cfg;
} sections[] = {
    {"mod",    "virtio-mmio@00000000feb02800/virtio-balloon", &guest_no_config   },
    {"linux2", "virtio-mmio@00000000feb00800/virtio-balloon", &guest_no_config   },
    {"irqk1",  "virtio-mmio@00000000feb00800/virtio-balloon", &guest_stock_config},
};

START_TEST(real_sections_survive)
{
	for (size_t i = 0; i < ARRAY_LEN(sections); i++) {
		struct section s = section_open(sections[i].stream, sections[i].idstr, 0);
		struct vms_entry *e;
		struct fix f;

		fix_init_on(&f, false, sections[i].cfg);
		e = make(&f, "virtio-balloon");
		section_load(&s, e->desc, e->dev);
		section_compare(&s, e->desc, e->dev, sections[i].idstr, 0);
		section_close(&s);
		fix_fini(&f);
	}
}
END_TEST

/* ---- the target ---- */

START_TEST(target_and_what_the_driver_says)
{
	const uint32_t pages = (uint32_t)(GUEST_RAM / PAGE_BYTES);
	struct rig r;

	rig_init(&r, NULL, 0, 3);
	machine_lock(r.f.m);
	balloon_set_target(r.b, GUEST_RAM - 3 * PAGE_BYTES);
	machine_unlock(r.f.m);
	ck_assert_uint_eq(reg_get(r.f.m, SLOT, CFG), 3);
	ck_assert_uint_eq(reg_get(r.f.m, SLOT, 0x60), VIRTIO_ISR_CONFIG);
	reg_set(r.f.m, SLOT, CFG, 77); /* the host's */
	ck_assert_uint_eq(reg_get(r.f.m, SLOT, CFG), 3);
	reg_set(r.f.m, SLOT, CFG + 4, 2);
	reg_set(r.f.m, SLOT, CFG + 4, 2);
	ck_assert_uint_eq(r.n_told, 1);
	ck_assert_int_eq(r.told, GUEST_RAM - 2 * PAGE_BYTES);
	reg_set(r.f.m, SLOT, CFG + 4, UINT32_MAX);
	ck_assert_int_eq(r.told, 0);
	machine_lock(r.f.m);
	balloon_set_target(r.b, 1);
	machine_unlock(r.f.m);
	ck_assert_uint_eq(reg_get(r.f.m, SLOT, CFG), pages - 1);
	machine_lock(r.f.m);
	balloon_set_target(r.b, UINT64_MAX);
	machine_unlock(r.f.m);
	ck_assert_uint_eq(reg_get(r.f.m, SLOT, CFG), 0);
	rig_fini(&r);
}
END_TEST

START_TEST(configuration_is_as_long_as_the_features)
{
	static const struct {
		const char *key, *val;
		uint32_t bytes;
		unsigned queues;
	} rows[] = {
	    {NULL,                  NULL,  16, 3},
	    {"page-poison",         "off", 8,  3},
	    {"free-page-hint",      "on",  16, 4},
	    {"free-page-reporting", "on",  16, 4},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct virtio_device *v;
		struct fix f;

		fix_init(&f, false);
		(void)make_with(&f, "virtio-balloon", rows[i].key, rows[i].val);
		v = &balloon_find(f.m)->v;
		ck_assert_uint_eq(v->config_bytes, rows[i].bytes);
		ck_assert_uint_eq(v->n_queues, rows[i].queues);
		fix_fini(&f);
	}
}
END_TEST

/* ---- inflate ---- */

START_TEST(inflated_pages_go_back_and_are_dirty)
{
	static const unsigned pages[] = {5, 4, 1};
	struct rig r;

	rig_init(&r, NULL, 0, 3);
	fill(&r);
	track(&r);
	for (size_t i = 0; i < ARRAY_LEN(pages); i++)
		put_le32(ram(&r, LIST + 4 * i), (uint32_t)(FREE / PAGE_BYTES) + pages[i]);
	submit(&r, 0, LIST, 12, 0);
	answered(&r, 0);
	for (unsigned i = 0; i < N_PAGES; i++) {
		bool gone = i == 1 || i == 4 || i == 5;

		ck_assert_int_eq(is_zero(&r, i), gone);
		ck_assert_int_eq(is_dirty(&r, FREE + i * PAGE_BYTES), gone);
	}
	submit(&r, 1, LIST, 12, 0);
	answered(&r, 1);
	rig_fini(&r);
}
END_TEST

/* Page numbers outside RAM, half a number, and a chain without any: answered, and nothing else. */
START_TEST(hostile_page_numbers)
{
	static const uint32_t pfns[] = {UINT32_MAX, UINT32_MAX - 1, 0xfee00, 0x80000000,
					0x00100000};
	struct rig r;

	rig_init(&r, NULL, 0, 3);
	fill(&r);
	for (size_t i = 0; i < ARRAY_LEN(pfns); i++)
		put_le32(ram(&r, LIST + 4 * i), pfns[i]);
	put_le32(ram(&r, LIST + 20), (uint32_t)(FREE / PAGE_BYTES));
	submit(&r, 0, LIST, 23, 0);
	answered(&r, 0);
	submit(&r, 0, LIST, 4, VIRTQ_DESC_WRITE);
	answered(&r, 0);
	ck_assert(!is_zero(&r, 0));
	/* The device goes on. */
	submit(&r, 0, LIST + 20, 4, 0);
	answered(&r, 0);
	ck_assert(is_zero(&r, 0));
	rig_fini(&r);
}
END_TEST

START_TEST(back_ends_give_pages_back)
{
	static const struct ram_backend backends[] = {
	    {.kind = RAM_ANONYMOUS, .fd = -1     },
	    {		 .kind = RAM_ANONYMOUS,             .fd = -1, .share = true},
	    {		 .kind = RAM_MEMFD,             .fd = -1             },
	    { .kind = RAM_MEMFD,        .fd = -1,                     .share = true},
	};

	for (size_t i = 0; i < ARRAY_LEN(backends); i++) {
		struct memory mem;
		struct ram_block *b;

		memory_init(&mem, -1);
		b = memory_add_block(&mem, "ram", MiB, &backends[i], NULL);
		ck_assert_ptr_nonnull(b);
		ck_assert_int_eq(memory_map_block(&mem, b, 0, 0, MiB, NULL), 0);
		memset(b->hva, 0x5a, MiB);
		/* Pieces of pages at both ends stay. */
		ck_assert_int_eq(memory_discard(&mem, 100, 3 * PAGE_BYTES), 0);
		ck_assert_int_eq(b->hva[PAGE_BYTES - 1], 0x5a);
		ck_assert_int_eq(b->hva[PAGE_BYTES], 0);
		ck_assert_int_eq(b->hva[3 * PAGE_BYTES - 1], 0);
		ck_assert_int_eq(b->hva[3 * PAGE_BYTES], 0x5a);
		ck_assert_int_eq(memory_discard(&mem, MiB - PAGE_BYTES, 2 * PAGE_BYTES), -EFAULT);
		ck_assert_int_eq(b->hva[MiB - 1], 0);
		memory_fini(&mem);
	}
}
END_TEST

/* ---- statistics ---- */

static void put_stat(struct rig *r, unsigned i, uint16_t tag, uint64_t val)
{
	put_le16(ram(r, LIST + 10 * i), tag);
	put_le64(ram(r, LIST + 10 * i + 2), val);
}

START_TEST(statistics_are_asked_for)
{
	struct rig r;

	rig_init(&r, NULL, BALLOON_F_STATS_VQ, 3);
	put_stat(&r, 0, 4, 1234);
	put_stat(&r, 1, 0xffff, 1);
	submit(&r, 2, LIST, 25, 0); /* two, and half a one */
	ck_assert_uint_eq(ring_used_idx(&r.rings[2]), 0);
	ck_assert_uint_eq(r.b->stats.v[4], 1234);
	ck_assert_uint_eq(r.b->stats.v[5], BALLOON_STAT_NEVER);
	ck_assert_int_ne(r.b->stats.updated_s, 0);
	/* submit() has paused the machine: the chain is the device's again. */
	machine_lock(r.f.m);
	balloon_ask_stats(r.b);
	balloon_ask_stats(r.b);
	machine_unlock(r.f.m);
	guest_wait_idle(r.f.m);
	answered(&r, 2);
	ck_assert_uint_eq(ring_used_idx(&r.rings[2]), 1);
	put_stat(&r, 0, 4, 77);
	submit(&r, 2, LIST, 10, 0);
	ck_assert_uint_eq(r.b->stats.v[4], 77);
	rig_fini(&r);
}
END_TEST

/* ---- hints ---- */

static struct {
	unsigned n;
	uint64_t gpa, len, sum;
} dropped;

static void drop(void *opaque, uint64_t gpa, uint64_t len)
{
	(void)opaque;
	dropped.n++;
	dropped.gpa = gpa;
	dropped.len = len;
	dropped.sum += len;
}

static void send_id(struct rig *r, uint32_t id)
{
	put_le32(ram(r, LIST), id);
	submit(r, 3, LIST, 4, 0);
	answered(r, 3);
}

static void hint(struct rig *r)
{
	submit(r, 3, FREE, 4 * PAGE_BYTES, VIRTQ_DESC_WRITE);
	answered(r, 3);
}

static bool hints_start(struct rig *r)
{
	bool ok;

	machine_lock(r->f.m);
	ok = balloon_hints_start(r->b, drop, NULL);
	machine_unlock(r->f.m);
	return ok;
}

START_TEST(hints_count_between_start_and_stop)
{
	struct rig r;
	uint32_t id;

	dropped.n = 0;
	rig_init(&r, "free-page-hint", BALLOON_F_HINT, 4);
	fill(&r);
	hint(&r); /* of nothing that was asked for */
	ck_assert(hints_start(&r));
	id = reg_get(r.f.m, SLOT, CFG + 8);
	ck_assert_uint_ge(id, BALLOON_CMD_FIRST);
	hint(&r);
	send_id(&r, id - 1);
	hint(&r);
	ck_assert_uint_eq(dropped.n, 0);
	send_id(&r, id);
	hint(&r);
	ck_assert_uint_eq(dropped.n, 1);
	ck_assert_uint_eq(dropped.gpa, FREE);
	ck_assert_uint_eq(dropped.len, 4 * PAGE_BYTES);
	ck_assert(!is_zero(&r, 0)); /* they are left out, and not taken away */
	send_id(&r, BALLOON_CMD_STOP);
	hint(&r);
	ck_assert_uint_eq(dropped.n, 1);
	balloon_hints_stop(r.b);
	ck_assert_uint_eq(reg_get(r.f.m, SLOT, CFG + 8), BALLOON_CMD_DONE);
	send_id(&r, id); /* stale */
	hint(&r);
	ck_assert_uint_eq(dropped.n, 1);
	ck_assert(hints_start(&r));
	ck_assert_uint_eq(reg_get(r.f.m, SLOT, CFG + 8), id + 1);
	balloon_hints_stop(r.b);
	rig_fini(&r);
}
END_TEST

START_TEST(hints_without_an_agreement)
{
	struct rig r;

	rig_init(&r, "free-page-hint", 0, 4);
	ck_assert(!hints_start(&r));
	balloon_hints_stop(r.b);
	rig_fini(&r);
	rig_init(&r, "free-page-hint", BALLOON_F_HINT | BALLOON_F_POISON, 4);
	reg_set(r.f.m, SLOT, CFG + 12, 0xaaaaaaaa);
	ck_assert(!hints_start(&r));
	rig_fini(&r);
}
END_TEST

/* A chain that names all of RAM again and again holds nobody up: the rest of it is sent. */
START_TEST(hints_without_end)
{
	const uint32_t piece = (uint32_t)(90 * MiB);
	const unsigned pieces = 2 + (unsigned)(BALLOON_CHAIN_BYTES / piece);
	struct rig r;

	memset(&dropped, 0, sizeof(dropped));
	rig_init(&r, "free-page-hint", BALLOON_F_HINT, 4);
	ck_assert(hints_start(&r));
	send_id(&r, reg_get(r.f.m, SLOT, CFG + 8));
	for (unsigned i = 0; i < pieces; i++)
		ring_desc(&r.rings[3], (uint16_t)i, FREE, piece,
			  VIRTQ_DESC_WRITE | (i + 1 < pieces ? VIRTQ_DESC_NEXT : 0),
			  (uint16_t)(i + 1));
	ring_avail(&r.rings[3], 0);
	kick(r.f.m, SLOT, 3);
	guest_wait_idle(r.f.m);
	answered(&r, 3);
	ck_assert_uint_eq(dropped.sum, BALLOON_CHAIN_BYTES);
	balloon_hints_stop(r.b);
	rig_fini(&r);
}
END_TEST

START_TEST(short_command_id)
{
	struct rig r;

	rig_init(&r, "free-page-hint", BALLOON_F_HINT, 4);
	submit(&r, 3, LIST, 3, 0);
	ck_assert(reg_get(r.f.m, SLOT, 0x70) & VIRTIO_STATUS_NEEDS_RESET);
	rig_fini(&r);
}
END_TEST

/* ---- reports ---- */

START_TEST(reported_pages_go_back)
{
	struct rig r;

	rig_init(&r, "free-page-reporting", BALLOON_F_REPORTING | BALLOON_F_POISON, 4);
	fill(&r);
	track(&r);
	reg_set(r.f.m, SLOT, CFG + 12, 0x5a5a5a5a);
	submit(&r, 3, FREE, 2 * PAGE_BYTES, VIRTQ_DESC_WRITE);
	answered(&r, 3);
	ck_assert(!is_zero(&r, 0)); /* it has to keep its pattern */
	reg_set(r.f.m, SLOT, CFG + 12, 0);
	submit(&r, 3, FREE + 100, 2 * PAGE_BYTES, VIRTQ_DESC_WRITE);
	answered(&r, 3);
	ck_assert(!is_zero(&r, 0));
	ck_assert(is_zero(&r, 1));
	ck_assert(is_dirty(&r, FREE + PAGE_BYTES));
	rig_fini(&r);
}
END_TEST

/* A private copy of a file would show the file's bytes: a guest that has said what its free pages
 * hold finds just that. */
START_TEST(reported_pages_of_a_file_stay)
{
	static const bool says[] = {true, false};

	for (size_t i = 0; i < ARRAY_LEN(says); i++) {
		struct ram_block *b;
		struct rig r;

		rig_init(&r, "free-page-reporting",
			 BALLOON_F_REPORTING | (says[i] ? BALLOON_F_POISON : 0), 4);
		fill(&r);
		b = r.f.m->mem.blocks[0];
		b->fd = 0; /* looks like one */
		submit(&r, 3, FREE, PAGE_BYTES, VIRTQ_DESC_WRITE);
		b->fd = -1;
		answered(&r, 3);
		ck_assert_int_eq(is_zero(&r, 0), !says[i]);
		rig_fini(&r);
	}
}
END_TEST

START_TEST(one_balloon)
{
	struct cfg_device cfg = test_device("virtio-balloon-device", NULL);
	struct err err = {0};
	struct fix f;

	fix_init(&f, false);
	ck_assert_ptr_null(balloon_find(f.m));
	(void)make(&f, "virtio-balloon");
	ck_assert_int_lt(device_create(f.m, &cfg, SLOT - 1, &f.be, &err), 0);
	ck_assert_ptr_nonnull(strstr(err.msg, "Only one balloon device is supported"));
	device_free(&cfg);
	fix_fini(&f);
}
END_TEST

CHECK_MAIN("balloon", real_sections_survive, target_and_what_the_driver_says,
	   configuration_is_as_long_as_the_features, inflated_pages_go_back_and_are_dirty,
	   hostile_page_numbers, back_ends_give_pages_back, statistics_are_asked_for,
	   hints_count_between_start_and_stop, hints_without_an_agreement, hints_without_end,
	   short_command_id, reported_pages_go_back, reported_pages_of_a_file_stay, one_balloon)
