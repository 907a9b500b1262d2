/*
 * snapshot-table.c - entries of a snapshot table, read with every field checked, and written
 *
 * An entry has a fixed part, extra data of a length of its own, an id and a name without
 * terminators, and is padded to 8 bytes; the table's length stands nowhere.  So it is read entry by
 * entry: first the fixed part, then what that announces, within bounds.  Extra data that is not
 * known here is kept and written back, and so is each byte of an id and a name.
 *
 * Refused is what a later use could not bear: an L1 table off its place, or too short for the disk
 * that the entry describes.  The tables themselves are checked when they are read.
 */
#include "devices/block/qcow2/snapshot-table.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/alloc.h"
#include "vmm/base/bytes.h"
#include "vmm/base/error.h"
#include "vmm/base/iov.h"
#include "vmm/base/units.h"

#define FIXED_BYTES 40
#define EXTRA_KNOWN 24 /* VM state size, disk size, icount */
#define ENTRY_ALIGN 8

static void snapshot_fini(struct snapshot *s)
{
	free((char *)(uintptr_t)s->pub.id);
	free((char *)(uintptr_t)s->pub.name);
	free(s->extra);
}

void snapshot_table_fini(struct snapshot_table *t)
{
	for (uint32_t i = 0; i < t->n; i++)
		snapshot_fini(&t->at[i]);
	free(t->at);
	*t = (struct snapshot_table){0};
}

/* n bytes and a NUL. */
static char *text_copy(const void *p, size_t n)
{
	char *s = xcalloc(n + 1, 1);

	memcpy(s, p, n);
	return s;
}

static int read_at(const struct qcow2_storage *s, void *p, size_t bytes, uint64_t off)
{
	const struct iovec iov = {.iov_base = p, .iov_len = bytes};

	return bytes ? s->ops->readv(s->opaque, &iov, 1, off) : 0;
}

/* The fixed part of an entry; extra_bytes is that of the file. */
static void parse_fixed(struct snapshot *s, const uint8_t *p)
{
	s->l1_off = get_be64(p);
	s->l1_entries = get_be32(p + 8);
	s->id_bytes = get_be16(p + 12);
	s->name_bytes = get_be16(p + 14);
	s->pub.date_s = get_be32(p + 16);
	s->pub.date_ns = get_be32(p + 20);
	s->pub.vm_clock_ns = get_be64(p + 24);
	s->pub.vmstate_bytes = get_be32(p + 32);
	s->extra_bytes = get_be32(p + 36);
}

/* What follows it: extra data, id, name. */
static void parse_rest(struct snapshot *s, const uint8_t *p, const struct snapshot_geometry *g)
{
	uint32_t extra = s->extra_bytes;

	if (extra >= 8)
		s->pub.vmstate_bytes = get_be64(p);
	s->pub.disk_bytes = extra >= 16 ? get_be64(p + 8) : g->disk_bytes;
	s->pub.icount = extra >= 24 ? get_be64(p + 16) : QCOW2_NO_ICOUNT;
	s->extra_bytes = extra > EXTRA_KNOWN ? extra - EXTRA_KNOWN : 0;
	if (s->extra_bytes) {
		s->extra = xcalloc(s->extra_bytes, 1);
		memcpy(s->extra, p + EXTRA_KNOWN, s->extra_bytes);
	}
	s->pub.id = text_copy(p + extra, s->id_bytes);
	s->pub.name = text_copy(p + extra + s->id_bytes, s->name_bytes);
}

static uint64_t vmstate_off(uint64_t disk_bytes, const struct snapshot_geometry *g)
{
	return ALIGN_UP(disk_bytes, g->l2_covers);
}

static int check_entry(struct snapshot *s, const struct snapshot_geometry *g, uint32_t i,
		       struct err *err)
{
	uint64_t l1_bytes = (uint64_t)s->l1_entries * 8;

	if (s->l1_off % g->cluster_bytes || (s->l1_off == 0 && l1_bytes))
		return err_set(err, EINVAL,
			       "snapshot %u: its L1 table is at %#llx, which is no cluster", i,
			       (unsigned long long)s->l1_off);
	if (l1_bytes > SNAPSHOT_L1_BYTES_MAX)
		return err_set(err, EFBIG, "snapshot %u: its L1 table has %u entries, too many", i,
			       s->l1_entries);
	if (s->l1_off > g->file_bytes || l1_bytes > g->file_bytes - s->l1_off)
		return err_set(err, EINVAL,
			       "snapshot %u: its L1 table at %#llx ends behind the end of the file",
			       i, (unsigned long long)s->l1_off);
	if (s->pub.disk_bytes > INT64_MAX - g->l2_covers)
		return err_set(err, EINVAL, "snapshot %u: a disk size of %#llx", i,
			       (unsigned long long)s->pub.disk_bytes);
	if (s->l1_entries < vmstate_off(s->pub.disk_bytes, g) / g->l2_covers)
		return err_set(
		    err, EINVAL,
		    "snapshot %u: an L1 table of %u entries is too small for a disk of %llu bytes",
		    i, s->l1_entries, (unsigned long long)s->pub.disk_bytes);
	s->pub.vmstate_off = vmstate_off(s->pub.disk_bytes, g);
	return 0;
}

/* The i-th entry, at t->off + t->bytes, which moves on. */
static int read_entry(struct snapshot_table *t, uint32_t i, const struct qcow2_storage *st,
		      const struct snapshot_geometry *g, struct err *err)
{
	uint8_t fixed[FIXED_BYTES];
	CLEANUP(cleanup_free) uint8_t *rest = NULL;
	struct snapshot s = {0};
	size_t n;
	int ret = read_at(st, fixed, sizeof(fixed), t->off + t->bytes);

	if (ret < 0)
		return err_set(err, -ret, "snapshot %u: its entry at %#llx cannot be read: %s", i,
			       (unsigned long long)(t->off + t->bytes), err_text(-ret));
	parse_fixed(&s, fixed);
	if (s.extra_bytes > SNAPSHOT_EXTRA_MAX)
		return err_set(err, EINVAL, "snapshot %u: %u bytes of extra data, too many", i,
			       s.extra_bytes);
	if (g->version >= 3 && s.extra_bytes < 16)
		return err_set(err, EINVAL,
			       "snapshot %u: %u bytes of extra data, version 3 has 16 at least", i,
			       s.extra_bytes);
	n = (size_t)s.extra_bytes + s.id_bytes + s.name_bytes;
	rest = xcalloc(n + 1, 1);
	ret = read_at(st, rest, n, t->off + t->bytes + FIXED_BYTES);
	if (ret < 0)
		return err_set(err, -ret, "snapshot %u: its name cannot be read: %s", i,
			       err_text(-ret));
	t->bytes = ALIGN_UP(t->bytes + FIXED_BYTES + n, ENTRY_ALIGN);
	if (t->off + t->bytes > ALIGN_UP(g->file_bytes, g->cluster_bytes))
		return err_set(err, EINVAL,
			       "snapshot %u: its entry ends behind the end of the file", i);
	parse_rest(&s, rest, g);
	ret = check_entry(&s, g, i, err);
	if (ret < 0) {
		snapshot_fini(&s);
		return ret;
	}
	t->at[t->n++] = s;
	return 0;
}

int snapshot_table_read(struct snapshot_table *t, const struct qcow2_storage *s,
			const struct snapshot_geometry *g, uint32_t n, uint64_t off,
			struct err *err)
{
	int ret = 0;

	*t = (struct snapshot_table){.off = off};
	if (n == 0)
		return 0;
	if (n > SNAPSHOTS_MAX)
		return err_set(err, EFBIG, "%u snapshots, more than %u", n, SNAPSHOTS_MAX);
	if (off == 0 || off % g->cluster_bytes || off >= g->file_bytes)
		return err_set(err, EINVAL,
			       "the snapshot table is at %#llx, which is no cluster of the file",
			       (unsigned long long)off);
	t->at = calloc(n, sizeof(*t->at));
	if (!t->at)
		return err_set(err, ENOMEM, "no memory for %u snapshots", n);
	for (uint32_t i = 0; i < n && ret == 0; i++) {
		ret = read_entry(t, i, s, g, err);
		if (ret == 0 && t->bytes > SNAPSHOT_TABLE_MAX)
			ret = err_set(err, EFBIG, "the snapshot table has more than %llu bytes",
				      SNAPSHOT_TABLE_MAX);
	}
	if (ret < 0)
		snapshot_table_fini(t);
	return ret;
}

static size_t entry_bytes(const struct snapshot *s)
{
	return ALIGN_UP((size_t)FIXED_BYTES + EXTRA_KNOWN + s->extra_bytes + s->id_bytes +
			    s->name_bytes,
			ENTRY_ALIGN);
}

static void put_entry(uint8_t *p, const struct snapshot *s)
{
	put_be64(p, s->l1_off);
	put_be32(p + 8, s->l1_entries);
	put_be16(p + 12, s->id_bytes);
	put_be16(p + 14, s->name_bytes);
	put_be32(p + 16, s->pub.date_s);
	put_be32(p + 20, s->pub.date_ns);
	put_be64(p + 24, s->pub.vm_clock_ns);
	put_be32(p + 32, s->pub.vmstate_bytes <= UINT32_MAX ? (uint32_t)s->pub.vmstate_bytes : 0);
	put_be32(p + 36, EXTRA_KNOWN + s->extra_bytes);
	p += FIXED_BYTES;
	put_be64(p, s->pub.vmstate_bytes);
	put_be64(p + 8, s->pub.disk_bytes);
	put_be64(p + 16, s->pub.icount);
	p += EXTRA_KNOWN;
	if (s->extra_bytes)
		memcpy(p, s->extra, s->extra_bytes);
	p += s->extra_bytes;
	memcpy(p, s->pub.id, s->id_bytes);
	memcpy(p + s->id_bytes, s->pub.name, s->name_bytes);
}

uint8_t *snapshot_table_write(const struct snapshot_table *t, size_t *bytes)
{
	uint8_t *buf;
	size_t n = 0;

	for (uint32_t i = 0; i < t->n; i++)
		n += entry_bytes(&t->at[i]);
	*bytes = n;
	if (n > SNAPSHOT_TABLE_MAX)
		return NULL;
	buf = calloc(1, n + 1);
	if (!buf)
		return NULL;
	n = 0;
	for (uint32_t i = 0; i < t->n; i++) {
		put_entry(buf + n, &t->at[i]);
		n += entry_bytes(&t->at[i]);
	}
	return buf;
}

int snapshot_table_copy(struct snapshot_table *to, const struct snapshot_table *from,
			const struct snapshot *skip)
{
	*to = (struct snapshot_table){.at = calloc((size_t)from->n + 1, sizeof(*to->at))};
	if (!to->at)
		return -ENOMEM;
	for (uint32_t i = 0; i < from->n; i++) {
		const struct snapshot *s = &from->at[i];
		struct snapshot *d = &to->at[to->n];

		if (s == skip)
			continue;
		*d = *s;
		d->pub.id = text_copy(s->pub.id, s->id_bytes);
		d->pub.name = text_copy(s->pub.name, s->name_bytes);
		if (s->extra) {
			d->extra = xcalloc(s->extra_bytes, 1);
			memcpy(d->extra, s->extra, s->extra_bytes);
		}
		to->n++;
	}
	return 0;
}

/* The number of an id that is nothing else; 0: none. */
static uint64_t id_number(const char *id)
{
	uint64_t n = 0;

	for (; *id >= '0' && *id <= '9'; id++)
		if (__builtin_mul_overflow(n, 10, &n) ||
		    __builtin_add_overflow(n, (uint64_t)(*id - '0'), &n))
			return 0;
	return *id ? 0 : n;
}

static uint64_t largest_id(const struct snapshot_table *t)
{
	uint64_t largest = 0;

	for (uint32_t i = 0; i < t->n; i++)
		largest = MAX(largest, id_number(t->at[i].pub.id));
	return largest;
}

int snapshot_table_add(struct snapshot_table *t, const struct qcow2_snapshot *what, uint64_t l1_off,
		       uint32_t l1_entries, struct err *err)
{
	struct snapshot *s = &t->at[t->n];
	uint64_t largest = largest_id(t);
	char *id;

	if (t->n >= SNAPSHOTS_MAX)
		return err_set(err, EFBIG, "the image has %u snapshots already", t->n);
	if (strlen(what->name) > UINT16_MAX)
		return err_set(err, ENAMETOOLONG, "the name has more than %u bytes", UINT16_MAX);
	if (largest == UINT64_MAX)
		return err_set(err, EFBIG, "no number is left for an id after the largest");
	id = xasprintf("%llu", (unsigned long long)largest + 1);
	*s = (struct snapshot){
	    .pub = *what,
	    .l1_off = l1_off,
	    .l1_entries = l1_entries,
	    .id_bytes = (uint16_t)strlen(id),
	    .name_bytes = (uint16_t)strlen(what->name),
	};
	s->pub.id = id;
	s->pub.name = xstrdup(what->name);
	t->n++;
	return 0;
}

struct snapshot *snapshot_table_find(const struct snapshot_table *t, const char *id)
{
	for (uint32_t i = 0; i < t->n; i++)
		if (strcmp(t->at[i].pub.id, id) == 0)
			return &t->at[i];
	return NULL;
}
