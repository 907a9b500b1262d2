/*
 * Postcopy's memory without a guest: threads of the test touch pages that are missing, the test is
 * the source at the other end of a socket, and hands records to those that put pages in.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "migration/incoming/postcopy.h"
#include "migration/ram/load.h"
#include "migration/ram/postcopy/records.h"
#include "migration/stream/wire.h"
#include "tests/unit/check-main.h"
#include "tests/unit/ram-rig.h"
#include "vmm/base/bytes.h"
#include "vmm/memory/missing.h"

#define MISSING 48U /* pages of microvm.ram from here on are dropped */

struct rig {
	struct machine m;
	struct ram_load *load;
	struct postcopy_ram *ram;
	struct postcopy_records records;
	struct channel *ch;
	int source; /* the other end */
};

static bool no_uffd(void)
{
	struct err err = {0};
	struct memory mem;
	int ret;

	memory_init(&mem, -1);
	ret = userfault_probe(&mem, USERFAULT_MISSING, &err);
	if (ret < 0)
		skip_test("%s", err.msg);
	return ret < 0;
}

static struct ram_block *ram_of(struct rig *r)
{
	return r->m.mem.blocks[0];
}

static uint64_t stamp(uint64_t page)
{
	return 0x100000001ULL * (page + 3);
}

static uint64_t value_at(struct rig *r, uint64_t page)
{
	uint64_t v;

	memcpy(&v, ram_of(r)->hva + page * PAGE_BYTES, sizeof(v));
	return v;
}

static void fill(uint8_t *to, uint64_t page)
{
	uint64_t v = stamp(page);

	for (size_t at = 0; at < PAGE_BYTES; at += sizeof(v))
		memcpy(to + at, &v, sizeof(v));
}

/* Pages below 16 have content, those up to MISSING were never touched, the others are missing. */
static struct rig *rig_of(uint64_t pages)
{
	struct rig *r = NEW(struct rig);
	static const struct postcopy_ram_owner nobody = {.opaque = NULL};
	struct err err = {0};
	bool begun;
	int fds[2];

	ram_rig_machine_of(&r->m, pages);
	r->load = ram_load_new(&r->m);
	for (uint64_t page = 0; page < 16; page++)
		fill(ram_of(r)->hva + page * PAGE_BYTES, page);
	r->ram = postcopy_ram_new(&r->m.mem, false, &err);
	ck_assert_msg(r->ram != NULL, "%s", err.msg);
	fill(ram_of(r)->hva + MISSING * PAGE_BYTES, 1000); /* an older content */
	postcopy_ram_drop(r->ram, &r->ram->blocks[0], MISSING * PAGE_BYTES,
			  (pages - MISSING) * PAGE_BYTES);
	ck_assert_msg(postcopy_records_init(&r->records, r->ram, r->load, false, &err) == 0, "%s",
		      err.msg);
	ck_assert_msg(postcopy_ram_begin(r->ram, &nobody, &begun, &err) == 0, "%s", err.msg);
	ck_assert_uint_eq(postcopy_ram_left(r->ram), pages - MISSING);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	r->ch = channel_from_socket(fds[0], -1);
	r->source = fds[1];
	ck_assert_int_eq(postcopy_ram_attach(r->ram, r->ch, NULL), 0);
	return r;
}

static struct rig *rig_new(void)
{
	return rig_of(RAM_PAGES);
}

static void rig_free(struct rig *r)
{
	memory_set_missing(&r->m.mem, NULL);
	postcopy_records_fini(&r->records);
	ram_load_free(r->load);
	channel_close(r->ch);
	(void)close(r->source);
	memory_fini(&r->m.mem);
	pthread_mutex_destroy(&r->m.lock);
	free(r);
}

/* ---- the source ---- */

/* The next message: its type; *off: which page it asks for. */
static unsigned next_message(struct rig *r, uint64_t *off, char name[256])
{
	uint8_t b[4 + RP_MAX_PAYLOAD];
	size_t n;

	ck_assert_int_eq(recv(r->source, b, 4, MSG_WAITALL), 4);
	n = get_be16(b + 2);
	ck_assert_uint_le(n, RP_MAX_PAYLOAD);
	ck_assert_int_eq(recv(r->source, b + 4, n, MSG_WAITALL), (ssize_t)n);
	ck_assert_uint_ge(n, 12);
	*off = get_be64(b + 4);
	ck_assert_uint_eq(get_be32(b + 12), PAGE_BYTES);
	name[0] = 0;
	if (get_be16(b) == RP_REQ_PAGES_ID) {
		ck_assert_uint_eq(n, 13U + b[16]);
		memcpy(name, b + 17, b[16]);
		name[b[16]] = 0;
	} else {
		ck_assert_uint_eq(n, 12);
	}
	return get_be16(b);
}

static bool nothing_asked(struct rig *r)
{
	uint8_t b;

	return recv(r->source, &b, 1, MSG_DONTWAIT | MSG_PEEK) < 0 && errno == EAGAIN;
}

static void put_page(struct buf *b, uint64_t page, const char *name)
{
	uint8_t content[PAGE_BYTES];

	fill(content, page);
	buf_be64(b, page * PAGE_BYTES | RAM_FLAG_PAGE | (name ? 0 : RAM_FLAG_CONTINUE));
	if (name)
		buf_str8(b, name);
	buf_put(b, content, sizeof(content));
}

static void put_zero(struct buf *b, uint64_t page, const char *name)
{
	buf_be64(b, page * PAGE_BYTES | RAM_FLAG_ZERO | (name ? 0 : RAM_FLAG_CONTINUE));
	if (name)
		buf_str8(b, name);
	buf_u8(b, 0);
}

/* Frees the bytes. */
static int feed(struct rig *r, struct buf *b, struct err *err)
{
	struct src in = src_mem(b->data, b->len);
	int ret = postcopy_records_load(&r->records, &in, err);

	buf_free(b);
	return ret;
}

static void feed_well(struct rig *r, struct buf *b)
{
	struct err err = {0};

	buf_be64(b, RAM_FLAG_EOS);
	ck_assert_msg(feed(r, b, &err) == 0, "%s", err.msg);
}

/* ---- who touches ---- */

struct toucher {
	struct rig *r;
	pthread_t id;
	uint64_t page, seen;
};

static void *touch(void *opaque)
{
	struct toucher *t = opaque;

	t->seen = value_at(t->r, t->page);
	return NULL;
}

static void touch_start(struct toucher *t, struct rig *r, uint64_t page)
{
	*t = (struct toucher){.r = r, .page = page};
	ck_assert_int_eq(pthread_create(&t->id, NULL, touch, t), 0);
}

static uint64_t touch_end(struct toucher *t)
{
	ck_assert_int_eq(pthread_join(t->id, NULL), 0);
	return t->seen;
}

START_TEST(asked_for_once)
{
	struct toucher a, b, c;
	struct buf in = {0};
	char name[256];
	uint64_t off;
	struct rig *r;

	if (no_uffd())
		return;
	r = rig_new();
	touch_start(&a, r, 50);
	ck_assert_uint_eq(next_message(r, &off, name), RP_REQ_PAGES_ID);
	ck_assert_uint_eq(off, 50 * PAGE_BYTES);
	ck_assert_str_eq(name, "microvm.ram");
	touch_start(&b, r, 50);
	touch_start(&c, r, 55);
	ck_assert_uint_eq(next_message(r, &off, name), RP_REQ_PAGES);
	ck_assert_uint_eq(off, 55 * PAGE_BYTES);
	put_page(&in, 55, "microvm.ram");
	put_page(&in, 50, NULL);
	feed_well(r, &in);
	ck_assert_uint_eq(touch_end(&a), stamp(50));
	ck_assert_uint_eq(touch_end(&b), stamp(50));
	ck_assert_uint_eq(touch_end(&c), stamp(55));
	ck_assert(nothing_asked(r));
	/* The fault thread counts what it has sent, and what it had begun with. */
	while (__atomic_load_n(&r->ram->requests, __ATOMIC_SEQ_CST) < 2 ||
	       __atomic_load_n(&r->ram->waiting, __ATOMIC_SEQ_CST) > 0)
		sched_yield();
	ck_assert(nothing_asked(r));
	rig_free(r);
}
END_TEST

/* What was received is not asked for, and what is absent of it is zero. */
START_TEST(here_already)
{
	struct buf in = {0};
	struct rig *r;

	if (no_uffd())
		return;
	r = rig_new();
	ck_assert_uint_eq(value_at(r, 3), stamp(3));
	ck_assert_uint_eq(value_at(r, 20), 0);
	put_zero(&in, 60, "microvm.ram");
	put_zero(&in, 60, NULL);
	feed_well(r, &in);
	ck_assert_uint_eq(postcopy_ram_left(r->ram), RAM_PAGES - MISSING - 1);
	ck_assert_uint_eq(value_at(r, 60), 0);
	ck_assert(nothing_asked(r));
	rig_free(r);
}
END_TEST

START_TEST(zero_page_wakes)
{
	struct toucher a;
	struct buf in = {0};
	char name[256];
	uint64_t off;
	struct rig *r;

	if (no_uffd())
		return;
	r = rig_new();
	touch_start(&a, r, MISSING); /* which had another content before */
	(void)next_message(r, &off, name);
	put_zero(&in, MISSING, "microvm.ram");
	feed_well(r, &in);
	ck_assert_uint_eq(touch_end(&a), 0);
	rig_free(r);
}
END_TEST

/* Pages in a row, one of them wanted, one that was received; then the same as a run. */
START_TEST(rows_and_runs)
{
	struct buf in = {0};
	struct err err = {0};
	struct rig *r;

	if (no_uffd())
		return;
	r = rig_new();
	put_page(&in, 15, "microvm.ram");
	for (uint64_t page = MISSING; page < 56; page++)
		put_page(&in, page, NULL);
	put_page(&in, 3, "pc.bios");
	feed_well(r, &in);
	for (uint64_t page = MISSING; page < 56; page++)
		ck_assert_uint_eq(value_at(r, page), stamp(page));
	ck_assert_uint_eq(postcopy_ram_left(r->ram), RAM_PAGES - 56);
	r->records.runs = true;
	buf_be64(&in, 54 * PAGE_BYTES | RAM_FLAG_RUN);
	buf_str8(&in, "microvm.ram");
	buf_be32(&in, 10);
	for (uint64_t page = 54; page < 64; page++) {
		uint8_t *to = buf_room(&in, PAGE_BYTES);

		fill(to, page + (page < 56 ? 500 : 0)); /* what is here stays */
		in.len += PAGE_BYTES;
	}
	feed_well(r, &in);
	for (uint64_t page = MISSING; page < RAM_PAGES; page++)
		ck_assert_uint_eq(value_at(r, page), stamp(page));
	ck_assert_uint_eq(postcopy_ram_left(r->ram), 0);
	r->records.runs = false;
	buf_be64(&in, RAM_FLAG_RUN);
	ck_assert_int_eq(feed(r, &in, &err), -EINVAL);
	rig_free(r);
}
END_TEST

/* The guest gives a page back that has not come: it is zero, and comes no more. */
START_TEST(given_back)
{
	const struct ram_block *b;
	struct buf in = {0};
	struct rig *r;

	if (no_uffd())
		return;
	r = rig_new();
	b = ram_of(r);
	ck_assert_int_eq(memory_discard_pages(b, 50 * PAGE_BYTES, 2 * PAGE_BYTES), 0);
	ck_assert_int_eq(memory_discard_pages(b, 3 * PAGE_BYTES, PAGE_BYTES), 0);
	ck_assert_uint_eq(postcopy_ram_left(r->ram), RAM_PAGES - MISSING - 2);
	put_page(&in, 50, "microvm.ram");
	feed_well(r, &in);
	ck_assert_uint_eq(value_at(r, 50), 0);
	ck_assert_uint_eq(value_at(r, 51), 0);
	ck_assert_uint_eq(value_at(r, 3), 0);
	ck_assert(nothing_asked(r));
	rig_free(r);
}
END_TEST

START_TEST(asked_for_again)
{
	struct toucher a, b;
	struct buf in = {0};
	char name[256];
	uint64_t off;
	struct rig *r;
	int fds[2];

	if (no_uffd())
		return;
	r = rig_new();
	touch_start(&a, r, 50);
	(void)next_message(r, &off, name);
	ck_assert_int_eq(postcopy_ram_attach(r->ram, NULL, NULL), 0);
	touch_start(&b, r, 52);
	while (__atomic_load_n(&r->ram->waiting, __ATOMIC_SEQ_CST) < 2)
		sched_yield();
	channel_close(r->ch);
	(void)close(r->source);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	r->ch = channel_from_socket(fds[0], -1);
	r->source = fds[1];
	postcopy_records_reset(&r->records);
	ck_assert_int_eq(postcopy_ram_attach(r->ram, r->ch, NULL), 0);
	ck_assert_uint_eq(next_message(r, &off, name), RP_REQ_PAGES_ID);
	ck_assert_uint_eq(off, 50 * PAGE_BYTES);
	ck_assert_uint_eq(next_message(r, &off, name), RP_REQ_PAGES);
	ck_assert_uint_eq(off, 52 * PAGE_BYTES);
	put_page(&in, 50, "microvm.ram");
	put_page(&in, 52, NULL);
	feed_well(r, &in);
	ck_assert_uint_eq(touch_end(&a), stamp(50));
	ck_assert_uint_eq(touch_end(&b), stamp(52));
	rig_free(r);
}
END_TEST

/* ---- a page of the host that has four parts ---- */

START_TEST(parts)
{
	struct buf in = {0};
	struct rig *r;

	if (no_uffd())
		return;
	r = rig_new();
	r->ram->blocks[0].unit = 4;
	put_page(&in, 49, "microvm.ram");
	put_page(&in, 48, NULL);
	buf_be64(&in, RAM_FLAG_EOS); /* an urgent one on another connection; then it goes on */
	ck_assert_int_eq(feed(r, &in, NULL), 0);
	ck_assert_uint_eq(postcopy_ram_left(r->ram), RAM_PAGES - MISSING);
	put_zero(&in, 50, NULL);
	put_page(&in, 51, NULL);
	for (uint64_t page = 52; page < 56; page++)
		put_zero(&in, page, NULL);
	feed_well(r, &in);
	ck_assert_uint_eq(postcopy_ram_left(r->ram), RAM_PAGES - MISSING - 8);
	ck_assert_uint_eq(value_at(r, 48), stamp(48));
	ck_assert_uint_eq(value_at(r, 49), stamp(49));
	ck_assert_uint_eq(value_at(r, 50), 0);
	ck_assert_uint_eq(value_at(r, 51), stamp(51));
	rig_free(r);
}
END_TEST

START_TEST(parts_refused)
{
	static const struct {
		uint64_t first, second;
		const char *words;
	} rows[] = {
	    {48, 48, "comes twice"  },
	    {48, 52, "in the middle"},
	};

	if (no_uffd())
		return;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct err err = {0};
		struct buf in = {0};
		struct rig *r;

		r = rig_new();
		r->ram->blocks[0].unit = 4;
		put_page(&in, rows[i].first, "microvm.ram");
		put_page(&in, rows[i].second, NULL);
		ck_assert_int_eq(feed(r, &in, &err), -EINVAL);
		ck_assert_msg(strstr(err.msg, rows[i].words) != NULL, "%s", err.msg);
		r->records.n = 0;
		r->records.urgent = true;
		put_page(&in, 48, "microvm.ram");
		buf_be64(&in, RAM_FLAG_EOS);
		ck_assert_int_eq(feed(r, &in, &err), -EINVAL);
		ck_assert_msg(strstr(err.msg, "end in the middle") != NULL, "%s", err.msg);
		rig_free(r);
	}
}
END_TEST

/* ---- larger ones ---- */

#define LARGE_PAGES 4096U /* more parts than 2 MiB have */

/* Parts in any order, over several bodies; the block has two such pages, of which one is here. */
START_TEST(many_parts)
{
	struct buf in = {0};
	struct err err = {0};
	struct rig *r;

	if (no_uffd())
		return;
	r = rig_of(2 * LARGE_PAGES);
	r->ram->blocks[0].unit = LARGE_PAGES;
	for (uint64_t i = 0; i < LARGE_PAGES; i++) {
		uint64_t page = LARGE_PAGES + i * 5 % LARGE_PAGES;

		if (page % 3)
			put_page(&in, page, i ? NULL : "microvm.ram");
		else
			put_zero(&in, page, i ? NULL : "microvm.ram");
		if (i % 1000 == 999)
			feed_well(r, &in);
	}
	ck_assert_uint_eq(postcopy_ram_left(r->ram), 2 * LARGE_PAGES - MISSING);
	feed_well(r, &in);
	ck_assert_uint_eq(postcopy_ram_left(r->ram), LARGE_PAGES - MISSING);
	for (uint64_t page = LARGE_PAGES; page < 2 * LARGE_PAGES; page++)
		ck_assert_uint_eq(value_at(r, page), page % 3 ? stamp(page) : 0);
	for (uint64_t page = LARGE_PAGES; page-- > 1000;)
		put_page(&in, page, NULL);
	put_page(&in, LARGE_PAGES - 1, NULL);
	ck_assert_int_eq(feed(r, &in, &err), -EINVAL);
	ck_assert_msg(strstr(err.msg, "comes twice in the one at 0x0, of which 3096 of 4096") !=
			  NULL,
		      "%s", err.msg);
	/* Another connection: it begins anew. */
	postcopy_records_reset(&r->records);
	put_page(&in, LARGE_PAGES - 1, "microvm.ram");
	for (uint64_t page = 0; page < LARGE_PAGES - 1; page++)
		put_page(&in, page, NULL);
	feed_well(r, &in);
	ck_assert_uint_eq(postcopy_ram_left(r->ram), 0);
	for (uint64_t page = MISSING; page < LARGE_PAGES; page++)
		ck_assert_uint_eq(value_at(r, page), stamp(page));
	rig_free(r);
}
END_TEST

/* The host has no memory for one: in words, and smaller ones are taken as before. */
START_TEST(no_room_for_parts)
{
	struct buf in = {0};
	struct err err = {0};
	struct rig *r;

	if (no_uffd())
		return;
	r = rig_new();
	r->ram->blocks[0].unit = 1ULL << 40;
	put_page(&in, 49, "microvm.ram");
	ck_assert_int_eq(feed(r, &in, &err), -ENOMEM);
	ck_assert_msg(strstr(err.msg, "no memory to put a huge page of 4294967296 MiB of RAM "
				      "block 'microvm.ram' together in") != NULL,
		      "%s", err.msg);
	r->ram->blocks[0].unit = 2;
	put_page(&in, 49, NULL);
	put_page(&in, 48, NULL);
	feed_well(r, &in);
	ck_assert_uint_eq(value_at(r, 48), stamp(48));
	ck_assert_uint_eq(value_at(r, 49), stamp(49));
	rig_free(r);
}
END_TEST

/* Taken when they are asked for; larger ones never. */
START_TEST(pages_of_1g)
{
	static const struct {
		uint64_t page_bytes;
		bool asked;
		const char *words; /* NULL: it is taken */
	} rows[] = {
	    {2 * MiB,  false, NULL					},
	    {GiB,      true,  NULL					},
	    {GiB,      false, "-global migration.x-minivmm-postcopy-1g=on"},
	    {GiB,      false, "1024 MiB of memory beyond the guest's"     },
	    {16 * GiB, true,  "use huge pages of 2 MiB"                   },
	    {16 * GiB, false, "use huge pages of 2 MiB"                   },
	};

	if (no_uffd())
		return;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct machine *m = NEW(struct machine);
		struct err err = {0};
		int ret;

		ram_rig_machine(m);
		m->mem.blocks[0]->page_bytes = rows[i].page_bytes;
		ret = postcopy_ram_check(&m->mem, false, rows[i].asked, &err);
		m->mem.blocks[0]->page_bytes = PAGE_BYTES;
		ck_assert_msg(ret == (rows[i].words ? -ENOTSUP : 0), "row %zu: %d %s", i, ret,
			      err.msg);
		if (rows[i].words)
			ck_assert_msg(strstr(err.msg, rows[i].words) != NULL, "%s", err.msg);
		memory_fini(&m->mem);
		pthread_mutex_destroy(&m->lock);
		free(m);
	}
}
END_TEST

/* ---- hostile records ---- */

struct hostile {
	uint64_t word;
	const char *name; /* NULL: none */
	unsigned more;    /* bytes of 0xff */
	int ret;
	const char *words;
};

static const struct hostile hostile[] = {
    {RAM_FLAG_PAGE | RAM_FLAG_CONTINUE,      NULL,          4096, -EINVAL,  "named before"        },
    {RAM_FLAG_PAGE,			  "no.such",     4096, -EINVAL,  "unknown RAM block"   },
    {RAM_PAGES * PAGE_BYTES | RAM_FLAG_PAGE, "microvm.ram", 4096, -EINVAL,  "is beyond"           },
    {~(uint64_t)0xfff | RAM_FLAG_ZERO,       "microvm.ram", 1,    -EINVAL,  "is beyond"           },
    {RAM_FLAG_ZERO,			  "microvm.ram", 1,    -ENOTSUP, "one byte, 0xff"      },
    {RAM_FLAG_XBZRLE,			"microvm.ram", 64,   -EINVAL,  "an XBZRLE delta"     },
    {RAM_FLAG_COMPRESS,                      "microvm.ram", 64,   -EINVAL,  "a compressed page"   },
    {RAM_FLAG_MULTIFD_FLUSH,                 NULL,          0,    -EINVAL,  "a multifd flush"     },
    {RAM_FLAG_MEM_SIZE,                      NULL,          64,   -EINVAL,  "no place in postcopy"},
    {RAM_FLAG_HOOK,			  NULL,          64,   -EINVAL,  "no place in postcopy"},
    {RAM_FLAG_PAGE | RAM_FLAG_ZERO,          "microvm.ram", 4096, -EINVAL,  "no place in postcopy"},
    {RAM_FLAG_RUN,			   "microvm.ram", 4096, -EINVAL,  "does not fit"        },
    {RAM_FLAG_PAGE,			  "microvm.ram", 4095, -EIO,     "cut short"           },
    {RAM_FLAG_PAGE,			  NULL,          0,    -EIO,     "cut short"           },
    {RAM_FLAG_ZERO,			  "microvm.ram", 0,    -EIO,     "cut short"           },
};

START_TEST(refused)
{
	const struct hostile *h = &hostile[_i];
	struct err err = {0};
	struct buf in = {0};
	struct rig *r;

	if (no_uffd())
		return;
	r = rig_new();
	r->records.runs = true;
	buf_be64(&in, h->word);
	if (h->name)
		buf_str8(&in, h->name);
	memset(buf_room(&in, h->more), 0xff, h->more);
	in.len += h->more;
	ck_assert_int_eq(feed(r, &in, &err), h->ret);
	ck_assert_msg(strstr(err.msg, h->words) != NULL, "%s", err.msg);
	ck_assert_uint_eq(postcopy_ram_left(r->ram), RAM_PAGES - MISSING);
	rig_free(r);
}
END_TEST

START_TEST(ends_at_a_record)
{
	struct buf in = {0};
	struct rig *r;

	if (no_uffd())
		return;
	r = rig_new();
	ck_assert_int_eq(feed(r, &in, NULL), POSTCOPY_RECORDS_CLOSED);
	put_page(&in, 50, "microvm.ram");
	put_page(&in, 3, "/rom@etc/acpi/rsdp"); /* beyond it: it has no length here */
	ck_assert_int_eq(feed(r, &in, NULL), -EINVAL);
	put_page(&in, 51, "microvm.ram");
	ck_assert_int_eq(feed(r, &in, NULL), POSTCOPY_RECORDS_CLOSED);
	ck_assert_uint_eq(value_at(r, 50), stamp(50));
	ck_assert_uint_eq(value_at(r, 51), stamp(51));
	r->records.urgent = true;
	for (uint64_t page = MISSING; page < RAM_PAGES; page++)
		put_page(&in, page, "microvm.ram");
	ck_assert_int_eq(feed(r, &in, NULL), POSTCOPY_RECORDS_ALL_HERE);
	buf_be64(&in, RAM_FLAG_EOS);
	ck_assert_int_eq(feed(r, &in, NULL), 0);
	rig_free(r);
}
END_TEST

/* ---- RAM_DISCARD ---- */

struct discard {
	unsigned version;
	const char *name;
	unsigned zero;
	uint64_t start, bytes;
	unsigned cut;      /* bytes less at the end */
	const char *words; /* NULL: it is taken */
};

static const struct discard discards[] = {
    {0, "microvm.ram", 0, 0x3000,  0x2000,    0,  NULL               },
    {0, "pc.bios",     0, 0,       0x8000,    0,  NULL               },
    {1, "microvm.ram", 0, 0,       0x1000,    0,  "version"          },
    {0, "microvm.ram", 1, 0,       0x1000,    0,  "broken"           },
    {0, "no.such",     0, 0,       0x1000,    0,  "unknown"          },
    {0, "microvm.ram", 0, 1,       0x1000,    0,  "not made of pages"},
    {0, "microvm.ram", 0, 0,       0x1001,    0,  "not made of pages"},
    {0, "microvm.ram", 0, 0,       0,         0,  "not made of pages"},
    {0, "microvm.ram", 0, 0x40000, 0x1000,    0,  "is not in"        },
    {0, "microvm.ram", 0, 0x3f000, 0x2000,    0,  "is not in"        },
    {0, "microvm.ram", 0, 0x1000,  ~0xfffULL, 0,  "is not in"        },
    {0, "microvm.ram", 0, 0,       0x1000,    1,  "1 to 12 ranges"   },
    {0, "microvm.ram", 0, 0,       0x1000,    16, "1 to 12 ranges"   },
    {0, "microvm.ram", 0, 0,       0x1000,    20, "broken"           },
    {0, "microvm.ram", 0, 0,       0x1000,    30, "version"          },
};

START_TEST(discard_payload)
{
	const struct discard *d = &discards[_i];
	struct postcopy_ram *ram;
	struct machine *m = NEW(struct machine);
	struct ram_load *load;
	struct err err = {0};
	struct buf in = {0};
	int ret;

	ram_rig_machine(m);
	load = ram_load_new(m);
	ram = postcopy_ram_new(&m->mem, false, NULL);
	ck_assert_ptr_nonnull(ram);
	buf_u8(&in, (uint8_t)d->version);
	buf_str8(&in, d->name);
	buf_u8(&in, (uint8_t)d->zero);
	buf_be64(&in, d->start);
	buf_be64(&in, d->bytes);
	ret = postcopy_discard_load(ram, load, in.data, in.len - d->cut, &err);
	ck_assert_int_eq(ret, d->words ? -EINVAL : 0);
	if (d->words)
		ck_assert_msg(strstr(err.msg, d->words) != NULL, "%s", err.msg);
	for (size_t i = 0; i < 2; i++) {
		const struct postcopy_block *pb = &ram->blocks[i];
		bool here = !d->words && !strcmp(pb->block->name, d->name);

		ck_assert_uint_eq(bitmap_count(pb->received, pb->pages),
				  pb->pages - (here ? d->bytes / PAGE_BYTES : 0));
	}
	buf_free(&in);
	postcopy_ram_free(ram);
	ram_load_free(load);
	memory_fini(&m->mem);
	pthread_mutex_destroy(&m->lock);
	free(m);
}
END_TEST

/* ---- all at once ---- */

struct worker {
	struct rig *r;
	pthread_t id;
	uint64_t first, step;
	bool urgent;
};

static void *bring(void *opaque)
{
	struct worker *w = opaque;
	struct postcopy_records records;

	ck_assert_int_eq(postcopy_records_init(&records, w->r->ram, w->r->load, w->urgent, NULL),
			 0);
	for (uint64_t page = w->first; page < RAM_PAGES; page += w->step) {
		struct buf b = {0};
		struct src in;
		int ret;

		if (page % 5 == 4)
			put_zero(&b, page, "microvm.ram");
		else
			put_page(&b, page, "microvm.ram");
		buf_be64(&b, RAM_FLAG_EOS);
		in = src_mem(b.data, b.len);
		ret = postcopy_records_load(&records, &in, NULL);
		ck_assert(ret == 0 || (w->urgent && ret == POSTCOPY_RECORDS_ALL_HERE));
		buf_free(&b);
	}
	postcopy_records_fini(&records);
	return NULL;
}

static void *look_at_all(void *opaque)
{
	struct worker *w = opaque;

	for (uint64_t page = w->first; page < RAM_PAGES; page++) {
		uint64_t v = value_at(w->r, page);

		ck_assert_uint_eq(v, page % 5 == 4 ? 0 : stamp(page));
	}
	return NULL;
}

/* Two connections bring the same pages, three threads wait for them, whoever comes first. */
START_TEST(at_the_same_time)
{
	for (unsigned round = 0; !no_uffd() && round < 30; round++) {
		struct worker w[5];
		struct rig *r;

		r = rig_new();
		for (unsigned i = 0; i < ARRAY_LEN(w); i++) {
			w[i] =
			    (struct worker){.r = r, .first = MISSING, .step = 1, .urgent = i == 1};
			ck_assert_int_eq(
			    pthread_create(&w[i].id, NULL, i < 2 ? bring : look_at_all, &w[i]), 0);
		}
		for (unsigned i = 0; i < ARRAY_LEN(w); i++)
			ck_assert_int_eq(pthread_join(w[i].id, NULL), 0);
		ck_assert_uint_eq(postcopy_ram_left(r->ram), 0);
		rig_free(r);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("postcopy-ram");
	TCase *tc = tcase_create("postcopy-ram");
	SRunner *sr = srunner_create(s);
	int failed;

	tcase_set_timeout(tc, 300);
	tcase_add_test(tc, asked_for_once);
	tcase_add_test(tc, here_already);
	tcase_add_test(tc, zero_page_wakes);
	tcase_add_test(tc, rows_and_runs);
	tcase_add_test(tc, given_back);
	tcase_add_test(tc, asked_for_again);
	tcase_add_test(tc, parts);
	tcase_add_test(tc, parts_refused);
	tcase_add_test(tc, many_parts);
	tcase_add_test(tc, no_room_for_parts);
	tcase_add_test(tc, pages_of_1g);
	tcase_add_loop_test(tc, refused, 0, ARRAY_LEN(hostile));
	tcase_add_test(tc, ends_at_a_record);
	tcase_add_loop_test(tc, discard_payload, 0, ARRAY_LEN(discards));
	tcase_add_test(tc, at_the_same_time);
	suite_add_tcase(s, tc);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}
