/* vm-state.h - the VM state of a snapshot that is being saved */
#ifndef MINIVMM_DEVICES_BLOCK_QCOW2_VM_STATE_H
#define MINIVMM_DEVICES_BLOCK_QCOW2_VM_STATE_H

#include "devices/block/qcow2/internal.h"

struct vm_state {
	struct qcow2 *q;
	pthread_mutex_t lock; /* all that follows; taken before q->lock */
	uint64_t **l2;        /* owned: n_l2 tables of places, 0: none yet */
	size_t n_l2;
	uint64_t reserve, reserve_clusters; /* place and length of the run */
	bool reserve_zero;                  /* it reads as zero */
	/* from vm_state_finish() on: places of the tables, 0 where all of one is a hole */
	uint64_t *l2_host; /* owned */
	size_t n_l2_host;
};

void vm_state_init(struct vm_state *v, struct qcow2 *q);
void vm_state_fini(struct vm_state *v);
/*
 * Any thread, any order and piece.  'n_disk': entries of the snapshot's L1 table that are the
 * disk's, beside which those of the state have to find room.  -EFBIG or another -errno, with *err
 * set.
 */
int vm_state_write(struct vm_state *v, uint32_t n_disk, const struct iovec *iov, int n_iov,
		   uint64_t pos, struct err *err);
/* The L2 tables are on the storage, at l2_host[]; the reserve is given back.  No lock. */
int vm_state_finish(struct vm_state *v);
/* All clusters of it, the tables' too.  q->lock held. */
void vm_state_give_back(struct vm_state *v);

#endif
