/*
 * check-refs.c - who refers to which cluster: every table of an image, read from the storage
 *
 * Nothing comes from the caches here, and nothing that is found is taken for damage that stops the
 * image: it is told, and the rest is looked at.  A table that cannot be followed makes the check
 * blind for what it refers to.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "devices/block/qcow2/bitmap.h"
#include "devices/block/qcow2/check.h"
#include "devices/block/qcow2/saving.h"
#include "vmm/base/bytes.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"

int check_count(struct check *k, uint64_t host, uint64_t bytes, const char *what)
{
	const struct qcow2 *q = k->q;
	uint64_t first = host >> q->cluster_bits;
	uint64_t n = ALIGN_UP(bytes, q->cluster_bytes) >> q->cluster_bits;
	int ret = 0;

	if (host & (q->cluster_bytes - 1)) {
		check_error(k, "the %s at 0x%" PRIx64 " is not at a cluster", what, host);
		return 0;
	}
	/* The last cluster need not be written to its end. */
	if (first >= k->clusters || n > k->clusters - first) {
		check_error(
		    k, "the %s at 0x%" PRIx64 ", %" PRIu64 " bytes, is behind the end of the file",
		    what, host, bytes);
		return 0;
	}
	for (uint64_t i = 0; i < n && ret == 0; i++)
		ret = counts_add(&k->refs, first + i, 1);
	k->end = MAX(k->end, first + n);
	return ret;
}

uint64_t *check_read_table(struct check *k, uint64_t host, uint32_t n, const char *what)
{
	uint64_t *e = calloc((size_t)n + 1, sizeof(*e));
	int ret = e ? qcow2_read_be64(k->q, e, n, host) : -ENOMEM;

	if (ret == 0)
		return e;
	free(e);
	k->blind = true;
	check_error(k, "the %s at 0x%" PRIx64 " cannot be read: %s", what, host, err_text(-ret));
	return NULL;
}

int check_read_l2(struct check *k, uint64_t host)
{
	return qcow2_pread(k->q, k->l2, k->q->cluster_bytes, host);
}

struct qcow2_entry check_entry(const struct check *k, uint32_t i)
{
	const uint8_t *p = k->l2 + (size_t)i * k->q->entry_bytes;

	return (struct qcow2_entry){
	    .desc = get_be64(p),
	    .bitmap = k->q->entry_bytes == 16 ? get_be64(p + 8) : 0,
	};
}

/* A cluster of the disk: *next is where one would be that is not a fragment. */
static void count_figures(struct check *k, const struct qcow2_entry *e, uint64_t host,
			  uint64_t *next)
{
	k->c->allocated++;
	if (qcow2_entry_is_compressed(e)) {
		k->c->compressed++;
		k->c->fragmented++;
		return;
	}
	if (*next && host != *next)
		k->c->fragmented++;
	*next = host + k->q->cluster_bytes;
}

static int count_entries(struct check *k, uint64_t table, bool active)
{
	uint64_t next = 0;
	int ret = 0;

	for (uint32_t i = 0; i < 1U << k->q->l2_bits && ret == 0; i++) {
		const struct qcow2_entry e = check_entry(k, i);
		const char *wrong = qcow2_entry_wrong(k->q, &e);
		uint64_t host, bytes;

		if (wrong) {
			check_error(k,
				    "entry %" PRIu32 " of the L2 table at 0x%" PRIx64 ", 0x%" PRIx64
				    ": %s",
				    i, table, e.desc, wrong);
			continue;
		}
		if (active && qcow2_entry_is_compressed(&e) && e.desc & QCOW2_COPIED)
			check_error(k,
				    "entry %" PRIu32 " of the L2 table at 0x%" PRIx64
				    " is compressed and has the COPIED flag",
				    i, table);
		if (!qcow2_entry_range(k->q, &e, &host, &bytes))
			continue;
		ret = check_count(k, host, bytes, "cluster of data");
		if (active)
			count_figures(k, &e, host, &next);
	}
	return ret;
}

static int count_l2(struct check *k, uint64_t l1_entry, bool active)
{
	uint64_t table = l1_entry & QCOW2_OFF_MASK;
	int ret = check_count(k, table, k->q->cluster_bytes, "L2 table");

	if (ret < 0 || table & (k->q->cluster_bytes - 1) ||
	    table >> k->q->cluster_bits >= k->clusters)
		return ret;
	ret = check_read_l2(k, table);
	if (ret < 0) {
		k->blind = true;
		check_error(k, "the L2 table at 0x%" PRIx64 " cannot be read: %s", table,
			    err_text(-ret));
		return 0;
	}
	return count_entries(k, table, active);
}

static int count_l1(struct check *k, uint64_t host, uint32_t n, bool active)
{
	uint64_t *l1;
	int ret = n ? check_count(k, host, n * 8ULL, "L1 table") : 0;

	if (ret < 0)
		return ret;
	l1 = check_read_table(k, host, n, "L1 table");
	for (uint32_t i = 0; l1 && i < n && ret == 0; i++) {
		if (l1[i] & QCOW2_OFF_MASK)
			ret = count_l2(k, l1[i], active);
		if (active && k->c->progress)
			k->c->progress(k->c->opaque, i + 1, n);
	}
	free(l1);
	return ret;
}

static int count_snapshots(struct check *k)
{
	const struct snapshot_state *s = k->q->snapshot_state;
	int ret = 0;

	if (!s || s->damaged) {
		k->blind = true;
		check_error(k, "the list of snapshots cannot be read: %s", s ? s->why : "");
		return 0;
	}
	for (uint32_t i = 0; i < s->table.n && ret == 0; i++)
		ret = count_l1(k, s->table.at[i].l1_off, s->table.at[i].l1_entries, false);
	if (ret == 0 && s->table.n)
		ret = check_count(k, s->table.off, s->table.bytes, "list of snapshots");
	return ret;
}

static int count_place(void *opaque, const char *what, uint64_t host, uint64_t bytes)
{
	return check_count(opaque, host, bytes, what);
}

int check_count_tables(struct check *k)
{
	struct err err = {0};
	int ret = check_count(k, 0, k->q->cluster_bytes, "header");

	if (ret == 0)
		ret = count_l1(k, k->q->h.l1_host, k->q->h.l1_n, true);
	if (ret == 0)
		ret = count_snapshots(k);
	if (ret < 0)
		return ret;
	ret = qcow2_bitmaps_walk(k->q, count_place, k, &err);
	if (ret < 0 && err.msg[0]) {
		k->blind = true;
		check_error(k, "%s", err.msg);
		return 0;
	}
	return ret;
}

int check_count_refcounts(struct check *k)
{
	const struct qcow2 *q = k->q;
	uint64_t errors = k->c->errors;
	int ret = check_count(k, q->rt.host, q->rt.n * 8ULL, "refcount table");

	for (uint32_t i = 0; i < q->rt.n && ret == 0; i++)
		if (q->rt.e[i] & QCOW2_RT_MASK)
			ret = check_count(k, q->rt.e[i] & QCOW2_RT_MASK, q->cluster_bytes,
					  "refcount block");
	if (k->c->errors != errors)
		k->refcounts_wrong = true;
	return ret;
}
