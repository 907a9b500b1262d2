/* patience.c - 'waiting' counts waiting channels; 'moved_ns' is when a wait last began or ended */
#include "migration/channel/patience.h"

#include "vmm/base/units.h"
#include "vmm/vclock.h"

#define NS_PER_S INT64_C(1000000000)

/* The moment is stored first, so that a wait in the count never has the end of an older one. */
void patience_wait(struct patience *p)
{
	if (!p)
		return;
	if (__atomic_load_n(&p->waiting, __ATOMIC_ACQUIRE) == 0)
		__atomic_store_n(&p->moved_ns, host_now_ns(), __ATOMIC_RELAXED);
	(void)__atomic_fetch_add(&p->waiting, 1, __ATOMIC_RELEASE);
}

void patience_go_on(struct patience *p)
{
	if (!p)
		return;
	__atomic_store_n(&p->moved_ns, host_now_ns(), __ATOMIC_RELAXED);
	(void)__atomic_fetch_sub(&p->waiting, 1, __ATOMIC_RELEASE);
}

int64_t patience_silence_ns(const struct patience *p)
{
	int64_t silence;

	if (!__atomic_load_n(&p->waiting, __ATOMIC_ACQUIRE))
		return 0;
	silence = host_now_ns() - __atomic_load_n(&p->moved_ns, __ATOMIC_RELAXED);
	return MAX(silence, 0);
}

uint32_t patience_limit_s(const struct patience *p)
{
	return p ? __atomic_load_n(&p->limit_s, __ATOMIC_RELAXED) : 0;
}

bool patience_ended(const struct patience *p)
{
	uint32_t limit = patience_limit_s(p);

	return limit && patience_silence_ns(p) >= (int64_t)limit * NS_PER_S;
}
