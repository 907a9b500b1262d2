/* switchover.h - the steps of a switchover that postcopy takes as well; migration thread, no lock
 * held */
#ifndef MINIVMM_MIGRATION_SWITCHOVER_H
#define MINIVMM_MIGRATION_SWITCHOVER_H

struct err;
struct outgoing;

#define SWITCHOVER_ROUNDS 3 /* of collecting while the guest stands still */

/*
 * Before the guest stops: the destination is known and agrees, pages of a lazy load are here.
 * -EAGAIN: it took its time, the guest has run on meanwhile.
 */
int switchover_prepare(struct outgoing *o, struct err *err);
/* The guest stops; status 'device'.  -EAGAIN: it runs again, a request has to be carried out. */
int switchover_stop(struct outgoing *o, struct err *err);
/* The last sync, the devices' state, the disks are given up.  May be called again. */
int switchover_collect(struct outgoing *o, struct err *err);
/* SWITCHOVER_START, once, where it is to be said. */
int switchover_put_start(struct outgoing *o, struct err *err);
/* Requests come too often: the guest is continued.  -EAGAIN. */
int switchover_back_out(struct outgoing *o, struct err *err);

#endif
