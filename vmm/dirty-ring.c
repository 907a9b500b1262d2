/*
 * dirty-ring.c - dirty pages from per-vCPU rings
 *
 * KVM puts each page that a vCPU dirties into that vCPU's ring.  Reaping
 * takes the entries out (acquire), notes them in a bitmap per slot, hands the
 * entries back (release) and has KVM protect those pages again.  It happens
 * in three places: on a sync, when a vCPU leaves the guest because its ring
 * is full, and now and then on the reaper thread, so that full rings stay
 * rare.  'mutex' serialises them; nothing is taken under it.
 */
#include "vmm/dirty-ring.h"

#include <errno.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "vmm/base/alloc.h"
#include "vmm/base/bitmap.h"
#include "vmm/base/error.h"
#include "vmm/base/log.h"
#include "vmm/base/thread.h"
#include "vmm/dirty-provider.h"
#include "vmm/machine.h"
#include "vmm/vclock.h"
#include "vmm/vcpu.h"

#define REAP_INTERVAL_NS 50000000LL
#define RESET_TRIES      1000
#define NEARLY_FULL      512U /* entries */

struct dirty_ring {
	uint32_t entries;      /* per vCPU; constant */
	pthread_mutex_t mutex; /* second in the order of locks (machine.h) */
	/* under mutex */
	pthread_cond_t wake;
	bool active; /* pages are being tracked */
	bool ending;
	struct thread reaper;
	bool overrun; /* entries were lost in the present reaping */
	bool warned;
	uint64_t to_reset;                /* entries reaped that KVM has not taken back yet */
	uint64_t *map[MEMORY_MAX_SLOTS];  /* reaped and not yet fetched */
	uint64_t *seen[MEMORY_MAX_SLOTS]; /* met in the ring that is being reaped */
};

/* One vCPU's ring. */
struct ring {
	struct kvm_dirty_gfn *gfn;
	/* under dirty_ring.mutex */
	uint32_t next; /* first entry not reaped */
	bool ahead;    /* KVM may be further than we know: the ring was overrun */
};

int dirty_ring_create(struct machine *m, uint32_t entries, struct err *err)
{
	uint64_t bytes = (uint64_t)entries * sizeof(struct kvm_dirty_gfn);
	long cap = KVM_CAP_DIRTY_LOG_RING_ACQ_REL;
	int most = machine_kvm_cap(m, cap);
	struct kvm_enable_cap enable = {.args = {bytes}};

	if (!most) {
		cap = KVM_CAP_DIRTY_LOG_RING;
		most = machine_kvm_cap(m, cap);
	}
	if (!most)
		return err_set(err, ENOTSUP,
			       "this kernel's KVM has no dirty ring (leave out dirty-ring-size)");
	if (bytes > (uint64_t)most)
		return err_set(err, EINVAL,
			       "dirty-ring-size %u is too large, this kernel allows %zu", entries,
			       (size_t)most / sizeof(struct kvm_dirty_gfn));
	enable.cap = (uint32_t)cap;
	if (ioctl(m->vm_fd, KVM_ENABLE_CAP, &enable) < 0)
		return err_set(err, errno, "KVM refuses a dirty ring of %u entries: %s", entries,
			       err_text(errno));
	m->ring = NEW(struct dirty_ring);
	m->ring->entries = entries;
	pthread_mutex_init(&m->ring->mutex, NULL);
	thread_cond_init(&m->ring->wake);
	return 0;
}

void dirty_ring_destroy(struct machine *m)
{
	if (!m->ring)
		return;
	pthread_cond_destroy(&m->ring->wake);
	pthread_mutex_destroy(&m->ring->mutex);
	free(m->ring);
	m->ring = NULL;
}

static size_t ring_bytes(const struct machine *m)
{
	return m->ring->entries * sizeof(struct kvm_dirty_gfn);
}

int dirty_ring_map(struct vcpu *v, struct err *err)
{
	struct ring *r;

	if (!v->m->ring)
		return 0;
	r = NEW(struct ring);
	r->gfn = mmap(NULL, ring_bytes(v->m), PROT_READ | PROT_WRITE, MAP_SHARED, v->fd,
		      KVM_DIRTY_LOG_PAGE_OFFSET * (off_t)PAGE_BYTES);
	if (r->gfn == MAP_FAILED) {
		free(r);
		return err_set(err, errno, "cannot map the dirty ring of vCPU %u: %s", v->index,
			       err_text(errno));
	}
	v->ring = r;
	return 0;
}

void dirty_ring_unmap(struct vcpu *v)
{
	struct ring *r = v->ring;

	if (!r)
		return;
	(void)munmap(r->gfn, ring_bytes(v->m));
	free(r);
	v->ring = NULL;
}

/* The slot of an entry, -1 for one that makes no sense. */
static int entry_slot(const struct dirty_ring *d, const struct memory *mem,
		      const struct kvm_dirty_gfn *e)
{
	uint32_t slot = e->slot & 0xffff; /* the high half is the address space: SMM is not used */

	if (slot >= mem->n_slots || !d->map[slot] ||
	    e->offset >= mem->slots[slot].bytes / PAGE_BYTES)
		return -1;
	return (int)slot;
}

/*
 * What the n entries from 'first' on say is noted.  KVM may have put a page
 * into the ring several times, once for each write that it emulated: returns
 * how many different pages there are.
 */
static uint32_t note_entries(struct dirty_ring *d, const struct vcpu *v, uint32_t first, uint32_t n)
{
	const struct kvm_dirty_gfn *gfn = ((const struct ring *)v->ring)->gfn;
	uint32_t pages = 0;

	for (uint32_t i = first; i != first + n; i++) {
		const struct kvm_dirty_gfn *e = &gfn[i & (d->entries - 1)];
		int slot = entry_slot(d, &v->m->mem, e);

		if (slot < 0)
			continue;
		bitmap_set(d->map[slot], e->offset);
		pages += !bitmap_test(d->seen[slot], e->offset);
		bitmap_set(d->seen[slot], e->offset);
	}
	for (uint32_t i = first; i != first + n; i++) {
		const struct kvm_dirty_gfn *e = &gfn[i & (d->entries - 1)];
		int slot = entry_slot(d, &v->m->mem, e);

		if (slot >= 0)
			bitmap_clear_range(d->seen[slot], e->offset, 1);
	}
	return pages;
}

static struct kvm_dirty_gfn *entry_at(const struct dirty_ring *d, const struct ring *r, uint32_t i)
{
	return &r->gfn[i & (d->entries - 1)];
}

/* How many entries from 'first' on, at most 'most', are filled (or are not). */
static uint32_t run_of(const struct dirty_ring *d, const struct ring *r, uint32_t first,
		       uint32_t most, bool filled)
{
	uint32_t n = 0;

	/* Pairs with KVM's release of a filled entry: slot and offset are valid after it. */
	while (n < most && filled == (__atomic_load_n(&entry_at(d, r, first + n)->flags,
						      __ATOMIC_ACQUIRE) == KVM_DIRTY_GFN_F_DIRTY))
		n++;
	return n;
}

/* Note the last 'filled' of n entries, and hand all n back. */
static uint32_t take_entries(struct dirty_ring *d, struct vcpu *v, uint32_t n, uint32_t filled)
{
	struct ring *r = v->ring;
	uint32_t end = r->next + n;

	__atomic_fetch_add(&v->dirtied_pages, note_entries(d, v, end - filled, filled),
			   __ATOMIC_RELAXED);
	for (; r->next != end; r->next++)
		/* Pairs with KVM's acquire in KVM_RESET_DIRTY_RINGS: we are done with the entry. */
		__atomic_store_n(&entry_at(d, r, r->next)->flags, KVM_DIRTY_GFN_F_RESET,
				 __ATOMIC_RELEASE);
	return n;
}

/*
 * The ring was overrun, and KVM is ahead of us by an unknown number of entries
 * that were handed back before it filled them: they are empty now, and behind
 * them stand those filled since.  Pass over the gap, once it can be seen.
 */
static uint32_t close_gap(struct dirty_ring *d, struct vcpu *v, uint32_t head)
{
	struct ring *r = v->ring;
	uint32_t gap = run_of(d, r, r->next + head, d->entries - head, false);
	uint32_t filled = run_of(d, r, r->next + head + gap, d->entries - head - gap, true);

	if (!filled)
		return take_entries(d, v, head, head);
	if (head) { /* overrun once more */
		d->overrun = true;
		return take_entries(d, v, d->entries, d->entries);
	}
	r->ahead = false;
	return take_entries(d, v, gap + filled, filled);
}

/*
 * Take what is in one ring; returns how many entries.  Mutex held.
 *
 * KVM stops a vCPU before its ring is full.  Where it emulates, it looks only
 * after many instructions, and may overrun the ring.  A ring that is nearly
 * full is therefore left to its vCPU, which is about to stop.
 */
static uint32_t reap_vcpu(struct dirty_ring *d, struct vcpu *v)
{
	struct ring *r = v->ring;
	bool still = !__atomic_load_n(&v->in_guest, __ATOMIC_SEQ_CST);
	uint32_t n = run_of(d, r, r->next, d->entries, true);

	if (!still && (r->ahead || n > d->entries - MIN(d->entries / 4, NEARLY_FULL)))
		return 0;
	if (n == d->entries) {
		d->overrun = r->ahead = true;
		return take_entries(d, v, n, n);
	}
	return r->ahead ? close_gap(d, v, n) : take_entries(d, v, n, n);
}

/*
 * Have KVM take back what was reaped.  A signal that is pending, such as a
 * kick of this vCPU, makes it stop early and say how far it came; a ring of
 * which anything were left would look full for ever.
 */
static void reset_rings(struct machine *m)
{
	struct dirty_ring *d = m->ring;

	for (int tries = 0; d->to_reset && tries < RESET_TRIES; tries++) {
		int done = ioctl(m->vm_fd, KVM_RESET_DIRTY_RINGS);

		if (done < 0 && errno != EINTR)
			break;
		d->to_reset -= MIN(d->to_reset, (uint64_t)MAX(done, 0));
	}
}

/* Entries were lost: any page may have been written, and may be so again unnoticed. */
static void all_dirty(struct machine *m)
{
	struct dirty_ring *d = m->ring;

	d->overrun = false;
	if (!d->map[0]) /* no tracking */
		return;
	if (!d->warned)
		log_warn("KVM has overrun a dirty ring: all memory counts as written "
			 "(a larger dirty-ring-size makes it rare)");
	d->warned = true;
	for (size_t i = 0; i < m->mem.n_slots; i++)
		bitmap_set_range(d->map[i], 0, m->mem.slots[i].bytes / PAGE_BYTES);
	dirty_log.stop(m); /* and protect all of it again */
	(void)dirty_log.start(m, NULL);
}

static void reap_locked(struct machine *m)
{
	for (unsigned i = 0; i < m->n_vcpus; i++)
		if (m->vcpus[i]->ring)
			m->ring->to_reset += reap_vcpu(m->ring, m->vcpus[i]);
	reset_rings(m);
	if (m->ring->overrun)
		all_dirty(m);
}

void dirty_ring_reap(struct machine *m)
{
	pthread_mutex_lock(&m->ring->mutex);
	reap_locked(m);
	pthread_mutex_unlock(&m->ring->mutex);
}

/* ---- the reaper thread ---- */

static void *reaper_main(void *opaque)
{
	struct machine *m = opaque;
	struct dirty_ring *d = m->ring;

	pthread_mutex_lock(&d->mutex);
	while (!d->ending) {
		thread_cond_wait_until(&d->wake, &d->mutex, host_now_ns() + REAP_INTERVAL_NS);
		reap_locked(m);
	}
	pthread_mutex_unlock(&d->mutex);
	return NULL;
}

/* ---- the provider ---- */

static void free_maps(struct dirty_ring *d)
{
	for (size_t i = 0; i < MEMORY_MAX_SLOTS; i++) {
		free(d->map[i]);
		free(d->seen[i]);
		d->map[i] = d->seen[i] = NULL;
	}
}

static int alloc_maps(struct machine *m)
{
	for (size_t i = 0; i < m->mem.n_slots; i++) {
		m->ring->map[i] = bitmap_new(m->mem.slots[i].bytes / PAGE_BYTES);
		m->ring->seen[i] = bitmap_new(m->mem.slots[i].bytes / PAGE_BYTES);
		if (!m->ring->map[i] || !m->ring->seen[i])
			return -ENOMEM;
	}
	return 0;
}

static int ring_start(struct machine *m, struct err *err)
{
	struct dirty_ring *d = m->ring;
	int ret;

	pthread_mutex_lock(&d->mutex);
	ret = alloc_maps(m);
	d->ending = false;
	pthread_mutex_unlock(&d->mutex);
	if (ret < 0) {
		free_maps(d);
		return err_set(err, ENOMEM, "no memory for the dirty bitmaps");
	}
	ret = dirty_log.start(m, err); /* the slots' flag is the same */
	if (ret >= 0) {
		ret = thread_start(&d->reaper, "reaper", THREAD_HELPER, reaper_main, m, err);
		if (ret < 0)
			dirty_log.stop(m);
	}
	if (ret < 0)
		free_maps(d);
	return ret;
}

static void ring_stop(struct machine *m)
{
	struct dirty_ring *d = m->ring;

	pthread_mutex_lock(&d->mutex);
	d->ending = true;
	pthread_cond_signal(&d->wake);
	pthread_mutex_unlock(&d->mutex);
	thread_join(&d->reaper);
	dirty_log.stop(m);
	pthread_mutex_lock(&d->mutex);
	reap_locked(m); /* leave the rings empty */
	free_maps(d);
	pthread_mutex_unlock(&d->mutex);
}

/*
 * A processor may still hold the last entries in a hardware buffer (PML)
 * until its vCPU leaves the guest: have them all leave it.
 */
static void ring_sync(struct machine *m)
{
	for (unsigned i = 0; i < m->n_vcpus; i++)
		vcpu_flush(m->vcpus[i]);
	dirty_ring_reap(m);
}

static int ring_take(struct machine *m, const struct mem_slot *s, uint64_t *map, struct err *err)
{
	struct dirty_ring *d = m->ring;
	size_t bytes = BITMAP_WORDS(s->bytes / PAGE_BYTES) * sizeof(uint64_t);

	(void)err;
	pthread_mutex_lock(&d->mutex);
	memcpy(map, d->map[s->id], bytes);
	memset(d->map[s->id], 0, bytes);
	pthread_mutex_unlock(&d->mutex);
	return 0;
}

/* Reaping has done it. */
static int ring_protect(struct machine *m, const struct mem_slot *s, uint64_t first, uint64_t n,
			const uint64_t *map)
{
	(void)m;
	(void)s;
	(void)first;
	(void)n;
	(void)map;
	return 0;
}

const struct dirty_provider dirty_ring = {
    .name = "ring",
    .start = ring_start,
    .sync = ring_sync,
    .take = ring_take,
    .protect = ring_protect,
    .stop = ring_stop,
};
