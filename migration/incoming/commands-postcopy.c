/*
 * commands-postcopy.c - commands of modes that do not exist here
 *
 * They are refused by name, but for an ADVISE without payload, which is about
 * dirty bitmaps only.
 */
#include <errno.h>

#include "migration/incoming/command-rows.h"
#include "migration/incoming/commands.h"
#include "migration/stream/wire.h"
#include "vmm/base/error.h"

int command_not_now(struct command_state *cs, const uint8_t *payload, uint16_t n, struct err *err)
{
	(void)cs;
	(void)payload;
	(void)n;
	return err_set(err, EINVAL, "it makes no sense at this point");
}

/* Without payload it is about dirty bitmaps only, and harmless. */
static int postcopy_advise(struct command_state *cs, const uint8_t *payload, uint16_t n,
			   struct err *err)
{
	(void)cs;
	(void)payload;
	if (n)
		return err_set(err, EINVAL,
			       "RAM postcopy is disabled but have %u byte advise: capability "
			       "'postcopy-ram' is on at the source only",
			       n);
	return 0;
}

const struct command_row commands_postcopy[] = {
    {"POSTCOPY_ADVISE",         CMD_POSTCOPY_ADVISE, ANY_LENGTH, postcopy_advise},
    {"POSTCOPY_LISTEN",               CMD_POSTCOPY_LISTEN, 0, command_not_now},
    {"POSTCOPY_RUN",			 CMD_POSTCOPY_RUN, 0, command_not_now},
    {"POSTCOPY_RAM_DISCARD",CMD_POSTCOPY_RAM_DISCARD, ANY_LENGTH, command_not_now},
    {"PACKAGED",          CMD_PACKAGED, 4, command_not_now},
    {"ENABLE_COLO",            CMD_ENABLE_COLO, ANY_LENGTH, command_not_now},
    {"POSTCOPY_RESUME",			CMD_POSTCOPY_RESUME, 0, command_not_now},
    {"RECV_BITMAP",			 CMD_RECV_BITMAP, ANY_LENGTH, command_not_now},
    {.name = NULL         },
};
