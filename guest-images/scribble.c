/*
 * scribble.c - random requests to a disk, each read checked against what was written
 *
 * Four requests at a time, on blocks of 4 KiB of which each has a number and a generation; a
 * request is for one to eight of them.  ops=N (0: no end) and seed=S; zeroes=1 and discard=1 for
 * those requests too.  Says "at N" now and then, "bad" for a block with another content, and at
 * the end "done N bad M".  Commands: v (read all that was written), f (flush), c (the disk's size
 * as the device says it now), q (power off).
 */
#include "lib.h"
#include "virtio.h"

#define BLOCK_BYTES   4096u
#define BLOCK_SECTORS (BLOCK_BYTES / SECTOR_BYTES)
#define MAX_BLOCKS    16384u
#define WORDS         (BLOCK_BYTES / 8)
#define STEP          16u /* of these words one is written and looked at: four in a sector */
#define RUN           8u  /* blocks in a request, at most */
#define BATCH         4u
#define UNKNOWN       0xffffu /* discarded: anything may be there */
#define REPORT        256u

#define BLK_DISCARD        11u
#define BLK_WRITE_ZEROES   13u
#define BLK_F_DISCARD      (1ull << 13)
#define BLK_F_WRITE_ZEROES (1ull << 14)

struct request {
	struct {
		uint32_t type, reserved;
		uint64_t sector;
	} header;
	struct {
		uint64_t sector;
		uint32_t sectors, flags;
	} range;
	volatile uint8_t status;
	unsigned first, n; /* blocks */
};

static struct disk disk;
static struct request batch[BATCH];
static uint64_t data[BATCH][RUN * WORDS] __attribute__((aligned(4096)));
static uint16_t generation[MAX_BLOCKS]; /* 0: zeroes */
static unsigned blocks, bad;
static uint64_t seed;

static uint64_t next_random(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

static uint64_t word(unsigned block, unsigned gen, unsigned i)
{
	return gen ? ((uint64_t)block << 40 | (uint64_t)gen << 20 | i) + 1 : 0;
}

static void fill(uint64_t *p, unsigned block, unsigned gen)
{
	for (unsigned i = 0; i < WORDS; i += STEP)
		p[i] = word(block, gen, i);
}

static void check(const uint64_t *p, unsigned block)
{
	if (generation[block] == UNKNOWN)
		return;
	for (unsigned i = 0; i < WORDS; i += STEP) {
		if (p[i] == word(block, generation[block], i))
			continue;
		bad++;
		field("bad block ", block);
		field(" word ", i);
		field(" is ", p[i]);
		field(" generation ", generation[block]);
		text("\n");
		return;
	}
}

/* Before it is submitted: a write is what the blocks hold from now on. */
static void prepare(unsigned slot, uint32_t type)
{
	struct request *r = &batch[slot];

	for (unsigned i = 0; i < r->n; i++) {
		uint16_t *gen = &generation[r->first + i];

		if (type == BLK_OUT)
			*gen = (uint16_t)(*gen >= 0xfff0 ? 1 : *gen + 1);
		else if (type == BLK_WRITE_ZEROES)
			*gen = 0;
		else if (type == BLK_DISCARD)
			*gen = UNKNOWN;
		if (type == BLK_OUT)
			fill(data[slot] + i * WORDS, r->first + i, *gen);
	}
}

static void submit(unsigned slot, uint32_t type, unsigned first, unsigned n)
{
	struct request *r = &batch[slot];
	struct piece pieces[3] = {
	    {&r->header, sizeof(r->header), false}
        };
	unsigned used = 1;

	r->header.type = type;
	r->header.sector = type == BLK_IN || type == BLK_OUT ? first * BLOCK_SECTORS : 0;
	r->first = first;
	r->n = n;
	r->status = BLK_NOANSWER;
	prepare(slot, type);
	if (type == BLK_IN || type == BLK_OUT)
		pieces[used++] = (struct piece){data[slot], n * BLOCK_BYTES, type == BLK_IN};
	if (type == BLK_DISCARD || type == BLK_WRITE_ZEROES) {
		r->range.sector = first * BLOCK_SECTORS;
		r->range.sectors = n * BLOCK_SECTORS;
		r->range.flags = type == BLK_WRITE_ZEROES ? (uint32_t)(next_random() & 1) : 0;
		pieces[used++] = (struct piece){&r->range, sizeof(r->range), false};
	}
	pieces[used++] = (struct piece){(void *)(uintptr_t)&r->status, 1, true};
	virtio_submit(&disk.q, pieces, used, false);
}

static void await(unsigned n)
{
	uint32_t len;

	for (unsigned i = 0; i < n; i++)
		if (!virtio_wait(&disk.q, &len)) {
			text("the disk does not answer\n");
			finish(1);
		}
	for (unsigned slot = 0; slot < n; slot++) {
		struct request *r = &batch[slot];

		if (r->status != BLK_OK) {
			bad++;
			field("error: request ", r->header.type);
			field(" status ", r->status);
			text("\n");
		}
		for (unsigned i = 0; r->header.type == BLK_IN && i < r->n; i++)
			check(data[slot] + i * WORDS, r->first + i);
	}
}

static uint32_t choose(void)
{
	unsigned r = (unsigned)(next_random() % 100);

	if (r < 40)
		return BLK_IN;
	if (r < 48 && disk.dev.features & BLK_F_WRITE_ZEROES)
		return BLK_WRITE_ZEROES;
	if (r < 54 && disk.dev.features & BLK_F_DISCARD)
		return BLK_DISCARD;
	if (r < 56)
		return BLK_FLUSH;
	return BLK_OUT;
}

/* Four requests, each in a quarter of the disk of its own: none overlaps. */
static void round_of(void)
{
	unsigned part = blocks / BATCH;

	for (unsigned slot = 0; slot < BATCH; slot++) {
		uint32_t type = choose();
		unsigned n = 1 + (unsigned)(next_random() % RUN);
		unsigned first = (unsigned)(next_random() % (part - n));

		if (type == BLK_FLUSH)
			n = 0;
		submit(slot, type, slot * part + first, n);
	}
	await(BATCH);
}

static void verify(void)
{
	for (unsigned b = 0; b + RUN <= blocks; b += RUN) {
		submit(0, BLK_IN, b, RUN);
		await(1);
	}
	field("verified bad ", bad);
	text("\n");
}

static void obey(char c)
{
	switch (c) {
	case 'v':
		verify();
		break;
	case 'f':
		submit(0, BLK_FLUSH, 0, 0);
		await(1);
		text("flushed\n");
		break;
	case 'c':
		field("sectors ", virtio_config32(&disk.dev, 0));
		field(" changes ", disk.dev.config_interrupts);
		text("\n");
		break;
	case 'q':
		power_off();
	default:
		break;
	}
}

void guest_main(void)
{
	uint64_t ops = arg_number("ops", 0);
	uint64_t wanted = VIRTIO_F_BLK_FLUSH | (arg("discard") ? BLK_F_DISCARD : 0) |
			  (arg("zeroes") ? BLK_F_WRITE_ZEROES : 0);

	seed = arg_number("seed", 1) * 0x9e3779b97f4a7c15ull | 1;
	ticks_start();
	commands_start();
	if (!disk_start(&disk, 0, wanted)) {
		text("no disk\n");
		finish(1);
	}
	blocks = (unsigned)(disk.sectors / BLOCK_SECTORS);
	if (blocks > MAX_BLOCKS)
		blocks = MAX_BLOCKS;
	field("scribbling on ", blocks);
	text("\n");
	for (uint64_t n = 0; !ops || n < ops; n += BATCH) {
		round_of();
		if (n % REPORT == 0) {
			field("at ", n);
			field(" bad ", bad);
			text("\n");
		}
		for (char c = command(); c; c = command())
			obey(c);
	}
	verify();
	field("done ", ops);
	field(" bad ", bad);
	text("\n");
	for (;;) {
		wait_for_interrupt();
		for (char c = command(); c; c = command())
			obey(c);
	}
}
