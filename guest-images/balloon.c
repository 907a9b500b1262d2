/*
 * balloon.c - a driver of virtio-balloon: puts as many pages into it as it is told
 *
 * Memory from 8 MiB on (pages=N, 1024 at most) is stamped, and goes into the balloon from its
 * beginning; memory from 12 MiB on, as much, is stamped and "free": the guest hints it when
 * it is asked to, and reports it. "free" is printed when it may be used again.
 *
 * Commands: c  check the stamps of what is not in the balloon: "checked GOOD BAD"
 *           r  report the free memory: "reported"
 *           w  stamp the free memory anew: "stamped"
 *           f  check the stamps of the free memory: "free GOOD BAD"
 *
 * With "reuse" half of the free memory is stamped again before the hint of it.
 */
#include "virtio.h"

#define PAGES_GPA    (8ul << 20)
#define FREE_GPA     (12ul << 20)
#define MAX_PAGES    1024u
#define BATCH        128u
#define F_STATS      (1ull << 1)
#define F_HINT       (1ull << 3)
#define F_REPORT     (1ull << 5)
#define CFG_TARGET   0u
#define CFG_ACTUAL   4u
#define CFG_CMD_ID   8u
#define CMD_DONE     1u
#define CMD_FIRST    0x80000000u
#define STAT_MEMFREE 4u

enum { INFLATE, DEFLATE, STATS, EXTRA, QUEUES };

static struct virtio dev;
static struct virtio_queue queues[QUEUES];
static uint32_t pages, actual, cmd_id;
static uint64_t stamps;

static volatile uint64_t *word(uint64_t gpa, uint32_t page)
{
	return at_gpa(gpa + (uint64_t)page * PAGE_BYTES);
}

static void stamp(uint64_t gpa, uint32_t from, uint32_t to)
{
	for (uint32_t i = from; i < to; i++)
		*word(gpa, i) = stamps + i;
}

static void check(const char *what, uint64_t gpa, uint32_t from)
{
	uint64_t good = 0;

	for (uint32_t i = from; i < pages; i++)
		good += *word(gpa, i) == stamps + i;
	field(what, good);
	field(" ", pages - from - good);
	text("\n");
}

static void request(unsigned queue, void *at, uint32_t len, bool in)
{
	const struct piece piece = {at, len, in};
	uint32_t used;

	if (!virtio_request(&queues[queue], &piece, 1, false, &used))
		text("no answer\n");
}

/* Pages [from, from + n), n at most BATCH, into the balloon or out of it. */
static void move_pages(unsigned queue, uint32_t from, uint32_t n)
{
	static uint32_t pfns[BATCH];

	for (uint32_t i = 0; i < n; i++)
		pfns[i] = (uint32_t)(PAGES_GPA / PAGE_BYTES) + from + i;
	request(queue, pfns, n * (uint32_t)sizeof(pfns[0]), false);
}

static void follow_target(void)
{
	uint32_t target = virtio_config32(&dev, CFG_TARGET), was = actual;

	if (target > pages)
		target = pages;
	while (actual < target) {
		uint32_t n = target - actual < BATCH ? target - actual : BATCH;

		move_pages(INFLATE, actual, n);
		actual += n;
	}
	while (actual > target) {
		uint32_t n = actual - target < BATCH ? actual - target : BATCH;

		actual -= n;
		move_pages(DEFLATE, actual, n);
		stamp(PAGES_GPA, actual, actual + n);
	}
	if (actual == was)
		return;
	virtio_config32_write(&dev, CFG_ACTUAL, actual);
	field("balloon ", actual);
	text("\n");
}

static void follow_hints(void)
{
	static uint32_t stop;
	static bool holds;
	uint32_t id;

	if (!(dev.features & F_HINT))
		return;
	id = virtio_config32(&dev, CFG_CMD_ID);
	if (id == cmd_id)
		return;
	if (id == CMD_DONE && holds) {
		holds = false;
		text("free\n");
	}
	cmd_id = id;
	if (id < CMD_FIRST)
		return;
	if (arg("reuse")) { /* half of what it is about to hint is in use again */
		stamps += MAX_PAGES;
		stamp(FREE_GPA, 0, pages / 2);
	}
	request(EXTRA, &cmd_id, sizeof(cmd_id), false);
	request(EXTRA, at_gpa(FREE_GPA), pages * PAGE_BYTES, true);
	request(EXTRA, &stop, sizeof(stop), false);
	holds = true;
	text("hinted\n");
}

/* The device asks for new numbers by giving the old ones back. */
static void send_stats(void)
{
	static struct {
		uint16_t tag;
		uint64_t val;
	} __attribute__((packed)) stat = {STAT_MEMFREE, 0};
	const struct piece piece = {&stat, sizeof(stat), false};
	static bool sent;
	uint32_t used;

	if (!(dev.features & F_STATS) ||
	    (sent && queues[STATS].used->idx == queues[STATS].used_seen))
		return;
	if (sent && virtio_wait(&queues[STATS], &used))
		text("statistics\n");
	sent = true;
	stat.val += PAGE_BYTES;
	virtio_submit(&queues[STATS], &piece, 1, false);
}

static void obey(char c)
{
	switch (c) {
	case 'c':
		check("checked ", PAGES_GPA, actual);
		break;
	case 'r':
		request(EXTRA, at_gpa(FREE_GPA), pages * PAGE_BYTES, true);
		text("reported\n");
		break;
	case 'w':
		stamps += MAX_PAGES;
		stamp(PAGES_GPA, actual, pages);
		stamp(FREE_GPA, 0, pages);
		text("stamped\n");
		break;
	case 'f':
		check("free ", FREE_GPA, 0);
		break;
	default:
		break;
	}
}

static bool start(void)
{
	unsigned n = EXTRA;

	if (!virtio_find(&dev, VIRTIO_ID_BALLOON, 0) ||
	    !virtio_begin(&dev, F_STATS | F_HINT | F_REPORT | VIRTIO_F_EVENT_IDX))
		return false;
	if (dev.features & (F_HINT | F_REPORT))
		n = QUEUES;
	for (unsigned i = 0; i < n; i++)
		if (!virtio_queue_setup(&dev, &queues[i], i))
			return false;
	virtio_ready(&dev);
	return true;
}

void guest_main(void)
{
	pages = (uint32_t)arg_number("pages", MAX_PAGES);
	if (pages > MAX_PAGES)
		pages = MAX_PAGES;
	stamps = 1;
	stamp(PAGES_GPA, 0, pages);
	stamp(FREE_GPA, 0, pages);
	ticks_start();
	commands_start();
	text(start() ? "ready\n" : "no balloon\n");
	for (;;) {
		follow_target();
		follow_hints();
		send_stats();
		obey(command());
		wait_for_interrupt();
	}
}
