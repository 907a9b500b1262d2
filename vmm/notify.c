#include "vmm/notify.h"

#include "vmm/base/units.h"

const char *shutdown_cause_name(enum shutdown_cause c)
{
	static const char *const names[] = {
	    [CAUSE_NONE] = "none",
	    [CAUSE_HOST_ERROR] = "host-error",
	    [CAUSE_HOST_QMP_QUIT] = "host-qmp-quit",
	    [CAUSE_HOST_QMP_SYSTEM_RESET] = "host-qmp-system-reset",
	    [CAUSE_HOST_SIGNAL] = "host-signal",
	    [CAUSE_HOST_UI] = "host-ui",
	    [CAUSE_GUEST_SHUTDOWN] = "guest-shutdown",
	    [CAUSE_GUEST_RESET] = "guest-reset",
	    [CAUSE_GUEST_PANIC] = "guest-panic",
	    [CAUSE_SUBSYSTEM_RESET] = "subsystem-reset",
	    [CAUSE_SNAPSHOT_LOAD] = "snapshot-load",
	};

	return (size_t)c < ARRAY_LEN(names) ? names[c] : "none";
}

bool shutdown_cause_by_guest(enum shutdown_cause c)
{
	return c == CAUSE_GUEST_SHUTDOWN || c == CAUSE_GUEST_RESET || c == CAUSE_GUEST_PANIC;
}

void notify_init(struct notify *n)
{
	list_init(&n->listeners);
}

void notify_subscribe(struct notify *n, struct notify_listener *l)
{
	list_add_tail(&n->listeners, &l->link);
}

void notify_unsubscribe(struct notify_listener *l)
{
	list_del(&l->link);
}

void notify_publish(struct notify *n, const struct notification *what)
{
	list_for_each_safe (l, &n->listeners, struct notify_listener, link)
		l->fn(l->opaque, what);
}

void notify_event(struct notify *n, enum notify_kind kind, enum shutdown_cause cause)
{
	struct notification what = {.kind = kind, .cause = cause};

	notify_publish(n, &what);
}
