/*
 * create.c - a new image
 *
 * Header, refcount table, refcount blocks and L1 table lie one behind the other, and the blocks
 * count them; all of it is written here.  Preallocation then opens the image and gives each cluster
 * of the disk a place.  The header is written last: what is cut off before is no image.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "devices/block/qcow2/internal.h"
#include "devices/block/qcow2/refblock.h"
#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/base/iov.h"
#include "vmm/base/units.h"

#define FEATURE_BYTES 48
#define FILL_BYTES    (1 * MiB)

static const struct {
	uint8_t type, bit; /* type 0: incompatible, 1: compatible, 2: autoclear */
	const char *name;
} features[] = {
    {0, 0, "dirty bit"          },
    {0, 1, "corrupt bit"        },
    {0, 2, "external data file" },
    {0, 3, "compression type"   },
    {0, 4, "extended L2 entries"},
    {1, 0, "lazy refcounts"     },
    {2, 0, "bitmaps"            },
    {2, 1, "raw external data"  },
};

/* ---- what is wanted ---- */

struct layout {
	uint32_t cluster_bits, refcount_order;
	uint64_t cluster, bytes;
	uint64_t l1_n, l1_clusters, rt_clusters, rb_clusters;
};

static int log2_of(uint64_t v)
{
	return v && !(v & (v - 1)) ? __builtin_ctzll(v) : -1;
}

static int check_options(const struct qcow2_create *c, struct err *err)
{
	uint32_t version = c->version ? c->version : 3;

	if (version != 2 && version != 3)
		return err_set(err, EINVAL, "version %" PRIu32 " of qcow2 does not exist", version);
	if (version == 2 && (c->extended_l2 || c->lazy_refcounts || c->zstd))
		return err_set(err, EINVAL, "%s needs version 3 of qcow2",
			       c->extended_l2      ? "extended L2"
			       : c->lazy_refcounts ? "lazy refcounts"
						   : "compression with zstd");
	if (version == 2 && c->refcount_bits && c->refcount_bits != 16)
		return err_set(err, EINVAL, "version 2 of qcow2 has refcounts of 16 bits only");
	if (c->extended_l2 && c->cluster_bytes && c->cluster_bytes < 16 * KiB)
		return err_set(err, EINVAL, "extended L2 needs clusters of 16 KiB or more");
	if (c->backing && strlen(c->backing) > QCOW2_MAX_BACKING_NAME)
		return err_set(err, EINVAL, "the backing file's name is longer than %u bytes",
			       QCOW2_MAX_BACKING_NAME);
	if (c->backing_format && strlen(c->backing_format) > 15)
		return err_set(err, EINVAL, "the name of the backing file's format is too long");
	if (c->backing && c->prealloc != QCOW2_PREALLOC_OFF && !c->extended_l2)
		return err_set(
		    err, EINVAL,
		    "preallocation over a backing file is possible with extended L2 only");
	return 0;
}

/* Each kind of table is as large as all of them need. */
static int set_layout(const struct qcow2_create *c, struct layout *l, struct err *err)
{
	uint32_t cluster = c->cluster_bytes ? c->cluster_bytes : 64 * KiB;
	int bits = log2_of(cluster), order = log2_of(c->refcount_bits ? c->refcount_bits : 16);
	uint64_t covers, blocks = 0, before;

	if (bits < QCOW2_MIN_CLUSTER_BITS || bits > QCOW2_MAX_CLUSTER_BITS)
		return err_set(err, EINVAL,
			       "a cluster of %" PRIu32
			       " bytes is not a power of two from 512 bytes to 2 MiB",
			       cluster);
	if (order < 0 || order > 6)
		return err_set(err, EINVAL,
			       "a refcount of %" PRIu32 " bits is not a power of two up to 64",
			       c->refcount_bits);
	*l = (struct layout){
	    .cluster_bits = (uint32_t)bits, .refcount_order = (uint32_t)order, .cluster = cluster};
	covers = l->cluster << (bits - (c->extended_l2 ? 4 : 3));
	if (c->bytes > INT64_MAX - 2 * covers)
		return err_set(err, EFBIG, "%" PRIu64 " bytes are too many for a disk", c->bytes);
	l->bytes = ALIGN_UP(c->bytes, 512);
	l->l1_n = MAX(ALIGN_UP(l->bytes, covers) / covers, 1U);
	if (l->l1_n > QCOW2_MAX_L1_BYTES / 8)
		return err_set(err, EFBIG,
			       "a disk of %" PRIu64 " bytes is too large for clusters of %" PRIu32
			       " bytes",
			       c->bytes, cluster);
	l->l1_clusters = ALIGN_UP(l->l1_n * 8, l->cluster) >> bits;
	l->rt_clusters = 1;
	do {
		before = blocks;
		blocks = ALIGN_UP(1 + l->rt_clusters + before + l->l1_clusters,
				  1ULL << (bits + 3 - order)) >>
			 (bits + 3 - order);
		l->rt_clusters = ALIGN_UP(blocks * 8, l->cluster) >> bits;
	} while (blocks != before);
	l->rb_clusters = blocks;
	return 0;
}

/* ---- the header ---- */

static void add_ext(struct qcow2_header *h, uint32_t type, const void *p, size_t bytes)
{
	struct qcow2_ext *x;

	h->ext = xrealloc(h->ext, (h->n_ext + 1) * sizeof(h->ext[0]));
	x = &h->ext[h->n_ext++];
	*x = (struct qcow2_ext){.type = type, .bytes = (uint32_t)bytes, .data = xcalloc(1, bytes)};
	memcpy(x->data, p, bytes);
}

static void add_names(struct qcow2_header *h)
{
	uint8_t names[ARRAY_LEN(features) * FEATURE_BYTES] = {0};

	for (size_t i = 0; i < ARRAY_LEN(features); i++) {
		uint8_t *p = names + i * FEATURE_BYTES;

		p[0] = features[i].type;
		p[1] = features[i].bit;
		(void)snprintf((char *)p + 2, FEATURE_BYTES - 2, "%s", features[i].name);
	}
	add_ext(h, QCOW2_EXT_FEATURE_NAMES, names, sizeof(names));
}

static void set_header(const struct qcow2_create *c, const struct layout *l, struct qcow2_header *h)
{
	*h = (struct qcow2_header){
	    .version = c->version ? c->version : 3,
	    .cluster_bits = l->cluster_bits,
	    .bytes = l->bytes,
	    .l1_n = (uint32_t)l->l1_n,
	    .l1_host = (1 + l->rt_clusters + l->rb_clusters) * l->cluster,
	    .rt_host = l->cluster,
	    .rt_clusters = (uint32_t)l->rt_clusters,
	    .refcount_order = l->refcount_order,
	    .compression = c->zstd,
	    .backing = c->backing ? xstrdup(c->backing) : NULL,
	};
	h->header_bytes = h->version == 2 ? 72 : 112;
	h->incompat = (c->zstd ? QCOW2_INCOMPAT_COMPRESSION : 0) |
		      (c->extended_l2 ? QCOW2_INCOMPAT_EXTENDED_L2 : 0);
	h->compat = c->lazy_refcounts ? QCOW2_COMPAT_LAZY : 0;
	if (c->backing && c->backing_format)
		add_ext(h, QCOW2_EXT_BACKING, c->backing_format, strlen(c->backing_format));
	/* They do not fit in the smallest cluster beside anything else, and are not needed. */
	if (h->version >= 3 && (l->cluster > 512 || !c->backing))
		add_names(h);
}

/* ---- tables ---- */

static int write_at(const struct qcow2_storage *s, const void *p, size_t n, uint64_t off)
{
	const struct iovec v = {(void *)p, n};

	return s->ops->writev(s->opaque, &v, 1, off);
}

static int write_blocks(const struct qcow2_storage *s, const struct layout *l, uint8_t *buf)
{
	uint64_t used = 1 + l->rt_clusters + l->rb_clusters + l->l1_clusters;
	uint64_t per = 1ULL << (l->cluster_bits + 3 - l->refcount_order);
	int ret = 0;

	for (uint64_t b = 0; b < l->rb_clusters && ret == 0; b++) {
		memset(buf, 0, l->cluster);
		for (uint64_t i = b * per; i < MIN(used, (b + 1) * per); i++)
			refblock_set(l->refcount_order, buf, (uint32_t)(i - b * per), 1);
		ret = write_at(s, buf, l->cluster, (1 + l->rt_clusters + b) * l->cluster);
	}
	return ret;
}

static int write_rt(const struct qcow2_storage *s, const struct layout *l)
{
	size_t bytes = l->rt_clusters * l->cluster;
	CLEANUP(cleanup_free) uint64_t *e = qcow2_buffer(bytes);

	if (!e)
		return -ENOMEM;
	memset(e, 0, bytes);
	for (uint64_t b = 0; b < l->rb_clusters; b++)
		e[b] = htobe64((1 + l->rt_clusters + b) * l->cluster);
	return write_at(s, e, bytes, l->cluster);
}

/* The storage is empty, or its old content zero; all before the header. */
static int write_tables(const struct qcow2_storage *s, const struct layout *l, uint8_t *buf)
{
	uint64_t l1 = (1 + l->rt_clusters + l->rb_clusters) * l->cluster;
	int ret = write_blocks(s, l, buf);

	if (ret == 0)
		ret = write_rt(s, l);
	memset(buf, 0, l->cluster);
	for (uint64_t i = 0; i < l->l1_clusters && ret == 0; i++)
		ret = write_at(s, buf, l->cluster, l1 + i * l->cluster);
	return ret;
}

/* Nothing of what was there before is an image, or shows in this one. */
static int clear_storage(const struct qcow2_storage *s, uint8_t *buf, uint64_t cluster)
{
	uint64_t bytes = 0;
	int ret = s->ops->truncate(s->opaque, 0);

	if (ret == 0)
		ret = s->ops->size(s->opaque, &bytes);
	memset(buf, 0, cluster);
	if (ret == 0 && bytes) /* a device */
		ret = write_at(s, buf, cluster, 0);
	return ret;
}

/* ---- preallocation ---- */

static int prealloc_storage(struct qcow2 *q, enum qcow2_prealloc how, uint64_t host, uint64_t bytes)
{
	int ret = -ENOTSUP;

	if (how == QCOW2_PREALLOC_FALLOC && q->s.ops->allocate)
		ret = q->s.ops->allocate(q->s.opaque, host, bytes);
	if (ret != -ENOTSUP)
		return ret;
	if (how == QCOW2_PREALLOC_METADATA)
		return 0;
	for (ret = 0; bytes > 0 && ret == 0;) {
		uint64_t n = MIN(bytes, 64 * KiB); /* so much is written, no hole made */

		ret = qcow2_pzero(q, host, n);
		host += n;
		bytes -= n;
	}
	return ret;
}

/* Clusters from 'off' on, as many as a piece of a table has at most; *done: bytes. */
static int prealloc_some(struct qcow2 *q, enum qcow2_prealloc how, bool backing, uint64_t off,
			 uint64_t *done)
{
	uint64_t left = ALIGN_UP(q->info.bytes, q->cluster_bytes) - off, host, n;
	struct qcow2_l2_pos pos = {0};
	bool zero;
	int ret = qcow2_l2_get_own(q, off, &pos);

	if (ret < 0)
		return ret;
	n = MIN(pos.n, left >> q->cluster_bits);
	ret = qcow2_alloc_some(q, &n, &host, &zero);
	if (ret == 0)
		ret = prealloc_storage(q, how, host, n << q->cluster_bits);
	if (ret == 0 && !zero && how == QCOW2_PREALLOC_METADATA)
		ret = qcow2_pzero(q, host, n << q->cluster_bits);
	for (uint32_t k = 0; ret == 0 && k < n; k++) {
		struct qcow2_entry e = {(host + ((uint64_t)k << q->cluster_bits)) | QCOW2_COPIED,
					0};

		if (q->entry_bytes == 16 && !backing)
			e.bitmap = 0xffffffff;
		qcow2_entry_set(q, &pos, k, e);
	}
	qcow2_l2_put(&pos);
	*done = n << q->cluster_bits;
	return ret;
}

static int prealloc(const struct qcow2_storage *s, const struct qcow2_create *c, struct err *err)
{
	const struct qcow2_open how = {.writable = true};
	uint64_t off = 0, n = 0, size = 0;
	struct qcow2 *q;
	int closed, ret = qcow2_open(&q, s, &how, err);

	if (ret < 0)
		return ret;
	(void)pthread_mutex_lock(&q->lock);
	ret = qcow2_may_change(q);
	for (; off < q->info.bytes && ret == 0; off += n)
		ret = prealloc_some(q, c->prealloc, c->backing, off, &n);
	if (ret == 0)
		ret = q->s.ops->size(q->s.opaque, &size);
	if (ret == 0 && size < q->hole_from)
		ret = q->s.ops->truncate(q->s.opaque, q->hole_from);
	(void)pthread_mutex_unlock(&q->lock);
	closed = qcow2_close(q, err);
	return ret < 0 ? err_set(err, -ret, "preallocation of the disk: %s", err_text(-ret))
		       : closed;
}

/* ---- all ---- */

static int write_image(const struct qcow2_storage *s, const struct layout *l,
		       const struct qcow2_header *h, struct err *err)
{
	CLEANUP(cleanup_free) uint8_t *buf = qcow2_buffer(l->cluster);
	CLEANUP(cleanup_free) uint8_t *head = qcow2_buffer(l->cluster);
	size_t n;
	int ret = buf && head ? qcow2_header_pack(h, head, &n) : -ENOMEM;

	if (ret == -ENOSPC)
		return err_set(err, EINVAL,
			       "the backing file's name does not fit in a cluster of "
			       "%" PRIu64 " bytes",
			       l->cluster);
	if (ret == 0)
		ret = clear_storage(s, buf, l->cluster);
	if (ret == 0)
		ret = write_tables(s, l, buf);
	if (ret == 0)
		ret = s->ops->flush(s->opaque);
	if (ret == 0)
		ret = write_at(s, head, l->cluster, 0);
	return ret < 0 ? err_set(err, -ret, "the image cannot be written: %s", err_text(-ret)) : 0;
}

int qcow2_create(const struct qcow2_storage *s, const struct qcow2_create *c, struct err *err)
{
	struct qcow2_header h;
	struct layout l = {0};
	int ret = check_options(c, err);

	if (ret == 0)
		ret = set_layout(c, &l, err);
	if (ret < 0)
		return ret;
	set_header(c, &l, &h);
	ret = write_image(s, &l, &h, err);
	qcow2_header_fini(&h);
	if (ret == 0 && c->prealloc != QCOW2_PREALLOC_OFF)
		ret = prealloc(s, c, err);
	if (ret == 0)
		ret = s->ops->flush(s->opaque);
	return ret;
}
