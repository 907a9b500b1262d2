/* commands-any.c - commands of every source: the return path, and who is there */
#include <errno.h>

#include "migration/channel/channel.h"
#include "migration/incoming/command-rows.h"
#include "migration/incoming/commands.h"
#include "migration/incoming/postcopy.h"
#include "migration/ram/ram.h"
#include "migration/settings/capabilities.h"
#include "migration/stream/reply.h"
#include "migration/stream/wire.h"
#include "vmm/base/bytes.h"
#include "vmm/base/error.h"
#include "vmm/base/log.h"
#include "vmm/base/units.h"

static int open_return_path(struct command_state *cs, const uint8_t *payload, uint16_t n,
			    struct err *err)
{
	(void)payload;
	(void)n;
	if (cs->ch && !cs->ch->two_way)
		return err_set(err, EINVAL,
			       "the source opens a return path, but this channel (%s) has no way "
			       "back",
			       cs->ch->ops->kind);
	cs->return_path = true;
	/* QEMU 11 would count one too many, and never switch over. */
	return cs->agree_early ? rp_send(cs->ch, RP_SWITCHOVER_ACK, NULL, 0, err) : 0;
}

static int answer(struct command_state *cs, uint32_t cookie, struct err *err)
{
	uint8_t payload[4];

	put_be32(payload, cookie);
	if (cs->out)
		return rp_out_send(cs->out, RP_PONG, payload, sizeof(payload), err);
	return rp_send(cs->ch, RP_PONG, payload, sizeof(payload), err);
}

/* A source that is not minivmm: which of QEMU's releases it is cannot be seen. */
static void hint_at_ack(struct command_state *cs)
{
	bool on = cs->caps && cs->caps[CAP_SWITCHOVER_ACK];

	if (on && !cs->agree_early && !cs->hinted)
		log_notice("'switchover-ack' is on: if the source is QEMU 8.1 to 10 it waits for a "
			   "message that is sent only with -global "
			   "migration.switchover-ack-legacy=on; QEMU 11 does not wait");
	cs->hinted = true;
}

static int ping(struct command_state *cs, const uint8_t *payload, uint16_t n, struct err *err)
{
	uint32_t cookie = get_be32(payload);
	int later = 0;

	(void)n;
	if (!cs->return_path)
		return err_set(err, EINVAL, "the source sends PING without a return path");
	if (incoming_postcopy_begun(cs->postcopy))
		later = incoming_postcopy_ping(cs->postcopy, cs->package, cookie, err);
	if (later)
		return MIN(later, 0);
	if (cookie == COOKIE_SOURCE) {
		int ret = answer(cs, COOKIE_DESTINATION, err);

		if (ret == 0 && cs->caps && cs->caps[CAP_MULTIFD])
			ret = answer(cs, COOKIE_FLUSH_PASS, err);
		if (ret < 0)
			return ret;
		cs->minivmm = true;
		if (cs->ram)
			ram_load_take_runs(cs->ram);
	} else if (!cs->minivmm) {
		hint_at_ack(cs);
	}
	return answer(cs, cookie, err);
}

static int ignore(struct command_state *cs, const uint8_t *payload, uint16_t n, struct err *err)
{
	(void)cs;
	(void)payload;
	(void)n;
	(void)err;
	return 0;
}

const struct command_row commands_any[] = {
    {"OPEN_RETURN_PATH", CMD_OPEN_RETURN_PATH, 0, open_return_path},
    {"PING",		 CMD_PING, 4, ping},
    {"SWITCHOVER_START",                  CMD_SWITCHOVER_START, 0, ignore},
    {.name = NULL},
};
