/*
 * The tracker write-protect: two threads write all the time, as a guest would, while
 * memory is saved as it was at one instant.  What is loaded must be that; each page comes once; and
 * no write is lost or waits for ever, also when the save ends in the middle, or its
 * fault thread dies.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "migration/ram/write-protect.h"
#include "tests/unit/check-main.h"
#include "tests/unit/ram-rig.h"
#include "vmm/base/thread.h"
#include "vmm/base/wake.h"
#include "vmm/base/zero.h"
#include "vmm/memory/merge.h"

#define SMALL_PAGES 2048U /* of the guest; more than the pool of copies holds */
#define HUGE_COUNT  8U
#define WRITERS     2U
#define POOL        "/proc/sys/vm/nr_hugepages"
#define POOL_PAGES  1024U /* copies that there may be at a time */

static const struct kind {
	const char *name;
	int backend;
	bool share, hugetlb;
} kinds[] = {
    {"anonymous",        RAM_ANONYMOUS, false, false},
    {"anonymous shared", RAM_ANONYMOUS, true,  false},
    {"memfd",            RAM_MEMFD,     true,  false},
    {"memfd private",    RAM_MEMFD,     false, false},
    {"hugetlb",          RAM_MEMFD,     true,  true },
    {"hugetlb private",  RAM_MEMFD,     false, true },
};

#define SMALL_KINDS 4U /* of them without huge pages, which come first */

/* What stands in front of each page; the rest of it says the same at its end. */
struct stamp {
	uint64_t generation, page;
};

struct rig;

struct writer_thread {
	struct rig *rig;
	unsigned index;
	pthread_t thread;
	bool parked;         /* atomic */
	uint64_t generation; /* atomic */
};

struct rig {
	struct ram_rig *r;
	const struct kind *k;
	uint64_t pages;
	uint8_t *then; /* memory as it was at the instant */
	uint64_t touched_pages;
	struct writer_thread writers[WRITERS];
	bool park, stop; /* atomic */
	int wake_fd;
	long pool;
};

/* ---- threads that write ---- */

/* Writer i has every other page; pages of the last quarter are touched late, one a round. */
static void write_round(struct writer_thread *w)
{
	struct rig *g = w->rig;
	uint8_t *ram = g->r->from.mem.blocks[0]->hva;
	uint64_t late = g->pages * 3 / 4 + w->generation * WRITERS;

	for (uint64_t page = w->index; page < g->pages; page += WRITERS) {
		struct stamp s = {w->generation, page};

		if (page >= g->pages * 3 / 4 && page > late)
			break;
		memcpy(ram + page * PAGE_BYTES, &s, sizeof(s));
		memcpy(ram + (page + 1) * PAGE_BYTES - sizeof(s), &s, sizeof(s));
		while (__atomic_load_n(&g->park, __ATOMIC_SEQ_CST)) {
			__atomic_store_n(&w->parked, true, __ATOMIC_SEQ_CST);
			(void)sched_yield();
		}
		__atomic_store_n(&w->parked, false, __ATOMIC_SEQ_CST);
		if (__atomic_load_n(&g->stop, __ATOMIC_SEQ_CST))
			return;
	}
}

static void *write_on(void *opaque)
{
	struct writer_thread *w = opaque;

	while (!__atomic_load_n(&w->rig->stop, __ATOMIC_SEQ_CST)) {
		write_round(w);
		__atomic_add_fetch(&w->generation, 1, __ATOMIC_SEQ_CST);
	}
	return NULL;
}

static uint64_t generation(struct rig *g, unsigned i)
{
	return __atomic_load_n(&g->writers[i].generation, __ATOMIC_SEQ_CST);
}

static void park(struct rig *g)
{
	__atomic_store_n(&g->park, true, __ATOMIC_SEQ_CST);
	for (unsigned i = 0; i < WRITERS; i++)
		while (!__atomic_load_n(&g->writers[i].parked, __ATOMIC_SEQ_CST))
			(void)sched_yield();
}

static void unpark(struct rig *g)
{
	__atomic_store_n(&g->park, false, __ATOMIC_SEQ_CST);
}

static void start_writers(struct rig *g)
{
	for (unsigned i = 0; i < WRITERS; i++) {
		g->writers[i] = (struct writer_thread){.rig = g, .index = i, .generation = 1};
		ck_assert_int_eq(
		    pthread_create(&g->writers[i].thread, NULL, write_on, &g->writers[i]), 0);
	}
	while (generation(g, 0) < 3 || generation(g, 1) < 3)
		(void)sched_yield();
}

/* They have gone on by two rounds: nothing holds them any more. */
static void check_writers_go_on(struct rig *g)
{
	for (unsigned i = 0; i < WRITERS; i++)
		for (uint64_t now = generation(g, i); generation(g, i) < now + 2;)
			(void)sched_yield();
}

static void stop_writers(struct rig *g)
{
	__atomic_store_n(&g->stop, true, __ATOMIC_SEQ_CST);
	for (unsigned i = 0; i < WRITERS; i++)
		(void)pthread_join(g->writers[i].thread, NULL);
}

/* ---- the machine ---- */

static long huge_pool(long set)
{
	FILE *f = fopen(POOL, set < 0 ? "r" : "w");
	long n = 0;

	if (!f)
		return 0;
	if (set < 0 && fscanf(f, "%ld", &n) != 1)
		n = 0;
	if (set >= 0)
		(void)fprintf(f, "%ld", set);
	(void)fclose(f);
	return n;
}

static bool add_ram(struct rig *g)
{
	static const struct ram_backend anon = {.kind = RAM_ANONYMOUS, .fd = -1};
	struct ram_backend be = {.kind = g->k->backend, .share = g->k->share, .fd = -1};
	struct err err = {0};

	if (g->k->hugetlb) {
		be.hugetlb = true;
		be.hugetlb_bytes = 2 * MiB;
		huge_pool(g->pool + 2 * HUGE_COUNT);
	}
	memory_fini(&g->r->from.mem);
	memory_fini(&g->r->to.mem);
	memory_init(&g->r->from.mem, -1);
	memory_init(&g->r->to.mem, -1);
	if (!memory_add_block(&g->r->from.mem, "microvm.ram", g->pages * PAGE_BYTES, &be, &err)) {
		skip_test("%s: %s", g->k->name, err.msg);
		return false;
	}
	ck_assert_ptr_nonnull(
	    memory_add_block(&g->r->to.mem, "microvm.ram", g->pages * PAGE_BYTES, &anon, NULL));
	ram_load_free(g->r->load);
	g->r->load = ram_load_new(&g->r->to);
	return true;
}

/* Without threads that write. */
static bool rig_init_still(struct rig *g, const struct kind *k)
{
	*g = (struct rig){.r = ram_rig_new(), .k = k, .wake_fd = wake_open()};
	g->pages = k->hugetlb ? HUGE_COUNT * 2 * MiB / PAGE_BYTES : SMALL_PAGES;
	g->pool = huge_pool(-1);
	if (!add_ram(g)) {
		huge_pool(g->pool);
		ram_rig_free(g->r);
		return false;
	}
	g->then = malloc(g->pages * PAGE_BYTES);
	ck_assert_ptr_nonnull(g->then);
	ram_save_init(&g->r->save, &g->r->from, g->r->w, 7);
	g->r->save.tracker = &tracker_write_protect;
	g->r->save.wake_fd = g->wake_fd;
	return true;
}

static bool rig_init(struct rig *g, const struct kind *k)
{
	if (!rig_init_still(g, k))
		return false;
	start_writers(g);
	return true;
}

static void rig_fini(struct rig *g)
{
	free(g->then);
	(void)close(g->wake_fd);
	ram_rig_free(g->r);
	huge_pool(g->pool);
}

static bool half(void *opaque)
{
	struct rig *g = opaque;

	return ram_save_left_pages(&g->r->save) > g->pages / 2;
}

/* Up to the instant; its content is noted. */
static void take_instant(struct rig *g)
{
	struct err err = {0};

	ck_assert_msg(ram_save_start(&g->r->save, &err) == 0, "%s: %s", g->k->name, err.msg);
	ck_assert_msg(ram_save_begin(&g->r->save, &err) == 0, "%s", err.msg);
	check_writers_go_on(g); /* armed: every page is written again, and is open */
	ck_assert_int_eq(write_protect_rearm(&g->r->save, &err), 0);
	park(g);
	ck_assert_msg(write_protect_instant(&g->r->save, &err) == 0, "%s", err.msg);
	memcpy(g->then, g->r->from.mem.blocks[0]->hva, g->pages * PAGE_BYTES);
	unpark(g);
}

static void await(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	while (poll(&p, 1, -1) < 0)
		ck_assert_int_eq(errno, EINTR);
}

static void check_loaded(struct rig *g)
{
	const uint8_t *loaded = g->r->to.mem.blocks[0]->hva;
	struct err err = {0};

	ck_assert_msg(ram_rig_try_load(g->r, &err) == 0, "%s", err.msg);
	for (uint64_t page = 0; page < g->pages; page++) {
		struct stamp got, want;

		memcpy(&got, loaded + page * PAGE_BYTES, sizeof(got));
		memcpy(&want, g->then + page * PAGE_BYTES, sizeof(want));
		ck_assert_msg(memcmp(loaded + page * PAGE_BYTES, g->then + page * PAGE_BYTES,
				     PAGE_BYTES) == 0,
			      "%s: page %lu is of round %lu, at the instant it was %lu", g->k->name,
			      page, got.generation, want.generation);
	}
	ck_assert_uint_eq(g->r->save.stream.count.normal + g->r->save.stream.count.duplicate,
			  g->pages);
}

/* ---- tests ---- */

static void check_instant(const struct kind *k)
{
	struct rig g;

	if (!rig_init(&g, k))
		return;
	take_instant(&g);
	/* Nothing is sent yet: writes go on until the pool of copies is full, and wait then. */
	await(g.wake_fd);
	ck_assert_uint_le(__atomic_load_n(&g.r->save.copied, __ATOMIC_SEQ_CST), POOL_PAGES);
	while (ram_save_left_pages(&g.r->save))
		ck_assert_int_eq(ram_save_record(&g.r->save, TAG_PART, NULL, NULL), 0);
	check_writers_go_on(&g);
	ram_save_stop(&g.r->save);
	check_writers_go_on(&g);
	stop_writers(&g);
	check_loaded(&g);
	rig_fini(&g);
}

START_TEST(test_instant)
{
	check_instant(&kinds[_i]);
}
END_TEST

/* The machine is paused while writes wait for the pool: they end, for a guest to stop behind them.
 */
static void check_pause(const struct kind *k)
{
	struct rig g;

	if (!rig_init(&g, k))
		return;
	take_instant(&g);
	await(g.wake_fd);
	__atomic_store_n(&g.r->from.paused, true, __ATOMIC_SEQ_CST);
	park(&g);
	__atomic_store_n(&g.r->from.paused, false, __ATOMIC_SEQ_CST);
	unpark(&g);
	while (ram_save_left_pages(&g.r->save))
		ck_assert_int_eq(ram_save_record(&g.r->save, TAG_PART, NULL, NULL), 0);
	ram_save_stop(&g.r->save);
	check_writers_go_on(&g);
	stop_writers(&g);
	check_loaded(&g);
	rig_fini(&g);
}

START_TEST(test_pause)
{
	check_pause(&kinds[_i]);
}
END_TEST

/* Only pages that were touched are made writable: a file of memory has as many afterwards as
 * before. */
START_TEST(test_holes_stay)
{
	const struct kind *k = &kinds[2];
	struct stat before, after;
	struct err err = {0};
	struct ram_block *b;
	struct rig g;

	if (!rig_init_still(&g, k))
		return;
	b = g.r->from.mem.blocks[0];
	for (uint64_t page = 0; page < g.pages; page += page % 8 == 4 ? 4 : 1)
		b->hva[page * PAGE_BYTES] = 1;
	ck_assert_int_eq(fstat(b->fd, &before), 0);
	ck_assert_msg(ram_save_start(&g.r->save, &err) == 0, "%s", err.msg);
	ck_assert_msg(ram_save_begin(&g.r->save, &err) == 0, "%s", err.msg);
	ck_assert_int_eq(write_protect_instant(&g.r->save, &err), 0);
	for (uint64_t page = 0; page < g.pages / 4; page += 8)
		b->hva[page * PAGE_BYTES] = 2; /* many: what is swept is made writable */
	while (ram_save_left_pages(&g.r->save))
		ck_assert_int_eq(ram_save_record(&g.r->save, TAG_PART, NULL, NULL), 0);
	ram_save_stop(&g.r->save);
	ck_assert_int_eq(fstat(b->fd, &after), 0);
	ck_assert_int_eq(after.st_blocks, before.st_blocks);
	ck_assert_int_lt(after.st_blocks, (long)(b->bytes / 512));
	rig_fini(&g);
}
END_TEST

/* The save ends in the middle, with writes that wait. */
static void check_end(const struct kind *k)
{
	struct rig g;

	if (!rig_init(&g, k))
		return;
	take_instant(&g);
	await(g.wake_fd);
	ck_assert_int_eq(ram_save_record(&g.r->save, TAG_PART, half, &g), 0);
	write_protect_end(&g.r->save);
	check_writers_go_on(&g);
	ram_save_stop(&g.r->save); /* once more is fine */
	stop_writers(&g);
	rig_fini(&g);
}

START_TEST(test_end)
{
	check_end(&kinds[_i]);
}
END_TEST

/* The descriptor of the save, by its name. */
static int userfault_fd(void)
{
	for (int fd = 0; fd < 256; fd++) {
		char link[32], to[64];
		ssize_t n;

		(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
		n = readlink(link, to, sizeof(to) - 1);
		if (n > 0 && !strncmp(to, "anon_inode:[userfaultfd]", (size_t)n))
			return fd;
	}
	return -1;
}

/* One more fault, of the last page, which is written never else. */
static void *touch_last(void *opaque)
{
	struct rig *g = opaque;

	g->r->from.mem.blocks[0]->hva[g->pages * PAGE_BYTES - 1] = 1;
	return NULL;
}

/* The fault thread dies with writes waiting: the save fails in words, and no write is lost. */
START_TEST(test_dead_thread)
{
	struct err err = {0};
	struct rig g;
	int fd, null = open("/dev/null", O_RDONLY);
	pthread_t toucher;

	ck_assert(rig_init(&g, &kinds[_i]));
	take_instant(&g);
	await(g.wake_fd);
	wake_clear(g.wake_fd);
	fd = userfault_fd();
	ck_assert_int_ge(fd, 0);
	/* What read() says of this one is the end of the thread, at the next fault. */
	ck_assert_int_ge(dup2(null, fd), 0);
	ck_assert_int_eq(pthread_create(&toucher, NULL, touch_last, &g), 0);
	while (write_protect_check(&g.r->save, &err) == 0)
		(void)sched_yield();
	ck_assert_ptr_nonnull(strstr(err.msg, "page faults of the guest cannot be resolved"));
	ck_assert_int_lt(ram_save_record(&g.r->save, TAG_PART, NULL, NULL), 0);
	check_writers_go_on(&g);
	(void)pthread_join(toucher, NULL);
	ram_save_stop(&g.r->save);
	stop_writers(&g);
	(void)close(null);
	rig_fini(&g);
}
END_TEST

/* What the guest gives back while it is saved stays there: the page is saved as it was. */
static void check_discard(const struct kind *k)
{
	struct rig g;
	struct memory *mem;

	if (!rig_init(&g, k))
		return;
	mem = &g.r->from.mem;
	ck_assert_int_eq(memory_map_block(mem, mem->blocks[0], 0, 0, g.pages * PAGE_BYTES, NULL),
			 0);
	take_instant(&g);
	ck_assert_int_eq(memory_discard(mem, 0, g.pages * PAGE_BYTES), 0);
	while (ram_save_left_pages(&g.r->save))
		ck_assert_int_eq(ram_save_record(&g.r->save, TAG_PART, NULL, NULL), 0);
	ram_save_stop(&g.r->save);
	stop_writers(&g);
	check_loaded(&g);
	ck_assert(!buffer_is_zero(mem->blocks[0]->hva, PAGE_BYTES));
	ck_assert_int_eq(memory_discard(mem, 0, g.pages * PAGE_BYTES), 0); /* and now it goes */
	ck_assert(buffer_is_zero(mem->blocks[0]->hva, PAGE_BYTES));
	rig_fini(&g);
}

START_TEST(test_discard)
{
	check_discard(&kinds[_i]);
}
END_TEST

/* ---- merged pages ---- */

#define KSM "/sys/kernel/mm/ksm/"

static long ksm_number(const char *name, long set)
{
	FILE *f = fopen(name, set < 0 ? "r" : "w");
	long n = -1;

	if (!f)
		return -1;
	if (set >= 0)
		(void)fprintf(f, "%ld", set);
	else if (fscanf(f, "%ld", &n) != 1)
		n = -1;
	return fclose(f) == 0 ? n : -1;
}

/* The host goes over all memory that may be merged, several times. */
static void merge_all(void)
{
	long before = ksm_number(KSM "full_scans", -1);

	(void)ksm_number(KSM "pages_to_scan", 1000000);
	(void)ksm_number(KSM "run", 1);
	while (ksm_number(KSM "full_scans", -1) < before + 4)
		(void)sched_yield();
	(void)ksm_number(KSM "run", 0); /* what is merged stays so */
}

static void fill_all(struct rig *g, int with)
{
	memset(g->r->from.mem.blocks[0]->hva, with, g->pages * PAGE_BYTES);
}

static void *fill_again(void *opaque)
{
	fill_all(opaque, 9);
	return NULL;
}

static void replace_ram(struct rig *g, bool merge)
{
	struct ram_backend be = {.kind = RAM_ANONYMOUS, .fd = -1, .merge = merge};

	memory_fini(&g->r->from.mem);
	memory_init(&g->r->from.mem, -1);
	ck_assert_ptr_nonnull(
	    memory_add_block(&g->r->from.mem, "microvm.ram", g->pages * PAGE_BYTES, &be, NULL));
	/* Huge pages are not merged as they are. */
	(void)madvise(g->r->from.mem.blocks[0]->hva, g->pages * PAGE_BYTES, MADV_NOHUGEPAGE);
	fill_all(g, 7);
}

/* Pages that are equal, and that the host would merge: a merged page has no protection. */
static void check_merging(struct rig *g)
{
	const uint8_t *loaded = g->r->to.mem.blocks[0]->hva;
	struct ram_backend be = {.kind = RAM_ANONYMOUS, .fd = -1, .merge = true};
	struct memory spare;
	pthread_t writer;

	replace_ram(g, true);
	memory_follow_merging(&g->r->from.mem);
	/* Something that may be merged, or the host scans nothing at all. */
	memory_init(&spare, -1);
	ck_assert_ptr_nonnull(memory_add_block(&spare, "spare", 64 * PAGE_BYTES, &be, NULL));
	memset(spare.blocks[0]->hva, 7, 64 * PAGE_BYTES);
	memory_follow_merging(&spare);
	ram_save_init(&g->r->save, &g->r->from, g->r->w, 7);
	g->r->save.tracker = &tracker_write_protect;
	ck_assert_int_eq(ram_save_start(&g->r->save, NULL), 0);
	ck_assert_int_eq(ram_save_begin(&g->r->save, NULL), 0);
	ck_assert_int_eq(write_protect_instant(&g->r->save, NULL), 0);
	merge_all();
	ck_assert_int_eq(pthread_create(&writer, NULL, fill_again, g), 0);
	(void)pthread_join(writer, NULL); /* all its pages have room in the pool */
	while (ram_save_left_pages(&g->r->save))
		ck_assert_int_eq(ram_save_record(&g->r->save, TAG_PART, NULL, NULL), 0);
	ck_assert_int_eq(ram_rig_try_load(g->r, NULL), 0);
	for (uint64_t i = 0; i < g->pages * PAGE_BYTES; i++)
		ck_assert_msg(loaded[i] == 7, "page %lu is younger than the instant",
			      i / PAGE_BYTES);
	memory_fini(&spare);
}

START_TEST(test_merging)
{
	long run = ksm_number(KSM "run", -1), scan = ksm_number(KSM "pages_to_scan", -1);
	struct rig g = {.k = &kinds[0], .pages = 512, .wake_fd = -1};

	if (run != 0 || access(KSM "run", W_OK) < 0) {
		skip_test("merging of pages is tried where it is off, and root may switch it on");
		return;
	}
	g.r = ram_rig_new();
	ck_assert(add_ram(&g));
	check_merging(&g);
	(void)ksm_number(KSM "run", 2);
	(void)ksm_number(KSM "run", 0);
	(void)ksm_number(KSM "pages_to_scan", scan);
	ram_rig_free(g.r);
}
END_TEST

static void add(Suite *s, const char *name, const TTest *test, size_t n)
{
	TCase *tc = tcase_create(name);

	tcase_set_timeout(tc, 120); /* a guard against hangs, not a speed limit */
	tcase_add_loop_test(tc, test, 0, (int)n);
	suite_add_tcase(s, tc);
}

int main(void)
{
	Suite *s = suite_create("write-protect");
	SRunner *r;
	int failed;

	add(s, "instant", test_instant, ARRAY_LEN(kinds));
	add(s, "pause", test_pause, ARRAY_LEN(kinds));
	add(s, "end", test_end, ARRAY_LEN(kinds));
	add(s, "discard", test_discard, ARRAY_LEN(kinds));
	add(s, "merging", test_merging, 1);
	add(s, "holes", test_holes_stay, 1);
	add(s, "dead thread", test_dead_thread, SMALL_KINDS);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}
