/*
 * memory.c - RAM blocks and their mapping, memslots, access by guest-physical address
 *
 * A block is mapped in the middle of reserved address space:
 *
 *     guard (PROT_NONE) | block, aligned to a huge page | guard (PROT_NONE)
 *
 * so that an access beyond either end faults instead of reaching other memory.
 * Slots are few and searched in order.  A backing that was replaced for a load
 * (memory_replace_backing) is kept aside until the load is known to have
 * succeeded or failed (memory_commit_backing).
 *
 * Writes here populate the pages of a block that may run out of them first, and
 * mark the pages dirty after the bytes are written, never before.
 */
#include "vmm/memory/memory.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm/base/alloc.h"
#include "vmm/base/bitmap.h"
#include "vmm/base/error.h"
#include "vmm/base/fdset.h"
#include "vmm/base/units.h"
#include "vmm/memory/backing.h"
#include "vmm/memory/fault.h"
#include "vmm/memory/merge.h"
#include "vmm/memory/missing.h"
#include "vmm/memory/room.h"

/* Blocks start on a huge page's boundary, so that the host may use huge pages for them. */
#define BLOCK_ALIGN (2 * MiB)

void memory_init(struct memory *mem, int vm_fd)
{
	*mem = (struct memory){.vm_fd = vm_fd};
	(void)pthread_rwlock_init(&mem->missing_lock, NULL);
	pthread_mutex_init(&mem->discard_lock, NULL);
}

static void block_free(struct ram_block *b)
{
	if (!b)
		return;
	fault_forget(b);
	if (b->hva)
		(void)munmap(b->hva - MAX(BLOCK_ALIGN, b->page_bytes), b->map_bytes);
	path_close(b->fd);
	path_close(b->aside_fd);
	free(b->dma_dirty);
	(void)pthread_rwlock_destroy(b->missing_lock);
	free(b->missing_lock);
	pthread_mutex_destroy(&b->merging);
	free(b);
}

void memory_fini(struct memory *mem)
{
	(void)memory_end_missing(mem);
	for (size_t i = 0; i < mem->n_blocks; i++)
		block_free(mem->blocks[i]);
	(void)pthread_rwlock_destroy(&mem->missing_lock);
	pthread_mutex_destroy(&mem->discard_lock);
	*mem = (struct memory){.vm_fd = -1};
}

/* ---- blocks ---- */

/* Advice only: errors are ignored, for instance those of a kernel without KSM. */
static void block_advise(struct ram_block *b)
{
	if (b->page_bytes == PAGE_BYTES) /* huge pages, as far as there are any: fewer faults */
		(void)madvise(b->hva, b->bytes, MADV_HUGEPAGE);
	if (b->no_dump)
		(void)madvise(b->hva, b->bytes, MADV_DONTDUMP);
	memory_advise_merging(b);
}

static int map_flags(const struct ram_block *b)
{
	bool reserve = b->page_bytes > PAGE_BYTES && !b->no_reserve;

	return (b->share ? MAP_SHARED : MAP_PRIVATE) | MAP_FIXED | (reserve ? 0 : MAP_NORESERVE) |
	       (b->fd < 0 ? MAP_ANONYMOUS : 0);
}

static int say_not_mapped(const struct ram_block *b, int errnum, struct err *err)
{
	if (errnum == ENOMEM && b->page_bytes > PAGE_BYTES)
		return err_set(err, errnum,
			       "cannot set up guest memory '%s': the host has not enough free huge "
			       "pages of %" PRIu64 " KiB for %" PRIu64
			       " MiB: raise nr_hugepages in /sys/kernel/mm/hugepages",
			       b->name, b->page_bytes >> 10, b->bytes >> 20);
	return err_set(err, errnum, "cannot set up guest memory '%s': %s", b->name,
		       err_text(errnum));
}

/* Reserve address space with a guard at both ends and put the block in the middle. */
static int map_backing(struct ram_block *b, struct err *err)
{
	size_t guard = MAX(BLOCK_ALIGN, b->page_bytes);
	size_t want = b->max_bytes + 3 * guard;
	uint8_t *base =
	    mmap(NULL, want, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	uint8_t *start, *end;
	void *p;

	if (base == MAP_FAILED)
		return err_set(err, errno, "cannot set up guest memory '%s': %s", b->name,
			       err_text(errno));
	start = base + guard;
	start += (guard - (uintptr_t)start % guard) % guard;
	end = start + b->max_bytes;
	p = mmap(start, b->bytes, PROT_READ | PROT_WRITE, map_flags(b), b->fd, 0);
	if (p == MAP_FAILED) {
		int e = errno;

		(void)munmap(base, want);
		return say_not_mapped(b, e, err);
	}
	/* Trim what alignment left over, so that exactly one guard stands on each side. */
	if (start - guard > base)
		(void)munmap(base, (size_t)(start - guard - base));
	if (base + want > end + guard)
		(void)munmap(end + guard, (size_t)(base + want - (end + guard)));
	b->hva = start;
	b->map_bytes = b->max_bytes + 2 * guard;
	return 0;
}

static int prealloc(const struct ram_block *b, struct err *err)
{
	struct err why = {0};
	int ret = room_reserve(b, &why);

	if (ret == 0)
		ret = room_populate(b, 0, b->bytes, &why);
	if (ret < 0)
		return err_set(err, -ret, "prealloc=on: %s", why.msg);
	return 0;
}

static int block_set_up(struct ram_block *b, uint64_t bytes, const struct ram_backend *be,
			struct backing *backing, struct err *err)
{
	int ret;

	b->share = be->share;
	b->no_dump = be->no_dump;
	b->merge = be->merge;
	b->no_reserve = be->no_reserve;
	b->fd = backing->fd;
	b->own_memfd = backing->own_memfd;
	b->page_bytes = backing_page_bytes(b->fd);
	b->bytes = ALIGN_UP(bytes, PAGE_BYTES);
	b->max_bytes = MAX(b->bytes, be->max_bytes);
	if (b->bytes % b->page_bytes)
		return err_set(err, EINVAL,
			       "guest memory '%s': 0x%" PRIx64 " bytes are no multiple of its huge "
			       "pages of %" PRIu64 " KiB",
			       b->name, bytes, b->page_bytes >> 10);
	b->scarce = room_is_scarce(b);
	ret = backing_size(backing, b->name, b->bytes, err);
	if (ret == 0)
		ret = map_backing(b, err);
	if (ret < 0)
		return ret;
	block_advise(b);
	b->dma_dirty = bitmap_new(b->max_bytes / PAGE_BYTES);
	if (!b->dma_dirty)
		return err_set(err, ENOMEM,
			       "cannot set up guest memory '%s': no memory for its bitmap",
			       b->name);
	return be->prealloc ? prealloc(b, err) : 0;
}

struct ram_block *memory_add_block(struct memory *mem, const char *name, uint64_t bytes,
				   const struct ram_backend *backend, struct err *err)
{
	struct backing backing;
	struct ram_block *b;

	if (mem->n_blocks == MEMORY_MAX_BLOCKS || strlen(name) >= RAM_NAME_BYTES || !bytes) {
		(void)err_set(err, EINVAL, "cannot add RAM block '%.64s'", name);
		return NULL;
	}
	b = NEW(struct ram_block);
	b->fd = b->aside_fd = -1;
	b->missing_lock = NEW(pthread_rwlock_t);
	(void)pthread_rwlock_init(b->missing_lock, NULL);
	pthread_mutex_init(&b->merging, NULL);
	(void)snprintf(b->name, sizeof(b->name), "%s", name);
	if (backing_open(&backing, name, backend, err) < 0) {
		block_free(b);
		return NULL;
	}
	if (block_set_up(b, bytes, backend, &backing, err) < 0) {
		backing_undo(&backing);
		block_free(b);
		return NULL;
	}
	fault_watch(b);
	mem->blocks[mem->n_blocks++] = b;
	return b;
}

int memory_resize_block(struct ram_block *b, uint64_t bytes, struct err *err)
{
	uint64_t was = b->bytes, is = ALIGN_UP(bytes, PAGE_BYTES);

	assert(b->fd < 0 && b->page_bytes == PAGE_BYTES && is <= b->max_bytes);
	if (is > was && mmap(b->hva + was, is - was, PROT_READ | PROT_WRITE, map_flags(b), b->fd,
			     0) == MAP_FAILED)
		return say_not_mapped(b, errno, err);
	fault_forget(b);
	b->bytes = is;
	(void)madvise(b->hva, is, MADV_DONTNEED);
	block_advise(b);
	fault_watch(b);
	return 0;
}

static int check_backing(const struct ram_block *b, int fd, struct err *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_set(err, errno, "guest RAM '%s': %s", b->name, err_text(errno));
	if (!b->share || b->fd < 0)
		return err_set(err, EINVAL, "guest RAM '%s' is not shared here", b->name);
	if (!S_ISREG(st.st_mode))
		return err_set(err, EINVAL, "guest RAM '%s': what was given for it is no file",
			       b->name);
	if ((uint64_t)st.st_size < b->bytes)
		return err_set(err, EINVAL,
			       "guest RAM '%s': what was given for it has %" PRIu64
			       " bytes instead of %" PRIu64,
			       b->name, (uint64_t)st.st_size, b->bytes);
	if (backing_page_bytes(fd) != b->page_bytes)
		return err_set(err, EINVAL,
			       "guest RAM '%s' has pages of %" PRIu64 " bytes at the source and "
			       "%" PRIu64 " here",
			       b->name, backing_page_bytes(fd), b->page_bytes);
	return 0;
}

int memory_replace_backing(struct ram_block *b, int fd, struct err *err)
{
	int ret = check_backing(b, fd, err);

	if (ret == 0 &&
	    mmap(b->hva, b->bytes, PROT_READ | PROT_WRITE, map_flags(b), fd, 0) == MAP_FAILED)
		ret =
		    err_set(err, errno, "cannot map guest RAM '%s': %s", b->name, err_text(errno));
	if (ret < 0) {
		(void)close(fd);
		return ret;
	}
	fault_forget(b); /* which names the file */
	if (b->aside_fd < 0)
		b->aside_fd = b->fd;
	else
		path_close(b->fd);
	b->fd = fd;
	fault_watch(b);
	block_advise(b);
	return 0;
}

void memory_commit_backing(struct ram_block *b, bool keep)
{
	int drop = keep ? b->aside_fd : b->fd;

	if (b->aside_fd < 0)
		return;
	if (!keep && mmap(b->hva, b->bytes, PROT_READ | PROT_WRITE, map_flags(b), b->aside_fd, 0) ==
			 MAP_FAILED)
		return; /* no room for a mapping that was there before: leave it for the next try */
	if (!keep)
		b->fd = b->aside_fd;
	b->aside_fd = -1;
	path_close(drop);
	fault_forget(b);
	fault_watch(b);
	block_advise(b);
}

int memory_release(const struct memory *mem, struct err *err)
{
	int ret = 0;

	for (size_t i = 0; i < mem->n_blocks; i++) {
		const struct ram_block *b = mem->blocks[i];
		int r = b->share ? 0 : memory_discard_pages(b, 0, b->bytes);

		if (r < 0 && ret == 0)
			ret = err_set(err, -r, "guest memory '%s' cannot be released: %s", b->name,
				      err_text(-r));
	}
	return ret;
}

struct ram_block *memory_find_block(const struct memory *mem, const char *name)
{
	for (size_t i = 0; i < mem->n_blocks; i++)
		if (!strcmp(mem->blocks[i]->name, name))
			return mem->blocks[i];
	return NULL;
}

/* ---- slots ---- */

int memory_set_slot_flags(struct memory *mem, const struct mem_slot *s, uint32_t flags)
{
	struct kvm_userspace_memory_region r = {
	    .slot = s->id,
	    .flags = flags,
	    .guest_phys_addr = s->gpa,
	    .memory_size = s->bytes,
	    .userspace_addr = (uintptr_t)(s->block->hva + s->off),
	};

	if (mem->vm_fd >= 0 && ioctl(mem->vm_fd, KVM_SET_USER_MEMORY_REGION, &r) < 0)
		return -errno;
	return 0;
}

int memory_map_block(struct memory *mem, struct ram_block *b, uint64_t off, uint64_t gpa,
		     uint64_t bytes, struct err *err)
{
	struct mem_slot *s = &mem->slots[mem->n_slots];
	int ret;

	assert(mem->n_slots < MEMORY_MAX_SLOTS && off <= b->bytes && bytes <= b->bytes - off);
	*s = (struct mem_slot){
	    .block = b, .gpa = gpa, .bytes = bytes, .off = off, .id = (uint32_t)mem->n_slots};
	ret = memory_set_slot_flags(mem, s, 0);
	if (ret < 0)
		return err_set(err, -ret, "KVM refuses RAM at 0x%" PRIx64 "+0x%" PRIx64 ": %s", gpa,
			       bytes, err_text(-ret));
	mem->n_slots++;
	/* Where migration says the block is: firmware is at the top, its copy below 1 MiB an alias.
	 */
	if (off == 0)
		b->gpa = MAX(b->gpa, gpa);
	return 0;
}

int memory_unmap_all(struct memory *mem, struct err *err)
{
	while (mem->n_slots > 0) {
		struct mem_slot gone = mem->slots[mem->n_slots - 1];
		int ret;

		gone.block->gpa = 0;
		gone.bytes = 0;
		ret = memory_set_slot_flags(mem, &gone, 0);
		if (ret < 0)
			return err_set(err, -ret, "KVM does not give up RAM at 0x%" PRIx64 ": %s",
				       gone.gpa, err_text(-ret));
		mem->n_slots--;
	}
	return 0;
}

static const struct mem_slot *find_slot(const struct memory *mem, uint64_t gpa)
{
	for (size_t i = 0; i < mem->n_slots; i++)
		if (gpa - mem->slots[i].gpa < mem->slots[i].bytes)
			return &mem->slots[i];
	return NULL;
}

size_t memory_block_index(const struct memory *mem, const struct ram_block *b)
{
	size_t i = 0;

	while (mem->blocks[i] != b)
		i++;
	return i;
}

const struct ram_block *memory_block_at(const struct memory *mem, uint64_t gpa, uint64_t *off,
					uint64_t *len)
{
	const struct mem_slot *s = find_slot(mem, gpa);

	if (!s)
		return NULL;
	*len = MIN(*len, s->bytes - (gpa - s->gpa));
	*off = s->off + (gpa - s->gpa);
	return s->block;
}

void *memory_ptr_some(const struct memory *mem, uint64_t gpa, uint64_t *len)
{
	uint64_t off;
	const struct ram_block *b = memory_block_at(mem, gpa, &off, len);

	return b ? b->hva + off : NULL;
}

void *memory_ptr(const struct memory *mem, uint64_t gpa, uint64_t len)
{
	uint64_t got = len;
	void *p = memory_ptr_some(mem, gpa, &got);

	return p && got == len ? p : NULL;
}

int memory_read(const struct memory *mem, uint64_t gpa, void *buf, uint64_t len)
{
	uint8_t *out = buf;

	while (len > 0) {
		uint64_t n = len;
		const void *p = memory_ptr_some(mem, gpa, &n);

		if (!p)
			return -EFAULT;
		memcpy(out, p, n);
		out += n;
		gpa += n;
		len -= n;
	}
	return 0;
}

/* Within one slot: the pages are there, or can be had. */
static int populate(const struct memory *mem, uint64_t gpa, uint64_t len)
{
	const struct mem_slot *s = find_slot(mem, gpa);

	return s && s->block->scarce ? room_populate(s->block, s->off + (gpa - s->gpa), len, NULL)
				     : 0;
}

int memory_write(struct memory *mem, uint64_t gpa, const void *buf, uint64_t len)
{
	const uint8_t *in = buf;

	while (len > 0) {
		uint64_t n = len;
		void *p = memory_ptr_some(mem, gpa, &n);

		if (!p)
			return -EFAULT;
		if (populate(mem, gpa, n) < 0)
			return -ENOSPC;
		memcpy(p, in, n);
		memory_mark_dirty(mem, gpa, n);
		in += n;
		gpa += n;
		len -= n;
	}
	return 0;
}

/* The block that is seen at gpa, or one whose pages may run out. */
static const struct ram_block *lacking_block(const struct memory *mem, uint64_t gpa)
{
	const struct mem_slot *s = find_slot(mem, gpa);

	if (s)
		return s->block;
	for (size_t i = 0; i < mem->n_blocks; i++)
		if (mem->blocks[i]->scarce)
			return mem->blocks[i];
	return NULL;
}

int memory_say_no_room(const struct memory *mem, uint64_t gpa, struct err *err)
{
	const struct ram_block *b = lacking_block(mem, gpa);

	if (!b)
		return err_set(err, ENOSPC, "the host has no memory left for the guest");
	return room_say_none(b, err);
}

int memory_zero(struct memory *mem, uint64_t gpa, uint64_t len)
{
	while (len > 0) {
		uint64_t n = len;
		void *p = memory_ptr_some(mem, gpa, &n);

		if (!p)
			return -EFAULT;
		if (populate(mem, gpa, n) < 0)
			return -ENOSPC;
		memset(p, 0, n);
		memory_mark_dirty(mem, gpa, n);
		gpa += n;
		len -= n;
	}
	return 0;
}

void memory_mark_dirty(struct memory *mem, uint64_t gpa, uint64_t len)
{
	if (!__atomic_load_n(&mem->tracking, __ATOMIC_SEQ_CST))
		return;
	while (len > 0) {
		const struct mem_slot *s = find_slot(mem, gpa);
		uint64_t off, n;

		if (!s)
			return;
		off = s->off + (gpa - s->gpa);
		n = MIN(len, s->bytes - (gpa - s->gpa));
		for (uint64_t page = off / PAGE_BYTES; page <= (off + n - 1) / PAGE_BYTES; page++)
			bitmap_set_atomic(s->block->dma_dirty, page);
		gpa += n;
		len -= n;
	}
}

uint64_t memory_total_bytes(const struct memory *mem)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < mem->n_blocks; i++)
		sum += mem->blocks[i]->bytes;
	return sum;
}
