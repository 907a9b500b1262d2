/*
 * stream.c - the stream in a snapshot is read twice: first to see whether it would load
 *
 * The check goes through the same loader as the load, which drops pages and passes over the fields
 * of devices.  What it cannot know is whether a device accepts what its section says.
 */
#include "migration/snapshot/stream.h"

#include <errno.h>
#include <string.h>

#include "devices/block/qcow2/qcow2.h"
#include "migration/channel/channel.h"
#include "migration/incoming/loader.h"
#include "migration/peer/saved.h"
#include "migration/ram/lazy/lazy.h"
#include "migration/ram/lazy/page-index.h"
#include "migration/ram/lazy/stream-source.h"
#include "migration/ram/ram.h"
#include "migration/snapshot/session.h"
#include "migration/stream/parent-mark.h"
#include "migration/stream/reader.h"
#include "vmm/base/buf.h"
#include "vmm/base/error.h"
#include "vmm/base/log.h"
#include "vmm/job.h"
#include "vmm/machine.h"

/* What was set for moves plays no part: all off. */
static const bool no_caps[CAP_COUNT];

static void report(struct snapshot_source *s, uint64_t at)
{
	if (!s->j || at <= s->reported)
		return;
	job_add_done(s->j, at - s->reported);
	s->reported = at;
}

/* The job can be paused and cancelled while nothing has been touched. */
static int read_goes_on(void *opaque, uint64_t at)
{
	struct snapshot_source *s = opaque;

	report(s, s->before + at);
	return s->checks && s->j ? job_pause_point(s->j) : 0;
}

static int read_stream(struct loader *l, struct err *err)
{
	int ret = loader_header(l, err);

	return ret == 0 ? loader_records(l, err) : ret;
}

/* A load that was not interrupted ends at the description; it tells which machine was saved. */
static int compare_machines(struct loader *l, struct err *err)
{
	struct buf text = {0};
	int ret = 0;

	if (loader_description(l, &text))
		ret = saved_compare(l->m, no_caps, text.data, text.len, &l->commands.differs, err);
	buf_free(&text);
	return ret;
}

/* The pages stay where they are. */
static void read_lazily(struct snapshot_source *s, struct loader *l)
{
	if (!s->lazy)
		return;
	if (s->index) {
		l->pages_start = s->index->start;
		l->pages_end = s->index->end;
		s->from.pause = s->index->start;
	}
	if (!s->checks)
		ram_load_lazily(l->ram, s->lazy);
	else if (!s->index)
		ram_load_index(l->ram, lazy_source(s->lazy));
}

/* One stream; 'whole': devices, too. */
static int read_one(struct snapshot_source *s, struct machine *m, bool whole, struct err *err)
{
	struct parent_mark mark;
	struct channel *ch;
	struct reader *r;
	struct loader l;
	int ret;

	s->from.go_on = read_goes_on;
	s->from.opaque = s;
	s->from.err = (struct err){0};
	s->from.pause = 0;
	ch = channel_vmstate_read(&s->from, s->checks && s->j ? s->j->cancel_fd : -1);
	r = reader_new(ch, m);
	loader_init(&l, m, r, NULL);
	l.checks = s->checks;
	l.commands.caps = no_caps;
	l.pages_only = !whole;
	l.parent = &mark;
	read_lazily(s, &l);
	ret = read_stream(&l, err);
	if (ret == 0 && s->checks && whole)
		ret = compare_machines(&l, err);
	if (ret == 0 && s->checks && s->lazy && !s->index)
		ret = stream_source_noted(lazy_source(s->lazy), err);
	if (ret < 0 && ret != -ECANCELED && s->from.err.errnum) /* the image's own words */
		ret = err_set(err, s->from.err.errnum, "%s", s->from.err.msg);
	loader_fini(&l);
	reader_free(r);
	channel_close(ch);
	return ret;
}

/*
 * What it stands on comes first, and its own pages over that.  With a session the pages of all of
 * them come later.
 */
static int source_read(struct snapshot_source *s, struct machine *m, struct err *err)
{
	int ret = 0;

	for (size_t i = s->lazy ? 1 : s->chain.n; ret == 0 && i-- > 0;) {
		const struct snapshot_link *link = &s->chain.v[i];

		s->from.id = link->id;
		s->from.off = link->off;
		s->from.bytes = link->bytes;
		ret = read_one(s, m, i == 0, err);
		s->before += link->bytes;
		if (i > 0 && ret < 0 && ret != -ECANCELED)
			(void)err_prefix(err, ret, "snapshot '%.100s', on which it stands",
					 link->name);
	}
	return ret;
}

static uint64_t all_bytes(const struct snapshot_source *s)
{
	uint64_t n = 0;

	for (size_t i = 0; i < s->chain.n; i++)
		n += s->chain.v[i].bytes;
	return n;
}

static void drop_session(struct snapshot_source *s)
{
	lazy_free(s->lazy);
	s->lazy = NULL;
	s->index = NULL;
}

int snapshot_source_check(struct snapshot_source *s, struct machine *m, struct job *j,
			  struct err *err)
{
	int ret;

	s->j = j;
	s->checks = true;
	ret = snapshot_chain_find(&s->chain, s->from.q,
				  qcow2_snapshot_with_id(s->from.q, s->from.id), err);
	if (ret < 0) {
		snapshot_chain_fini(&s->chain);
		return ret;
	}
	if (s->j)
		job_set_total(s->j, 2 * all_bytes(s)); /* it is read twice */
	if (s->lazily_from)
		s->lazy = snapshot_session_new(s->from.q, &s->chain, s->lazily_from, m, &s->index);
	ret = source_read(s, m, err);
	if (ret == 0 || !s->lazy || s->index || ret == -ECANCELED)
		return ret;
	/* Coded pages have no place in the stream; what is really wrong is found once more. */
	log_info("the guest's memory is loaded before it runs, not lazily: %s", err->msg);
	drop_session(s);
	*err = (struct err){0};
	s->before = 0;
	return source_read(s, m, err);
}

int snapshot_source_load(struct snapshot_source *s, struct machine *m, struct err *err)
{
	int ret;

	s->checks = false;
	ret = source_read(s, m, err);
	if (s->lazy && !lazy_blocks(s->lazy))
		drop_session(s);
	return ret;
}

void snapshot_source_end(struct snapshot_source *s)
{
	drop_session(s);
	report(s, 2 * all_bytes(s));
	snapshot_chain_fini(&s->chain);
}
