/*
 * postcopy.h - the destination of a postcopy: a guest that runs here before its memory is here
 *
 *     load thread       reads the main stream all the while: precopy, DISCARD, the package into
 *                       memory; then LISTEN, and from there on pages (ram/postcopy/records.c)
 *     package thread    loads the devices out of the package, and runs the guest: from RUN on when
 *                       the source is QEMU, or, between two minivmms, when GO has come
 *     preempt thread    pages that were asked for, over a connection of their own
 *     fault thread      asks for pages (ram/postcopy/request.c)
 *
 * A failure before the guest runs here is one of the load: the memory's session ends, and the
 * source has the guest.  From then on whatever breaks pauses the move, and the guest runs until it
 * needs a page that is not here; postcopy-recover.c waits for another connection.
 */
#ifndef MINIVMM_MIGRATION_INCOMING_POSTCOPY_H
#define MINIVMM_MIGRATION_INCOMING_POSTCOPY_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "migration/incoming/loader.h"
#include "migration/ram/postcopy/records.h"
#include "migration/stream/go.h"
#include "vmm/base/error.h"
#include "vmm/base/thread.h"

struct channel;
struct incoming;
struct incoming_attempt;
struct migration_info;

struct incoming_preempt {
	struct thread thread;
	struct channel *ch;    /* owned */
	struct reader *reader; /* owned */
	struct postcopy_records records;
};

struct incoming_postcopy {
	/* set at creation and then constant; borrowed */
	struct incoming *in;
	struct incoming_attempt *attempt;
	struct loader *loader; /* of the main stream */
	int failed_fd;         /* eventfd: another thread than the load thread has failed */
	int preempt_fd;        /* eventfd: the preempt thread is to wait no longer */
	/* the load thread's */
	int watch_fd; /* epoll: failed_fd, or what cancels the main channel otherwise */
	int pidfd;    /* of the source, from LISTEN on; negative: not known, or it has ended */
	bool advised;
	bool resuming;            /* another connection is there, and RESUME has not come */
	bool resumed;             /* the connection is not the first one */
	bool listening;           /* set once; others read it under lock */
	struct postcopy_ram *ram; /* owned until postcopy_ram_begin(), then the memory's */
	struct postcopy_records records;
	uint8_t *package; /* owned; the package thread's while that lives */
	size_t package_bytes;
	struct thread thread; /* of the package */
	/* the package thread's */
	struct loader devices;
	bool pushed; /* what was loaded is in KVM */
	/* lock: a leaf but for that of rp_out */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool given_up; /* the guest will not run here */
	bool runs;     /* it does, or is about to: there is no way back */
	bool done;     /* the package thread has ended */
	int failed;    /* -errno of another thread, and why: */
	struct err why;
	bool ready, went; /* READY was sent; GO has come, with: */
	struct go_requests asked;
	bool pong_due;      /* the source wants to know when the guest runs */
	bool closing;       /* no further preempt channel is taken */
	bool preempt_due;   /* it is waited for */
	bool preempt_begun; /* atomic: the source resumes, and the connection may be taken */
	bool preempt_done;
	struct incoming_preempt preempt;
};

/* ---- load thread ---- */

/* For a load that may become a postcopy; NULL with *err set. */
struct incoming_postcopy *incoming_postcopy_new(struct incoming *in, struct loader *l,
						struct err *err);
void incoming_postcopy_free(struct incoming_postcopy *pc); /* NULL is fine */
/* The commands (commands-postcopy.c); 0 or -errno. */
int incoming_postcopy_advise(struct incoming_postcopy *pc, const uint8_t *payload, uint16_t n,
			     struct err *err);
int incoming_postcopy_discard(struct incoming_postcopy *pc, const uint8_t *payload, uint16_t n,
			      struct err *err);
int incoming_postcopy_package(struct incoming_postcopy *pc, uint32_t n, struct err *err);
int incoming_postcopy_recv_bitmap(struct incoming_postcopy *pc, const uint8_t *payload, uint16_t n,
				  struct err *err);
int incoming_postcopy_resume(struct incoming_postcopy *pc, struct err *err);
int incoming_postcopy_go(struct incoming_postcopy *pc, const uint8_t *payload, uint16_t n,
			 struct err *err);
/*
 * A PING has come.  1: it is answered later, by incoming_postcopy.  0: answer it now.  The package
 * thread's too, 'in_package' then: what was loaded is pushed first, for the answer says that it
 * was.
 */
int incoming_postcopy_ping(struct incoming_postcopy *pc, bool in_package, uint32_t cookie,
			   struct err *err);
/* Has LISTEN come? */
static inline bool incoming_postcopy_begun(const struct incoming_postcopy *pc)
{
	return pc && pc->listening;
}
/*
 * The main stream has been read, with this result.  Returns when all of the guest is here and the
 * source knows: 0; or when the load has failed and the guest will not run here: -errno, *err; or
 * -ECANCELED with *kept: it runs here, and the program ends.
 */
int incoming_postcopy_finish(struct incoming_postcopy *pc, int ret, bool *kept, struct err *err);

/* ---- for the files of this mode ---- */

/* postcopy-discard.c: a RAM_DISCARD payload; each range is dropped.  0 or -EINVAL. */
int postcopy_discard_load(struct postcopy_ram *ram, struct ram_load *load, const uint8_t *payload,
			  size_t n, struct err *err);
/* postcopy-package.c */
void *incoming_package_thread(void *opaque);
/* A thread beside the load thread has failed: the first one's reason counts. */
void incoming_postcopy_fail(struct incoming_postcopy *pc, int ret, const struct err *why);
/* postcopy-preempt.c */
void incoming_preempt_start(struct incoming_postcopy *pc, struct channel *ch);
/* A move is resumed: its preempt channel comes to in->recover, now or later.  0 or -errno. */
int incoming_preempt_await(struct incoming_postcopy *pc, struct err *err);
/* ... and may take it from now on: the source has said RESUME. */
void incoming_preempt_begin(struct incoming_postcopy *pc);
/* It has ended when this returns; 'cut': at once. */
void incoming_preempt_stop(struct incoming_postcopy *pc, bool cut);
/* postcopy-recover.c: the connection is no more; another one is waited for. */
void incoming_postcopy_disconnect(struct incoming_postcopy *pc);
/* The move is paused; 0: it goes on over another channel.  1: the source's program has ended,
 * and all of the guest is here.  -ECANCELED: the program ends.  Another
 * -errno: that one has broken already. */
int incoming_postcopy_await_resume(struct incoming_postcopy *pc, struct err *err);

/* ---- main loop, machine lock held ---- */

/* A preempt channel has come; taken. */
void incoming_postcopy_take_preempt(struct incoming *in, struct channel *ch);
void incoming_postcopy_query(struct incoming *in, struct migration_info *info);
/* The program ends: say what has not come, if LISTEN has. */
void incoming_postcopy_report_end(const struct incoming *in);
/* -EIO while the move is paused, with the sentence why. */
int incoming_postcopy_check(const struct incoming *in, struct err *err);

#endif
