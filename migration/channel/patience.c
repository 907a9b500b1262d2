/* patience.c - 'waiting' counts waiting channels; 'moved_ns': when a wait last began or ended */
#include "migration/channel/patience.h"

#include "vmm/base/units.h"
#include "vmm/vclock.h"

void patience_wait(struct patience *p)
{
	if (__atomic_fetch_add(&p->waiting, 1, __ATOMIC_RELAXED) == 0)
		__atomic_store_n(&p->moved_ns, host_now_ns(), __ATOMIC_RELAXED);
}

void patience_go_on(struct patience *p)
{
	__atomic_store_n(&p->moved_ns, host_now_ns(), __ATOMIC_RELAXED);
	(void)__atomic_fetch_sub(&p->waiting, 1, __ATOMIC_RELAXED);
}

int64_t patience_silence_ns(const struct patience *p)
{
	int64_t silence = host_now_ns() - __atomic_load_n(&p->moved_ns, __ATOMIC_RELAXED);

	return __atomic_load_n(&p->waiting, __ATOMIC_RELAXED) ? MAX(silence, 0) : 0;
}
