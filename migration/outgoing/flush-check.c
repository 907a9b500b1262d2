/*
 * flush-check.c - does a QEMU read multifd's channels in the way in which they are written?
 *
 * Both ends of a move must have the same places for sync rounds (multifd.h).  Two minivmm
 * agree; a QEMU does not say what it is set to, and when it is the other way it
 * may say that it has the guest and have half of its memory.  But it answers a PING
 * when it has read the stream up to there, and behind the START record that tells:
 *
 *     set to                       START with MULTIFD_FLUSH     START without, SYNC held back
 *     a pass                       answers                      answers
 *     a section, 8.1 and later     waits for another SYNC       waits for the SYNC
 *     a section, 8.0 and before    refuses the word             waits for the SYNC
 *
 * So what would lose memory is found out before a page is sent, but for a QEMU set to passes that
 * does not answer in HELD_MS, as little as it would if it was set to sections.
 */
#include <errno.h>

#include "migration/channel/channel.h"
#include "migration/outgoing/outgoing.h"
#include "migration/outgoing/rp-wait.h"
#include "migration/ram/multifd/multifd.h"
#include "migration/stream/device-state.h"
#include "migration/stream/writer.h"
#include "vmm/base/bytes.h"

#define HELD_MS   500   /* for a QEMU that does not wait for the SYNC */
#define SILENT_MS 10000 /* for one that has nothing to wait for */

static int send_ping(struct outgoing *o, struct err *err)
{
	uint8_t cookie[4];

	put_be32(cookie, COOKIE_PASS);
	o->rp.passed = false;
	return writer_explain(o->w, stream_put_command(o->w, CMD_PING, cookie, sizeof(cookie)),
			      err);
}

static int check_pass(struct outgoing *o, struct err *err)
{
	int ret = rp_wait_passed_for(o, SILENT_MS, err);

	if (ret < 0)
		return ret;
	if (!o->rp.passed)
		return err_set(err, ETIMEDOUT,
			       "the destination does not go on behind the list of RAM blocks: "
			       "'multifd-flush-after-each-section' must be the same on both sides, "
			       "and is off here");
	o->flush_unproven = false;
	return 0;
}

static int check_section(struct outgoing *o, struct err *err)
{
	int ret = rp_wait_passed_for(o, HELD_MS, err);

	if (ret < 0)
		return ret;
	if (o->rp.passed)
		return err_set(err, EINVAL,
			       "the destination does not synchronise multifd after each section, "
			       "and would lose memory: 'multifd-flush-after-each-section' must be "
			       "the same on both sides, and is on here");
	ret = ram_save_release(&o->ram);
	if (ret < 0)
		return writer_explain(o->w, ret, err);
	return rp_wait_passed(o, err);
}

int outgoing_check_flush(struct outgoing *o, struct err *err)
{
	bool held = o->ram.stream.held;
	int ret;

	if (!held && (!o->flush_unproven || !o->rp.ponged))
		return 0;
	ret = send_ping(o, err);
	if (ret < 0)
		return ret;
	return held ? check_section(o, err) : check_pass(o, err);
}
