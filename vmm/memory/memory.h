/*
 * memory.h - RAM blocks, what backs them, where the guest sees them
 *
 * A RAM block is what migration knows: a name and bytes addressed by offset.
 * A slot is a window of a block in guest-physical space (a KVM memslot); one
 * block may be seen through several ("microvm.ram" is split at 3 GiB,
 * "pc.bios" appears twice).
 *
 * Set up on the main thread before a vCPU runs and then constant, so any
 * thread may translate without a lock; but that a load may resize a block
 * before the guest is there.  Writes that the VMM makes on behalf
 * of a device must be reported with memory_mark_dirty(): KVM's dirty log sees
 * only the guest's own.
 */
#ifndef MINIVMM_MEMORY_H
#define MINIVMM_MEMORY_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct missing;

#define RAM_NAME_BYTES    256
#define MEMORY_MAX_BLOCKS 8
#define MEMORY_MAX_SLOTS  16

struct ram_backend {
	enum { RAM_ANONYMOUS, RAM_MEMFD, RAM_FILE } kind;
	const char *path; /* RAM_FILE: a file, or a directory (hugetlbfs) in which an unlinked file
			     is made */
	bool share;       /* MAP_SHARED */
	bool prealloc;    /* populate now */
	bool hugetlb;     /* RAM_MEMFD */
	uint64_t hugetlb_bytes; /* page size wanted, 0: the host's default */
	bool no_reserve;        /* huge pages are taken as they are touched, and may be missing
				   then; else there are enough from now on, or it is refused */
	uint64_t max_bytes;     /* room for memory_resize_block(), anonymous only; 0: none */
	int fd;                 /* >= 0: use this descriptor (taken) instead of opening one */
	bool no_dump;           /* not in core dumps (MADV_DONTDUMP) */
	bool merge;             /* equal pages may be merged by the host (MADV_MERGEABLE) */
};

struct ram_block {
	/* set at creation and then constant */
	char name[RAM_NAME_BYTES];
	uint8_t *hva;                    /* PROT_NONE guard pages stand before and behind */
	uint64_t bytes;                  /* multiple of page_bytes; see memory_resize_block() */
	uint64_t max_bytes;              /* ... at most: so much address space is behind hva */
	uint64_t page_bytes;             /* of the backing: 4096, or a huge page's size */
	uint64_t gpa;                    /* of the highest slot that shows offset 0 */
	int fd;                          /* the backing's, -1 for anonymous */
	bool own_memfd;                  /* ... was made here, and has no name */
	bool scarce;                     /* its pages may turn out not to be had (room.h) */
	bool share;                      /* MAP_SHARED: another process may hold the same pages */
	bool no_dump, merge, no_reserve; /* as struct ram_backend says */
	size_t map_bytes;                /* with guards */
	int aside_fd; /* its own backing, while another one is tried in its place; else -1 */
	pthread_rwlock_t *missing_lock; /* owned; a leaf; of 'missing' */
	struct missing *missing; /* borrowed; some pages are still to come (missing.h), or NULL */
	pthread_mutex_t merging; /* a leaf; of these two (merge.h) */
	bool told;               /* the kernel may merge its pages */
	bool apart;              /* ... and must not just now */
	/* under the machine lock, changed only while pages are not tracked */
	bool unlogged; /* its writes are not tracked (dirty log only) */
	/* any thread, atomically; meaningful while memory.tracking */
	uint64_t *dma_dirty; /* one bit per 4 KiB page: written by the VMM */
};

struct mem_slot {
	struct ram_block *block;
	uint64_t gpa, bytes, off; /* window [gpa, gpa + bytes) shows block bytes from off on */
	uint32_t id;              /* KVM's slot number */
};

struct memory {
	int vm_fd;                                   /* -1: no KVM (unit tests) */
	struct ram_block *blocks[MEMORY_MAX_BLOCKS]; /* owned; the stream's order */
	size_t n_blocks;
	struct mem_slot slots[MEMORY_MAX_SLOTS];
	size_t n_slots;
	struct missing *missing;       /* owned; see missing.h; NULL: all pages are there */
	bool tracking;                 /* atomic: dma_dirty bits are being collected */
	pthread_rwlock_t missing_lock; /* a leaf; of 'missing' */
	pthread_mutex_t discard_lock;
	unsigned held; /* under discard_lock: memory_hold() calls outstanding */
};

void memory_init(struct memory *mem, int vm_fd);
void memory_fini(struct memory *mem);

/*
 * Allocate a block; 'bytes' is rounded up to PAGE_BYTES, and must be a multiple
 * of the backing's huge pages.  Returns borrowed, or NULL.
 */
struct ram_block *memory_add_block(struct memory *mem, const char *name, uint64_t bytes,
				   const struct ram_backend *backend, struct err *err);
/*
 * Put the file behind fd (taken, also on failure) in place of what backs the
 * block: another process's memory, shared from now on.  The block may
 * not be in use.  A refusal leaves the block as it is.  What backed it before is
 * kept until memory_commit_backing() says that the new one is kept, or not:
 * then the old one is back, with what it held.
 */
int memory_replace_backing(struct ram_block *b, int fd, struct err *err);
void memory_commit_backing(struct ram_block *b, bool keep); /* one not replaced is fine */
struct ram_block *memory_find_block(const struct memory *mem, const char *name);
/* Show block bytes [off, off + bytes) at gpa: one KVM memslot.  No overlap with another slot. */
int memory_map_block(struct memory *mem, struct ram_block *b, uint64_t off, uint64_t gpa,
		     uint64_t bytes, struct err *err);

/* Take all slots away: before memory_resize_block(), after which blocks are mapped anew. */
int memory_unmap_all(struct memory *mem, struct err *err);
/*
 * Give an anonymous block that is in no slot another size, within its
 * max_bytes; what it held is gone.  It stays where it is, and what was mapped stays mapped: a
 * thread that writes to it meanwhile, because a peer breaks the rules, does no harm.
 */
int memory_resize_block(struct ram_block *b, uint64_t bytes, struct err *err);

/* KVM_MEM_* flags of a slot; 0 or -errno. */
int memory_set_slot_flags(struct memory *mem, const struct mem_slot *s, uint32_t flags);

/*
 * The host address of [gpa, gpa + len), len >= 1, or NULL when any of it is
 * not RAM or it crosses from one slot into another.
 */
void *memory_ptr(const struct memory *mem, uint64_t gpa, uint64_t len);
/* As memory_ptr, but *len is cut to what is contiguous from gpa on; NULL if gpa is not RAM. */
void *memory_ptr_some(const struct memory *mem, uint64_t gpa, uint64_t *len);
/* Copy; crossing slots is fine.  0, -EFAULT when some of it is not RAM, or -ENOSPC when a page
 * to be written cannot be had (nothing promised about the rest). */
int memory_read(const struct memory *mem, uint64_t gpa, void *buf, uint64_t len);
/* The same for bytes that change: they are marked dirty when they are there. */
int memory_write(struct memory *mem, uint64_t gpa, const void *buf, uint64_t len);
int memory_zero(struct memory *mem, uint64_t gpa, uint64_t len);
/*
 * The block that the guest sees at gpa, and where in it; *len is cut to what is contiguous
 * from there on.  NULL: not RAM.
 */
const struct ram_block *memory_block_at(const struct memory *mem, uint64_t gpa, uint64_t *off,
					uint64_t *len);
/* Which of mem->blocks it is. */
size_t memory_block_index(const struct memory *mem, const struct ram_block *b);
/*
 * The guest does not need what is in [gpa, gpa + len): give the whole pages of the host within
 * it back, and mark them dirty.  They read as zero afterwards, or as the file that they are a
 * private copy of.  -EFAULT when some of it is not RAM, or the host's -errno; pages before and
 * behind are given back nevertheless.  Any thread but one that holds the machine lock.
 */
int memory_discard(struct memory *mem, uint64_t gpa, uint64_t len);
/*
 * No page is given back from now on: memory_discard() leaves the pages as they are, which the
 * guest may not rely on either way.  For a thread that saves memory while the guest runs,
 * and for which a page that vanishes is lost.  A discard that is under way has ended on
 * return.  Nests.  Any thread.
 */
void memory_hold(struct memory *mem);
void memory_unhold(struct memory *mem);
/*
 * memory_discard() for whole pages of the block (page_bytes), which are not marked dirty.  0 or
 * -errno; memory_give_back() does not care whether they are still to come (missing.h).
 */
int memory_discard_pages(const struct ram_block *b, uint64_t off, uint64_t bytes);
int memory_give_back(const struct ram_block *b, uint64_t off, uint64_t bytes);
/* What is discarded of the block reads as zero, and not as a file that it is a private copy of. */
static inline bool memory_discards_to_zero(const struct ram_block *b)
{
	return b->share || b->own_memfd || b->fd < 0;
}
/* A page at gpa could not be had: *err says what is lacking where (room.h).  Returns -ENOSPC. */
int memory_say_no_room(const struct memory *mem, uint64_t gpa, struct err *err);
/* The VMM wrote [gpa, gpa + len): after the bytes are visible.  Any thread; cheap while not
 * tracking.  For accessors: a device writes with memory_write() or those of virtio/queue.h. */
void memory_mark_dirty(struct memory *mem, uint64_t gpa, uint64_t len);

/*
 * Give back to the host all blocks that are not shared with another process.
 * They read as after a start (zero, or the file they are a copy of).  A block
 * with share=on is not touched.  -errno when the host refuses one; the others
 * are given back.
 */
int memory_release(const struct memory *mem, struct err *err);

/* Sum of the blocks' bytes. */
uint64_t memory_total_bytes(const struct memory *mem);

#endif
