/*
 * arrival.h - the last steps of a guest that has been loaded: into KVM, and running
 *
 * In this order, by the thread that has loaded the devices; the machine lock is not held.
 */
#ifndef MINIVMM_MIGRATION_INCOMING_ARRIVAL_H
#define MINIVMM_MIGRATION_INCOMING_ARRIVAL_H

#include <stdbool.h>

struct err;
struct go_requests;
struct incoming;

/*
 * Put what was loaded into KVM and probe the disks: what can still fail.
 * The disks are acquired after GO, so that a source whose connection breaks
 * before it can have them back at once, whatever becomes of this end.
 */
int arrival_push(struct incoming *in, struct err *err);
/*
 * The guest is this machine's, in the run state that it had.  'asked': what GO has brought is done
 * to it before it runs.  -errno: it is not, and the source has it again.
 */
int arrival_take_over(struct incoming *in, const struct go_requests *asked, struct err *err);
/*
 * The same after a source that cannot take it back any more: where the disks cannot be had the
 * guest is here, and paused, and 'cont' tries again.
 */
void arrival_keep(struct incoming *in);

#endif
