/*
 * chain.c - which snapshot stands on which: read from the streams' first bytes
 *
 * A name is not enough, for a snapshot can be deleted and another one made under its name, by any
 * program; so a mark also has the date, to the nanosecond, and the guest's clock.  The size of the
 * VM state is another one when the snapshot has been made whole.
 */
#include "migration/snapshot/chain.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "devices/block/qcow2/qcow2.h"
#include "vmm/base/alloc.h"
#include "vmm/base/buf.h"
#include "vmm/base/error.h"
#include "vmm/base/log.h"
#include "vmm/base/units.h"

#define NS_PER_S UINT64_C(1000000000)

void snapshot_mark_of(const struct qcow2_snapshot *s, struct parent_mark *mark)
{
	*mark = (struct parent_mark){
	    .date_s = s->date_s,
	    .date_ns = s->date_ns,
	    .vm_clock_ns = s->vm_clock_ns,
	};
	(void)snprintf(mark->tag, sizeof(mark->tag), "%s", s->name);
}

bool snapshot_is_marked(const struct qcow2_snapshot *s, const struct parent_mark *mark)
{
	return !strcmp(s->name, mark->tag) && s->date_s == mark->date_s &&
	       s->date_ns == mark->date_ns && s->vm_clock_ns == mark->vm_clock_ns &&
	       s->vmstate_bytes;
}

int snapshot_parent(struct qcow2 *q, const struct qcow2_snapshot *s, struct parent_mark *mark,
		    struct err *err)
{
	uint8_t head[PARENT_HEAD_BYTES];
	size_t n = (size_t)MIN(s->vmstate_bytes, sizeof(head));
	int ret;

	if (!n)
		return 0;
	ret = qcow2_snapshot_read(q, s->id, head, n, s->vmstate_off, err);
	if (ret == 0)
		ret = parent_mark_find(mark, head, n, err);
	return ret < 0 ? err_prefix(err, ret, "snapshot '%.100s'", s->name) : ret;
}

const struct qcow2_snapshot *snapshot_find_marked(const struct qcow2 *q,
						  const struct parent_mark *mark)
{
	const struct qcow2_snapshot *s;

	for (size_t i = 0; (s = qcow2_snapshot_at(q, i)); i++)
		if (snapshot_is_marked(s, mark))
			return s;
	return NULL;
}

/* The one that the mark means; NULL with *err set. */
static const struct qcow2_snapshot *find_parent(const struct qcow2 *q, const char *child,
						const struct parent_mark *mark, struct err *err)
{
	const struct qcow2_snapshot *s = snapshot_find_marked(q, mark);

	if (s)
		return s;
	(void)err_set(err, ENOENT,
		      qcow2_snapshot_named(q, mark->tag)
			  ? "snapshot '%.100s' has only what was written since '%.100s', and the "
			    "one of that name that is here now is another"
			  : "snapshot '%.100s' has only what was written since '%.100s', which is "
			    "not there any more",
		      child, mark->tag);
	return NULL;
}

static int add_link(struct snapshot_chain *c, const struct qcow2_snapshot *s, struct err *err)
{
	for (size_t i = 0; i < c->n; i++)
		if (!strcmp(c->v[i].id, s->id))
			return err_set(err, ELOOP, "snapshot '%.100s' stands on itself", s->name);
	if (c->n == SNAPSHOT_CHAIN_MAX)
		return err_set(err, E2BIG,
			       "snapshot '%.100s' stands on more than %u others: make one of them "
			       "whole first (minivmm-img snapshot --merge)",
			       c->v[0].name, SNAPSHOT_CHAIN_MAX - 1);
	c->v = xrealloc(c->v, (c->n + 1) * sizeof(*c->v));
	c->v[c->n++] = (struct snapshot_link){
	    .id = xstrdup(s->id),
	    .name = xstrdup(s->name),
	    .off = s->vmstate_off,
	    .bytes = s->vmstate_bytes,
	    .saved_ns = s->date_s * NS_PER_S + s->date_ns,
	};
	return 0;
}

int snapshot_chain_find(struct snapshot_chain *c, struct qcow2 *q, const struct qcow2_snapshot *s,
			struct err *err)
{
	*c = (struct snapshot_chain){0};
	for (;;) {
		struct parent_mark mark = {0};
		int ret = add_link(c, s, err);

		if (ret == 0)
			ret = snapshot_parent(q, s, &mark, err);
		if (ret <= 0)
			return ret;
		s = find_parent(q, s->name, &mark, err);
		if (!s)
			return -ENOENT;
	}
}

void snapshot_chain_fini(struct snapshot_chain *c)
{
	for (size_t i = 0; i < c->n; i++) {
		free(c->v[i].id);
		free(c->v[i].name);
	}
	free(c->v);
	*c = (struct snapshot_chain){0};
}

/* One that cannot be read can be loaded no more: it needs nobody. */
void snapshot_children(struct qcow2 *q, const struct qcow2_snapshot *s, struct buf *names)
{
	const struct qcow2_snapshot *other;

	for (size_t i = 0; s->vmstate_bytes && (other = qcow2_snapshot_at(q, i)); i++) {
		struct parent_mark mark = {0};
		struct err why = {0};
		int ret = other == s ? 0 : snapshot_parent(q, other, &mark, &why);

		if (ret < 0)
			log_warn("%s", why.msg);
		if (ret > 0 && snapshot_is_marked(s, &mark))
			buf_printf(names, "%s'%.100s'", names->len ? ", " : "", other->name);
	}
}

int snapshot_check_childless(struct qcow2 *q, const struct qcow2_snapshot *s, struct err *err)
{
	struct buf names = {0};
	int ret = 0;

	snapshot_children(q, s, &names);
	if (names.len)
		ret =
		    err_set(err, EBUSY,
			    "snapshot '%.100s' is needed by %.*s, which has only what was written "
			    "since: delete that first, or make it whole (minivmm-img snapshot "
			    "--merge)",
			    s->name, (int)MIN(names.len, 200U), (const char *)names.data);
	buf_free(&names);
	return ret;
}
