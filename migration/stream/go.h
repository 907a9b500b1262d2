/*
 * go.h - GO's payload: what was asked for after the guest's state had been sent
 *
 *     (nothing)   no request
 *     u8 kinds    1 power button, 2 reset, 4 stop: the guest arrives paused
 *     u8 cause    of the reset (ShutdownCause, QEMU's order), else 0
 */
#ifndef MINIVMM_MIGRATION_GO_H
#define MINIVMM_MIGRATION_GO_H

#include <stdbool.h>

#include "vmm/base/buf.h"
#include "vmm/notify.h"

struct err;
struct machine;

struct go_requests {
	bool powerdown, reset, stop;
	enum shutdown_cause cause;
};

/* Source: those that are pending.  Machine lock held. */
void go_requests_put(const struct machine *m, struct buf *out);
/* Destination: parse n bytes; -EINVAL for what is not known. */
int go_requests_get(struct go_requests *r, struct src *in, uint16_t n, struct err *err);
/* Destination: ask the machine that has the guest now.  Machine lock held. */
void go_requests_ask(const struct go_requests *r, struct machine *m);
void go_requests_drop(const struct go_requests *r, struct machine *m);

#endif
