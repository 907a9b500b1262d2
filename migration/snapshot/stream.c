/*
 * stream.c - the stream in a snapshot is read twice: first to see whether it would load
 *
 * The check goes through the same loader as the load, which drops pages and passes over the fields
 * of devices.  What it cannot know is whether a device accepts what its section says.
 */
#include "migration/snapshot/stream.h"

#include <errno.h>

#include "migration/channel/channel.h"
#include "migration/channel/vmstate.h"
#include "migration/incoming/loader.h"
#include "migration/peer/saved.h"
#include "migration/stream/reader.h"
#include "vmm/base/buf.h"
#include "vmm/base/error.h"
#include "vmm/job.h"
#include "vmm/machine.h"

/* What was set for moves plays no part: all off. */
static const bool no_caps[CAP_COUNT];

static void report(struct snapshot_source *s, struct job *j, uint64_t at)
{
	if (!j || at <= s->reported)
		return;
	job_add_done(j, at - s->reported);
	s->reported = at;
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

static int source_read(struct snapshot_source *s, struct machine *m, struct job *j, bool checks,
		       struct err *err)
{
	struct err why = {0};
	struct channel *ch =
	    channel_vmstate_read(s->q, s->id, s->bytes, checks && j ? j->cancel_fd : -1, &why);
	struct reader *r = reader_new(ch, m);
	struct loader l;
	int ret;

	loader_init(&l, m, r, NULL);
	l.checks = checks;
	l.commands.caps = no_caps;
	ret = read_stream(&l, err);
	if (ret == 0 && checks)
		ret = compare_machines(&l, err);
	if (ret < 0 && ret != -ECANCELED && why.errnum) /* the image's own words */
		ret = err_set(err, why.errnum, "%s", why.msg);
	report(s, j, (checks ? 0 : s->bytes) + src_offset(&r->src));
	loader_fini(&l);
	reader_free(r);
	channel_close(ch);
	return ret;
}

int snapshot_source_check(struct snapshot_source *s, struct machine *m, struct job *j,
			  struct err *err)
{
	int ret = source_read(s, m, j, true, err);

	return ret == 0 && j ? job_pause_point(j) : ret;
}

int snapshot_source_load(struct snapshot_source *s, struct machine *m, struct job *j,
			 struct err *err)
{
	return source_read(s, m, j, false, err);
}

void snapshot_source_end(struct snapshot_source *s, struct job *j)
{
	report(s, j, 2 * s->bytes);
}
