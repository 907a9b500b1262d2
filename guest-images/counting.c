/* counting.c - stamping pages, pacing, reports, and device work between pages */
#include "counting.h"
#include "virtio.h"

struct counter {
	volatile struct counting_status *status;
	uint64_t tick_seen, budget;
};

static uint64_t rate, every;
static volatile bool burst;
static bool with_devices;
static unsigned running_cpus;

static struct {
	struct disk disk;
	struct virtio rng, net;
	struct virtio_queue rng_q, rx, tx;
	bool has_disk, has_rng, has_net, receiving;
} dev;

static uint64_t stamp_check(uint64_t generation, uint64_t index)
{
	return generation ^ index ^ STAMP_MAGIC;
}

static void stamp_page(volatile struct counting_status *s)
{
	volatile struct stamp *p = at_gpa(s->base + s->index * PAGE_BYTES);
	uint64_t g = s->generation, i = s->index;

	if (g > 1 && (p->generation != g - 1 || p->index != i || p->check != stamp_check(g - 1, i)))
		s->errors++;
	p->generation = g;
	p->index = i;
	p->check = stamp_check(g, i);
	if (i + 1 == s->pages) {
		/* A reader that sees generation g + 1 with this index allows for all of round g. */
		s->index = 0;
		s->generation = g + 1;
	} else {
		s->index = i + 1;
	}
}

static void look_at_clock(volatile struct counting_status *s)
{
	uint64_t now = rdtsc();

	if (now < s->tsc)
		s->backwards++;
	s->tsc = now;
	s->ticks = ticks[s->cpu];
}

/* One page may be written; waits for the timer when the rate's share is used up. */
static void pace(struct counter *c)
{
	if (!rate || burst)
		return;
	if (c->budget > 0) {
		c->budget--;
		return;
	}
	interrupts_off();
	while (ticks[c->status->cpu] == c->tick_seen)
		wait_for_interrupt();
	interrupts_on();
	c->tick_seen = ticks[c->status->cpu];
	c->budget = rate / TICKS_PER_SECOND;
}

static void disk_work(volatile struct counting_status *s)
{
	static uint64_t out[SECTOR_BYTES / 8], in[SECTOR_BYTES / 8];
	uint64_t sector = s->disk % dev.disk.sectors;

	for (unsigned i = 0; i < SECTOR_BYTES / 8; i++)
		out[i] = stamp_check(s->disk, i);
	if (disk_request(&dev.disk, BLK_OUT, sector, out, SECTOR_BYTES, 0) != BLK_OK ||
	    disk_request(&dev.disk, BLK_IN, sector, in, SECTOR_BYTES, 0) != BLK_OK ||
	    memcmp(in, out, SECTOR_BYTES) != 0)
		s->disk_errors++;
	s->disk++;
}

static void rng_work(volatile struct counting_status *s)
{
	static uint64_t in[2];
	const struct piece piece = {in, sizeof(in), true};
	uint32_t len;

	in[0] = 0;
	in[1] = 0;
	if (!virtio_request(&dev.rng_q, &piece, 1, false, &len) || len == 0 || !(in[0] | in[1]))
		s->rng_errors++;
	s->rng++;
}

/* 12 bytes of virtio header, 14 of Ethernet, the count. */
struct frame {
	uint8_t header[12], to[6], from[6], type[2], count[8], rest[30];
};

/*
 * arp=1: the network is a real one, with a host 10.0.2.2.  The frame asks for
 * its address, and the count is in the guest's own, which the answer repeats.
 */
static bool with_arp;

struct arp {
	uint8_t kind[8], sender[6], sender_ip[4], target[6], target_ip[4];
};

static uint8_t arp_host(uint64_t n)
{
	return (uint8_t)(16 + n % 200);
}

static void arp_ask(struct frame *f, uint64_t n)
{
	static const uint8_t request[8] = {0, 1, 8, 0, 6, 4, 0, 1}, host[4] = {10, 0, 2, 2};
	struct arp a = {.sender_ip = {10, 0, 2, arp_host(n)}};

	memcpy(a.kind, request, sizeof(request));
	memcpy(a.sender, f->from, sizeof(a.sender));
	memcpy(a.target_ip, host, sizeof(host));
	f->type[0] = 0x08;
	f->type[1] = 0x06;
	memcpy(f->count, &a, sizeof(a));
}

static bool arp_answered(const struct frame *f, uint64_t n)
{
	struct arp a;

	memcpy(&a, f->count, sizeof(a));
	return f->type[0] == 0x08 && f->type[1] == 0x06 && a.kind[7] == 2 &&
	       a.target_ip[3] == arp_host(n);
}

static bool frame_send(uint64_t n)
{
	static struct frame out;
	const struct piece transmit = {&out, sizeof(out), false};
	uint32_t len;

	memset(out.to, 0xff, sizeof(out.to));
	for (unsigned i = 0; i < 6; i++)
		out.from[i] = virtio_config8(&dev.net, i);
	out.type[0] = 0x88; /* an experimental type */
	out.type[1] = 0xb5;
	memcpy(out.count, &n, sizeof(n));
	if (with_arp)
		arp_ask(&out, n);
	return virtio_request(&dev.tx, &transmit, 1, false, &len);
}

/* Waits for the echo of frame n; late echoes of older ones are passed over. */
static bool frame_echoed(uint64_t n)
{
	static union {
		struct frame f;
		uint8_t room[12 + 1600];
	} in;
	const struct piece receive = {&in, sizeof(in), true};
	uint64_t got;
	uint32_t len;

	for (;;) {
		if (!dev.receiving)
			virtio_submit(&dev.rx, &receive, 1, false);
		dev.receiving = true;
		if (!virtio_wait_ticks(&dev.rx, &len, TICKS_PER_SECOND / 5))
			return false;
		dev.receiving = false;
		memcpy(&got, in.f.count, sizeof(got));
		if (with_arp ? arp_answered(&in.f, n) : len == sizeof(in.f) && got == n)
			return true;
	}
}

/* A frame goes out and its echo comes back.  A network may lose frames: ten tries. */
static void net_work(volatile struct counting_status *s)
{
	unsigned tries = 0;

	while (tries < 10 && (!frame_send(s->net) || !frame_echoed(s->net)))
		tries++;
	s->net_lost += tries;
	if (tries == 10)
		s->net_errors++;
	s->net++;
}

static void device_work(volatile struct counting_status *s)
{
	interrupts_off();
	if (dev.has_disk)
		disk_work(s);
	if (dev.has_rng)
		rng_work(s);
	if (dev.has_net)
		net_work(s);
	interrupts_on();
}

static void devices_start(void)
{
	const uint64_t rings = VIRTIO_F_INDIRECT | VIRTIO_F_EVENT_IDX;

	dev.has_disk = disk_start(&dev.disk, 0, rings);
	dev.has_rng = virtio_find(&dev.rng, VIRTIO_ID_RNG, 0) && virtio_begin(&dev.rng, rings) &&
		      virtio_queue_setup(&dev.rng, &dev.rng_q, 0);
	if (dev.has_rng)
		virtio_ready(&dev.rng);
	dev.has_net = virtio_find(&dev.net, VIRTIO_ID_NET, 0) &&
		      virtio_begin(&dev.net, rings | VIRTIO_F_NET_MAC | arg_number("net", 0)) &&
		      virtio_queue_setup(&dev.net, &dev.rx, 0) &&
		      virtio_queue_setup(&dev.net, &dev.tx, 1);
	with_arp = arg_number("arp", 0);
	if (dev.has_net)
		virtio_ready(&dev.net);
}

static volatile struct counting_status *status_of(unsigned cpu)
{
	return at_gpa(COUNTING_STATUS + cpu * PAGE_BYTES);
}

static void report(void)
{
	for (unsigned cpu = 0; cpu < running_cpus; cpu++) {
		volatile struct counting_status *s = status_of(cpu);

		field("R cpu=", cpu);
		field(" gen=", s->generation);
		field(" index=", s->index);
		field(" errors=", s->errors);
		field(" ticks=", s->ticks);
		field(" backwards=", s->backwards);
		if (cpu == 0 && with_devices) {
			field(" disk=", s->disk);
			field(" disk_errors=", s->disk_errors);
			field(" rng=", s->rng);
			field(" rng_errors=", s->rng_errors);
			field(" net=", s->net);
			field(" net_errors=", s->net_errors);
			field(" net_lost=", s->net_lost);
		}
		text("\n");
	}
	text("R end\n");
}

static void obey(char c)
{
	switch (c) {
	case 'r':
		report();
		break;
	case 'b':
		burst = true;
		break;
	case 'n':
		burst = false;
		break;
	case 'q':
		power_off();
	case 'x':
		request_reset();
	default:
		break;
	}
}

/* Only when every status page is filled in: the host looks at them from now on. */
static void say_started(void)
{
	for (unsigned cpu = 0; cpu < running_cpus; cpu++) {
		while (status_of(cpu)->magic != COUNTING_MAGIC)
			wait_for_interrupt();
	}
	field("counting on ", running_cpus);
	text("\n");
}

static _Noreturn void count_on(unsigned cpu)
{
	struct counter c = {.status = status_of(cpu)};
	volatile struct counting_status *s = c.status;
	uint64_t pages = arg_number("pages", 1000), until_devices = every;

	s->cpu = cpu;
	s->base = arg_number("start", 16u << 20) + cpu * pages * PAGE_BYTES;
	s->pages = pages;
	s->generation = 1;
	s->magic = COUNTING_MAGIC;
	s->tsc = rdtsc();
	ticks_start();
	if (cpu == 0)
		say_started();
	interrupts_on();
	for (;;) {
		pace(&c);
		stamp_page(s);
		if (s->index % 8 == 0)
			look_at_clock(s);
		if (cpu != 0)
			continue;
		obey(command());
		if (with_devices && --until_devices == 0) {
			device_work(s);
			until_devices = every;
		}
	}
}

static void other_cpu(unsigned cpu)
{
	count_on(cpu);
}

_Noreturn void counting_run(bool all_cpus, bool devices)
{
	rate = arg_number("rate", 0);
	every = arg_number("every", 64);
	with_devices = devices;
	running_cpus = 1;
	for (unsigned cpu = 0; cpu < MAX_CPUS; cpu++)
		memset((void *)status_of(cpu), 0, sizeof(struct counting_status));
	ticks_start();
	commands_start();
	if (devices)
		devices_start();
	if (all_cpus) {
		unsigned cpus = machine_cpus();

		running_cpus = cpus_start(cpus, other_cpu);
		if (running_cpus != cpus)
			text("FAIL not every processor has started\n");
	}
	count_on(0);
}
