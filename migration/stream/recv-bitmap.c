#include "migration/stream/recv-bitmap.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "migration/stream/wire.h"
#include "vmm/base/bitmap.h"
#include "vmm/base/bytes.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"

#define MARK         UINT64_C(0x0123456789abcdef)
#define NUMBER_BYTES 8

static uint64_t map_bytes(uint64_t pages)
{
	return BITMAP_WORDS(pages) * sizeof(uint64_t);
}

void recv_bitmap_out_init(struct recv_bitmap_out *out, const char *name, const uint64_t *map,
			  uint64_t pages)
{
	size_t n = strlen(name);
	uint8_t *p = out->head;

	put_be16(p, RP_RECV_BITMAP);
	put_be16(p + 2, (uint16_t)(1 + n));
	p[4] = (uint8_t)n;
	memcpy(p + 5, name, n);
	put_be64(p + 5 + n, map_bytes(pages));
	out->head_bytes = 5 + n + NUMBER_BYTES;
	out->map = map;
	out->map_bytes = map_bytes(pages);
	put_be64(out->tail, MARK);
}

int recv_bitmap_in_name(struct recv_bitmap_in *in, const uint8_t *p, size_t n, struct err *err)
{
	size_t wanted = strlen(in->name);

	if (in->named || n != 1 + wanted || p[0] != wanted || memcmp(p + 1, in->name, wanted) != 0)
		return err_set(err, EPROTO,
			       "the destination sent a bitmap of received pages that is not the "
			       "one of RAM block '%.200s', which it was asked for",
			       in->name);
	in->named = true;
	return 0;
}

/* Bytes of a be64 that may come in pieces; true: it is complete. */
static bool take_number(struct recv_bitmap_in *in, uint64_t from, const uint8_t *p, size_t n)
{
	memcpy(in->number + (in->at - from), p, n);
	in->at += n;
	return in->at == from + NUMBER_BYTES;
}

static int check_size(const struct recv_bitmap_in *in, struct err *err)
{
	uint64_t size = get_be64(in->number);

	if (size == map_bytes(in->pages))
		return 0;
	return err_set(err, EPROTO,
		       "the destination's bitmap of received pages of RAM block '%.200s' has "
		       "%" PRIu64 " bytes instead of %" PRIu64,
		       in->name, size, map_bytes(in->pages));
}

static int take_mark(struct recv_bitmap_in *in, struct err *err)
{
	if (get_be64(in->number) != MARK)
		return err_set(err, EPROTO,
			       "the destination's bitmap of received pages of RAM block '%.200s' "
			       "does not end with its mark",
			       in->name);
	if (in->pages % BITS_PER_WORD)
		in->map[in->pages / BITS_PER_WORD] &= (1ULL << in->pages % BITS_PER_WORD) - 1;
	in->done = true;
	return 0;
}

/* The size, the map or the mark, whichever is next; how many bytes it has used. */
static ssize_t take_piece(struct recv_bitmap_in *in, const uint8_t *p, size_t n, struct err *err)
{
	uint64_t end = NUMBER_BYTES + map_bytes(in->pages);
	int ret = 0;

	if (in->at < NUMBER_BYTES) {
		n = MIN(n, NUMBER_BYTES - in->at);
		if (take_number(in, 0, p, n))
			ret = check_size(in, err);
	} else if (in->at < end) {
		n = MIN(n, end - in->at);
		memcpy((uint8_t *)in->map + (in->at - NUMBER_BYTES), p, n);
		in->at += n;
	} else {
		n = MIN(n, end + NUMBER_BYTES - in->at);
		if (take_number(in, end, p, n))
			ret = take_mark(in, err);
	}
	return ret < 0 ? ret : (ssize_t)n;
}

ssize_t recv_bitmap_in_feed(struct recv_bitmap_in *in, const uint8_t *p, size_t n, struct err *err)
{
	size_t used = 0;

	while (used < n && !in->done) {
		ssize_t piece = take_piece(in, p + used, n - used, err);

		if (piece < 0)
			return piece;
		used += (size_t)piece;
	}
	return (ssize_t)used;
}
