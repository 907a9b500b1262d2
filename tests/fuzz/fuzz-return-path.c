/* Any bytes on the return path must be understood or refused with a sentence. */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "migration/channel/channel.h"
#include "migration/outgoing/return-path.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"

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

/* 'bitmap': a postcopy is being resumed; NULL: not. */
static void read_all(const uint8_t *data, size_t len, struct recv_bitmap_in *bitmap)
{
	struct fuzz_channel f = {
	    .ch = {.ops = &fuzz_ops, .fd = -1, .cancel_fd = -1, .two_way = true},
	    .data = data,
	    .left = len,
	};
	struct return_path rp = {.ch = &f.ch, .bitmap = bitmap, .resuming = bitmap != NULL};
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

	read_all(data, len, NULL);
	read_all(data, len, &bitmap);
	assert(!bitmap.done || !(map[1] >> (bitmap.pages - 64)));
	return 0;
}
