#include "img/copy-pieces.h"

#include <inttypes.h>
#include <stdbool.h>
#include <sys/uio.h>

#include "devices/block/image.h"
#include "devices/block/qcow2/qcow2.h"
#include "img/copy.h"
#include "img/img.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"

#define ZERO_PIECE (1 * GiB) /* so that progress is seen */

/* ---- the sources as one disk ---- */

/* The source at *off, which is then the offset in it. */
static struct image *source_at(const struct copy *c, uint64_t *off)
{
	unsigned i = 0;

	while (i + 1 < c->n_src && *off >= c->src[i]->bytes)
		*off -= c->src[i++]->bytes;
	return c->src[i];
}

int copy_read(const struct copy *c, void *buf, uint64_t bytes, uint64_t off, struct err *err)
{
	unsigned char *p = buf;

	while (bytes) {
		uint64_t at = off;
		struct image *src = source_at(c, &at);
		struct iovec v = {.iov_base = p};
		int ret;

		v.iov_len = (size_t)(c->snapshot ? bytes : MIN(bytes, src->bytes - at));
		if (c->snapshot) /* it has told what failed */
			return qcow2_snapshot_read(src->q, c->snapshot, p, bytes, at, err);
		ret = image_readv(src, &v, 1, at);
		if (ret < 0)
			return err_set(err, -ret, "Could not read '%s' at %" PRIu64 ": %s",
				       src->filename, at, err_text(-ret));
		p += v.iov_len;
		off += v.iov_len;
		bytes -= v.iov_len;
	}
	return 0;
}

static enum piece_kind kind_of(const struct copy *c, const struct image_extent *e, bool present)
{
	if (c->above_backing && (e->depth || !present))
		return PIECE_SKIP;
	if (!e->zero || !c->scan)
		return PIECE_DATA;
	return c->dst_is_zero ? PIECE_SKIP : PIECE_ZERO;
}

static int map_disk(const struct copy *c, uint64_t off, uint64_t bytes, enum piece_kind *kind,
		    uint64_t *length, struct err *err)
{
	struct image *src = source_at(c, &off);
	struct image_extent e;
	bool present = true;
	int ret;

	*kind = PIECE_DATA;
	*length = bytes;
	if (c->snapshot)
		return 0; /* it has no map: what is zero is found by reading */
	ret = image_map(src, off, MIN(bytes, src->bytes - off), &e);
	if (ret == 0 && c->above_backing)
		ret = img_map_present(&e, off, &present);
	if (ret < 0)
		return err_set(err, -ret, "Could not read the map of '%s' at %" PRIu64 ": %s",
			       src->filename, off, err_text(-ret));
	*kind = kind_of(c, &e, present);
	*length = e.bytes;
	return 0;
}

/* ---- pieces ---- */

/* 'known' tells of 'off'. */
static int look_at(struct cutter *k, uint64_t off, struct err *err)
{
	uint64_t length = 0;
	int ret;

	if (off >= k->known_off && off < k->known_end)
		return 0;
	ret = map_disk(k->c, off, k->c->bytes - off, &k->known, &length, err);
	if (ret < 0)
		return ret;
	k->known_off = off;
	k->known_end = off + length;
	return 0;
}

static uint64_t longest(const struct cutter *k, enum piece_kind kind)
{
	return kind == PIECE_DATA ? k->piece_bytes : ALIGN_UP(ZERO_PIECE, k->cluster);
}

/* Pieces end at clusters: what a cluster holds besides zeroes makes all of it data. */
int cutter_next(struct cutter *k, struct piece *p, struct err *err)
{
	uint64_t left = k->c->bytes - k->off, whole = 0;
	enum piece_kind kind = PIECE_DATA;

	while (whole < left && whole < longest(k, kind)) {
		int ret = look_at(k, k->off + whole, err);

		if (ret < 0)
			return ret;
		if (whole && k->known != kind)
			break;
		kind = k->known;
		whole = MIN(k->known_end - k->off, longest(k, kind));
	}
	if (whole < left)
		whole = ALIGN_DOWN(whole, k->cluster);
	if (!whole) { /* a cluster of both kinds */
		kind = PIECE_DATA;
		whole = MIN(left, k->cluster);
	}
	*p = (struct piece){.kind = kind, .off = k->off, .bytes = whole};
	k->off += whole;
	return whole != 0;
}
