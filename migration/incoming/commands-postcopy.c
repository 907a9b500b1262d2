/*
 * commands-postcopy.c - commands of a postcopy, for incoming/postcopy.c; and of modes that do not
 * exist here, which are refused by name
 */
#include <errno.h>

#include "migration/incoming/command-rows.h"
#include "migration/incoming/commands.h"
#include "migration/incoming/postcopy.h"
#include "migration/stream/wire.h"
#include "vmm/base/bytes.h"
#include "vmm/base/error.h"

int command_not_now(struct command_state *cs, const uint8_t *payload, uint16_t n, struct err *err)
{
	(void)cs;
	(void)payload;
	(void)n;
	return err_set(err, EINVAL, "it makes no sense at this point");
}

/* Without payload it is about dirty bitmaps only, and harmless. */
static int advise(struct command_state *cs, const uint8_t *payload, uint16_t n, struct err *err)
{
	if (cs->postcopy)
		return incoming_postcopy_advise(cs->postcopy, payload, n, err);
	if (n)
		return err_set(err, EINVAL,
			       "RAM postcopy is disabled but have %u byte advise: capability "
			       "'postcopy-ram' is on at the source only",
			       n);
	return 0;
}

static int discard(struct command_state *cs, const uint8_t *payload, uint16_t n, struct err *err)
{
	if (!cs->postcopy || cs->package)
		return command_not_now(cs, payload, n, err);
	return incoming_postcopy_discard(cs->postcopy, payload, n, err);
}

static int packaged(struct command_state *cs, const uint8_t *payload, uint16_t n, struct err *err)
{
	if (!cs->postcopy || cs->package)
		return command_not_now(cs, payload, n, err);
	return incoming_postcopy_package(cs->postcopy, get_be32(payload), err);
}

/* It stands in front of the package, where the load thread has carried it out. */
static int listen_begun(struct command_state *cs, const uint8_t *payload, uint16_t n,
			struct err *err)
{
	if (!cs->package || cs->listened)
		return command_not_now(cs, payload, n, err);
	cs->listened = true;
	return 0;
}

static int run(struct command_state *cs, const uint8_t *payload, uint16_t n, struct err *err)
{
	if (!cs->package)
		return command_not_now(cs, payload, n, err);
	cs->run = true;
	return 0;
}

static int resume(struct command_state *cs, const uint8_t *payload, uint16_t n, struct err *err)
{
	if (!cs->postcopy || cs->package)
		return command_not_now(cs, payload, n, err);
	return incoming_postcopy_resume(cs->postcopy, err);
}

static int recv_bitmap(struct command_state *cs, const uint8_t *payload, uint16_t n,
		       struct err *err)
{
	if (!cs->postcopy || cs->package)
		return command_not_now(cs, payload, n, err);
	return incoming_postcopy_recv_bitmap(cs->postcopy, payload, n, err);
}

const struct command_row commands_postcopy[] = {
    {"POSTCOPY_ADVISE",         CMD_POSTCOPY_ADVISE, ANY_LENGTH, advise},
    {"POSTCOPY_LISTEN",               CMD_POSTCOPY_LISTEN, 0, listen_begun},
    {"POSTCOPY_RUN",			 CMD_POSTCOPY_RUN, 0, run},
    {"POSTCOPY_RAM_DISCARD",CMD_POSTCOPY_RAM_DISCARD, ANY_LENGTH, discard},
    {"PACKAGED",             CMD_PACKAGED, 4, packaged},
    {"ENABLE_COLO",            CMD_ENABLE_COLO, ANY_LENGTH, command_not_now},
    {"POSTCOPY_RESUME",			CMD_POSTCOPY_RESUME, 0, resume},
    {"RECV_BITMAP",			 CMD_RECV_BITMAP, ANY_LENGTH, recv_bitmap},
    {.name = NULL         },
};
