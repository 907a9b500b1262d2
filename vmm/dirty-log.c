/* dirty-log.c - KVM_GET_DIRTY_LOG; with manual protection where the kernel has it */
#include <errno.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>

#include "vmm/base/error.h"
#include "vmm/dirty-provider.h"
#include "vmm/machine.h"

static int set_logging(struct machine *m, uint32_t flags)
{
	for (size_t i = 0; i < m->mem.n_slots; i++) {
		const struct mem_slot *s = &m->mem.slots[i];
		/* With a ring the dirty limit counts the pages of every block. */
		bool skip = s->block->unlogged && !m->ring;
		int ret = skip ? 0 : memory_set_slot_flags(&m->mem, s, flags);

		if (ret < 0)
			return ret;
	}
	return 0;
}

static int log_start(struct machine *m, struct err *err)
{
	int ret = set_logging(m, KVM_MEM_LOG_DIRTY_PAGES);

	if (ret < 0) {
		(void)set_logging(m, 0);
		return err_set(err, -ret, "KVM refuses to log dirty pages: %s", err_text(-ret));
	}
	return 0;
}

static void log_stop(struct machine *m)
{
	(void)set_logging(m, 0);
}

/* KVM_GET_DIRTY_LOG does all. */
static void log_sync(struct machine *m)
{
	(void)m;
}

/* NOLINTNEXTLINE(readability-non-const-parameter): the kernel writes to map */
static int log_take(struct machine *m, const struct mem_slot *s, uint64_t *map, struct err *err)
{
	struct kvm_dirty_log log = {.slot = s->id, .dirty_bitmap = map};

	if (ioctl(m->vm_fd, KVM_GET_DIRTY_LOG, &log) < 0)
		return err_set(err, errno, "KVM_GET_DIRTY_LOG of slot %u: %s", s->id,
			       err_text(errno));
	return 0;
}

static int log_protect(struct machine *m, const struct mem_slot *s, uint64_t first, uint64_t n,
		       const uint64_t *map)
{
	struct kvm_clear_dirty_log clear = {
	    .slot = s->id,
	    .num_pages = (uint32_t)n,
	    .first_page = first,
	    /* NOLINTNEXTLINE(performance-no-int-to-ptr): KVM has no const pointer here */
	    .dirty_bitmap = (void *)(uintptr_t)map,
	};

	if (!m->manual_protect) /* KVM_GET_DIRTY_LOG has done it */
		return 0;
	return ioctl(m->vm_fd, KVM_CLEAR_DIRTY_LOG, &clear) < 0 ? -errno : 0;
}

const struct dirty_provider dirty_log = {
    .name = "log",
    .start = log_start,
    .sync = log_sync,
    .take = log_take,
    .protect = log_protect,
    .stop = log_stop,
};
