/*
 * incoming.c - the load thread: it loads a stream and takes the guest over
 *
 * The load thread reads records straight into guest memory and devices.  After
 * EOF everything is pushed into KVM, and the disks are probed: what can still
 * fail has then been tried.  A source that is minivmm is told READY, and its GO
 * lets this end acquire the disks and run the guest; any other source expects the
 * guest to run now (outgoing/handover.c draws the whole hand-over).
 *
 * A stream over a channel that cannot answer (file:, a command, a pipe or file behind
 * fd:) is a saved one: nobody can be told to give the guest up, and the same
 * bytes may be loaded again.  The guest that it makes is a copy (copy.h).  One that
 * comes over a connection has moved, and goes on as what it was.
 *
 * The source of a stream that fails is told the cause when it is minivmm, and
 * that it failed in any case.  Then the program ends with status 1, or stays
 * as it is (exit-on-error=off; the default after -incoming defer): run state
 * inmigrate, the cause in query-migrate and in what refuses 'cont'.  A new
 * attempt may follow, for the source sends every page, and its thread resets
 * the devices first.  It need not wait for the end of this thread, which goes on
 * with its connection only, until the source has read the cause.
 */
#include "migration/incoming/incoming.h"

#include <errno.h>
#include <inttypes.h>
#include <malloc.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "devices/vmgenid.h"
#include "migration/channel/channel.h"
#include "migration/channel/checksum.h"
#include "migration/channel/open.h"
#include "migration/incoming/arrival.h"
#include "migration/incoming/commands.h"
#include "migration/incoming/copy.h"
#include "migration/incoming/lazy.h"
#include "migration/incoming/loader.h"
#include "migration/incoming/postcopy.h"
#include "migration/incoming/report.h"
#include "migration/peer/process.h"
#include "migration/peer/saved.h"
#include "migration/peer/shared-memory.h"
#include "migration/ram/mapped/mapped.h"
#include "migration/ram/ram.h"
#include "migration/stream/go.h"
#include "migration/stream/reader.h"
#include "migration/stream/reply.h"
#include "migration/stream/wire.h"
#include "vmm/base/alloc.h"
#include "vmm/base/log.h"
#include "vmm/base/units.h"
#include "vmm/base/wake.h"
#include "vmm/host.h"
#include "vmm/machine.h"
#include "vmm/memory/room.h"
#include "vmm/vclock.h"

#define LINGER_MS 5000 /* how long the source may take to read our last message and close */
#define QUIET_MS  1000 /* after EOF: when nothing comes for so long, nothing follows */

/* ---- when everything is loaded ---- */

static int send_ready(struct channel *ch, struct err *err)
{
	struct buf b = {0};
	int ret;

	peer_put_self(&b);
	ret = rp_send(ch, RP_READY, b.data, b.len, err);
	buf_free(&b);
	return ret;
}

/* Nothing may follow EOF but a description and GO. */
static int await_go(struct loader *l, struct go_requests *asked, struct err *err)
{
	uint16_t command, n;
	uint8_t tag;

	while (loader_description(l, NULL))
		;
	if (src_u8(l->in, &tag) < 0 || src_be16(l->in, &command) < 0 || src_be16(l->in, &n) < 0) {
		if (l->reader->failed)
			return err_set(err, -l->reader->failed, "%s", l->reader->err.msg);
		return err_set(err, ECONNRESET,
			       "the source closed the connection before it gave the guest away");
	}
	if (tag != TAG_COMMAND || command != CMD_GO)
		return err_set(err, EINVAL, "after EOF the source sent record 0x%02x instead of GO",
			       tag);
	return go_requests_get(asked, l->in, n, err);
}

/* Read and drop until the source closes, so that it can read our last message first. */
static void linger(struct channel *ch, int timeout_ms)
{
	int64_t until = host_now_ns() + (int64_t)timeout_ms * 1000000;
	static const size_t piece = 16 * KiB;
	uint8_t *scrap = malloc(piece);

	while (scrap) {
		int64_t left = (until - host_now_ns()) / 1000000;

		if (left <= 0 || channel_wait(ch, POLLIN, (int)left) <= 0 ||
		    channel_read(ch, scrap, piece, NULL) <= 0)
			break;
	}
	free(scrap);
}

/* Is there another byte, or does one come soon? */
static bool more_comes(const struct loader *l)
{
	const struct src *in = l->in;

	return in->at < in->len || channel_wait(l->reader->ch, POLLIN, QUIET_MS) > 0;
}

/* The description behind EOF is not needed, but a source may fail on a channel closed early. */
static void incoming_drain(struct loader *l)
{
	if (more_comes(l))
		(void)loader_description(l, NULL);
}

/* The line behind the description, where one is announced: it comes, or the end does. */
static int verify_checksum(const struct incoming *in, struct loader *l, struct err *err)
{
	if (channel_checksum_expected(l->reader->ch) && src_skip(l->in, CHECKSUM_LINE_BYTES) < 0 &&
	    l->reader->failed)
		return err_set(err, -l->reader->failed, "%s", l->reader->err.msg);
	return channel_checksum_verify(l->reader->ch, in->where, err);
}

/* What follows EOF in a saved stream.  'compared': the description has been, at the file's end. */
static int check_saved(const struct incoming *in, struct loader *l, bool compared, struct err *err)
{
	bool summed = channel_checksum_expected(l->reader->ch);
	struct buf text = {0};
	int ret;

	if (summed || (!compared && more_comes(l)))
		(void)loader_description(l, &text);
	ret = verify_checksum(in, l, err);
	if (ret == 0 && !compared)
		ret = saved_compare(l->m, l->commands.caps, text.data, text.len,
				    &l->commands.differs, err);
	buf_free(&text);
	return ret;
}

/* Where the stream was too short, the command that it came from may have said why. */
static int say_peer_end(const struct loader *l, int ret, struct err *err)
{
	struct channel_end end = {""};
	struct err cut = *err;

	if (l->reader->ended)
		end = channel_peer_end(l->reader->ch);
	return *end.s ? err_set(err, -ret, "%s (%s)", cut.msg, end.s) : ret;
}

static int load_stream(struct loader *l, struct err *err)
{
	int ret = loader_header(l, err);

	if (ret == 0)
		ret = loader_records(l, err);
	return ret < 0 ? say_peer_end(l, ret, err) : 0;
}

/* *kept: the program ends, and the guest runs here, with pages to come. */
static int incoming_load(struct incoming *in, struct loader *l, bool *kept, struct err *err)
{
	struct channel *ch = l->reader->ch;
	struct go_requests asked = {0};
	bool saved = !ch->two_way; /* see the theory; else the two machines compare themselves */
	bool compared = false;
	int ret = 0;

	if (saved)
		ret = saved_compare_file(l->m, l->commands.caps, ch, &compared,
					 &l->commands.differs, err);
	if (ret == 0)
		ret = load_stream(l, err);
	if (incoming_postcopy_begun(in->postcopy))
		return incoming_postcopy_finish(in->postcopy, ret, kept, err);
	if (ret == 0 && saved)
		ret = check_saved(in, l, compared, err);
	if (ret == 0)
		ret = incoming_finish_channels(in, err);
	if (ret == 0)
		ret = room_check_files(&l->m->mem, err); /* is what came still there? */
	if (ret == 0)
		ret = incoming_lazy_begin(in, l, err);
	if (ret == 0)
		ret = arrival_push(in, err);
	if (ret == 0)
		ret = saved ? copy_loaded(l->m, in->set, 0, err) : vmgenid_kept(l->m, err);
	if (ret == 0 && l->commands.minivmm) {
		ret = send_ready(ch, err);
		if (ret == 0)
			ret = await_go(l, &asked, err);
	}
	return ret == 0 ? arrival_take_over(in, &asked, err) : ret;
}

/* What an earlier attempt has left, and what the capabilities ask for, as they are now. */
static int prepare(struct incoming *in, struct loader *l, struct err *err)
{
	const struct migration_settings *set = in->set;
	struct machine *m = in->m;
	struct mapped_config file;
	unsigned threads;
	bool mapped, lazily;
	int ret = 0;

	machine_lock(m);
	if (in->dirty)
		ret = machine_reset(m, err);
	in->dirty = ret < 0;
	threads = set->caps[CAP_COMPRESS] ? set->params.decompress_threads : 0;
	mapped = set->caps[CAP_MAPPED_RAM];
	lazily = mapped && set->params.lazy_load;
	file = (struct mapped_config){
	    .threads = set->caps[CAP_MULTIFD] ? set->params.multifd_channels : 0,
	    .direct = set->params.direct_io,
	};
	machine_unlock(m);
	if (ret == 0 && mapped)
		ret = loader_map(l, &file, err);
	if (ret == 0 && lazily)
		incoming_lazy_prepare(in, l, file.direct);
	return ret == 0 && threads ? ram_load_compressed(l->ram, threads, err) : ret;
}

/*
 * The header was refused: the commands that open the return path come right
 * behind it.
 */
static void read_return_path(struct loader *l)
{
	for (int i = 0; i < 2 && l->reader->ch->two_way && more_comes(l); i++) {
		const uint8_t *tag = src_peek(l->in, 1);

		if (!tag || *tag != TAG_COMMAND || src_skip(l->in, 1) < 0 ||
		    commands_load(&l->commands, l->in, NULL) < 0)
			return;
	}
}

/* Tell the source why, if it still reads. */
static void refuse(struct loader *l, const struct err *err)
{
	struct channel *ch = l->reader->ch;

	if (!l->commands.return_path)
		read_return_path(l);
	if (!l->commands.return_path)
		return;
	if (l->commands.minivmm)
		(void)rp_send_error(ch, err->msg, NULL);
	(void)rp_send_shut(ch, 1, NULL);
	channel_end_writing(ch);
}

/* A load that may become a postcopy. */
static int load_or_postcopy(struct incoming *in, struct loader *l, bool *late, bool *kept,
			    struct err *err)
{
	struct incoming_postcopy *pc = NULL;
	int ret;

	*kept = false;
	if (in->set->caps[CAP_POSTCOPY_RAM] && l->reader->ch->two_way) {
		pc = incoming_postcopy_new(in, l, err);
		if (!pc)
			return -EMFILE;
	}
	ret = incoming_load(in, l, kept, err);
	*late = incoming_postcopy_begun(pc);
	l->commands.postcopy = NULL;
	incoming_postcopy_free(pc);
	l->reader->ch->cancel_fd = in->cancel_fd; /* no channel's end ends this */
	return ret;
}

static int incoming_run(struct incoming *in, struct loader *l, bool *kept, struct err *err)
{
	struct channel *ch = l->reader->ch;
	bool late = false;
	int ret;

	incoming_use_channels(in, l);
	l->commands.caps = in->set->caps;
	l->commands.agree_early =
	    in->set->caps[CAP_SWITCHOVER_ACK] && in->set->switchover_ack_legacy;
	if (in->set->caps[CAP_X_IGNORE_SHARED])
		channel_accept_fds(ch);
	ret = prepare(in, l, err);
	if (ret == 0)
		ret = load_or_postcopy(in, l, &late, kept, err);
	ch = l->reader->ch; /* another one, perhaps */
	if (*kept)
		return ret;
	if (ret < 0) {
		(void)incoming_channels_failure(in, ch, ret, err);
		if (channel_checksum_explain(ch, in->where, ret, err) == -EBADMSG)
			buf_clear(&l->commands.differs);
		refuse(l, err);
		return ret;
	}
	ch->cancel_fd = in->cancel_fd; /* no channel's end ends this */
	if (!l->commands.minivmm && !late)
		incoming_drain(l);
	if (l->commands.return_path)
		(void)rp_send_shut(ch, 0, NULL);
	return 0;
}

/*
 * From here on another attempt may begin: nothing of this one uses the machine, guest
 * memory or 'in' any more, but for the descriptors that live as long as it.
 * 'differs': when it is not empty, the sentence that *err is the beginning of.
 */
static void incoming_fail(struct incoming_attempt *a, const struct err *err,
			  const struct buf *differs)
{
	struct incoming *in = a->in;
	struct machine *m = in->m;

	incoming_lazy_abort(in);
	machine_lock(m);
	in->error = *err;
	if (differs->len)
		in->error_text = xasprintf("%.*s", (int)differs->len, (const char *)differs->data);
	a->exits = in->exit_on_error;
	report_incoming_failure(in);
	in->started = false;
	in->failed = true;
	in->dirty = true;
	in->globalstate->received = false;
	shared_commit(m, false);
	status_set(m, &in->status, MIG_FAILED);
	machine_unlock(m);
	wake_set(in->wake_fd);
}

void *incoming_thread(void *opaque)
{
	struct incoming_attempt *a = opaque;
	struct incoming *in = a->in;
	struct reader *r = reader_new(a->ch, in->m);
	struct buf differs;
	struct err err = {0};
	struct loader l;
	bool answers, kept = false;
	int ret;

	loader_init(&l, in->m, r, NULL);
	ret = incoming_run(in, &l, &kept, &err);
	answers = l.commands.return_path;
	differs = l.commands.differs;
	l.commands.differs = (struct buf){0};
	/*
	 * A source that is done closes.  One that is QEMU 7.2 may have an empty packet to write
	 * on a channel yet, and fails when that has been closed.
	 */
	if (ret == 0 && a->ch->two_way)
		linger(a->ch, LINGER_MS);
	incoming_stop_channels(in); /* not before the source can know why */
	loader_fini(&l);
	reader_free(r);
	yank_del(&in->m->yanks, &a->yank);
	if (ret < 0 && !kept)
		incoming_fail(a, &err, &differs);
	buf_free(&differs);
	if (ret < 0 && answers && !kept)
		linger(a->ch, LINGER_MS);
	channel_close(a->ch);
	(void)malloc_trim(0); /* this thread's arena has held the stream's buffers */
	thread_set_done(&a->thread);
	wake_set(in->wake_fd);
	return NULL;
}
