/* Dirty tracking on /dev/kvm: one body over the dirty log and the dirty ring. */
#include <errno.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "tests/unit/check-main.h"
#include "vmm/base/bitmap.h"
#include "vmm/base/error.h"
#include "vmm/dirty-watch.h"
#include "vmm/dirty.h"
#include "vmm/loop.h"
#include "vmm/machine.h"
#include "vmm/options/config.h"
#include "vmm/vcpu.h"

#define RAM_PAGES  4096U
#define FIRST_PAGE 0x20U /* the guest writes pages from here on */
#define PORT_DONE  0x10
#define PORT_ASK   0x11

/* Real mode at 0x1000: ask how many pages, write them, tell, again. */
static const uint8_t guest[] = {
    0xe4, PORT_ASK,                    /* again: in al, PORT_ASK */
    0x30, 0xe4,                        /* xor ah, ah */
    0x89, 0xc1,                        /* mov cx, ax */
    0xb8, 0x00,      0x20,             /* mov ax, 0x2000 */
    0x8e, 0xc0,                        /* next: mov es, ax */
    0x26, 0xfe,      0x06, 0x00, 0x00, /* inc byte [es:0] */
    0x05, 0x00,      0x01,             /* add ax, 0x100 */
    0x49,                              /* dec cx */
    0x75, 0xf3,                        /* jnz next */
    0xe6, PORT_DONE,                   /* out PORT_DONE, al */
    0xeb, 0xe6,                        /* jmp again */
};

struct fixture {
	struct config cfg;
	struct machine *m;
	unsigned ask;  /* under m->lock: pages to write, 0: wait */
	unsigned done; /* under m->lock: rounds finished */
	uint64_t *map;
};

static uint64_t port_read(void *dev, uint64_t off, unsigned len)
{
	struct fixture *f = dev;
	unsigned n;

	(void)off;
	(void)len;
	while (!f->ask && !f->m->quitting)
		pthread_cond_wait(&f->m->cond, &f->m->lock);
	n = f->ask;
	f->ask = 0;
	return n;
}

static void port_write(void *dev, uint64_t off, unsigned len, uint64_t val)
{
	struct fixture *f = dev;

	(void)off;
	(void)len;
	(void)val;
	f->done++;
	pthread_cond_broadcast(&f->m->cond);
}

static int no_init(struct vcpu *v, struct err *err)
{
	(void)v;
	(void)err;
	return 0;
}

static void no_fini(struct vcpu *v)
{
	(void)v;
}

static void nothing(struct machine *m)
{
	(void)m;
}

static int no_exit(struct vcpu *v)
{
	(void)v;
	return -EINVAL;
}

static const struct arch_ops bare = {.vcpu_init = no_init,
				     .vcpu_fini = no_fini,
				     .stopped = nothing,
				     .starting = nothing,
				     .unknown_exit = no_exit,
				     .fini = nothing};

static void boot(struct vcpu *v)
{
	struct kvm_regs regs = {.rip = 0x1000, .rflags = 2};
	struct kvm_sregs sregs;

	ck_assert_int_eq(ioctl(v->fd, KVM_GET_SREGS, &sregs), 0);
	sregs.cs.base = 0;
	sregs.cs.selector = 0;
	ck_assert_int_eq(ioctl(v->fd, KVM_SET_SREGS, &sregs), 0);
	ck_assert_int_eq(ioctl(v->fd, KVM_SET_REGS, &regs), 0);
}

/* False: this kernel has no dirty ring. */
static bool set_up(struct fixture *f, uint32_t ring)
{
	static const struct bus_ops ops = {port_read, port_write};
	static const struct ram_backend anonymous = {.kind = RAM_ANONYMOUS, .fd = -1};
	struct err err = {0};
	struct ram_block *b;

	memset(f, 0, sizeof(*f));
	f->cfg.dirty_ring_size = ring;
	f->m = machine_new(&f->cfg, &err);
	if (!f->m && err.errnum == ENOTSUP && ring) {
		skip_test("dirty ring: %s", err.msg);
		return false;
	}
	ck_assert_msg(f->m != NULL, "%s", err.msg);
	machine_lock(f->m);
	f->m->arch = &bare;
	b = memory_add_block(&f->m->mem, "ram", RAM_PAGES * PAGE_BYTES, &anonymous, NULL);
	ck_assert_ptr_nonnull(b);
	ck_assert_int_eq(memory_map_block(&f->m->mem, b, 0, 0, b->bytes, NULL), 0);
	ck_assert_int_eq(memory_write(&f->m->mem, 0x1000, guest, sizeof(guest)), 0);
	ck_assert_int_eq(bus_add(&f->m->ports, PORT_DONE, 2, &ops, f, NULL), 0);
	ck_assert_int_eq(machine_add_vcpus(f->m, 1, NULL), 0);
	boot(f->m->vcpus[0]);
	f->map = bitmap_new(RAM_PAGES);
	ck_assert_int_eq(machine_start(f->m, &err), 0);
	return true;
}

static void tear_down(struct fixture *f)
{
	dirty_stop(f->m);
	f->m->quitting = true;
	pthread_cond_broadcast(&f->m->cond);
	machine_unlock(f->m);
	machine_free(f->m);
	free(f->map);
}

/* Let the guest write n pages and wait until it has. */
static void round_of(struct fixture *f, unsigned n)
{
	unsigned before = f->done;

	f->ask = n;
	pthread_cond_broadcast(&f->m->cond);
	while (f->done == before)
		pthread_cond_wait(&f->m->cond, &f->m->lock);
}

/* Sync; exactly the pages [FIRST_PAGE, FIRST_PAGE + n) and 'also' are dirty; protect and clear. */
static void expect(struct fixture *f, unsigned n, unsigned also)
{
	uint64_t added, want = n + (also ? 1 : 0);
	struct err err = {0};

	ck_assert_msg(dirty_sync(f->m, &f->map, &added, &err) == 0, "%s", err.msg);
	ck_assert_uint_eq(added, want);
	ck_assert_uint_eq(bitmap_count(f->map, RAM_PAGES), want);
	for (unsigned i = 0; i < n; i++)
		ck_assert(bitmap_test(f->map, FIRST_PAGE + i));
	ck_assert(!also || bitmap_test(f->map, also));
	bitmap_for_each_set (page, f->map, RAM_PAGES)
		dirty_protect(f->m, f->m->mem.blocks[0], page, 1);
	bitmap_clear_range(f->map, 0, RAM_PAGES);
}

static void rounds(uint32_t ring)
{
	struct fixture f;
	struct err err = {0};

	if (!set_up(&f, ring))
		return;
	round_of(&f, 40); /* before tracking: not reported */
	ck_assert_msg(dirty_start(f.m, &err) == 0, "%s", err.msg);
	ck_assert_int_eq(dirty_start(f.m, &err), -EBUSY);
	expect(&f, 0, 0);
	round_of(&f, 200);
	expect(&f, 200, 0);
	expect(&f, 0, 0);
	round_of(&f, 3);
	round_of(&f, 5);
	ck_assert_int_eq(memory_write(&f.m->mem, 0x3000, "dma", 3), 0);
	expect(&f, 5, 3);
	expect(&f, 0, 0);
	dirty_stop(f.m);
	round_of(&f, 7);
	ck_assert_int_eq(dirty_start(f.m, NULL), 0);
	expect(&f, 0, 0);
	round_of(&f, 1);
	expect(&f, 1, 0);
	tear_down(&f);
}

START_TEST(test_log)
{
	rounds(0);
}
END_TEST

START_TEST(test_ring)
{
	rounds(1024);
}
END_TEST

/* More pages in one round than the ring has entries: the vCPU leaves the guest and goes on. */
START_TEST(test_ring_overflow)
{
	struct fixture f;

	if (!set_up(&f, 256))
		return;
	ck_assert_int_eq(dirty_start(f.m, NULL), 0);
	for (int i = 0; i < 20; i++) {
		round_of(&f, 220);
		expect(&f, 220, 0);
	}
	tear_down(&f);
}
END_TEST

/* ---- a watch, beside takers that come and go ---- */

static unsigned lost;

static void note_lost(void *opaque)
{
	(void)opaque;
	lost++;
}

/* The instant: the pages since the last one are [FIRST_PAGE, FIRST_PAGE + n) and 'also', and at
 * most 'more'. */
static void instant(struct fixture *f, struct dirty_watch *w, unsigned n, unsigned also,
		    unsigned more)
{
	struct err err = {0};
	uint64_t pages;

	ck_assert_msg(dirty_watch_take(f->m, w, &f->map, &err) == 0, "%s", err.msg);
	pages = bitmap_count(f->map, RAM_PAGES);
	ck_assert_uint_ge(pages, n + (also ? 1 : 0));
	ck_assert_uint_le(pages, n + (also ? 1 : 0) + more);
	for (unsigned i = 0; i < n; i++)
		ck_assert(bitmap_test(f->map, FIRST_PAGE + i));
	ck_assert(!also || bitmap_test(f->map, also));
}

static void forget(struct fixture *f)
{
	bitmap_clear_range(f->map, 0, RAM_PAGES);
}

static void settle(const struct fixture *f, unsigned n)
{
	struct err err = {0};
	uint64_t found;

	ck_assert_msg(dirty_watch_settle(f->m, &found, &err) == 0, "%s", err.msg);
	ck_assert_uint_eq(found, n);
}

static void watch_rounds(uint32_t ring)
{
	struct dirty_watch w = {.on_lost = note_lost};
	struct fixture f;
	struct err err = {0};
	uint64_t added;

	if (!set_up(&f, ring))
		return;
	round_of(&f, 40);
	ck_assert_msg(dirty_watch_start(f.m, &w, &err) == 0, "%s", err.msg);
	instant(&f, &w, 0, 0, 0);
	/* what is not protected at the instant is told once more */
	round_of(&f, 200);
	instant(&f, &w, 200, 0, 0);
	forget(&f);
	round_of(&f, 100);
	settle(&f, ring ? 100 : 200);
	settle(&f, 0);
	instant(&f, &w, 100, 0, ring ? 0 : 100);
	forget(&f);
	/* protected, and written again: told again; and a device's writes */
	round_of(&f, 30);
	settle(&f, 30);
	round_of(&f, 10);
	ck_assert_int_eq(memory_write(&f.m->mem, 0x3000, "dma", 3), 0);
	settle(&f, 10);
	instant(&f, &w, 30, 3, 0);
	/* there was no instant after all */
	dirty_watch_give_back(f.m, &w, &f.map);
	forget(&f);
	round_of(&f, 1);
	settle(&f, 1);
	instant(&f, &w, 30, 3, 0);
	forget(&f);
	/* a taker comes and goes: both are told */
	round_of(&f, 20);
	ck_assert_int_eq(memory_write(&f.m->mem, 0x4000, "dma", 3), 0);
	ck_assert_int_eq(dirty_start(f.m, NULL), 0);
	ck_assert_int_eq(dirty_sync(f.m, &f.map, &added, NULL), 0);
	dirty_protect(f.m, f.m->mem.blocks[0], 0, RAM_PAGES);
	forget(&f);
	round_of(&f, 6);
	settle(&f, 6);
	round_of(&f, 5);
	expect(&f, 6, 0);
	dirty_stop(f.m);
	round_of(&f, 2);
	settle(&f, 2);
	instant(&f, &w, 20, 4, 0);
	forget(&f);
	ck_assert_int_eq(lost, 0);
	dirty_lose(f.m, "it was reset");
	dirty_lose(f.m, "twice");
	ck_assert_int_eq(lost, 1);
	ck_assert(w.lost);
	ck_assert_str_eq(w.why, "it was reset");
	dirty_watch_stop(f.m, &w);
	ck_assert_ptr_null(f.m->dirty);
	lost = 0;
	tear_down(&f);
}

START_TEST(test_watch_log)
{
	watch_rounds(0);
}
END_TEST

START_TEST(test_watch_ring)
{
	watch_rounds(1024);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {test_log, test_ring, test_ring_overflow, test_watch_log,
				      test_watch_ring};

	if (access("/dev/kvm", R_OK | W_OK)) {
		skip_test("no usable /dev/kvm");
		return 0;
	}
	return check_main("dirty", tests, 5);
}
