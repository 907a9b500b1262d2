/* lazy.c - what becomes of a guest whose pages still come (lazy.h) */
#include "migration/incoming/lazy.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "migration/channel/channel.h"
#include "migration/incoming/incoming.h"
#include "migration/incoming/loader.h"
#include "migration/incoming/report.h"
#include "migration/ram/lazy/lazy.h"
#include "migration/ram/mapped/mapped.h"
#include "migration/ram/mapped/source.h"
#include "migration/stream/reader.h"
#include "vmm/base/alloc.h"
#include "vmm/base/log.h"
#include "vmm/base/thread.h"
#include "vmm/base/wake.h"
#include "vmm/job.h"
#include "vmm/machine.h"
#include "vmm/memory/missing.h"
#include "vmm/vclock.h"

/* ---- called by the session's thread ---- */

/*
 * Of a guest that moves on meanwhile the events are those of its move; one from a snapshot does not
 * migrate, and has none.
 */
static void set_status(struct incoming *in, enum migration_status s)
{
	if (in->quiet || status_busy(status_get(in->leaving)))
		__atomic_store_n(&in->status, (int)s, __ATOMIC_SEQ_CST);
	else
		status_set(in->m, &in->status, s);
}

/*
 * What the load itself says: it may end or stall before the guest has arrived, which is said first.
 * Machine lock held.
 */
static void say(struct incoming *in, enum migration_status s)
{
	in->lazy_status = s;
	if (in->lazy_shown)
		set_status(in, s);
}

void incoming_lazy_show(struct incoming *in)
{
	in->lazy_shown = true;
	set_status(in, (enum migration_status)in->lazy_status);
}

static uint64_t resident_us(const struct incoming *in)
{
	struct lazy_info l = {.resident_ns = 0};

	if (in->lazy)
		lazy_query(in->lazy, &l);
	return l.resident_ns ? (uint64_t)(l.resident_ns - in->begun_ns) / 1000 : 0;
}

static void on_resident(void *opaque)
{
	struct incoming *in = opaque;

	machine_lock(in->m);
	in->error = (struct err){0};
	machine_set_stuck(in->m, false);
	say(in, MIG_COMPLETED);
	jobs_set_resident(in->m, in->loads, resident_us(in));
	report_incoming_resident(in);
	pthread_cond_broadcast(&in->m->cond); /* incoming_lazy_await() */
	machine_unlock(in->m);
	wake_set(in->wake_fd);
}

static void on_stalled(void *opaque, const struct err *why)
{
	struct incoming *in = opaque;
	struct machine *m = in->m;

	machine_lock(m);
	in->error = *why;
	log_error("the guest's memory cannot be loaded further%s: %s",
		  machine_running(m) ? ", so the guest is stopped" : "", why->msg);
	say(in, MIG_POSTCOPY_PAUSED);
	machine_set_stuck(m, true);
	if (machine_running(m))
		machine_request_stop(m, RS_IO_ERROR);
	pthread_cond_broadcast(&m->cond);
	machine_unlock(m);
}

static void on_recovered(void *opaque)
{
	struct incoming *in = opaque;

	machine_lock(in->m);
	in->error = (struct err){0};
	machine_set_stuck(in->m, false);
	say(in, MIG_POSTCOPY_ACTIVE);
	machine_retry_requests(in->m);
	log_notice(
	    "the guest's memory can be loaded again%s",
	    machine_running(in->m) && !machine_holds_vcpus(in->m) ? "" : "; 'cont' runs the guest");
	machine_unlock(in->m);
}

/* ---- load thread ---- */

void incoming_lazy_prepare(struct incoming *in, struct loader *l, bool direct)
{
	struct page_source *source;
	struct err why = {0};

	source = mapped_source_new(l->reader->ch, direct, &why);
	l->lazy = source ? lazy_new(&in->m->mem, source, &why) : NULL;
	if (!l->lazy) {
		log_info("the guest's memory is loaded before the guest runs, not lazily: %s",
			 why.msg);
		return;
	}
	mapped_load_lazily(l->mapped, l->lazy);
}

/* 'lazy' is the memory's from now on, in place of one that has ended. */
static int begin(struct incoming *in, struct lazy *lazy, struct err *err)
{
	const struct lazy_owner owner = {
	    .resident = on_resident,
	    .stalled = on_stalled,
	    .recovered = on_recovered,
	    .opaque = in,
	};
	int ret;

	incoming_lazy_forget(in);
	machine_lock(in->m);
	in->lazy_shown = false;
	in->lazy_status = MIG_POSTCOPY_ACTIVE;
	machine_unlock(in->m);
	ret = lazy_begin(lazy, &owner, err);
	machine_lock(in->m);
	in->lazy = lazy;
	incoming_lazy_follow(in);
	machine_unlock(in->m);
	return ret;
}

int incoming_lazy_begin(struct incoming *in, struct loader *l, struct err *err)
{
	struct lazy *lazy = l->lazy;

	if (!lazy || !lazy_blocks(lazy))
		return 0;
	l->lazy = NULL;
	return begin(in, lazy, err);
}

int incoming_lazy_adopt(struct incoming *in, struct lazy *lazy, const char *from, int64_t since,
			struct err *err)
{
	int ret;

	incoming_lazy_forget(in);
	machine_lock(in->m);
	in->quiet = true;
	in->loads++;
	in->begun_ns = since;
	free(in->from);
	in->from = xstrdup(from);
	in->error = (struct err){0};
	machine_unlock(in->m);
	ret = begin(in, lazy, err);
	machine_lock(in->m);
	in->resumed_ns = host_now_ns();
	incoming_lazy_show(in);
	machine_unlock(in->m);
	return ret;
}

void incoming_lazy_forget(struct incoming *in)
{
	struct lazy *old;

	machine_lock(in->m);
	old = in->lazy;
	in->lazy = NULL;
	machine_unlock(in->m);
	if (old)
		lazy_disown(old);
	machine_set_stuck(in->m, false);
}

int incoming_lazy_run(struct incoming *in, struct err *err)
{
	if (!in->lazy)
		return 0;
	in->resumed_ns = host_now_ns();
	return lazy_run(in->lazy, err);
}

void incoming_lazy_resumed(struct incoming *in)
{
	if (!resident_us(in))
		in->resumed_ns = host_now_ns();
}

void incoming_lazy_abort(struct incoming *in)
{
	if (!in->lazy)
		return;
	incoming_lazy_forget(in);
	memory_set_missing(&in->m->mem, NULL);
}

/* ---- main thread ---- */

void incoming_lazy_fini(struct incoming *in)
{
	if (in->lazy)
		lazy_disown(in->lazy);
	in->lazy = NULL;
}

void incoming_lazy_follow(struct incoming *in)
{
	if (in->lazy)
		lazy_set_rate(in->lazy, in->set->params.lazy_rate);
}

uint64_t incoming_lazy_number(const struct incoming *in, bool *has_resident, uint64_t *us)
{
	*us = resident_us(in);
	*has_resident = *us != 0;
	return in->loads;
}

void incoming_lazy_query(const struct incoming *in, struct migration_info *info)
{
	struct lazy_info l;

	info->has_lazy = in->lazy != NULL;
	if (!in->lazy)
		return;
	lazy_query(in->lazy, &l);
	info->lazy = (struct migration_lazy_stats){
	    .resume_us = (uint64_t)(in->resumed_ns - in->begun_ns) / 1000,
	    .has_resident_us = l.resident_ns != 0,
	    .resident_us = resident_us(in),
	    .total = l.total_bytes,
	    .remaining = l.left_bytes,
	    .faults = l.faults,
	    .working_set = l.working_set_pages * PAGE_BYTES,
	    .stalled = l.stalled,
	};
}

int incoming_lazy_await(struct incoming *in, int (*stop)(void *opaque), void *opaque,
			struct err *err)
{
	int ret = 0;

	while (ret == 0 && in->lazy && status_get(&in->status) != MIG_COMPLETED) {
		ret = incoming_lazy_check(in, err);
		if (ret < 0)
			break;
		lazy_set_rate(in->lazy, 0);
		pthread_cond_wait(&in->m->cond, &in->m->lock);
		machine_unlock(in->m);
		ret = stop ? stop(opaque) : 0;
		machine_lock(in->m);
		if (ret == 0 && in->m->ending)
			ret = err_set(err, ECANCELED, "the program ends");
	}
	return ret;
}

int incoming_lazy_check(const struct incoming *in, struct err *err)
{
	if (!in->lazy || status_get(&in->status) != MIG_POSTCOPY_PAUSED)
		return 0;
	return err_set(err, EIO, "a part of the guest's memory cannot be loaded: %s",
		       in->error.msg);
}
