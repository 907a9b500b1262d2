/*
 * What a guest does to its devices never makes a stream that does not load.
 *
 * A generator drives all devices of a board as a hostile guest would: registers in any order with
 * any values, rings with garbage in them, indices that jump.  Then the machine is paused and saved,
 * and another one loads what was saved: it must take all of it, without a look at guest memory
 * (which is inaccessible meanwhile), and save the same bytes.  With the guest's memory both go on,
 * and the devices of both come to the same end: the guest cannot tell that it has moved.
 */
#include <inttypes.h>
#include <sys/mman.h>
#include <sys/random.h>

#include "devices/chardev/chardev.h"
#include "devices/fw-cfg.h"
#include "devices/ged.h"
#include "devices/rtc.h"
#include "devices/serial.h"
#include "tests/unit/check-main.h"
#include "tests/unit/virtio-backends.h"
#include "vmm/base/log.h"

#define EPISODES 1000
#define STEPS    60
#define DISK     (1 * MiB)
#define SLOTS    3
#define USED_RAM (4 * MiB) /* and some of the last bytes */
#define AREA     (1 * MiB) /* of a device, from AREA * (slot + 1) on: rings, then data */
#define RINGS    0x10000   /* bytes of the rings of a queue */
#define DATA     0x80000   /* offset of the data in an area */

/* ---- chance ---- */

static uint64_t chance_state;

static uint32_t chance(uint32_t n)
{
	chance_state = chance_state * 6364136223846793005ULL + 1442695040888963407ULL;
	return (uint32_t)(chance_state >> 33) % n;
}

/* The host's randomness is not: both machines must do the same with it. */
ssize_t getrandom(void *buf, size_t n, unsigned flags)
{
	(void)flags;
	memset(buf, 0xa5, n);
	return (ssize_t)n;
}

/* ---- a machine with a device of each kind ---- */

struct box {
	struct machine *m;
	struct disk disk;
	struct fake_net net;
	struct block_node *nodes[1];
	struct net_backend *nets[1];
	struct backends be;
	struct chardev line;
	uint16_t avail[SLOTS][3]; /* the driver's index of each queue */
};

static ssize_t line_write(struct chardev *c, const uint8_t *p, size_t n)
{
	(void)p;
	c->state = c->state ? NULL : c; /* takes every other byte */
	return c->state ? (ssize_t)n : 0;
}

static const struct chardev_ops line_ops = {.type = "line", .write = line_write};

static void add_virtio(struct box *b)
{
	struct cfg_device blk = test_device("virtio-blk-device", NULL);
	struct cfg_device net = test_device("virtio-net-device", NULL);
	struct cfg_device rng = test_device("virtio-rng-device", NULL);
	struct err err = {0};

	keyvals_add(&blk.props, "drive", "disk0");
	keyvals_add(&net.props, "netdev", "net0");
	ck_assert_int_eq(device_create(b->m, &blk, 0, &b->be, &err), 0);
	ck_assert_int_eq(device_create(b->m, &net, 1, &b->be, &err), 0);
	ck_assert_int_eq(device_create(b->m, &rng, 2, &b->be, &err), 0);
	device_free(&blk);
	device_free(&net);
	device_free(&rng);
}

static void box_init(struct box *b)
{
	static const struct config cfg = {.ram_bytes = GUEST_RAM, .cpus = 1};

	*b = (struct box){.m = guest_machine()};
	b->m->cfg = &cfg;
	disk_open(&b->disk, DISK, true, false, true);
	fake_net_init(&b->net, b->m, false);
	b->nodes[0] = b->disk.node;
	b->nets[0] = &b->net.be;
	b->be = (struct backends){
	    .blocks = {.v = b->nodes, .n = 1},
              .nets = {.v = b->nets,  .n = 1}
        };
	b->line = (struct chardev){
	    .ops = &line_ops, .m = b->m, .log_fd = -1, .connected = true, .id = (char *)"l"};
	ck_assert_int_eq(fw_cfg_create(b->m, NULL), 0);
	ck_assert_int_eq(ged_create(b->m, NULL), 0);
	ck_assert_int_eq(rtc_create(b->m, NULL), 0);
	ck_assert_int_eq(serial_create(b->m, &b->line, NULL), 0);
	add_virtio(b);
}

static void box_run(struct box *b, bool run)
{
	if (run) {
		vclock_start(&b->m->vclock);
		guest_resume(b->m);
	} else {
		guest_pause(b->m);
		vclock_stop(&b->m->vclock);
	}
}

static void box_fini(struct box *b)
{
	while (!list_empty(&b->m->devices)) {
		struct device *d = container_of(b->m->devices.prev, struct device, link);

		list_del(&d->link);
		d->ops->destroy(d);
	}
	disk_close(&b->disk);
	guest_free(b->m);
}

/* ---- a hostile guest ---- */

static uint64_t area(unsigned slot)
{
	return AREA * (slot + 1);
}

static uint64_t ring_gpa(unsigned slot, unsigned q)
{
	return area(slot) + RINGS * q;
}

static uint32_t any_value(void)
{
	static const uint32_t values[] = {0,      1,       2,      3,          4,         8,
					  16,     64,      256,    1000,       1024,      4096,
					  0xffff, 0x10000, 0x1000, 0xffffffff, 0xfffffff0};

	return chance(4) ? values[chance(ARRAY_LEN(values))] : chance(UINT32_MAX);
}

static uint8_t any_status(void)
{
	static const uint8_t values[] = {1,   3,   4,    7,    0xb,  0xf, 0xf,
					 0xf, 0x4, 0x44, 0x4f, 0x8f, 0xff};

	return chance(12) ? values[chance(ARRAY_LEN(values))] : 0;
}

static void any_register(struct box *b)
{
	static const uint16_t regs[] = {0x14, 0x20, 0x20, 0x24, 0x30, 0x38, 0x44, 0x50, 0x64, 0x70,
					0x80, 0x84, 0x90, 0x94, 0xa0, 0xa4, 0xc0, 0x28, 0x40};
	uint16_t reg = regs[chance(ARRAY_LEN(regs))];
	unsigned slot = chance(SLOTS);

	reg_set(b->m, slot, reg, reg == 0x70 ? any_status() : any_value());
}

static void any_config(struct box *b)
{
	uint64_t at = slot_base(chance(SLOTS)) + 0x100 + chance(64);

	if (chance(3))
		bus_write(&b->m->mmio, at, 1U << chance(4), (uint64_t)any_value() << 8);
	else
		(void)bus_read(&b->m->mmio, at, 1U << chance(4));
}

/* As a driver does it, but for what is left out or wrong now and then. */
static void any_driver(struct box *b)
{
	unsigned slot = chance(SLOTS);
	uint64_t f = features_get(b->m, slot);

	reg_set(b->m, slot, 0x70, 0);
	memset(b->avail[slot], 0, sizeof(b->avail[slot]));
	if (!chance(4))
		f &= VIRTIO_F_VERSION_1 | any_value();
	if (chance(12))
		features_set(b->m, slot, f);
	if (chance(12))
		reg_set(b->m, slot, 0x70, 0xb);
	for (unsigned q = 0; q < 3; q++) {
		struct ring r = ring_at(&b->m->mem, ring_gpa(slot, q), 64);

		if (!chance(8))
			r.num = (uint16_t)any_value();
		if (!chance(24))
			r.avail = any_value();
		if (!chance(24))
			r.used = GUEST_RAM - 8 * chance(200);
		if (chance(8))
			memset(memory_ptr(&b->m->mem, ring_gpa(slot, q), RINGS), 0, RINGS);
		if (chance(12))
			queue_set(b->m, slot, q, &r);
	}
	reg_set(b->m, slot, 0x70, chance(12) ? 0xf : any_status());
}

/* A chain that means something to the device, mostly. */
static void any_chain(struct box *b)
{
	unsigned slot = chance(SLOTS), q = chance(3);
	struct ring r = ring_at(&b->m->mem, ring_gpa(slot, q), 64);
	uint64_t data = area(slot) + DATA + 0x1000ULL * chance(64);
	bool out = slot == 0 || q > 0;

	r.avail_idx = b->avail[slot][q];
	put_le32(memory_ptr(&b->m->mem, data, 16), slot == 0 ? chance(14) : chance(0x10000));
	put_le64(memory_ptr(&b->m->mem, data + 8, 8), chance(16));
	ring_desc(&r, 0, data, out ? 16 : 0x800, out ? VIRTQ_DESC_NEXT : VIRTQ_DESC_WRITE, 1);
	ring_desc(&r, 1, data + 0x800, 512 * chance(4), (uint16_t)chance(4), 2);
	ring_desc(&r, 2, data + 0xff0, 1, chance(8) ? VIRTQ_DESC_WRITE : (uint16_t)any_value(), 0);
	ring_avail(&r, chance(16) ? 0 : (uint16_t)any_value());
	b->avail[slot][q] = r.avail_idx;
	if (chance(4))
		kick(b->m, slot, q);
}

static void any_garbage(struct box *b)
{
	unsigned slot = chance(SLOTS), q = chance(3);
	uint64_t ring = ring_gpa(slot, q);

	switch (chance(6)) {
	case 0: /* the available index jumps without a notification */
		put16(&b->m->mem, ring + 0x4000 + 2, (uint16_t)any_value());
		break;
	case 1: /* so does the used index, which is not the guest's to write */
		put16(&b->m->mem, ring + 0x8000 + 2, (uint16_t)any_value());
		break;
	case 2:
		memset(memory_ptr(&b->m->mem, ring, RINGS), 0xff, RINGS);
		break;
	case 3:
		memset(memory_ptr(&b->m->mem, ring + 0x4000 * chance(3), 0x400), 0xff, 0x400);
		break;
	case 4:
		memset(memory_ptr(&b->m->mem, ring, RINGS), 0, RINGS);
		break;
	default:
		for (unsigned i = 0; i < 64; i++)
			put16(&b->m->mem, ring + 2ULL * chance(RINGS / 2), (uint16_t)any_value());
		break;
	}
	if (chance(2))
		kick(b->m, slot, q);
}

struct frame {
	struct box *b;
	uint8_t bytes[1400];
};

static void frame_arrives(void *opaque)
{
	struct frame *f = opaque;
	const struct net_backend *be = &f->b->net.be;

	(void)be->client->receive(be->client_opaque, f->bytes, sizeof(f->bytes));
}

static void any_frame(struct box *b)
{
	struct frame f = {.b = b};

	memset(f.bytes, 0xff, 12);
	loop_call(b->m->io, frame_arrives, &f);
}

/* The board's other devices: ports, and what comes from outside. */
static void any_port(struct box *b)
{
	static const uint64_t bases[] = {0x3f8,           0x70,          0x510, 0x501,
					 BOARD_GED_EVENT, BOARD_GED_REGS};
	unsigned i = chance(ARRAY_LEN(bases));
	struct bus *bus = i < 4 ? &b->m->ports : &b->m->mmio;
	uint64_t addr = bases[i] + chance(16);

	machine_lock(b->m);
	if (chance(4))
		bus_write(bus, addr, 1U << chance(4), any_value());
	else
		(void)bus_read(bus, addr, 1U << chance(4));
	machine_unlock(b->m);
}

static void any_event(struct box *b)
{
	struct serial *s = (struct serial *)vms_find(&b->m->vmstate, "serial", 0)->dev;
	uint8_t bytes[16] = "from the outside";

	if (chance(2))
		uart_receive(&s->uart, bytes, MIN(uart_can_receive(&s->uart), sizeof(bytes)));
	else
		uart_retry(&s->uart);
}

static void hostile_guest(struct box *b)
{
	static void (*const steps[])(struct box *) = {
	    any_register, any_config,  any_driver, any_driver, any_chain, any_chain,
	    any_chain,    any_garbage, any_frame,  any_port,   any_event};
	unsigned n = 1 + chance(STEPS);

	for (unsigned i = 0; i < n; i++) {
		steps[chance(ARRAY_LEN(steps))](b);
		if (!chance(4))
			guest_sync(b->m);
		if (!chance(32)) { /* stop and cont */
			box_run(b, false);
			box_run(b, true);
		}
	}
	/* The line's two reads end in an event that both machines get or neither: drop it. */
	for (int r = 0; r < REQUEST_COUNT; r++)
		machine_request_delivered(b->m, (enum request)r);
}

/* ---- save, load, compare ---- */

static void save(struct vms_entry *e, struct buf *out, uint64_t seed)
{
	struct err err = {0};

	ck_assert_msg(vms_save(e->desc, e->dev, out, NULL, &err) == 0, "seed %" PRIu64 ": %s: %s",
		      seed, e->idstr, err.msg);
}

static void load(struct vms_entry *e, const struct buf *saved, uint64_t seed)
{
	struct src in = src_mem(saved->data, saved->len);
	struct err err = {0};

	ck_assert_msg(vms_load(e->desc, e->dev, &in, e->desc->version, &err) == 0,
		      "seed %" PRIu64 ": %s does not load: %s", seed, e->idstr, err.msg);
	ck_assert_uint_eq(in.at, in.len);
}

/* The clock's bytes are of the moment. */
static bool has_time(const struct vms_entry *e)
{
	return e->rank == VMS_RANK_RTC;
}

static void compare(const struct vms_entry *e, const struct buf *a, const struct buf *b,
		    const char *when, uint64_t seed)
{
	size_t n = MIN(a->len, b->len), at = 0;

	if (has_time(e))
		return;
	while (at < n && a->data[at] == b->data[at])
		at++;
	ck_assert_msg(a->len == b->len && at == n,
		      "seed %" PRIu64 ": %s %s: %zu and %zu bytes, different from %zu on", seed,
		      e->idstr, when, a->len, b->len, at);
}

static void protect(struct machine *m, int prot)
{
	ck_assert_int_eq(mprotect(m->mem.blocks[0]->hva, GUEST_RAM, prot), 0);
}

static void move_state(struct box *from, struct box *to, uint64_t seed)
{
	protect(to->m, PROT_NONE);
	list_for_each (e, &from->m->vmstate.entries, struct vms_entry, link) {
		struct vms_entry *there = vms_find(&to->m->vmstate, e->idstr, 0);
		struct buf first = {0}, second = {0};

		save(e, &first, seed);
		load(there, &first, seed);
		save(there, &second, seed);
		compare(e, &first, &second, "after the load", seed);
		buf_free(&first);
		buf_free(&second);
	}
	protect(to->m, PROT_READ | PROT_WRITE);
}

/* Both guests go on, and are paused again. */
static void compare_fates(struct box *a, struct box *b, uint64_t seed)
{
	const uint8_t *from = a->m->mem.blocks[0]->hva;
	uint8_t *to = b->m->mem.blocks[0]->hva;

	memcpy(to, from, USED_RAM);
	memcpy(to + GUEST_RAM - PAGE_BYTES, from + GUEST_RAM - PAGE_BYTES, PAGE_BYTES);
	box_run(a, true);
	box_run(b, true);
	box_run(a, false);
	box_run(b, false);
	list_for_each (e, &a->m->vmstate.entries, struct vms_entry, link) {
		struct buf here = {0}, there = {0};

		if (e->rank != VMS_RANK_VIRTIO)
			continue;
		save(e, &here, seed);
		save(vms_find(&b->m->vmstate, e->idstr, 0), &there, seed);
		compare(e, &here, &there, "when both went on", seed);
		buf_free(&here);
		buf_free(&there);
	}
}

static void episode(uint64_t seed)
{
	struct box a, b;

	chance_state = seed;
	box_init(&a);
	box_init(&b);
	box_run(&a, true);
	hostile_guest(&a);
	box_run(&a, false);
	move_state(&a, &b, seed);
	compare_fates(&a, &b, seed);
	box_fini(&a);
	box_fini(&b);
}

START_TEST(whatever_a_guest_does_loads)
{
	const char *seed = getenv("HOSTILE_SEED"), *n = getenv("HOSTILE_EPISODES");

	(void)log_set_level(getenv("HOSTILE_LOG") ? LOG_WARN : LOG_ERROR);
	if (seed)
		episode(strtoull(seed, NULL, 0));
	for (uint64_t i = 1; !seed && i <= (n ? strtoull(n, NULL, 0) : EPISODES); i++)
		episode(i);
}
END_TEST

CHECK_MAIN("hostile-guest", whatever_a_guest_does_loads)
