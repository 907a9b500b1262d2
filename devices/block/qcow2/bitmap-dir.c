/*
 * bitmap-dir.c - entries of the directory of bitmaps
 *
 * An entry is 24 bytes, extra data and a name, padded to 8.  What of an entry is not known here (a
 * type, a flag) is kept; whoever uses the entry has to look.
 */
#include "devices/block/qcow2/bitmap-dir.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/alloc.h"
#include "vmm/base/bytes.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"

#define FIXED_BYTES 24

void bitmap_dir_free(struct bitmap_entry *e, uint32_t n)
{
	for (uint32_t i = 0; e && i < n; i++) {
		free((char *)(uintptr_t)e[i].pub.name);
		free(e[i].extra);
	}
	free(e);
}

/* All but name and extra data, whose lengths are given back. */
static int parse_fixed(struct bitmap_entry *e, uint32_t i, const uint8_t *p, uint64_t cluster_bytes,
		       uint16_t *name_bytes, struct err *err)
{
	e->table_host = get_be64(p);
	e->table_n = get_be32(p + 8);
	e->flags = get_be32(p + 12);
	e->type = p[16];
	e->granularity_bits = p[17];
	*name_bytes = get_be16(p + 18);
	e->extra_bytes = get_be32(p + 20);
	if (e->table_host % cluster_bytes || e->table_host > INT64_MAX)
		return err_set(err, EINVAL,
			       "bitmap %u: its table is at 0x%llx, which is no cluster", i,
			       (unsigned long long)e->table_host);
	if (e->table_n > BITMAP_TABLE_MAX)
		return err_set(err, EFBIG, "bitmap %u: a table of %u entries", i, e->table_n);
	if (e->granularity_bits < BITMAP_MIN_GRANULARITY ||
	    e->granularity_bits > BITMAP_MAX_GRANULARITY)
		return err_set(err, EINVAL, "bitmap %u: a granularity of 2^%u bytes", i,
			       e->granularity_bits);
	if (*name_bytes == 0 || *name_bytes > BITMAP_NAME_MAX)
		return err_set(err, EINVAL, "bitmap %u: a name of %u bytes", i, *name_bytes);
	return 0;
}

static int parse_entry(struct bitmap_entry *e, uint32_t i, const uint8_t *p, size_t left,
		       uint64_t cluster_bytes, size_t *used, struct err *err)
{
	uint16_t name_bytes;
	uint64_t total;
	int ret;

	if (left < FIXED_BYTES)
		return err_set(err, EINVAL, "bitmap %u: the directory ends before it", i);
	ret = parse_fixed(e, i, p, cluster_bytes, &name_bytes, err);
	if (ret < 0)
		return ret;
	total = ALIGN_UP((uint64_t)FIXED_BYTES + e->extra_bytes + name_bytes, 8);
	if (total > left)
		return err_set(err, EINVAL, "bitmap %u: the directory ends in its name", i);
	if (memchr(p + FIXED_BYTES + e->extra_bytes, 0, name_bytes))
		return err_set(err, EINVAL, "bitmap %u: its name has a NUL in it", i);
	e->extra = e->extra_bytes ? malloc(e->extra_bytes) : NULL;
	if (e->extra_bytes && !e->extra)
		return err_set(err, ENOMEM, "no memory for the directory of bitmaps");
	if (e->extra)
		memcpy(e->extra, p + FIXED_BYTES, e->extra_bytes);
	e->pub = (struct qcow2_bitmap){
	    .name = xstrndup((const char *)p + FIXED_BYTES + e->extra_bytes, name_bytes),
	    .granularity = 1ULL << e->granularity_bits,
	    .in_use = e->flags & BITMAP_IN_USE,
	    .automatic = e->flags & BITMAP_AUTO,
	};
	*used = (size_t)total;
	return 0;
}

int bitmap_dir_parse(struct bitmap_entry **out, uint32_t n, const uint8_t *p, size_t bytes,
		     uint64_t cluster_bytes, struct err *err)
{
	struct bitmap_entry *e;
	size_t at = 0;
	int ret = 0;

	*out = NULL;
	if (n > bytes / FIXED_BYTES)
		return err_set(err, EINVAL, "a directory of %zu bytes cannot hold %u bitmaps",
			       bytes, n);
	e = calloc((size_t)n + 1, sizeof(*e));
	if (!e)
		return err_set(err, ENOMEM, "no memory for the directory of bitmaps");
	for (uint32_t i = 0; i < n && ret == 0; i++) {
		size_t used = 0;

		ret = parse_entry(&e[i], i, p + at, bytes - at, cluster_bytes, &used, err);
		at += used;
	}
	if (ret == 0 && at != bytes)
		ret = err_set(err, EINVAL, "the directory of bitmaps has %zu bytes behind the last",
			      bytes - at);
	if (ret < 0) {
		bitmap_dir_free(e, n);
		return ret;
	}
	*out = e;
	return 0;
}

static size_t entry_bytes(const struct bitmap_entry *e)
{
	return ALIGN_UP((size_t)FIXED_BYTES + e->extra_bytes + strlen(e->pub.name), 8);
}

uint8_t *bitmap_dir_pack(const struct bitmap_entry *e, uint32_t n, size_t *bytes)
{
	uint8_t *buf, *p;

	*bytes = 0;
	for (uint32_t i = 0; i < n; i++)
		*bytes += entry_bytes(&e[i]);
	buf = p = calloc(1, *bytes + 1);
	for (uint32_t i = 0; buf && i < n; p += entry_bytes(&e[i]), i++) {
		put_be64(p, e[i].table_host);
		put_be32(p + 8, e[i].table_n);
		put_be32(p + 12, e[i].flags);
		p[16] = e[i].type;
		p[17] = e[i].granularity_bits;
		put_be16(p + 18, (uint16_t)strlen(e[i].pub.name));
		put_be32(p + 20, e[i].extra_bytes);
		if (e[i].extra_bytes)
			memcpy(p + FIXED_BYTES, e[i].extra, e[i].extra_bytes);
		memcpy(p + FIXED_BYTES + e[i].extra_bytes, e[i].pub.name, strlen(e[i].pub.name));
	}
	return buf;
}
