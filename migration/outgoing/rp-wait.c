/*
 * rp-wait.c - waiting for what the destination says
 *
 * A destination that is stopped or cut off takes what the socket holds, and then
 * nothing is left to write: the source waits for its words.  That is silence as
 * much as a write that does not go on, and ends with the same patience.  A
 * destination that still reads what lies in the socket is not silent.
 *
 * Once the guest has been released it may run there: only its word, the end of
 * the connection or a cancel ends the wait then.  The same where a peer that has never
 * answered has been sent everything: what is slow may be a relay, and QEMU behind it.
 */
#include "migration/outgoing/rp-wait.h"

#include <errno.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>

#include "migration/channel/channel.h"
#include "migration/channel/patience.h"
#include "migration/outgoing/outgoing.h"
#include "vmm/base/units.h"
#include "vmm/vclock.h"

#define NS_PER_MS ((int64_t)1000000)
#define LOOK_MS   50 /* between two looks at the peer, and at a deadline that forces */

/* Bytes in the socket that the peer has not taken. */
static int untaken(const struct outgoing *o)
{
	int n = 0;

	(void)ioctl(channel_fd(o->ch), SIOCOUTQ, &n);
	return n;
}

static int err_silent(const struct outgoing *o, struct err *err)
{
	return err_set(err, ETIMEDOUT,
		       "the destination has said nothing for %u s (x-minivmm-peer-timeout): is it "
		       "stopped or cut off?",
		       patience_limit_s(&o->patience));
}

/* A sign of life begins the wait anew. */
static int wait_patiently(struct outgoing *o, bool (*done)(const struct outgoing *o),
			  struct err *err)
{
	int ret = 0, before = untaken(o);

	patience_wait(&o->patience);
	while (ret == 0 && !done(o) && !o->rp.ended) {
		int now;

		ret = rp_poll(&o->rp, LOOK_MS, err);
		now = untaken(o);
		if (ret > 0 || now != before) {
			patience_go_on(&o->patience);
			patience_wait(&o->patience);
			before = now;
			ret = MIN(ret, 0);
		}
		if (ret == 0 && patience_ended(&o->patience))
			ret = err_silent(o, err);
	}
	patience_go_on(&o->patience);
	return ret;
}

/* It has, or is on the way to, all that it needs to run the guest. */
static bool may_run_there(const struct outgoing *o)
{
	return o->released || !o->rp.ponged;
}

int rp_wait(struct outgoing *o, bool (*done)(const struct outgoing *o), int timeout_ms,
	    struct err *err)
{
	int64_t until = host_now_ns() + timeout_ms * NS_PER_MS;

	if (timeout_ms < 0 && !may_run_there(o))
		return wait_patiently(o, done, err);
	while (!done(o) && !o->rp.ended) {
		int64_t left = timeout_ms < 0 ? -1 : (until - host_now_ns()) / NS_PER_MS;
		int ret;

		if (timeout_ms >= 0 && left <= 0)
			break;
		ret = rp_poll(&o->rp, (int)left, err);
		if (ret < 0)
			return ret;
	}
	return 0;
}

bool rp_decided(const struct outgoing *o)
{
	return o->rp.shut || o->rp.cause[0];
}

static bool rp_answered(const struct outgoing *o)
{
	return o->rp.ponged;
}

static bool rp_compared_or_not(const struct outgoing *o)
{
	return o->rp.compared || rp_decided(o);
}

static bool rp_passed_or_not(const struct outgoing *o)
{
	return o->rp.passed || rp_decided(o) || deadline_forces(&o->deadline);
}

static bool rp_loaded_or_not(const struct outgoing *o)
{
	return o->rp.loaded || rp_decided(o);
}

static bool rp_agreed_or_not(const struct outgoing *o)
{
	return o->rp.acked || rp_decided(o) || deadline_forces(&o->deadline);
}

int rp_wait_agreed(struct outgoing *o, int timeout_ms, struct err *err)
{
	int ret = rp_wait(o, rp_agreed_or_not, timeout_ms, err);

	return ret == 0 ? outgoing_listen(o, err) : ret;
}

int rp_wait_answer(struct outgoing *o, int timeout_ms, struct err *err)
{
	return rp_wait(o, rp_answered, timeout_ms, err);
}

static int rp_wait_word(struct outgoing *o, bool (*done)(const struct outgoing *o), struct err *err)
{
	int ret = rp_wait(o, done, -1, err);

	return ret == 0 ? outgoing_listen(o, err) : ret;
}

int rp_wait_compared(struct outgoing *o, struct err *err)
{
	return rp_wait_word(o, rp_compared_or_not, err);
}

int rp_wait_passed(struct outgoing *o, struct err *err)
{
	return rp_wait_word(o, rp_passed_or_not, err);
}

static bool rp_passed_or_decided(const struct outgoing *o)
{
	return o->rp.passed || rp_decided(o);
}

int rp_wait_passed_for(struct outgoing *o, int timeout_ms, struct err *err)
{
	int ret = rp_wait(o, rp_passed_or_decided, timeout_ms, err);

	return ret == 0 ? outgoing_listen(o, err) : ret;
}

int rp_wait_loaded(struct outgoing *o, struct err *err)
{
	return rp_wait_word(o, rp_loaded_or_not, err);
}
