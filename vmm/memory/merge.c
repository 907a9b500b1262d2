/* merge.c - which blocks the kernel has been told of, for merging of equal pages (merge.h) */
#include "vmm/memory/merge.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vmm/base/alloc.h"
#include "vmm/base/units.h"
#include "vmm/memory/memory.h"

#define KSM_RUN     "/sys/kernel/mm/ksm/run"
#define MERGE_BYTES (64 * MiB) /* advised at a time: nobody maps memory meanwhile */

bool memory_merging_is_on(void)
{
	CLEANUP(cleanup_close) int fd = open(KSM_RUN, O_RDONLY | O_CLOEXEC);
	char c;

	return fd >= 0 && read(fd, &c, 1) == 1 && c == '1';
}

static int advise(const struct ram_block *b, int advice)
{
	for (uint64_t off = 0; off < b->bytes; off += MERGE_BYTES) {
		uint64_t n = MIN(MERGE_BYTES, b->bytes - off);

		if (madvise(b->hva + off, n, advice) < 0)
			return errno == EINVAL ? 0 : -errno; /* EINVAL: a kernel without KSM */
	}
	return 0;
}

/* Lock held. */
static void tell(struct ram_block *b)
{
	if (!b->merge || b->apart || b->told)
		return;
	(void)advise(b, MADV_MERGEABLE); /* advice only */
	b->told = true;
}

void memory_advise_merging(struct ram_block *b)
{
	pthread_mutex_lock(&b->merging);
	b->told = false;
	if (b->merge && memory_merging_is_on())
		tell(b);
	pthread_mutex_unlock(&b->merging);
}

void memory_follow_merging(struct memory *mem)
{
	for (size_t i = 0; i < mem->n_blocks; i++) {
		struct ram_block *b = mem->blocks[i];

		pthread_mutex_lock(&b->merging);
		tell(b);
		pthread_mutex_unlock(&b->merging);
	}
}

int memory_allow_merging(struct ram_block *b, bool allow)
{
	int ret = 0;

	pthread_mutex_lock(&b->merging);
	b->apart = !allow;
	if (allow && memory_merging_is_on()) {
		tell(b);
	} else if (!allow && b->told) {
		ret = advise(b, MADV_UNMERGEABLE);
		b->told = false;
	}
	pthread_mutex_unlock(&b->merging);
	return ret;
}
