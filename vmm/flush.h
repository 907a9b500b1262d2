/*
 * flush.h - everything written by the guest onto stable storage, without waiting where it matters
 *
 * A flush is a request to each disk's I/O thread and one wait for all of them
 * in which the machine lock is given up.  A caller that is cancelled leaves the
 * requests behind: they end later and free the struct.
 */
#ifndef MINIVMM_FLUSH_H
#define MINIVMM_FLUSH_H

struct err;
struct flush;
struct machine;

/* What is asked of each disk. */
enum flush_kind {
	FLUSH_ONLY,
	FLUSH_RELEASE, /* ... and forget what is held of it: another process has it next */
	FLUSH_ACQUIRE, /* nothing is flushed: read again what was forgotten */
};

/*
 * Flush all disks.  0, or -errno with *err set: a disk's failure, or
 * -ECANCELED: 'cancel_fd' (-1: none) is readable or the program ends.  Machine
 * lock held, given up meanwhile; not on the main loop.
 */
int machine_flush(struct machine *m, int cancel_fd, struct err *err);
/* The same in another kind; for machine_handover(). */
int machine_flush_for(struct machine *m, enum flush_kind kind, int cancel_fd, struct err *err);

/* ---- for devices: struct device_ops.flush ---- */

enum flush_kind flush_kind(const struct flush *f);
/* The wait includes one more disk.  Machine lock held. */
void flush_begin(struct flush *f);
/* It is done; 'failure' (borrowed) says what has failed, on which disk, NULL: nothing.  Any thread.
 */
void flush_end(struct flush *f, const struct err *failure);

#endif
