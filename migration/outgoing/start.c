/*
 * start.c - from an address to a migration thread; its cancel, and parameters that change meanwhile
 *
 * The name of a tcp: host is looked up first, in the main loop, while the
 * status is 'setup' and there is no thread; the deadline and migrate_cancel
 * end the look-up as they end every later wait.  With the address the thread
 * starts; it opens the channel and gives it to outgoing_thread().
 *
 * All other functions: main thread, machine lock held.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "migration/channel/channel.h"
#include "migration/channel/checksum.h"
#include "migration/channel/resolve.h"
#include "migration/outgoing/connect.h"
#include "migration/outgoing/modes.h"
#include "migration/outgoing/outgoing.h"
#include "migration/outgoing/report.h"
#include "migration/peer/shared-memory.h"
#include "migration/ram/encode/xbzrle-codec.h"
#include "migration/settings/rules.h"
#include "vmm/base/units.h"
#include "vmm/base/wake.h"
#include "vmm/loop.h"
#include "vmm/machine.h"
#include "vmm/options/config.h"

static void close_fd(int fd)
{
	if (fd >= 0)
		(void)close(fd);
}

/* ---- migration thread: the stage in front of it ---- */

static int open_channel(struct outgoing *o, struct channel **ch, struct err *err)
{
	int fd = o->fd, ret = o->mode->check(o, err);

	if (ret < 0)
		return ret;
	o->fd = -1;
	*ch = outgoing_connect(o, &o->uri, &o->to, fd, &o->tls, o->deadline.stop_fd, err);
	if (!*ch)
		return err->errnum == ECANCELED ? -ECANCELED : -EIO;
	o->checksum = o->checksum && !(*ch)->two_way;
	if (o->checksum)
		*ch = channel_checksum_write(*ch);
	return 0;
}

static void *address_thread(void *opaque)
{
	struct outgoing *o = opaque;
	struct channel *ch = NULL;
	struct err err = {0};
	int ret = open_channel(o, &ch, &err);

	outgoing_thread(o, ch, ret, &err);
	return NULL;
}

/* ---- main thread ---- */

static void set_failed(struct outgoing *o, const struct err *err)
{
	o->error = *err;
	stats_phase(&o->stats, MIG_PHASE_ENDED);
	status_set(o->m, &o->status, MIG_FAILED);
	report_outgoing_end(o);
}

static int start_thread(struct outgoing *o, struct err *err)
{
	return thread_start(&o->thread, "mig-send", THREAD_MIGRATION, address_thread, o, err);
}

static void end_resolving(struct outgoing *o)
{
	loop_fd_del(o->too_late);
	o->too_late = NULL;
	o->resolve = NULL;
}

/* The host's name has been looked up. */
static void resolved(void *opaque, const struct sockaddr_list *list, const struct err *why)
{
	struct outgoing *o = opaque;
	struct err err = *why;

	end_resolving(o);
	if (list)
		o->to = *list;
	if (!list || start_thread(o, &err) < 0)
		set_failed(o, &err);
}

/* The host's name has not been looked up in time. */
static void resolve_late(void *opaque, int ready)
{
	struct outgoing *o = opaque;
	struct err err = {0};

	(void)ready;
	if (!deadline_passed(&o->deadline))
		return;
	resolve_abandon(o->resolve);
	end_resolving(o);
	(void)stats_err_late(&o->stats, o->deadline.seconds, &err);
	set_failed(o, &err);
}

static int outgoing_begin(struct outgoing *o, const struct migration_where *where, struct err *err)
{
	struct machine *m = o->m;
	int ret = uri_take(&o->uri, where, false, err);

	if (ret < 0)
		return ret;
	uri_anchor(&o->uri, m->host);
	if (o->uri.kind == URI_FD && o->fd < 0)
		return err_set(err, ENOENT, "File descriptor named '%s' has not been found",
			       o->uri.path);
	ret = outgoing_check_channels(o, err);
	if (ret < 0 && o->caps[CAP_MAPPED_RAM])
		return ret; /* said at once, as in QEMU */
	tls_layer_fill(&o->tls, m, &o->set->params, o->uri.host);
	ret = outgoing_check_tls(o, &o->uri, err);
	if (ret < 0)
		return ret;
	report_outgoing_start(o, where);
	if (o->uri.kind != URI_TCP || resolve_now(&o->uri, false, &o->to, NULL) == 0)
		return start_thread(o, err);
	o->resolve = resolve_start(m->loop, &o->uri, false, resolved, o, err);
	if (!o->resolve)
		return -ENOENT;
	o->too_late = loop_fd_add(m->loop, o->deadline.timer_fd, LOOP_READABLE, resolve_late, o);
	return 0;
}

int outgoing_start(struct outgoing *o, const struct migration_where *where, int fd, struct err *err)
{
	int ret;

	thread_join(&o->thread); /* it has said how it ended, and does nothing more */
	close_fd(o->fd);
	uri_fini(&o->uri);
	wake_clear(o->cancel_fd);
	wake_clear(o->kick_fd);
	resume_clear(&o->resume);
	tls_layer_fini(&o->tls);
	o->fd = fd;
	o->error = (struct err){0};
	free(o->error_text);
	o->error_text = NULL;
	o->released = o->stored = o->stopped = o->waited = false;
	o->missed_ack = o->start_sent = o->take_back = false;
	__atomic_store_n(&o->start_postcopy, false, __ATOMIC_RELAXED);
	memcpy(o->caps, o->set->caps, sizeof(o->caps));
	o->checksum = o->set->params.checksum;
	o->flush_sections = o->set->flush_sections;
	o->zero_pages = o->set->params.zero_page_detection;
	o->flush_unproven = false;
	o->direct_io = o->set->params.direct_io;
	multifd_config_fill(&o->multifd_config, &o->set->params, o->set->caps[CAP_ZERO_COPY_SEND],
			    o->m->cfg->uuid_set ? o->m->cfg->uuid : NULL);
	o->mode = mode_of(o->caps);
	o->multifd_counted = 0;
	stats_start(&o->stats,
		    memory_total_bytes(&o->m->mem) -
			(o->caps[CAP_X_IGNORE_SHARED] ? shared_bytes(&o->m->mem) : 0),
		    o->set->params.downtime_limit);
	stats_running(&o->stats, machine_running(o->m));
	deadline_start(&o->deadline, o->set->params.deadline, o->set->params.deadline_policy);
	status_set(o->m, &o->status, MIG_SETUP);
	ret = outgoing_begin(o, where, &o->error);
	if (ret < 0) {
		if (err)
			*err = o->error;
		stats_phase(&o->stats, MIG_PHASE_ENDED);
		status_set(o->m, &o->status, MIG_FAILED);
	}
	return ret;
}

void outgoing_cancel(struct outgoing *o)
{
	enum migration_status s = status_get(&o->status);

	if (!status_busy(s) || s == MIG_CANCELLING)
		return;
	if (!o->released)
		(void)status_move(o->m, &o->status, s, MIG_CANCELLING);
	wake_set(o->cancel_fd);
	if (o->resolve) { /* no thread yet */
		resolve_abandon(o->resolve);
		end_resolving(o);
		stats_phase(&o->stats, MIG_PHASE_ENDED);
		status_set(o->m, &o->status, MIG_CANCELLED);
		report_outgoing_end(o);
	}
}

/* Of all that can change a cache may not be there, and capabilities stay as they are. */
int outgoing_check_params(const struct outgoing *o, const struct migration_params *next,
			  struct err *err)
{
	struct xbzrle_cache *cache;

	if (!status_busy(status_get(&o->status)))
		return 0;
	if (next->deadline && next->deadline_policy == DEADLINE_POSTCOPY &&
	    !o->caps[CAP_POSTCOPY_RAM])
		return err_set(err, EINVAL, RULES_LATE_POSTCOPY);
	if (next->xbzrle_cache_size == o->set->params.xbzrle_cache_size || !o->caps[CAP_XBZRLE])
		return 0;
	cache = xbzrle_cache_new(next->xbzrle_cache_size, err);
	xbzrle_cache_free(cache);
	return cache ? 0 : -ENOMEM;
}

void outgoing_follow(struct outgoing *o)
{
	const struct migration_params *p = &o->set->params;

	stats_limit(&o->stats, p->downtime_limit);
	deadline_change(&o->deadline, p->deadline, p->deadline_policy);
	__atomic_store_n(&o->patience.limit_s, p->peer_timeout, __ATOMIC_RELAXED);
	wake_set(o->kick_fd);
}

void outgoing_fini(struct outgoing *o)
{
	uri_fini(&o->uri);
	stats_fini(&o->stats);
	deadline_fini(&o->deadline);
	resume_fini(&o->resume);
	tls_layer_fini(&o->tls);
	close_fd(o->cancel_fd);
	close_fd(o->kick_fd);
	close_fd(o->fd);
	free(o->error_text);
	free(o->where);
}
