/*
 * What a source says when its guest has gone: ranges to discard, then page records.  They are
 * carried out or refused with a sentence; a page that was there and not discarded stays as it is,
 * nothing beside the blocks is written, and what is left to come is what has not been received.
 *
 * Input: a byte (bit 0: the records of the fast lane, 1: RUN is known, 2: pages of the host have
 * four parts, 3: a memfd, 4: records are handed out in small pieces), the length of the first
 * RAM_DISCARD's payload, that payload, and records.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "migration/incoming/postcopy.h"
#include "migration/ram/postcopy/records.h"
#include "migration/ram/ram.h"
#include "tests/fuzz/piecewise.h"
#include "tests/unit/bare-machine.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"

#define PAGES 32U
#define PARTS 4U

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerInitialize(int *argc, char ***argv);

struct world {
	struct machine *m;
	struct ram_load *load;
	struct postcopy_ram *ram;
	bool dropped[PAGES]; /* of microvm.ram */
};

static bool possible;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	struct err err = {0};
	struct memory mem;

	(void)argc;
	(void)argv;
	memory_init(&mem, -1);
	possible = userfault_probe(&mem, USERFAULT_MISSING, &err) == 0;
	if (!possible)
		(void)fprintf(stderr, "nothing is tried: %s\n", err.msg);
	return 0;
}

static void world_init(struct world *w, bool parts, bool memfd)
{
	static const struct config cfg;
	struct ram_backend backend = {
	    .kind = memfd ? RAM_MEMFD : RAM_ANONYMOUS, .fd = -1, .share = memfd};
	struct err err = {0};
	struct ram_block *b;

	*w = (struct world){.m = bare_machine_new(&cfg)};
	b = memory_add_block(&w->m->mem, "microvm.ram", PAGES * PAGE_BYTES, &backend, NULL);
	if (!b || !memory_add_block(&w->m->mem, "pc.bios", 8 * PAGE_BYTES, &backend, NULL))
		abort();
	for (uint64_t page = 0; page < PAGES; page++)
		memset(b->hva + page * PAGE_BYTES, (int)page + 1, PAGE_BYTES);
	w->load = ram_load_new(w->m);
	w->ram = postcopy_ram_new(&w->m->mem, false, &err);
	if (!w->load || !w->ram)
		abort();
	if (parts)
		w->ram->blocks[0].unit = PARTS;
}

static void world_fini(struct world *w)
{
	memory_set_missing(&w->m->mem, NULL);
	ram_load_free(w->load);
	bare_machine_free(w->m);
}

static bool received(const struct postcopy_block *pb, uint64_t page)
{
	return pb->received[page / 64] >> page % 64 & 1;
}

static bool discard(struct world *w, const uint8_t *payload, size_t n)
{
	struct err err = {0};
	int ret = postcopy_discard_load(w->ram, w->load, payload, n, &err);

	if (ret < 0 && !err.msg[0])
		abort();
	for (uint64_t page = 0; page < PAGES; page++)
		w->dropped[page] = !received(&w->ram->blocks[0], page);
	return ret == 0;
}

static void check(const struct world *w)
{
	uint64_t left = 0;

	for (size_t i = 0; i < w->ram->n; i++)
		for (uint64_t page = 0; page < w->ram->blocks[i].pages; page++)
			left += !received(&w->ram->blocks[i], page);
	if (left != postcopy_ram_left(w->ram))
		abort();
	for (uint64_t page = 0; page < PAGES; page++) {
		const uint8_t *p = w->ram->blocks[0].block->hva + page * PAGE_BYTES;

		for (size_t i = 0; !w->dropped[page] && i < PAGE_BYTES; i++)
			if (p[i] != (uint8_t)(page + 1))
				abort();
	}
}

static void records(struct world *w, bool urgent, bool runs, struct src *in)
{
	static const struct postcopy_ram_owner nobody = {.opaque = NULL};
	struct postcopy_records r = {0};
	struct err err = {0};
	bool begun;
	int ret = postcopy_records_init(&r, w->ram, w->load, urgent, &err);

	if (ret < 0 || postcopy_ram_begin(w->ram, &nobody, &begun, &err) < 0)
		abort();
	r.runs = runs;
	while (ret == 0)
		ret = postcopy_records_load(&r, in, &err);
	if (ret < 0 && !err.msg[0])
		abort();
	check(w);
	postcopy_records_fini(&r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct piecewise *socket;
	struct src memory;
	struct world w;
	size_t n;

	if (!possible || len < 2 || len - 2 < data[1])
		return 0;
	world_init(&w, data[0] & 4, data[0] & 8);
	n = 2U + data[1];
	if (discard(&w, data + 2, data[1])) {
		memory = src_mem(data + n, len - n);
		socket = piecewise_new(data + n, len - n, data[0] & 16 ? 7 : 5000);
		records(&w, data[0] & 1, data[0] & 2, data[0] & 32 ? &memory : &socket->src);
		free(socket);
		world_fini(&w);
		return 0;
	}
	postcopy_ram_free(w.ram);
	ram_load_free(w.load);
	bare_machine_free(w.m);
	return 0;
}
