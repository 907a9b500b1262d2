/*
 * userfault.c - opening userfaultfd, and its calls
 *
 * Opening.  Two ways lead to a descriptor that also sees faults of the kernel
 * (KVM, read() into guest memory): the device node, whose mode decides, and the
 * system call, for CAP_SYS_PTRACE or with vm.unprivileged_userfaultfd=1.  Either may
 * be shut for a reason of its own (no node, EACCES, EPERM of a container's filter), so
 * the second is tried after any failure of the first.  A descriptor for user
 * mode alone can always be had, and is never asked for: with it a
 * vCPU's fault ends KVM_RUN instead of waiting.
 *
 * Features.  A bit that the kernel does not know fails the call that asks for it, and
 * a successful call cannot be repeated.  So a first descriptor is asked for the list.
 *
 * Filling in.  Another thread may have filled a page of the range already,
 * for a page is sent twice or was asked for urgently: the kernel stops in front
 * of it, and the call goes on behind.
 */
#include "vmm/memory/userfault.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/base/probes.h"
#include "vmm/base/units.h"
#include "vmm/memory/fault.h"
#include "vmm/memory/userfault-abi.h"

#define READ_MESSAGES 32U
/* At a time: nobody maps memory meanwhile.  Where it is write-protected each page is gone through.
 */
#define UNREGISTER_BYTES    (64 * MiB)
#define UNREGISTER_WP_BYTES (4 * MiB)

/* ---- opening ---- */

static int open_by_device(void)
{
	CLEANUP(cleanup_close) int dev = open(UF_DEVICE, O_RDWR | O_CLOEXEC);
	int fd = dev < 0 ? -1 : ioctl(dev, UF_DEV_NEW, O_CLOEXEC | O_NONBLOCK);

	return fd < 0 ? -errno : fd;
}

static int open_descriptor(struct err *err)
{
	int fd = open_by_device(), e;

	if (fd < 0)
		fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	if (fd >= 0)
		return fd;
	e = errno;
	if (e == ENOSYS)
		return err_set(err, ENOTSUP, "this kernel has no userfaultfd (CONFIG_USERFAULTFD)");
	if (e != EPERM && e != EACCES)
		return err_set(err, e, "cannot open userfaultfd: %s", err_text(e));
	return err_set(err, e,
		       "userfaultfd is not permitted (%s): give the user access to " UF_DEVICE
		       ", or set the sysctl vm.unprivileged_userfaultfd=1, or give minivmm "
		       "CAP_SYS_PTRACE",
		       err_text(e));
}

/* UFFDIO_API; *features: those wanted, then those that the kernel has. */
static int handshake(int fd, uint64_t *features, struct err *err)
{
	struct uf_api api = {.api = UF_API_VERSION, .features = *features};

	if (ioctl(fd, UF_API, &api) < 0)
		return err_set(err, errno, "userfaultfd: cannot agree on a version: %s",
			       err_text(errno));
	*features = api.features;
	return 0;
}

static int list_features(uint64_t *features, struct err *err)
{
	CLEANUP(cleanup_close) int fd = open_descriptor(err);

	*features = 0;
	return fd < 0 ? fd : handshake(fd, features, err);
}

static const struct {
	uint64_t bit;
	unsigned modes;
	const char *name; /* NULL: need not be there */
} features[] = {
    {UF_FEATURE_WP,             USERFAULT_WP,      "write protection (Linux 5.7)"                  },
    {UF_FEATURE_WP_FILES,       USERFAULT_WP,      "write protection of shared memory (Linux 5.19)"},
    {UF_FEATURE_HUGETLBFS,      USERFAULT_MISSING, "missing pages of hugetlbfs (Linux 4.11)"       },
    {UF_FEATURE_SHMEM,          USERFAULT_MISSING, "missing pages of shared memory (Linux 4.11)"   },
    {UF_FEATURE_WP_UNPOPULATED, USERFAULT_WP,      NULL                                            },
    {UF_FEATURE_THREAD_ID,      USERFAULT_MISSING, NULL                                            },
};

/* What to ask for: all that the modes need, and the rest as far as there is any. */
static int choose_features(uint64_t has, unsigned modes, uint64_t *wish, struct err *err)
{
	*wish = 0;
	for (size_t i = 0; i < ARRAY_LEN(features); i++) {
		if (!(features[i].modes & modes))
			continue;
		if (!(has & features[i].bit) && features[i].name)
			return err_set(err, ENOTSUP, "this kernel's userfaultfd lacks %s",
				       features[i].name);
		*wish |= has & features[i].bit;
	}
	return 0;
}

int userfault_open(struct userfault *u, unsigned modes, struct err *err)
{
	uint64_t has, wish = 0, agreed;
	int ret;

	*u = (struct userfault){.fd = -1};
	ret = list_features(&has, err);
	if (ret == 0)
		ret = choose_features(has, modes, &wish, err);
	if (ret < 0)
		return ret;
	u->fd = open_descriptor(err);
	if (u->fd < 0)
		return u->fd;
	agreed = wish;
	ret = handshake(u->fd, &agreed, err);
	if (ret < 0) {
		userfault_close(u);
		return ret;
	}
	u->wp_unpopulated = wish & UF_FEATURE_WP_UNPOPULATED;
	return 0;
}

void userfault_close(struct userfault *u)
{
	if (u->fd >= 0 && !u->missing)
		(void)close(u->fd);
	*u = (struct userfault){.fd = -1};
}

/* ---- registering ---- */

static struct uf_range range_of(const struct ram_block *b, uint64_t off, uint64_t bytes)
{
	return (struct uf_range){.start = (uintptr_t)b->hva + off, .len = bytes};
}

static int slot_of(const struct userfault *u, const struct ram_block *b)
{
	for (int i = 0; i < MEMORY_MAX_BLOCKS; i++)
		if (u->blocks[i] == b)
			return i;
	return -1;
}

static int explain_register(const struct ram_block *b, int e, struct err *err)
{
	if (e == EBUSY)
		return err_set(err, e, "RAM block '%s': its page faults are being resolved already",
			       b->name);
	if (e == EINVAL && b->fd >= 0)
		return err_set(err, ENOTSUP,
			       "RAM block '%s' is in %s, and the kernel lets nobody resolve page "
			       "faults there: use anonymous memory, a memfd, tmpfs or hugetlbfs",
			       b->name, ram_file_of(b->fd).s);
	return err_set(err, e, "RAM block '%s': userfaultfd cannot have it: %s", b->name,
		       err_text(e));
}

static uint64_t kernel_modes(unsigned modes)
{
	return (modes & USERFAULT_MISSING ? UF_REGISTER_MISSING : 0) |
	       (modes & USERFAULT_WP ? UF_REGISTER_WP : 0);
}

int userfault_register(struct userfault *u, const struct ram_block *b, unsigned modes,
		       struct err *err)
{
	struct uf_register r = {.range = range_of(b, 0, b->bytes), .modes = kernel_modes(modes)};
	int slot = slot_of(u, b);

	if (ioctl(u->fd, UF_REGISTER, &r) < 0)
		return explain_register(b, errno, err);
	if (slot < 0)
		slot = slot_of(u, NULL);
	u->missing -= u->modes[slot] & USERFAULT_MISSING ? 1 : 0;
	u->missing += modes & USERFAULT_MISSING ? 1 : 0;
	u->blocks[slot] = b;
	u->modes[slot] = (uint8_t)modes;
	return 0;
}

void userfault_unregister(struct userfault *u, const struct ram_block *b)
{
	int slot = slot_of(u, b);
	bool wp = slot >= 0 && u->modes[slot] & USERFAULT_WP;
	uint64_t step = wp ? UNREGISTER_WP_BYTES : UNREGISTER_BYTES;

	if (slot < 0)
		return;
	if (b->page_bytes > PAGE_BYTES) /* few pages; and see probe_block() */
		step = b->bytes;
	for (uint64_t off = 0; off < b->bytes; off += step) {
		struct uf_range r = range_of(b, off, MIN(step, b->bytes - off));

		(void)ioctl(u->fd, UF_UNREGISTER, &r);
	}
	u->missing -= u->modes[slot] & USERFAULT_MISSING ? 1 : 0;
	u->blocks[slot] = NULL;
	u->modes[slot] = 0;
}

/*
 * One page of the block answers for all of them, which are of one mapping.  To let go of a block
 * with many pages takes the kernel as long as to protect it.
 */
static int probe_block(const struct userfault *u, const struct ram_block *b, unsigned modes,
		       struct err *err)
{
	/* Mappings of huge pages stay apart once they were split: those are asked for as a whole.
	 */
	uint64_t bytes = b->page_bytes > PAGE_BYTES ? b->bytes : PAGE_BYTES;
	struct uf_register r = {.range = range_of(b, 0, bytes), .modes = kernel_modes(modes)};

	if (ioctl(u->fd, UF_REGISTER, &r) < 0)
		return explain_register(b, errno, err);
	(void)ioctl(u->fd, UF_UNREGISTER, &r.range);
	return 0;
}

int userfault_probe(const struct memory *mem, unsigned modes, struct err *err)
{
	struct userfault u;
	int ret = userfault_open(&u, modes, err);

	for (size_t i = 0; ret == 0 && mem && i < mem->n_blocks; i++)
		ret = probe_block(&u, mem->blocks[i], modes, err);
	userfault_close(&u);
	return ret;
}

/* ---- pages ---- */

int userfault_protect(const struct userfault *u, const struct ram_block *b, uint64_t off,
		      uint64_t bytes, bool on)
{
	struct uf_protect p = {.range = range_of(b, off, bytes), .mode = on ? UF_PROTECT_ON : 0};
	int ret;

	do
		ret = ioctl(u->fd, UF_PROTECT, &p);
	while (ret < 0 && (errno == EAGAIN || errno == EINTR)); /* the address space is changing */
	if (ret < 0)
		ret = -errno;
	if (!on)
		PROBE(fault_released, p.range.start, bytes, ret);
	return ret;
}

/*
 * A huge page is refused as one that is there (EEXIST).  Linux (6.18) also says so when it has none
 * left: the page is there only if it is mapped.
 */
static bool is_there(const struct ram_block *b, uint64_t off)
{
	unsigned char resident = 0;

	return b->page_bytes == PAGE_BYTES || mincore(b->hva + off, PAGE_BYTES, &resident) < 0 ||
	       (resident & 1);
}

/*
 * One call that fills [*off, end), with its result 'done' (bytes, or -errno
 * when none): move *off on. 1: again from there, 0: complete, or -errno.
 */
static int advance(const struct ram_block *b, uint64_t *off, uint64_t end, int ret, int64_t done)
{
	int e = errno;

	if (ret == 0)
		return 0;
	if (e == EEXIST && !is_there(b, *off))
		return -ENOMEM;
	if (e == EEXIST)
		*off += b->page_bytes;
	else if (e == EAGAIN)
		*off += done > 0 ? (uint64_t)done : 0;
	else if (e != EINTR)
		return -e;
	return *off < end;
}

int userfault_copy(const struct userfault *u, const struct ram_block *b, uint64_t off,
		   const void *from, uint64_t bytes, bool protect)
{
	uint64_t at = off, end = off + bytes;
	int ret;

	do {
		struct uf_copy c = {
		    .dst = (uintptr_t)b->hva + at,
		    .src = (uintptr_t)from + (at - off),
		    .len = end - at,
		    .mode = protect ? UF_COPY_WP : 0,
		};

		ret = ioctl(u->fd, UF_COPY, &c);
		ret = advance(b, &at, end, ret, c.done);
	} while (ret > 0);
	PROBE(fault_filled, b->hva + off, bytes, ret);
	return ret;
}

/* Huge pages have no zero page: they are copied from memory that was never touched. */
static int copy_zeroes(const struct userfault *u, const struct ram_block *b, uint64_t off,
		       uint64_t bytes)
{
	void *zeroes = mmap(NULL, b->page_bytes, PROT_READ,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	int ret = 0;

	if (zeroes == MAP_FAILED)
		return -errno;
	for (uint64_t at = off; ret == 0 && at < off + bytes; at += b->page_bytes)
		ret = userfault_copy(u, b, at, zeroes, b->page_bytes, false);
	(void)munmap(zeroes, b->page_bytes);
	return ret;
}

int userfault_zero(const struct userfault *u, const struct ram_block *b, uint64_t off,
		   uint64_t bytes)
{
	uint64_t at = off, end = off + bytes;
	int ret;

	if (b->page_bytes > PAGE_BYTES)
		return copy_zeroes(u, b, off, bytes);
	do {
		struct uf_zeropage z = {.range = range_of(b, at, end - at)};

		ret = ioctl(u->fd, UF_ZEROPAGE, &z);
		ret = advance(b, &at, end, ret, z.done);
	} while (ret > 0);
	PROBE(fault_filled, b->hva + off, bytes, ret);
	return ret;
}

int userfault_zero_some(const struct userfault *u, const struct ram_block *b, uint64_t off,
			uint64_t bytes)
{
	struct uf_zeropage z;
	int ret;

	do {
		z = (struct uf_zeropage){.range = range_of(b, off, bytes)};
		ret = ioctl(u->fd, UF_ZEROPAGE, &z);
	} while (ret < 0 && (errno == EINTR || (errno == EAGAIN && z.done <= 0)));
	return ret == 0 || errno == EAGAIN || errno == EEXIST ? 0 : -errno;
}

int userfault_wake(const struct userfault *u, const struct ram_block *b, uint64_t off,
		   uint64_t bytes)
{
	struct uf_range r = range_of(b, off, bytes);

	return ioctl(u->fd, UF_WAKE, &r) < 0 ? -errno : 0;
}

/* ---- faults ---- */

int userfault_read(const struct userfault *u, struct userfault_msg *msgs, unsigned max)
{
	struct uf_message m[READ_MESSAGES];
	ssize_t got = read(u->fd, m, MIN(max, READ_MESSAGES) * sizeof(m[0]));
	int n = 0;

	if (got < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	if (got == 0)
		return -EIO; /* the end of what is no userfaultfd */
	for (size_t i = 0; i < (size_t)got / sizeof(m[0]); i++) {
		if (m[i].event != UF_EVENT_PAGEFAULT)
			continue; /* none is asked for */
		msgs[n++] = (struct userfault_msg){
		    .hva = m[i].hva,
		    .flags = (m[i].flags & UF_FAULT_WRITE ? USERFAULT_WRITE : 0U) |
			     (m[i].flags & UF_FAULT_WP ? USERFAULT_PROTECTED : 0U),
		    .tid = m[i].thread,
		};
	}
	return n;
}

const struct ram_block *userfault_block_at(const struct userfault *u, uint64_t hva, uint64_t *off)
{
	for (int i = 0; i < MEMORY_MAX_BLOCKS; i++) {
		const struct ram_block *b = u->blocks[i];

		if (!b || hva - (uintptr_t)b->hva >= b->bytes)
			continue;
		*off = hva - (uintptr_t)b->hva;
		return b;
	}
	return NULL;
}
