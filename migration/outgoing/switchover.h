/* switchover.h - the steps of a switchover that postcopy takes as well; migration thread, no lock
 * held */
#ifndef MINIVMM_MIGRATION_SWITCHOVER_H
#define MINIVMM_MIGRATION_SWITCHOVER_H

struct err;
struct outgoing;

/*
 * Before the guest stops: the destination is known and agrees, pages of a lazy load are here.
 * -EAGAIN: it took its time, the guest has run on meanwhile.
 */
int switchover_prepare(struct outgoing *o, struct err *err);
/*
 * The guest stops, status 'device'; the last sync, the devices' state, the disks are given up, and
 * send() sends it.  Once more when it says -ESTALE: a request has changed the state.  -EAGAIN: the
 * guest runs again, for a request has to be carried out or they come too often.
 */
int switchover_send(struct outgoing *o, int (*send)(struct outgoing *o, struct err *err),
		    struct err *err);
/* SWITCHOVER_START, once, where it is to be said. */
int switchover_put_start(struct outgoing *o, struct err *err);

#endif
