/*
 * notify.h - typed notifications from a lower floor to listeners above
 *
 * Published under the machine lock, on any thread, after the state they
 * announce is visible.  Listeners must not block and must not change the
 * machine; they run in order of subscription.
 */
#ifndef MINIVMM_NOTIFY_H
#define MINIVMM_NOTIFY_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/base/list.h"

enum notify_kind {
	NOTIFY_STOP,
	NOTIFY_RESUME,
	NOTIFY_RESET,    /* cause */
	NOTIFY_SHUTDOWN, /* cause */
	NOTIFY_POWERDOWN,
	NOTIFY_GUEST_PANICKED,             /* text: "pause", "poweroff", "run" */
	NOTIFY_MIGRATION,                  /* text: the MigrationStatus */
	NOTIFY_MIGRATION_PASS,             /* number */
	NOTIFY_NIC_RX_FILTER_CHANGED,      /* text: device id, may be "" */
	NOTIFY_NETDEV_STREAM_CONNECTED,    /* text: netdev id; text2: address */
	NOTIFY_NETDEV_STREAM_DISCONNECTED, /* text: netdev id */
	NOTIFY_BLOCK_IO_ERROR,  /* text: drive id; text2: "read"/"write"; text3: node; number: errno
				 */
	NOTIFY_RTC_CHANGE,      /* number: offset in seconds */
	NOTIFY_BALLOON_CHANGE,  /* number: bytes that the guest has outside the balloon */
	NOTIFY_VSERPORT_CHANGE, /* text: the port's id; number: 1 open, 0 closed */
	NOTIFY_JOB_STATUS,      /* text: the job's id; text2: its status */
	NOTIFY_NEVER,           /* is not published: events that have no cause here */
};

/* ShutdownCause; names in shutdown_cause_name() */
enum shutdown_cause {
	CAUSE_NONE,
	CAUSE_HOST_ERROR,
	CAUSE_HOST_QMP_QUIT,
	CAUSE_HOST_QMP_SYSTEM_RESET,
	CAUSE_HOST_SIGNAL,
	CAUSE_HOST_UI,
	CAUSE_GUEST_SHUTDOWN,
	CAUSE_GUEST_RESET,
	CAUSE_GUEST_PANIC,
	CAUSE_SUBSYSTEM_RESET,
	CAUSE_SNAPSHOT_LOAD,
};
const char *shutdown_cause_name(enum shutdown_cause c);
bool shutdown_cause_by_guest(enum shutdown_cause c);

struct notification {
	enum notify_kind kind;
	enum shutdown_cause cause;
	int64_t number;
	const char *text, *text2, *text3; /* borrowed for the call */
};

struct notify_listener {
	void (*fn)(void *opaque, const struct notification *n);
	void *opaque;
	struct list link;
};

struct notify {
	struct list listeners; /* under the machine lock */
};

void notify_init(struct notify *n);
void notify_subscribe(struct notify *n, struct notify_listener *l); /* borrows l */
void notify_unsubscribe(struct notify_listener *l);
void notify_publish(struct notify *n, const struct notification *what);
/* The common case: a kind and perhaps a cause. */
void notify_event(struct notify *n, enum notify_kind kind, enum shutdown_cause cause);

#endif
