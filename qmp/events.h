/* events.h - notifications of the machine as QMP events (qmp-surface 1.5, 3.6, 4.4) */
#ifndef MINIVMM_QMP_EVENTS_H
#define MINIVMM_QMP_EVENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <time.h>

#include "qmp/schema.h"
#include "vmm/notify.h"

struct buf;

struct qmp_event {
	const char *name;
	enum notify_kind kind;
	const struct qmp_type *data; /* NULL: no data member */
	/* From the notification to data's struct, which is zeroed. */
	void (*fill)(const struct notification *n, struct qmp_pool *pool, void *data);
	bool limited; /* at most one a second, the latest wins */
};

/* The i-th, NULL behind the last. */
const struct qmp_event *qmp_event_at(size_t i);
/* NULL: not shown on QMP. */
const struct qmp_event *qmp_event_of(enum notify_kind kind);
/* The event's text, appended to out. */
void qmp_event_write(const struct qmp_event *ev, const struct notification *n,
		     const struct timespec *when, bool pretty, struct buf *out);

#endif
