/*
 * commands-minivmm.c - commands of a source that is minivmm, after its PING with its own cookie
 *
 * DESCRIPTION compares the machines, BACKING passes memory, SPARSE names memory
 * that was never touched.  GO gives the guest away: in precopy it follows EOF
 * (incoming.c), in postcopy it stands among the pages.
 */
#include <errno.h>

#include "migration/incoming/command-rows.h"
#include "migration/incoming/commands.h"
#include "migration/incoming/postcopy.h"
#include "migration/peer/compare.h"
#include "migration/peer/shared-memory.h"
#include "migration/peer/untouched.h"
#include "migration/settings/capabilities.h"
#include "migration/stream/reply.h"
#include "migration/stream/wire.h"
#include "vmm/base/buf.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"
#include "vmm/machine.h"

/* All that differs, in pieces: together they are one text. */
static int tell(struct command_state *cs, const struct buf *diff, struct err *err)
{
	struct buf *text = &cs->differs;

	buf_clear(text);
	buf_printf(text, "the machines differ: %.*s", (int)diff->len, (const char *)diff->data);
	for (size_t at = 0; at < text->len; at += RP_MAX_PAYLOAD) {
		size_t n = MIN(text->len - at, (size_t)RP_MAX_PAYLOAD);
		int ret = rp_send(cs->ch, RP_DIFFERS, text->data + at, n, err);

		if (ret < 0)
			return ret;
	}
	return err_set(err, EINVAL, "%.*s", (int)text->len, (const char *)text->data);
}

static int description(struct command_state *cs, const uint8_t *payload, uint16_t n,
		       struct err *err)
{
	struct buf diff = {0};
	int ret = 0;

	if (!cs->minivmm || !cs->m)
		return command_not_now(cs, payload, n, err);
	machine_lock(cs->m);
	ret = machine_compare(cs->m, cs->caps, payload, n, &diff, err);
	machine_unlock(cs->m);
	if (ret == 0 && diff.len)
		ret = tell(cs, &diff, err);
	buf_free(&diff);
	return ret;
}

static int backing(struct command_state *cs, const uint8_t *payload, uint16_t n, struct err *err)
{
	if (!cs->minivmm || !cs->m || !cs->caps || !cs->caps[CAP_X_IGNORE_SHARED])
		return err_set(err, EINVAL,
			       "the source passes memory, but capability 'x-ignore-shared' is off "
			       "here");
	return shared_take(cs->m, cs->ch, payload, n, err);
}

static int sparse(struct command_state *cs, const uint8_t *payload, uint16_t n, struct err *err)
{
	if (!cs->minivmm || !cs->m || !cs->ram)
		return command_not_now(cs, payload, n, err);
	return sparse_take(cs->m, cs->ram, payload, n, err);
}

/* Behind a postcopy's package.  In precopy it follows EOF, and incoming.c reads it. */
static int go(struct command_state *cs, const uint8_t *payload, uint16_t n, struct err *err)
{
	if (!cs->minivmm || cs->package || !incoming_postcopy_begun(cs->postcopy))
		return command_not_now(cs, payload, n, err);
	return incoming_postcopy_go(cs->postcopy, payload, n, err);
}

const struct command_row commands_minivmm[] = {
    {"DESCRIPTION", CMD_DESCRIPTION, ANY_LENGTH, description},
    {"BACKING",   CMD_BACKING, ANY_LENGTH, backing},
    {"SPARSE",             CMD_SPARSE, ANY_LENGTH, sparse},
    {"GO",CMD_GO, ANY_LENGTH, go},
    {.name = NULL     },
};
