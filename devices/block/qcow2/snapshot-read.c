/*
 * snapshot-read.c - the disk or the VM state of a snapshot, without applying it
 *
 * The snapshot's L1 table is kept from one read to the next, for that of the last one that was
 * read; pieces of L2 tables come through the cache, as the active ones do.  An extent is found
 * under the lock and moved without it: a snapshot's clusters do not change while it is there.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "devices/block/qcow2/saving.h"
#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/base/iov.h"
#include "vmm/base/units.h"

/* A piece of the snapshot that is in one place. */
struct piece {
	enum qcow2_kind kind;
	uint64_t bytes, host;
	struct qcow2_entry entry; /* QCOW2_COMPRESSED: the cluster's */
	uint64_t in;              /* ... and where in it */
};

/* The L1 table of this snapshot, in state->read_l1.  Lock held. */
static int read_l1(struct qcow2 *q, const struct snapshot *s)
{
	struct snapshot_state *state = q->snapshot_state;
	uint64_t *l1;
	int ret;

	if (state->read_l1 && state->read_l1_host == s->l1_off && state->read_l1_n == s->l1_entries)
		return 0;
	l1 = calloc((size_t)s->l1_entries + 1, sizeof(*l1));
	ret = l1 ? qcow2_read_be64(q, l1, s->l1_entries, s->l1_off) : -ENOMEM;
	if (ret < 0) {
		free(l1);
		return ret;
	}
	free(state->read_l1);
	state->read_l1 = l1;
	state->read_l1_n = s->l1_entries;
	state->read_l1_host = s->l1_off;
	return 0;
}

/* Is the part, which follows the piece, moved with it? */
static bool piece_goes_on(const struct piece *p, const struct qcow2_part *next)
{
	return next->kind == p->kind && p->kind != QCOW2_COMPRESSED &&
	       (p->kind != QCOW2_DATA || next->host == p->host + p->bytes);
}

/* What is at 'off', at most 'bytes' of it.  Lock held. */
static int find_piece(struct qcow2 *q, uint64_t off, uint64_t bytes, struct piece *p)
{
	const struct snapshot_state *state = q->snapshot_state;
	uint64_t l1_entry = state->read_l1[qcow2_l1_index(q, off)];
	uint64_t in = off & (q->cluster_bytes - 1);
	uint64_t left = q->l2_covers - (off & (q->l2_covers - 1));
	struct qcow2_l2_pos pos = {0};
	int ret;

	*p = (struct piece){.kind = QCOW2_HOLE, .bytes = MIN(bytes, left)};
	if (!(l1_entry & QCOW2_OFF_MASK))
		return 0;
	ret = qcow2_l2_get_at(q, l1_entry, qcow2_l2_index(q, off), &pos);
	if (ret < 0)
		return ret;
	p->bytes = 0;
	for (uint32_t k = 0; ret == 0 && k < pos.n && p->bytes < bytes; k += in == 0) {
		const struct qcow2_entry e = qcow2_entry_get(q, &pos, k);
		struct qcow2_part part;

		ret = qcow2_part_get(q, &e, in, &part);
		if (ret < 0 || (p->bytes && !piece_goes_on(p, &part)))
			break;
		if (p->bytes == 0)
			*p = (struct piece){part.kind, 0, part.host, e, in};
		p->bytes += part.bytes;
		in = (in + part.bytes) & (q->cluster_bytes - 1);
	}
	qcow2_l2_put(&pos);
	p->bytes = MIN(p->bytes, bytes);
	if (p->bytes && p->kind == QCOW2_COMPRESSED)
		q->readers++;
	return p->bytes ? 0 : ret;
}

static int read_compressed(struct qcow2 *q, const struct piece *p, uint8_t *buf)
{
	uint8_t *cluster = malloc(q->cluster_bytes);
	int ret = cluster ? qcow2_read_compressed(q, &p->entry, cluster) : -ENOMEM;

	if (ret == 0)
		memcpy(buf, cluster + p->in, p->bytes);
	free(cluster);
	(void)pthread_mutex_lock(&q->lock);
	q->readers--;
	(void)pthread_mutex_unlock(&q->lock);
	return ret;
}

/* No lock. */
static int read_piece(struct qcow2 *q, const struct piece *p, uint8_t *buf, uint64_t off,
		      bool backing)
{
	const struct iovec iov = {.iov_base = buf, .iov_len = p->bytes};

	if (p->kind == QCOW2_DATA)
		return qcow2_pread(q, buf, p->bytes, p->host);
	if (p->kind == QCOW2_COMPRESSED)
		return read_compressed(q, p, buf);
	if (p->kind == QCOW2_HOLE && backing && q->how.read_backing)
		return q->how.read_backing(q->how.backing_opaque, &iov, 1, off);
	memset(buf, 0, p->bytes);
	return 0;
}

/* Where the part of the snapshot ends that 'off' is in; 0: it is in none. */
static uint64_t part_end(const struct qcow2 *q, const struct snapshot *s, uint64_t off)
{
	if (off < s->pub.disk_bytes)
		return s->pub.disk_bytes;
	if (off < s->pub.vmstate_off)
		return 0;
	return s->l1_entries * q->l2_covers;
}

/* Lock held: the snapshot is there, and what is asked for is in it. */
static int begin_read(struct qcow2 *q, const char *id, size_t bytes, uint64_t off, bool *disk,
		      struct err *err)
{
	const struct snapshot_state *state = q->snapshot_state;
	const struct snapshot *s = state ? snapshot_table_find(&state->table, id) : NULL;
	uint64_t end;
	int ret;

	if (!s)
		return err_set(err, ENOENT, "the image has no snapshot with the id '%s'", id);
	end = part_end(q, s, off);
	if (off > end || bytes > end - off)
		return err_set(err, EINVAL, "snapshot '%s' has nothing at %llu, %zu bytes",
			       s->pub.name, (unsigned long long)off, bytes);
	ret = read_l1(q, s);
	if (ret < 0)
		return err_set(err, -ret, "the L1 table of snapshot '%s' cannot be read: %s",
			       s->pub.name, err_text(-ret));
	*disk = off < s->pub.disk_bytes;
	return 0;
}

int qcow2_snapshot_read(struct qcow2 *q, const char *id, void *buf, size_t bytes, uint64_t off,
			struct err *err)
{
	uint8_t *to = buf;
	int ret = 0;

	for (size_t done = 0; done < bytes && ret == 0;) {
		struct piece p;
		bool disk = false;

		(void)pthread_mutex_lock(&q->lock);
		ret = begin_read(q, id, bytes - done, off + done, &disk, err);
		if (ret < 0) {
			(void)pthread_mutex_unlock(&q->lock);
			return ret;
		}
		ret = find_piece(q, off + done, bytes - done, &p);
		(void)pthread_mutex_unlock(&q->lock);
		if (ret == 0)
			ret = read_piece(q, &p, to + done, off + done, disk);
		if (ret == 0)
			done += p.bytes;
	}
	if (ret < 0)
		return err_set(err, -ret,
			       "the snapshot with the id '%s' cannot be read at %llu: %s", id,
			       (unsigned long long)off, err_text(-ret));
	return 0;
}
