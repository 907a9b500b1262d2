/* status.c - MigrationStatus and its events */
#include "migration/settings/status.h"

#include "vmm/base/probes.h"
#include "vmm/machine.h"

static const char *const names[MIG_STATUS_COUNT] = {
    [MIG_NONE] = "none",
    [MIG_SETUP] = "setup",
    [MIG_CANCELLING] = "cancelling",
    [MIG_CANCELLED] = "cancelled",
    [MIG_ACTIVE] = "active",
    [MIG_POSTCOPY_DEVICE] = "postcopy-device",
    [MIG_POSTCOPY_ACTIVE] = "postcopy-active",
    [MIG_POSTCOPY_PAUSED] = "postcopy-paused",
    [MIG_POSTCOPY_RECOVER_SETUP] = "postcopy-recover-setup",
    [MIG_POSTCOPY_RECOVER] = "postcopy-recover",
    [MIG_COMPLETED] = "completed",
    [MIG_FAILING] = "failing",
    [MIG_FAILED] = "failed",
    [MIG_COLO] = "colo",
    [MIG_PRE_SWITCHOVER] = "pre-switchover",
    [MIG_DEVICE] = "device",
    [MIG_WAIT_UNPLUG] = "wait-unplug",
};

const char *migration_status_name(enum migration_status s)
{
	return names[s];
}

static void publish(struct machine *m, enum migration_status s)
{
	struct notification n = {.kind = NOTIFY_MIGRATION, .text = names[s]};

	PROBE(migration_status, n.text);
	notify_publish(&m->notify, &n);
}

void publish_pass(struct machine *m, uint64_t pass)
{
	struct notification n = {.kind = NOTIFY_MIGRATION_PASS, .number = (int64_t)pass};

	machine_lock(m);
	notify_publish(&m->notify, &n);
	machine_unlock(m);
}

/* NOLINTNEXTLINE(readability-non-const-parameter): it is written, atomically */
bool status_move(struct machine *m, int *status, enum migration_status from,
		 enum migration_status to)
{
	int expected = (int)from;

	if (!__atomic_compare_exchange_n(status, &expected, (int)to, false, __ATOMIC_SEQ_CST,
					 __ATOMIC_SEQ_CST))
		return false;
	publish(m, to);
	return true;
}

/* NOLINTNEXTLINE(readability-non-const-parameter): it is written, atomically */
void status_set(struct machine *m, int *status, enum migration_status to)
{
	__atomic_store_n(status, (int)to, __ATOMIC_SEQ_CST);
	publish(m, to);
}

enum migration_status status_get(const int *status)
{
	return (enum migration_status)__atomic_load_n(status, __ATOMIC_SEQ_CST);
}

bool status_busy(enum migration_status s)
{
	switch (s) {
	case MIG_NONE:
	case MIG_CANCELLED:
	case MIG_COMPLETED:
	case MIG_FAILED:
		return false;
	default:
		return true;
	}
}

bool status_is_postcopy(enum migration_status s)
{
	return s == MIG_POSTCOPY_DEVICE || s == MIG_POSTCOPY_ACTIVE || s == MIG_POSTCOPY_PAUSED ||
	       s == MIG_POSTCOPY_RECOVER_SETUP || s == MIG_POSTCOPY_RECOVER;
}
