/* Any bytes on the return path must be understood or refused with a sentence. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "migration/channel/channel.h"
#include "migration/outgoing/return-path.h"
#include "migration/ram/postcopy/send.h"
#include "migration/ram/ram.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"
#include "vmm/machine.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

struct fuzz_channel {
	struct channel ch;
	const uint8_t *data;
	size_t left;
};

/* In pieces of odd sizes, so that messages are split at every place. */
static ssize_t fuzz_read(struct channel *c, void *buf, size_t n)
{
	struct fuzz_channel *f = container_of(c, struct fuzz_channel, ch);

	n = MIN(MIN(n, f->left), 1 + f->left % 7);
	memcpy(buf, f->data, n);
	f->data += n;
	f->left -= n;
	return (ssize_t)n;
}

static const struct channel_ops fuzz_ops = {.kind = "memory", .read = fuzz_read};

/* ---- a source in postcopy, of which pages are asked for ---- */

#define RAM_BYTES ((uint64_t)1 << 20)

static struct ram_save *postcopy_source(void)
{
	static const struct ram_backend anon = {.kind = RAM_ANONYMOUS, .fd = -1};
	static struct machine m;
	static struct ram_save s;

	if (!m.mem.n_blocks) {
		memory_init(&m.mem, -1);
		if (!memory_add_block(&m.mem, "ram", RAM_BYTES, &anon, NULL))
			abort();
		s = (struct ram_save){.m = &m, .wake_fd = -1};
		if (page_set_init(&s.pages, &m.mem) < 0)
			abort();
		page_queue_init(&s.queue, &s.pages);
		s.queue.postcopy = true;
	}
	(void)page_set_add(&s.pages, 0, 0, RAM_BYTES / PAGE_BYTES);
	return &s;
}

static int on_request(void *opaque, const char *block, uint64_t off, uint32_t bytes,
		      struct err *err)
{
	uint64_t pages = 0;
	int ret = postcopy_send_request(opaque, block, off, bytes, &pages, err);

	assert(ret <= 0 && pages <= RAM_BYTES / PAGE_BYTES);
	return ret;
}

/* All that is queued is of the block. */
static void take_requests(struct ram_save *s)
{
	struct page_run run;

	while (page_queue_next_urgent(&s->queue, 16, &run))
		assert(run.block == 0 && run.n && run.first + run.n <= RAM_BYTES / PAGE_BYTES);
}

/* 'bitmap': a postcopy is being resumed; 'source': pages may be asked for; NULL: not. */
static void read_all(const uint8_t *data, size_t len, struct recv_bitmap_in *bitmap,
		     struct ram_save *source)
{
	struct fuzz_channel f = {
	    .ch = {.ops = &fuzz_ops, .fd = -1, .cancel_fd = -1, .two_way = true},
	    .data = data,
	    .left = len,
	};
	struct return_path rp = {.ch = &f.ch,
				 .bitmap = bitmap,
				 .resuming = bitmap != NULL,
				 .request = source ? on_request : NULL,
				 .opaque = source};
	struct err err = {0};
	int ret = 0;

	while (!rp.ended && ret >= 0)
		ret = rp_poll(&rp, 0, &err);
	assert(ret >= 0 || err.msg[0]);
	rp_fini(&rp);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	uint64_t map[2] = {0};
	struct recv_bitmap_in bitmap = {.name = "ram", .pages = 100, .map = map};

	read_all(data, len, NULL, NULL);
	read_all(data, len, &bitmap, NULL);
	read_all(data, len, NULL, postcopy_source());
	take_requests(postcopy_source());
	assert(!bitmap.done || !(map[1] >> (bitmap.pages - 64)));
	return 0;
}
