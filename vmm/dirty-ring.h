/*
 * dirty-ring.h - the per-vCPU dirty ring, as machine.c and vcpu.c see it
 */
#ifndef MINIVMM_DIRTY_RING_H
#define MINIVMM_DIRTY_RING_H

#include <stdint.h>

struct err;
struct machine;
struct vcpu;

/*
 * Give the VM rings of 'entries' slots per vCPU (a power of two).  After
 * machine_new's VM exists, before the first vCPU.  Sets m->ring.
 */
int dirty_ring_create(struct machine *m, uint32_t entries, struct err *err);
void dirty_ring_destroy(struct machine *m);
/* Map and unmap the ring of a vCPU (v->ring); a no-op without rings. */
int dirty_ring_map(struct vcpu *v, struct err *err);
void dirty_ring_unmap(struct vcpu *v);
/* KVM_EXIT_DIRTY_RING_FULL: empty all rings so that the vCPU can go on.  Any thread. */
void dirty_ring_reap(struct machine *m);

#endif
