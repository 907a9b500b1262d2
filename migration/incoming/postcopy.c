/*
 * postcopy.c - the destination's stages, one for each command (migration-stream 5.2)
 *
 *     none -> ADVISE -> DISCARD ... -> PACKAGED { LISTEN, devices, RUN } -> pages -> EOF
 *
 * A command in another stage is refused.  LISTEN stands first in the package: the load thread
 * does it itself, and then gives what follows to the package thread, for to load a device may need
 * a page that comes behind the package.
 */
#include "migration/incoming/postcopy.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "migration/channel/channel.h"
#include "migration/incoming/incoming.h"
#include "migration/incoming/lazy.h"
#include "migration/peer/process.h"
#include "migration/ram/load.h"
#include "migration/ram/postcopy/blocktime.h"
#include "migration/ram/ram.h"
#include "migration/stream/reader.h"
#include "migration/stream/wire.h"
#include "vmm/base/alloc.h"
#include "vmm/base/bytes.h"
#include "vmm/base/log.h"
#include "vmm/base/units.h"
#include "vmm/base/wake.h"
#include "vmm/machine.h"
#include "vmm/vcpu.h"

#define PACKAGE_MAX_BYTES   (16 * MiB)
#define PACKAGE_PIECE_BYTES (64 * KiB)
#define COMMAND_HEAD_BYTES  5U /* tag, command, length */

struct incoming_postcopy *incoming_postcopy_new(struct incoming *in, struct loader *l,
						struct err *err)
{
	struct incoming_postcopy *pc = NEW(struct incoming_postcopy);
	struct channel *ch = l->reader->ch;

	pc->in = in;
	pc->attempt = in->attempt;
	pc->loader = l;
	pthread_mutex_init(&pc->lock, NULL);
	pthread_cond_init(&pc->changed, NULL);
	pc->pidfd = -1;
	pc->failed_fd = wake_open();
	pc->preempt_fd = wake_open();
	pc->watch_fd = pc->failed_fd < 0 ? -1 : wake_either(pc->failed_fd, ch->cancel_fd);
	if (pc->watch_fd < 0 || pc->preempt_fd < 0) {
		(void)err_set(err, errno, "cannot make an eventfd: %s", err_text(errno));
		incoming_postcopy_free(pc);
		return NULL;
	}
	ch->cancel_fd = pc->watch_fd;
	l->commands.postcopy = pc;
	machine_lock(in->m);
	in->postcopy = pc;
	machine_unlock(in->m);
	return pc;
}

void incoming_postcopy_free(struct incoming_postcopy *pc)
{
	if (!pc)
		return;
	machine_lock(pc->in->m);
	if (pc->in->postcopy == pc)
		pc->in->postcopy = NULL;
	machine_unlock(pc->in->m);
	if (!pc->listening)
		postcopy_ram_free(pc->ram);
	postcopy_records_fini(&pc->records);
	free(pc->package);
	if (pc->failed_fd >= 0)
		(void)close(pc->failed_fd);
	if (pc->pidfd >= 0)
		(void)close(pc->pidfd);
	if (pc->preempt_fd >= 0)
		(void)close(pc->preempt_fd);
	if (pc->watch_fd >= 0)
		(void)close(pc->watch_fd);
	pthread_mutex_destroy(&pc->lock);
	pthread_cond_destroy(&pc->changed);
	free(pc);
}

void incoming_postcopy_fail(struct incoming_postcopy *pc, int ret, const struct err *why)
{
	pthread_mutex_lock(&pc->lock);
	if (!pc->failed) {
		pc->failed = ret;
		pc->why = *why;
	}
	pthread_cond_broadcast(&pc->changed);
	pthread_mutex_unlock(&pc->lock);
	wake_set(pc->failed_fd);
}

/* ---- ADVISE ---- */

static bool ignores_shared(const struct incoming_postcopy *pc)
{
	return pc->in->set->caps[CAP_X_IGNORE_SHARED];
}

/* As both ends compute it: the sizes of the host's pages of all blocks, put together. */
static uint64_t page_sizes(const struct incoming_postcopy *pc)
{
	const struct memory *mem = &pc->in->m->mem;
	uint64_t sizes = PAGE_BYTES; /* the blobs' */

	for (size_t i = 0; i < mem->n_blocks; i++)
		if (!ignores_shared(pc) || !mem->blocks[i]->share)
			sizes |= mem->blocks[i]->page_bytes;
	return sizes;
}

int incoming_postcopy_advise(struct incoming_postcopy *pc, const uint8_t *payload, uint16_t n,
			     struct err *err)
{
	uint64_t sizes;
	int ret;

	if (n != 16)
		return err_set(
		    err, EINVAL,
		    "it has %u bytes instead of 16: capability 'postcopy-ram' is on here "
		    "only",
		    n);
	if (pc->advised)
		return err_set(err, EINVAL, "it comes twice");
	sizes = get_be64(payload) | PAGE_BYTES;
	if (sizes != page_sizes(pc))
		return err_set(
		    err, EINVAL,
		    "the guest's RAM is in host pages of other sizes at the source (0x%" PRIx64
		    ") than here (0x%" PRIx64 "): postcopy needs the same huge pages at both ends",
		    sizes, page_sizes(pc));
	if (get_be64(payload + 8) != PAGE_BYTES)
		return err_set(err, EINVAL, "the source's pages have 0x%" PRIx64 " bytes",
			       get_be64(payload + 8));
	ret =
	    postcopy_ram_check(&pc->in->m->mem, ignores_shared(pc), pc->in->set->postcopy_1g, err);
	pc->advised = ret == 0;
	return ret;
}

/* ---- DISCARD ---- */

/* Everything that has come so far is there from now on, but for what is dropped. */
static int make_session(struct incoming_postcopy *pc, struct err *err)
{
	if (pc->ram)
		return 0;
	if (!pc->advised)
		return err_set(err, EINVAL, "POSTCOPY_ADVISE has not come before");
	if (!pc->loader->ram->listed)
		return err_set(err, EINVAL, "it comes before the list of RAM blocks");
	pc->ram = postcopy_ram_new(&pc->in->m->mem, ignores_shared(pc), err);
	return pc->ram ? 0 : -ENOMEM;
}

int incoming_postcopy_discard(struct incoming_postcopy *pc, const uint8_t *payload, uint16_t n,
			      struct err *err)
{
	int ret = pc->listening ? err_set(err, EINVAL, "it comes behind POSTCOPY_LISTEN")
				: make_session(pc, err);

	return ret < 0 ? ret : postcopy_discard_load(pc->ram, pc->loader->ram, payload, n, err);
}

/* ---- the package, LISTEN ---- */

/* It grows with what comes, not with what is said. */
static int read_package(struct incoming_postcopy *pc, uint32_t n, struct err *err)
{
	struct src *in = pc->loader->in;
	size_t have = 0;

	while (have < n) {
		size_t piece = MIN(n - have, PACKAGE_PIECE_BYTES);

		pc->package = xrealloc(pc->package, have + piece);
		if (src_get(in, pc->package + have, piece) < 0)
			return err_set(err, EIO,
				       "the stream ends at offset 0x%" PRIx64
				       " in it: it is cut short",
				       src_offset(in));
		have += piece;
	}
	pc->package_bytes = n;
	return 0;
}

/* What could not be done to a guest that waited is tried again: by the main loop, with its lock. */
static void on_stuck(void *opaque, bool on)
{
	struct incoming *in = opaque;

	machine_set_stuck(in->m, on);
	if (on)
		return;
	__atomic_store_n(&in->unstuck, true, __ATOMIC_SEQ_CST);
	wake_set(in->wake_fd);
}

static void on_fault_thread_failed(void *opaque, const struct err *why)
{
	struct incoming *in = opaque;

	machine_lock(in->m);
	log_error("postcopy goes on, but who needs a page waits until it comes by itself: %s",
		  why->msg);
	machine_unlock(in->m);
}

static void measure_waits(struct incoming_postcopy *pc)
{
	struct incoming *in = pc->in;
	uint32_t tids[MIGRATION_MAX_VCPUS];
	size_t n = MIN((size_t)in->m->n_vcpus, ARRAY_LEN(tids));

	for (size_t i = 0; i < n; i++)
		tids[i] = (uint32_t)in->m->vcpus[i]->tid;
	pc->ram->blocktime = blocktime_new(tids, n);
	machine_lock(in->m);
	blocktime_unref(in->blocktime);
	in->blocktime = blocktime_ref(pc->ram->blocktime);
	in->blocktime_on = in->set->caps[CAP_POSTCOPY_BLOCKTIME];
	machine_unlock(in->m);
}

static int postcopy_listen(struct incoming_postcopy *pc, struct err *err)
{
	const struct postcopy_ram_owner owner = {
	    .stuck = on_stuck,
	    .failed = on_fault_thread_failed,
	    .opaque = pc->in,
	};
	struct incoming *in = pc->in;
	struct channel *preempt;
	bool begun = false;
	int ret = make_session(pc, err);

	if (ret == 0)
		ret = postcopy_records_init(&pc->records, pc->ram, pc->loader->ram, false, err);
	if (ret < 0)
		return ret;
	ram_load_end(pc->loader->ram);
	channel_keep_unread_little(pc->loader->reader->ch);
	incoming_lazy_forget(in);
	measure_waits(pc);
	pc->ram->beside.off = in->set->fault_float;
	ret = postcopy_ram_begin(pc->ram, &owner, &begun, err);
	machine_lock(in->m);
	pc->listening = begun;
	preempt = begun ? in->preempt : NULL;
	if (begun) {
		in->preempt = NULL;
		status_set(in->m, &in->status, MIG_POSTCOPY_DEVICE);
	}
	machine_unlock(in->m);
	if (preempt)
		incoming_preempt_start(pc, preempt);
	if (ret < 0)
		return ret;
	channel_bound_silence(pc->loader->reader->ch);
	pc->pidfd = peer_watch_socket(channel_fd(pc->loader->reader->ch));
	pc->loader->postcopy = &pc->records;
	pc->loader->commands.out = &pc->ram->out;
	return postcopy_ram_attach(pc->ram, pc->loader->reader->ch, err);
}

static bool begins_with_listen(const struct incoming_postcopy *pc)
{
	const uint8_t *p = pc->package;

	return pc->package_bytes >= COMMAND_HEAD_BYTES && p[0] == TAG_COMMAND &&
	       get_be16(p + 1) == CMD_POSTCOPY_LISTEN && get_be16(p + 3) == 0;
}

int incoming_postcopy_package(struct incoming_postcopy *pc, uint32_t n, struct err *err)
{
	int ret;

	if (pc->listening || pc->package)
		return err_set(err, EINVAL, "it comes twice");
	if (n < COMMAND_HEAD_BYTES || n > PACKAGE_MAX_BYTES)
		return err_set(err, EINVAL, "it has %u bytes, %u to %llu are possible", n,
			       COMMAND_HEAD_BYTES, PACKAGE_MAX_BYTES);
	ret = read_package(pc, n, err);
	if (ret == 0 && !begins_with_listen(pc))
		ret = err_set(err, EINVAL, "it does not begin with POSTCOPY_LISTEN");
	if (ret == 0)
		ret = postcopy_listen(pc, err);
	if (ret < 0)
		return ret;
	return thread_start(&pc->thread, "mig-package", THREAD_MIGRATION, incoming_package_thread,
			    pc, err);
}

/* ---- GO, PING ---- */

int incoming_postcopy_go(struct incoming_postcopy *pc, const uint8_t *payload, uint16_t n,
			 struct err *err)
{
	struct src in = src_mem(payload, n);
	struct go_requests asked;
	int ret = go_requests_get(&asked, &in, n, err);

	if (ret < 0)
		return ret;
	pthread_mutex_lock(&pc->lock);
	if (!pc->ready || pc->went)
		ret = err_set(err, EINVAL, pc->ready ? "it comes twice" : "nothing here is ready");
	else
		pc->asked = asked;
	pc->went |= ret == 0;
	pthread_cond_broadcast(&pc->changed);
	pthread_mutex_unlock(&pc->lock);
	return ret;
}
