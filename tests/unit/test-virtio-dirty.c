/*
 * Every byte that a virtio device writes to guest memory is reported as dirty after it is there.
 *
 * Migration takes the dirty bits at any moment.  Here it takes a page's bit at the worst one: guest
 * memory is read-only, and the fault of the first write to a page clears the page's bit.  When the
 * device is done, each page that faulted must have its bit again.
 */
#include <inttypes.h>
#include <signal.h>
#include <sys/mman.h>

#include "devices/virtio/blk.h"
#include "tests/unit/check-main.h"
#include "tests/unit/virtio-nic.h"

#define BLK_SLOT  7
#define RNG_SLOT  5
#define DISK      (1 * MiB)
#define RAM_PAGES (GUEST_RAM / PAGE_BYTES)
#define DATA      0xa0000ULL
#define STATUS    0xb0000ULL
#define HEADER    0xc0000ULL

/* What the fault handler works on; one test runs at a time. */
static struct {
	struct ram_block *block;
	bool written[RAM_PAGES];
	bool take_all; /* a fault takes the bits of all pages */
} trap;

static void take_bits(size_t page)
{
	for (size_t i = 0; i < RAM_PAGES; i++)
		if (trap.take_all || i == page)
			(void)__atomic_fetch_and(&trap.block->dma_dirty[i / 64],
						 ~(1ULL << (i % 64)), __ATOMIC_SEQ_CST);
}

static void on_fault(int sig, siginfo_t *info, void *context)
{
	const uint8_t *at = info->si_addr;
	size_t page;

	(void)sig;
	(void)context;
	if (at < trap.block->hva || at >= trap.block->hva + GUEST_RAM)
		abort();
	page = (size_t)(at - trap.block->hva) / PAGE_BYTES;
	trap.written[page] = true;
	take_bits(page);
	(void)mprotect(trap.block->hva + page * PAGE_BYTES, PAGE_BYTES, PROT_READ | PROT_WRITE);
}

static void let_faults_in(void *opaque)
{
	sigset_t set;

	(void)opaque;
	sigemptyset(&set);
	sigaddset(&set, SIGSEGV);
	(void)pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

static void trap_set(struct fix *f)
{
	const struct sigaction sa = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};

	memset(&trap, 0, sizeof(trap));
	trap.block = f->m->mem.blocks[0];
	(void)sigaction(SIGSEGV, &sa, NULL);
	loop_call(f->m->io, let_faults_in, NULL);
	__atomic_store_n(&f->m->mem.tracking, true, __ATOMIC_SEQ_CST);
	memset(trap.block->dma_dirty, 0, RAM_PAGES / 8);
	ck_assert_int_eq(mprotect(trap.block->hva, GUEST_RAM, PROT_READ), 0);
}

/* Leave these bytes out: the host's kernel writes them, which gives no fault. */
static void trap_open(uint64_t gpa, uint64_t bytes)
{
	ck_assert_int_eq(mprotect(trap.block->hva + gpa, bytes, PROT_READ | PROT_WRITE), 0);
}

static bool is_dirty(uint64_t gpa)
{
	uint64_t page = gpa / PAGE_BYTES;

	return trap.block->dma_dirty[page / 64] >> (page % 64) & 1;
}

/* The writes are over: returns how many pages were written. */
static unsigned trap_check(void)
{
	unsigned n = 0;

	trap_open(0, GUEST_RAM);
	for (uint64_t i = 0; i < RAM_PAGES; i++) {
		ck_assert_msg(!trap.written[i] || is_dirty(i * PAGE_BYTES),
			      "page 0x%" PRIx64 " was written and is not dirty", i);
		n += trap.written[i];
	}
	return n;
}

/* A disk and a source of random bytes beside the network card. */
struct all {
	struct fix f;
	struct disk disk;
	struct block_node *nodes[1];
	struct ring blk, rng;
};

static void all_init(struct all *a, bool threads, uint64_t features)
{
	struct cfg_device blk = test_device("virtio-blk-device", NULL);
	struct cfg_device rng = test_device("virtio-rng-device", NULL);
	struct err err = {0};

	fix_base(&a->f, false);
	disk_open(&a->disk, DISK, threads, false, true);
	a->nodes[0] = a->disk.node;
	a->f.be.blocks.v = a->nodes;
	a->f.be.blocks.n = 1;
	keyvals_add(&blk.props, "drive", "disk0");
	ck_assert_msg(create(&a->f, SLOT, NULL, &err) == 0, "%s", err.msg);
	ck_assert_int_eq(device_create(a->f.m, &blk, BLK_SLOT, &a->f.be, &err), 0);
	ck_assert_int_eq(device_create(a->f.m, &rng, RNG_SLOT, &a->f.be, &err), 0);
	device_free(&blk);
	device_free(&rng);
	guest_resume(a->f.m);
	a->blk = ring_at(&a->f.m->mem, 0x40000, 64);
	a->rng = ring_at(&a->f.m->mem, 0x50000, 8);
	(void)driver_start(a->f.m, SLOT, features, a->f.r, 3);
	(void)driver_start(a->f.m, BLK_SLOT, features, &a->blk, 1);
	(void)driver_start(a->f.m, RNG_SLOT, features, &a->rng, 1);
}

static void all_fini(struct all *a)
{
	guest_end_devices(a->f.m);
	disk_close(&a->disk);
	guest_free(a->f.m);
}

/* A disk request in three descriptors from 'first' on, not yet available. */
static void blk_request(struct all *a, uint16_t first, uint32_t type, uint64_t data, uint32_t len)
{
	uint8_t *h = at(&a->f, HEADER);

	put_le32(h, type);
	put_le64(h + 8, 0);
	ring_desc(&a->blk, first, HEADER, 16, NEXT, (uint16_t)(first + 1));
	ring_desc(&a->blk, (uint16_t)(first + 1), data, len,
		  (uint16_t)(NEXT | (type == 1 ? 0 : WR)), (uint16_t)(first + 2));
	ring_desc(&a->blk, (uint16_t)(first + 2), STATUS, 1, WR, 0);
}

START_TEST(disk_requests)
{
	for (int threads = 0; threads < 2; threads++) {
		static const uint32_t types[] = {0 /* in */, 1 /* out */, 8 /* id */, 99};

		for (size_t i = 0; i < ARRAY_LEN(types); i++) {
			struct all a;

			all_init(&a, threads, ALL);
			blk_request(&a, 0, types[i], DATA, 0x2000);
			ring_avail(&a.blk, 0);
			trap_set(&a.f);
			trap_open(DATA, 0x2000);
			kick(a.f.m, BLK_SLOT, 0);
			guest_wait_idle(a.f.m);
			ck_assert_uint_ge(trap_check(), 2); /* status and used ring */
			ck_assert(is_dirty(DATA) == (types[i] == 0 || types[i] == 8));
			ck_assert(is_dirty(DATA + 0x1000) == (types[i] == 0));
			(void)ring_take(&a.blk, 0);
			all_fini(&a);
		}
	}
}
END_TEST

/* The read is on its way when the ring turns out to be malformed. */
START_TEST(read_of_a_disk_that_breaks)
{
	for (int threads = 0; threads < 2; threads++) {
		struct all a;

		all_init(&a, threads, ALL);
		blk_request(&a, 0, 0, DATA, 0x2000);
		ring_avail(&a.blk, 0);
		ring_avail(&a.blk, 999);
		trap_set(&a.f);
		trap_open(DATA, 0x2000);
		kick(a.f.m, BLK_SLOT, 0);
		guest_wait_idle(a.f.m);
		ck_assert_uint_ge(trap_check(), 1);
		ck_assert_uint_eq(reg_get(a.f.m, BLK_SLOT, 0x70), 0x4f);
		ck_assert_uint_eq(ring_used_idx(&a.blk), 0);
		ck_assert(is_dirty(DATA));
		ck_assert(is_dirty(DATA + 0x1000));
		all_fini(&a);
	}
}
END_TEST

START_TEST(random_bytes)
{
	struct all a;

	all_init(&a, true, ALL);
	ring_desc(&a.rng, 0, DATA + 0x800, 0x2000, WR, 0);
	ring_avail(&a.rng, 0);
	trap_set(&a.f);
	kick(a.f.m, RNG_SLOT, 0);
	guest_wait_idle(a.f.m);
	ck_assert_uint_ge(trap_check(), 4); /* three of data, the used ring */
	all_fini(&a);
}
END_TEST

START_TEST(control_command)
{
	struct all a;

	all_init(&a, true, ALL);
	put_le16(at(&a.f, BUF), 0); /* promiscuous */
	*at(&a.f, BUF + 2) = 1;
	ring_desc(&a.f.r[2], 0, BUF, 3, NEXT, 1);
	ring_desc(&a.f.r[2], 1, ACK, 1, WR, 0);
	ring_avail(&a.f.r[2], 0);
	trap_set(&a.f);
	kick(a.f.m, SLOT, NIC_CTRL);
	guest_wait_idle(a.f.m);
	ck_assert_uint_ge(trap_check(), 2);
	all_fini(&a);
}
END_TEST

START_TEST(frames)
{
	uint8_t frame[3000];

	make_frame(frame, sizeof(frame), own);
	for (size_t bytes = 60; bytes <= sizeof(frame); bytes += 2940) {
		struct all a;

		all_init(&a, true, ALL);
		post_buffers(&a.f, 4, 1024);
		trap_set(&a.f);
		ck_assert_int_eq(arrive(&a.f, frame, bytes), 0);
		ck_assert_uint_ge(trap_check(), 2);
		ck_assert_uint_eq(ring_used_idx(&a.f.r[0]), bytes == 60 ? 1 : 3);
		ck_assert_uint_eq(get_le16(at(&a.f, RXBUF(0) + 10)), bytes == 60 ? 1 : 3);
		all_fini(&a);
	}
}
END_TEST

/*
 * The number of buffers is written into the header when the frame has ended,
 * in other buffers: the bits of all pages are taken as the last one is begun.
 */
START_TEST(header_of_a_long_frame)
{
	uint8_t frame[1500];
	struct all a;

	make_frame(frame, sizeof(frame), own);
	all_init(&a, true, ALL);
	ring_desc(&a.f.r[0], 0, DATA, 10, NEXT | WR, 1);
	ring_desc(&a.f.r[0], 1, DATA + 0xfff, 1000, WR, 0); /* its first two bytes: num_buffers */
	ring_desc(&a.f.r[0], 2, DATA + 0x8000, 1000, WR, 0);
	ring_avail(&a.f.r[0], 0);
	ring_avail(&a.f.r[0], 2);
	kick(a.f.m, SLOT, NIC_RX);
	guest_sync(a.f.m);
	trap_set(&a.f);
	trap.take_all = true;
	trap_open(0, DATA + 0x8000);
	ck_assert_int_eq(arrive(&a.f, frame, sizeof(frame)), 0);
	ck_assert(trap.written[(DATA + 0x8000) / PAGE_BYTES]);
	(void)trap_check();
	ck_assert_uint_eq(*at(&a.f, DATA + 0xfff), 2);
	ck_assert_uint_eq(*at(&a.f, DATA + 0x1000), 0);
	ck_assert(is_dirty(DATA + 0xfff));
	ck_assert(is_dirty(DATA + 0x1000));
	all_fini(&a);
}
END_TEST

/* Without event indices the device asks for silence in the used ring's flags. */
START_TEST(used_ring_flags)
{
	struct all a;

	all_init(&a, true, ~VIRTIO_F_EVENT_IDX);
	trap_set(&a.f);
	kick(a.f.m, SLOT, NIC_RX);
	kick(a.f.m, SLOT, NIC_TX);
	guest_wait_idle(a.f.m);
	ck_assert_uint_ge(trap_check(), 2);
	all_fini(&a);
}
END_TEST

CHECK_MAIN("virtio-dirty", disk_requests, read_of_a_disk_that_breaks, random_bytes, control_command,
	   frames, header_of_a_long_frame, used_ring_flags)
