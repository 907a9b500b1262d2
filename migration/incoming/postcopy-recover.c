/*
 * postcopy-recover.c - a paused postcopy goes on over another connection (destination)
 *
 *     paused      migrate-recover gives an address; the load thread waits there for the source
 *     recover     its commands: RECV_BITMAP for each block, which is answered with the pages that
 *                 are here, and RESUME
 *     active      RESUME_ACK; then what threads of the guest wait for is asked for again
 *
 * What fails on the way leads back to paused, and the address is still listened at.  All of this is
 * the load thread's: no page comes meanwhile, and no other thread writes to the source.  With
 * postcopy-preempt a second connection comes before RESUME or soon after it: the preempt thread
 * waits for it.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#include "migration/channel/channel.h"
#include "migration/incoming/incoming.h"
#include "migration/incoming/postcopy.h"
#include "migration/ram/load.h"
#include "migration/ram/placer.h"
#include "migration/stream/reader.h"
#include "migration/stream/recv-bitmap.h"
#include "migration/stream/wire.h"
#include "vmm/base/bitmap.h"
#include "vmm/base/bytes.h"
#include "vmm/base/log.h"
#include "vmm/base/units.h"
#include "vmm/base/wake.h"
#include "vmm/machine.h"

/* ---- the handshake ---- */

static int send_bitmap(struct incoming_postcopy *pc, const char *name, const uint64_t *map,
		       uint64_t pages, struct err *err)
{
	struct recv_bitmap_out out;
	struct iovec iov[3];

	recv_bitmap_out_init(&out, name, map, pages);
	iov[0] = iov_of(out.head, out.head_bytes);
	iov[1] = iov_of(out.map, out.map_bytes);
	iov[2] = iov_of(out.tail, sizeof(out.tail));
	return channel_write_all(pc->loader->reader->ch, iov, 3, err);
}

/* A blob whose content is dropped here: all of it has come. */
static int send_full_bitmap(struct incoming_postcopy *pc, const struct load_block *lb,
			    struct err *err)
{
	uint64_t pages = (lb->bytes + PAGE_BYTES - 1) / PAGE_BYTES, *map = bitmap_new(pages);
	int ret;

	if (!map)
		return err_set(err, ENOMEM, "no memory for a bitmap of RAM block '%s'", lb->name);
	bitmap_set_range(map, 0, pages);
	ret = send_bitmap(pc, lb->name, map, pages, err);
	free(map);
	return ret;
}

int incoming_postcopy_recv_bitmap(struct incoming_postcopy *pc, const uint8_t *payload, uint16_t n,
				  struct err *err)
{
	struct src in = src_mem(payload, n);
	const struct postcopy_block *pb;
	const struct load_block *lb;
	char name[256];

	if (!pc->resuming)
		return err_set(err, EINVAL, "no migration is being resumed");
	if (src_str8(&in, name) < 0 || in.at != in.len)
		return err_set(err, EINVAL, "the name of its RAM block is broken");
	lb = ram_load_find(pc->loader->ram, name);
	if (!lb)
		return err_set(err, EINVAL, "unknown RAM block '%s'", name);
	pb = lb->block ? postcopy_ram_find(pc->ram, lb->block) : NULL;
	return pb ? send_bitmap(pc, name, pb->received, pb->pages, err)
		  : send_full_bitmap(pc, lb, err);
}

int incoming_postcopy_resume(struct incoming_postcopy *pc, struct err *err)
{
	uint8_t payload[4];

	if (!pc->resuming)
		return err_set(err, EINVAL, "no migration is being resumed");
	pc->resuming = false;
	if (pc->in->set->caps[CAP_POSTCOPY_PREEMPT]) {
		if (incoming_preempt_await(pc, err) < 0)
			return -EAGAIN;
		incoming_preempt_begin(pc);
	}
	put_be32(payload, RESUME_ACK_VALUE);
	return rp_send(pc->loader->reader->ch, RP_RESUME_ACK, payload, sizeof(payload), err);
}

/* A stream that ends early has its cause in the reader. */
static int explain(struct incoming_postcopy *pc, int ret, struct err *err)
{
	const struct reader *r = pc->loader->reader;

	if (ret < 0 && r->failed)
		return err_set(err, -r->failed, "%s", r->err.msg);
	if (ret < 0 && r->ended)
		return err_set(err, ECONNRESET, "the source closed the connection");
	return ret;
}

/* Commands up to and with RESUME. */
static int handshake(struct incoming_postcopy *pc, struct err *err)
{
	struct loader *l = pc->loader;
	int ret = 0;

	pc->resuming = true;
	while (ret == 0 && pc->resuming) {
		uint64_t at = src_offset(l->in);
		uint8_t tag;

		ret = src_u8(l->in, &tag);
		if (ret == 0 && tag != TAG_COMMAND)
			ret = err_set(err, EINVAL,
				      "unexpected record 0x%02x at stream offset 0x%" PRIx64
				      " of a connection that resumes a migration",
				      tag, at);
		else if (ret == 0)
			ret = commands_load(&l->commands, l->in, err);
	}
	pc->resuming = false;
	return explain(pc, ret, err);
}

/* ---- connections ---- */

void incoming_postcopy_disconnect(struct incoming_postcopy *pc)
{
	struct incoming *in = pc->in;

	yank_del(&in->m->yanks, &pc->attempt->yank);
	machine_lock(in->m);
	incoming_recover_tls(in); /* an object may have come since the parameters were set */
	machine_unlock(in->m);
	recover_listen_begin(&in->recover, in->set->layer);
}

/* What watched the channels of before has seen them break. */
static int watch_anew(struct incoming_postcopy *pc, struct err *err)
{
	int fd = wake_either(pc->failed_fd, pc->in->cancel_fd);

	if (fd < 0)
		return err_set(err, errno, "cannot make an epoll: %s", err_text(errno));
	(void)close(pc->watch_fd);
	pc->watch_fd = fd;
	return 0;
}

/* The main channel is this one (taken) from now on. */
static int connect_main(struct incoming_postcopy *pc, struct channel *ch, struct err *err)
{
	struct incoming_attempt *a = pc->attempt;
	int ret = watch_anew(pc, err);

	if (ret < 0) {
		channel_close(ch);
		return ret;
	}
	channel_bound_silence(ch);
	ch->cancel_fd = pc->watch_fd;
	reader_restart(pc->loader->reader, ch);
	channel_close(a->ch);
	a->ch = ch;
	yank_add(&pc->in->m->yanks, &a->yank, YANK_MIGRATION, "", channel_fd(ch));
	pc->loader->commands.ch = ch;
	pc->loader->commands.out = NULL; /* no other thread writes */
	return 0;
}

/* ---- the whole ---- */

static void set_status(struct incoming_postcopy *pc, enum migration_status to,
		       const struct err *why)
{
	struct incoming *in = pc->in;

	machine_lock(in->m);
	in->error = *why;
	status_set(in->m, &in->status, to);
	machine_unlock(in->m);
}

/* Threads that wait for pages: they are asked for again. */
static int go_on(struct incoming_postcopy *pc, struct err *err)
{
	static const struct err none;
	bool preempt = pc->in->set->caps[CAP_POSTCOPY_PREEMPT];

	if (!preempt)
		recover_listen_stop(&pc->in->recover);
	set_status(pc, MIG_POSTCOPY_ACTIVE, &none);
	log_notice("postcopy goes on");
	pc->loader->commands.out = &pc->ram->out;
	return postcopy_ram_attach(pc->ram, pc->loader->reader->ch, err);
}

static int resume_over(struct incoming_postcopy *pc, struct channel *ch, struct err *err)
{
	struct err why = pc->in->error;
	int ret = connect_main(pc, ch, err);

	if (ret < 0)
		return ret;
	set_status(pc, MIG_POSTCOPY_RECOVER, &why);
	/* A source may wait for the handshake of TLS on it before it resumes. */
	if (pc->in->set->caps[CAP_POSTCOPY_PREEMPT] && recover_listen_agrees(&pc->in->recover))
		ret = incoming_preempt_await(pc, err);
	if (ret == 0)
		ret = handshake(pc, err);
	if (ret == 0)
		return 0;
	yank_del(&pc->in->m->yanks, &pc->attempt->yank);
	channel_shut_down(ch); /* it is closed when there is another one */
	incoming_preempt_stop(pc, true);
	recover_listen_begin(&pc->in->recover, pc->in->set->layer);
	return ret;
}

/* The source's program has ended: say what that means.  True: nothing, all of the guest is here. */
static bool source_ended(struct incoming_postcopy *pc)
{
	uint64_t left = postcopy_ram_left(pc->ram);
	struct err why;

	(void)close(pc->pidfd);
	pc->pidfd = -1;
	if (!left)
		return true;
	(void)err_set(&why, ECONNRESET,
		      "the source's program has ended, and %.1f MB of the guest's memory with it: "
		      "the guest runs here until it needs one of these pages",
		      (double)(left * PAGE_BYTES) / 1e6);
	log_error("%s", why.msg);
	set_status(pc, MIG_POSTCOPY_PAUSED, &why);
	return false;
}

int incoming_postcopy_await_resume(struct incoming_postcopy *pc, struct err *err)
{
	int ret = -EAGAIN;

	do {
		struct channel *ch =
		    recover_listen_main(&pc->in->recover, pc->in->cancel_fd, pc->pidfd);
		struct err why = {0};

		if (!ch && wake_is_set(pc->in->cancel_fd))
			return err_set(err, ECANCELED, "the program ends");
		if (!ch && source_ended(pc))
			return 1;
		if (!ch)
			continue;
		ret = resume_over(pc, ch, &why);
		if (ret < 0) {
			log_warn("postcopy could not go on, and waits: " ERR_WITHIN, why.msg);
			set_status(pc, MIG_POSTCOPY_PAUSED, &why);
		}
	} while (ret < 0);
	return go_on(pc, err);
}
