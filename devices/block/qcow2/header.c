/*
 * header.c - the header of a qcow2 image: its numbers, its extensions, the backing file's name
 *
 * All of it lies in the first cluster: 72 bytes in version 2, at least 104 in version 3, whose
 * field 'header length' says how many; then extensions (be32 type, be32 length, data, padded to 8)
 * up to one of type 0; then the backing file's name, wherever in the cluster the header says.
 * Fields and extensions that are not known are kept as they are when the header is written again.
 *
 * Every number is checked here against the bounds of qcow2, so that no sum of them overflows
 * later; places on the storage are checked for alignment, and against what lies there when they
 * are used.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "devices/block/qcow2/internal.h"
#include "vmm/base/alloc.h"
#include "vmm/base/bytes.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"

enum {
	H_MAGIC = 0,
	H_VERSION = 4,
	H_BACKING_OFF = 8,
	H_BACKING_LEN = 16,
	H_CLUSTER_BITS = 20,
	H_BYTES = 24,
	H_CRYPT = 32,
	H_L1_N = 36,
	H_L1_OFF = 40,
	H_RT_OFF = 48,
	H_RT_CLUSTERS = 56,
	H_N_SNAPSHOTS = 60,
	H_SNAPSHOTS_OFF = 64,
	H_V2_BYTES = 72,
	H_INCOMPAT = 72,
	H_COMPAT = 80,
	H_AUTOCLEAR = 88,
	H_REFCOUNT_ORDER = 96,
	H_HEADER_BYTES = 100,
	H_V3_BYTES = 104,
	H_COMPRESSION = 104,
	H_KNOWN_BYTES = 112, /* the compression type with its padding */
};

#define KNOWN_INCOMPAT                                                                             \
	(QCOW2_INCOMPAT_DIRTY | QCOW2_INCOMPAT_CORRUPT | QCOW2_INCOMPAT_DATA_FILE |                \
	 QCOW2_INCOMPAT_COMPRESSION | QCOW2_INCOMPAT_EXTENDED_L2)

#define FEATURE_BYTES 48 /* type, bit, name */

void qcow2_header_fini(struct qcow2_header *h)
{
	for (size_t i = 0; i < h->n_ext; i++)
		free(h->ext[i].data);
	free(h->ext);
	free(h->unknown);
	free(h->backing);
	free(h->backing_format);
	*h = (struct qcow2_header){0};
}

/* ---- numbers ---- */

static int parse_place(uint64_t host, uint32_t cluster_bits, const char *what, struct err *err)
{
	if (host & ((1ULL << cluster_bits) - 1) || host > QCOW2_OFF_MASK)
		return err_set(err, EINVAL,
			       "the header's place of the %s, 0x%" PRIx64 ", is not at a cluster",
			       what, host);
	return 0;
}

static int parse_v3(struct qcow2_header *h, const uint8_t *p, size_t n, struct err *err)
{
	h->incompat = get_be64(p + H_INCOMPAT);
	h->compat = get_be64(p + H_COMPAT);
	h->autoclear = get_be64(p + H_AUTOCLEAR);
	h->refcount_order = get_be32(p + H_REFCOUNT_ORDER);
	h->header_bytes = get_be32(p + H_HEADER_BYTES);
	if (h->header_bytes < H_V3_BYTES || h->header_bytes > 1ULL << h->cluster_bits ||
	    h->header_bytes > n || h->header_bytes % 8)
		return err_set(err, EINVAL, "the header says that it is %" PRIu32 " bytes long",
			       h->header_bytes);
	if (h->refcount_order > 6)
		return err_set(err, EINVAL,
			       "the header's width of refcounts is 2^%" PRIu32
			       " bits: at most 64 are possible",
			       h->refcount_order);
	if (h->header_bytes > H_COMPRESSION)
		h->compression = p[H_COMPRESSION];
	if (h->header_bytes > H_KNOWN_BYTES) {
		h->unknown = xcalloc(1, h->header_bytes - H_KNOWN_BYTES);
		memcpy(h->unknown, p + H_KNOWN_BYTES, h->header_bytes - H_KNOWN_BYTES);
	}
	if (h->incompat & QCOW2_INCOMPAT_EXTENDED_L2 && h->cluster_bits < 14)
		return err_set(err, EINVAL, "extended L2 entries need clusters of 16 KiB or more");
	return 0;
}

/* Compression type and its bit say the same: 0 without, another one with it. */
static int parse_compression(const struct qcow2_header *h, struct err *err)
{
	bool bit = h->incompat & QCOW2_INCOMPAT_COMPRESSION;

	if (bit != (h->compression != 0))
		return err_set(err, EINVAL,
			       "the header's compression type is %u, which does not go with its "
			       "feature bit",
			       h->compression);
	if (h->compression > 1)
		return err_set(err, ENOTSUP, "the compression type %u is not supported",
			       h->compression);
	return 0;
}

static int parse_sizes(struct qcow2_header *h, struct err *err)
{
	uint64_t cluster = 1ULL << h->cluster_bits;
	unsigned l2_bits = h->cluster_bits - (h->incompat & QCOW2_INCOMPAT_EXTENDED_L2 ? 4 : 3);
	uint64_t covers = cluster << l2_bits;
	uint64_t need = h->bytes / covers + (h->bytes % covers != 0);

	if (h->bytes > INT64_MAX - covers)
		return err_set(err, EFBIG,
			       "the disk's size in the header, %" PRIu64
			       " bytes, is beyond what is possible",
			       h->bytes);
	if (h->l1_n > QCOW2_MAX_L1_BYTES / 8)
		return err_set(err, EFBIG, "the L1 table has %" PRIu32 " entries: too many",
			       h->l1_n);
	if (h->l1_n < need)
		return err_set(err, EINVAL,
			       "the L1 table has %" PRIu32
			       " entries, too few for a disk of %" PRIu64 " bytes",
			       h->l1_n, h->bytes);
	if (h->rt_clusters > QCOW2_MAX_RT_BYTES >> h->cluster_bits)
		return err_set(err, EFBIG, "the refcount table has %" PRIu32 " clusters: too many",
			       h->rt_clusters);
	if (h->n_snapshots > QCOW2_MAX_SNAPSHOTS)
		return err_set(err, EFBIG, "the image has %" PRIu32 " snapshots: too many",
			       h->n_snapshots);
	return 0;
}

static int parse_numbers(struct qcow2_header *h, const uint8_t *p, size_t n, struct err *err)
{
	int ret;

	h->cluster_bits = get_be32(p + H_CLUSTER_BITS);
	if (h->cluster_bits < QCOW2_MIN_CLUSTER_BITS || h->cluster_bits > QCOW2_MAX_CLUSTER_BITS)
		return err_set(err, EINVAL,
			       "the header's cluster size is 2^%" PRIu32
			       " bytes: 512 bytes to 2 MiB are possible",
			       h->cluster_bits);
	h->bytes = get_be64(p + H_BYTES);
	h->l1_n = get_be32(p + H_L1_N);
	h->l1_host = get_be64(p + H_L1_OFF);
	h->rt_host = get_be64(p + H_RT_OFF);
	h->rt_clusters = get_be32(p + H_RT_CLUSTERS);
	h->n_snapshots = get_be32(p + H_N_SNAPSHOTS);
	h->snapshots_host = get_be64(p + H_SNAPSHOTS_OFF);
	h->refcount_order = 4;
	h->header_bytes = H_V2_BYTES;
	if (get_be32(p + H_CRYPT) != 0)
		return err_set(err, ENOTSUP,
			       "encrypted images (method %" PRIu32
			       " in the header) are not supported",
			       get_be32(p + H_CRYPT));
	ret = h->version >= 3 ? parse_v3(h, p, n, err) : 0;
	if (ret == 0)
		ret = parse_sizes(h, err);
	if (ret == 0)
		ret = parse_place(h->l1_host, h->cluster_bits, "L1 table", err);
	if (ret == 0)
		ret = parse_place(h->rt_host, h->cluster_bits, "refcount table", err);
	if (ret == 0 && h->n_snapshots)
		ret = parse_place(h->snapshots_host, h->cluster_bits, "snapshot table", err);
	return ret;
}

/* ---- extensions ---- */

static int parse_bitmaps(struct qcow2_header *h, const uint8_t *p, uint32_t bytes, struct err *err)
{
	if (bytes != 24)
		return err_set(err, EINVAL,
			       "the header's extension for bitmaps is %" PRIu32
			       " bytes long instead of 24",
			       bytes);
	h->n_bitmaps = get_be32(p);
	h->bitmap_dir_bytes = get_be64(p + 8);
	h->bitmap_dir_host = get_be64(p + 16);
	if (h->n_bitmaps == 0 || h->n_bitmaps > QCOW2_MAX_BITMAPS)
		return err_set(err, EINVAL, "the header's number of bitmaps is %" PRIu32,
			       h->n_bitmaps);
	if (h->bitmap_dir_bytes == 0 || h->bitmap_dir_bytes > QCOW2_MAX_BITMAPS * 1024ULL)
		return err_set(err, EINVAL, "the directory of bitmaps is %" PRIu64 " bytes long",
			       h->bitmap_dir_bytes);
	return parse_place(h->bitmap_dir_host, h->cluster_bits, "directory of bitmaps", err);
}

static void keep_ext(struct qcow2_header *h, uint32_t type, const uint8_t *p, uint32_t bytes)
{
	struct qcow2_ext *x;

	h->ext = xrealloc(h->ext, (h->n_ext + 1) * sizeof(h->ext[0]));
	x = &h->ext[h->n_ext++];
	*x = (struct qcow2_ext){.type = type, .bytes = bytes, .data = xcalloc(1, bytes + 1ULL)};
	memcpy(x->data, p, bytes);
}

static int parse_ext(struct qcow2_header *h, uint32_t type, const uint8_t *p, uint32_t bytes,
		     struct err *err)
{
	if (type == QCOW2_EXT_BITMAPS)
		return parse_bitmaps(h, p, bytes, err);
	if (type == QCOW2_EXT_BACKING) {
		if (bytes > 255 || memchr(p, 0, bytes))
			return err_set(err, EINVAL,
				       "the header's name of the backing file's format is damaged");
		free(h->backing_format);
		h->backing_format = xstrndup((const char *)p, bytes);
	}
	keep_ext(h, type, p, bytes);
	return 0;
}

/* In [at, end) of p. */
static int parse_exts(struct qcow2_header *h, const uint8_t *p, size_t at, size_t end,
		      struct err *err)
{
	while (end - at >= 8) {
		uint32_t type = get_be32(p + at), bytes = get_be32(p + at + 4);
		int ret;

		at += 8;
		if (type == QCOW2_EXT_END)
			return 0;
		if (bytes > end - at)
			return err_set(err, EINVAL,
				       "the header's extension 0x%" PRIx32 " of %" PRIu32
				       " bytes is longer than what is left for it",
				       type, bytes);
		ret = parse_ext(h, type, p + at, bytes, err);
		if (ret < 0)
			return ret;
		at += MIN(ALIGN_UP((size_t)bytes, 8), end - at);
	}
	return 0;
}

/* ---- the backing file's name ---- */

/* *end: extensions lie before it. */
static int parse_backing(struct qcow2_header *h, const uint8_t *p, size_t n, size_t *end,
			 struct err *err)
{
	uint64_t off = get_be64(p + H_BACKING_OFF);
	uint32_t bytes = get_be32(p + H_BACKING_LEN);
	uint64_t room = MIN(n, 1ULL << h->cluster_bits);

	*end = (size_t)room;
	if (off == 0)
		return 0;
	if (off < h->header_bytes || off > room || bytes > room - off)
		return err_set(err, EINVAL,
			       "the backing file's name, %" PRIu32 " bytes at 0x%" PRIx64
			       ", is not in the first cluster",
			       bytes, off);
	if (bytes > QCOW2_MAX_BACKING_NAME || memchr(p + off, 0, bytes))
		return err_set(
		    err, EINVAL,
		    "the backing file's name of %" PRIu32 " bytes is damaged or too long", bytes);
	*end = (size_t)off;
	if (bytes)
		h->backing = xstrndup((const char *)p + off, bytes);
	return 0;
}

/* ---- features ---- */

/* "'name' " of each bit that the image's own table of names has. */
static void name_bits(const struct qcow2_header *h, uint64_t bits, char *text, size_t room)
{
	size_t used = 0;

	text[0] = 0;
	for (size_t i = 0; i < h->n_ext; i++) {
		const struct qcow2_ext *x = &h->ext[i];

		for (size_t at = 0; x->type == QCOW2_EXT_FEATURE_NAMES &&
				    at + FEATURE_BYTES <= x->bytes && used < room;
		     at += FEATURE_BYTES) {
			const uint8_t *f = x->data + at;

			if (f[0] != 0 || f[1] > 63 || !(bits >> f[1] & 1))
				continue;
			used += (size_t)snprintf(text + used, room - used, "%s'%.46s'",
						 used ? ", " : " (", (const char *)f + 2);
		}
	}
	if (used && used < room)
		(void)snprintf(text + used, room - used, ")");
}

static int parse_features(const struct qcow2_header *h, struct err *err)
{
	uint64_t bits = h->incompat & ~KNOWN_INCOMPAT;
	char names[200];

	if (bits) {
		name_bits(h, bits, names, sizeof(names));
		return err_set(err, ENOTSUP,
			       "the image needs what is not supported here: incompatible feature "
			       "bits 0x%" PRIx64 "%s",
			       bits, names);
	}
	if (h->incompat & QCOW2_INCOMPAT_DATA_FILE) {
		for (size_t i = 0; i < h->n_ext; i++)
			if (h->ext[i].type == QCOW2_EXT_DATA_FILE)
				return err_set(err, ENOTSUP,
					       "the image's data is in an external data file, "
					       "'%.200s', which is not supported",
					       (const char *)h->ext[i].data);
		return err_set(err, ENOTSUP, "an external data file is not supported");
	}
	return parse_compression(h, err);
}

int qcow2_header_parse(struct qcow2_header *h, const uint8_t *p, size_t n, struct err *err)
{
	size_t end;
	int ret;

	*h = (struct qcow2_header){0};
	if (n < H_V2_BYTES || get_be32(p + H_MAGIC) != QCOW2_MAGIC)
		return err_set(err, EINVAL, "it is not a qcow2 image");
	h->version = get_be32(p + H_VERSION);
	if (h->version != 2 && h->version != 3)
		return err_set(err, ENOTSUP, "version %" PRIu32 " of qcow2 is not supported",
			       h->version);
	if (h->version == 3 && n < H_V3_BYTES)
		return err_set(err, EINVAL, "the header ends after %zu bytes", n);
	ret = parse_numbers(h, p, n, err);
	if (ret == 0)
		ret = parse_backing(h, p, n, &end, err);
	if (ret == 0)
		ret = parse_exts(h, p, h->header_bytes, end, err);
	return ret < 0 ? ret : parse_features(h, err);
}

/* ---- the way back ---- */

/* Room for n bytes at *at, which moves on; NULL: there is none. */
static uint8_t *pack_room(const struct qcow2_header *h, uint8_t *p, size_t *at, size_t n)
{
	uint8_t *here = p + *at;

	if (n > (1ULL << h->cluster_bits) - *at)
		return NULL;
	*at += n;
	return here;
}

static int pack_ext(const struct qcow2_header *h, uint8_t *p, size_t *at, uint32_t type,
		    const void *data, uint32_t bytes)
{
	uint8_t *to = pack_room(h, p, at, 8 + ALIGN_UP((size_t)bytes, 8));

	if (!to)
		return -ENOSPC;
	put_be32(to, type);
	put_be32(to + 4, bytes);
	if (bytes)
		memcpy(to + 8, data, bytes);
	return 0;
}

static int pack_exts(const struct qcow2_header *h, uint8_t *p, size_t *at)
{
	uint8_t bitmaps[24] = {0};
	int ret = 0;

	for (size_t i = 0; i < h->n_ext && ret == 0; i++)
		ret = pack_ext(h, p, at, h->ext[i].type, h->ext[i].data, h->ext[i].bytes);
	if (ret == 0 && h->n_bitmaps) {
		put_be32(bitmaps, h->n_bitmaps);
		put_be64(bitmaps + 8, h->bitmap_dir_bytes);
		put_be64(bitmaps + 16, h->bitmap_dir_host);
		ret = pack_ext(h, p, at, QCOW2_EXT_BITMAPS, bitmaps, sizeof(bitmaps));
	}
	return ret < 0 ? ret : pack_ext(h, p, at, QCOW2_EXT_END, NULL, 0);
}

static void pack_numbers(const struct qcow2_header *h, uint8_t *p)
{
	put_be32(p + H_MAGIC, QCOW2_MAGIC);
	put_be32(p + H_VERSION, h->version);
	put_be32(p + H_CLUSTER_BITS, h->cluster_bits);
	put_be64(p + H_BYTES, h->bytes);
	put_be32(p + H_L1_N, h->l1_n);
	put_be64(p + H_L1_OFF, h->l1_host);
	put_be64(p + H_RT_OFF, h->rt_host);
	put_be32(p + H_RT_CLUSTERS, h->rt_clusters);
	put_be32(p + H_N_SNAPSHOTS, h->n_snapshots);
	put_be64(p + H_SNAPSHOTS_OFF, h->snapshots_host);
	if (h->version < 3)
		return;
	put_be64(p + H_INCOMPAT, h->incompat);
	put_be64(p + H_COMPAT, h->compat);
	put_be64(p + H_AUTOCLEAR, h->autoclear);
	put_be32(p + H_REFCOUNT_ORDER, h->refcount_order);
	put_be32(p + H_HEADER_BYTES, h->header_bytes);
	if (h->header_bytes > H_COMPRESSION)
		p[H_COMPRESSION] = h->compression;
	if (h->unknown)
		memcpy(p + H_KNOWN_BYTES, h->unknown, h->header_bytes - H_KNOWN_BYTES);
}

int qcow2_header_pack(const struct qcow2_header *h, uint8_t *p, size_t *n)
{
	size_t at = h->header_bytes, name_at;
	uint8_t *name;
	int ret;

	memset(p, 0, 1ULL << h->cluster_bits);
	pack_numbers(h, p);
	ret = pack_exts(h, p, &at);
	if (ret < 0)
		return ret;
	if (h->backing) {
		name_at = at;
		name = pack_room(h, p, &at, strlen(h->backing));
		if (!name)
			return -ENOSPC;
		memcpy(name, h->backing, strlen(h->backing));
		put_be64(p + H_BACKING_OFF, name_at);
		put_be32(p + H_BACKING_LEN, (uint32_t)strlen(h->backing));
	}
	*n = at;
	return 0;
}

/* The sectors of [0, bytes) from the first to the last that are not as on the storage. */
static void changed(const struct qcow2 *q, const uint8_t *p, size_t bytes, size_t *first,
		    size_t *end)
{
	*first = bytes;
	*end = 0;
	for (size_t at = 0; at < bytes; at += 512) {
		if (!q->header_unsure && at < q->header_image_bytes &&
		    memcmp(p + at, q->header_image + at, 512) == 0)
			continue;
		*first = MIN(*first, at);
		*end = at + 512;
	}
}

int qcow2_header_write(struct qcow2 *q)
{
	CLEANUP(cleanup_free) uint8_t *p = qcow2_buffer(1ULL << q->h.cluster_bits);
	size_t n, bytes, first, end;
	int ret;

	if (!p)
		return -ENOMEM;
	ret = qcow2_header_pack(&q->h, p, &n);
	if (ret < 0)
		return ret;
	bytes = MAX(ALIGN_UP(n, 512), q->header_image_bytes);
	changed(q, p, bytes, &first, &end);
	if (first >= end)
		return 0;
	q->header_unsure = true;
	ret = qcow2_pwrite(q, p + first, end - first, first);
	if (ret < 0)
		return ret;
	q->header_unsure = false;
	if (bytes > q->header_image_bytes) {
		q->header_image = xrealloc(q->header_image, bytes);
		q->header_image_bytes = bytes;
	}
	memcpy(q->header_image, p, bytes);
	return 0;
}

int qcow2_header_commit(struct qcow2 *q)
{
	int ret = qcow2_barrier(q);

	if (ret == 0)
		ret = qcow2_header_write(q);
	return ret < 0 ? ret : qcow2_barrier(q);
}

void qcow2_header_restore(struct qcow2 *q)
{
	qcow2_info_update(q);
	q->header_unsure = true;
	if (qcow2_header_write(q) < 0)
		q->broken = true;
}
