/*
 * go.c - the requests that travel with GO
 *
 * After the guest's state has been sent, a reset or a press of the power button
 * can no longer be part of it.  A minivmm at the other end has not run the guest
 * yet: GO carries the requests, and it carries them out first.  An empty payload
 * means none, as in the GO of versions that did not know them.
 */
#include "migration/stream/go.h"

#include <errno.h>

#include "vmm/base/error.h"
#include "vmm/machine.h"

#define POWERDOWN 1U
#define RESET     2U
#define STOP      4U

void go_requests_put(const struct machine *m, struct buf *out)
{
	bool powerdown = machine_requested(m, REQUEST_POWERDOWN);
	bool reset = machine_requested(m, REQUEST_RESET);
	bool stop = m->requests.stopped_late;

	if (!powerdown && !reset && !stop)
		return;
	buf_u8(out,
	       (uint8_t)((powerdown ? POWERDOWN : 0) | (reset ? RESET : 0) | (stop ? STOP : 0)));
	buf_u8(out, reset ? (uint8_t)m->requests.reset_cause : 0);
}

int go_requests_get(struct go_requests *r, struct src *in, uint16_t n, struct err *err)
{
	uint8_t kinds, cause;

	*r = (struct go_requests){0};
	if (n == 0)
		return 0;
	if (n != 2)
		return err_set(err, EINVAL, "GO has %u bytes, 0 or 2 are known", n);
	if (src_u8(in, &kinds) < 0 || src_u8(in, &cause) < 0)
		return err_set(err, ECONNRESET,
			       "the source closed the connection before it gave the guest away");
	if (kinds & ~(POWERDOWN | RESET | STOP) || cause > CAUSE_SNAPSHOT_LOAD)
		return err_set(err, EINVAL, "GO brings requests 0x%x of cause %u: unknown here",
			       kinds, cause);
	r->powerdown = kinds & POWERDOWN;
	r->reset = kinds & RESET;
	r->stop = kinds & STOP;
	r->cause = (enum shutdown_cause)cause;
	return 0;
}

void go_requests_ask(const struct go_requests *r, struct machine *m)
{
	if (r->powerdown)
		machine_request_powerdown(m);
	if (r->reset)
		machine_request_reset(m, r->cause);
}

void go_requests_drop(const struct go_requests *r, struct machine *m)
{
	if (r->powerdown)
		machine_request_delivered(m, REQUEST_POWERDOWN);
	if (r->reset)
		machine_request_delivered(m, REQUEST_RESET);
}
