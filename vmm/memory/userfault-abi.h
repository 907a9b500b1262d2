/*
 * userfault-abi.h - the calls, structures and bits of userfaultfd
 *
 * The headers that a distribution builds with may be older than the kernel
 * that the program runs on (Debian 12's know features 0 to 12), so all that is used is
 * described here.
 */
#ifndef MINIVMM_MEMORY_USERFAULT_ABI_H
#define MINIVMM_MEMORY_USERFAULT_ABI_H

#include <stdint.h>
#include <sys/ioctl.h>

#define UF_DEVICE  "/dev/userfaultfd"
#define UF_DEV_NEW _IO(0xAA, 0x00) /* of the device; the argument: O_CLOEXEC | O_NONBLOCK */

#define UF_API_VERSION 0xAAULL

/* Features, as UFFDIO_API has them. */
#define UF_FEATURE_WP             (1ULL << 0)
#define UF_FEATURE_HUGETLBFS      (1ULL << 4) /* missing pages of hugetlbfs */
#define UF_FEATURE_SHMEM          (1ULL << 5) /* ... of memfd and tmpfs */
#define UF_FEATURE_THREAD_ID      (1ULL << 8)
#define UF_FEATURE_WP_FILES       (1ULL << 12) /* WP of hugetlbfs, memfd and tmpfs */
#define UF_FEATURE_WP_UNPOPULATED (1ULL << 13) /* WP holds where there is no page yet (6.4) */

struct uf_api {
	uint64_t api, features, calls;
};

struct uf_range {
	uint64_t start, len;
};

#define UF_REGISTER_MISSING 1ULL
#define UF_REGISTER_WP      2ULL

struct uf_register {
	struct uf_range range;
	uint64_t modes, calls; /* calls (out): a bit a call that the range takes */
};

#define UF_COPY_WP 2ULL

struct uf_copy {
	uint64_t dst, src, len, mode;
	int64_t done; /* out: bytes, or -errno when none */
};

struct uf_zeropage {
	struct uf_range range;
	uint64_t mode;
	int64_t done;
};

#define UF_PROTECT_ON 1ULL /* else the protection goes, and who waits is woken */

struct uf_protect {
	struct uf_range range;
	uint64_t mode;
};

#define UF_API        _IOWR(0xAA, 0x3F, struct uf_api)
#define UF_REGISTER   _IOWR(0xAA, 0x00, struct uf_register)
#define UF_UNREGISTER _IOR(0xAA, 0x01, struct uf_range)
#define UF_WAKE       _IOR(0xAA, 0x02, struct uf_range)
#define UF_COPY       _IOWR(0xAA, 0x03, struct uf_copy)
#define UF_ZEROPAGE   _IOWR(0xAA, 0x04, struct uf_zeropage)
#define UF_PROTECT    _IOWR(0xAA, 0x06, struct uf_protect)

#define UF_EVENT_PAGEFAULT 0x12

/* What read() gives. */
struct uf_message {
	uint8_t event, pad[7];
	uint64_t flags, hva;
	uint32_t thread, pad2;
};
_Static_assert(sizeof(struct uf_message) == 32, "a message of the kernel has 32 bytes");

#define UF_FAULT_WRITE 1ULL
#define UF_FAULT_WP    2ULL

#endif
