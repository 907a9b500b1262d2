/*
 * commands.c - COMMAND records: their rows, and the length that each payload must have
 *
 * The tables know all commands of the format (migration-stream 5.1), so that one
 * that has no place here is refused by name and not as broken bytes.  A refused
 * command ends the load; the message names the command and its offset.
 */
#include "migration/incoming/commands.h"

#include <errno.h>
#include <inttypes.h>

#include "migration/incoming/command-rows.h"
#include "migration/incoming/postcopy.h"
#include "migration/stream/wire.h"
#include "vmm/base/buf.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"

static const struct command_row *const tables[] = {commands_any, commands_minivmm,
						   commands_postcopy};

static const struct command_row *find(uint16_t command)
{
	for (size_t i = 0; i < ARRAY_LEN(tables); i++)
		for (const struct command_row *r = tables[i]; r->name; r++)
			if (r->command == command)
				return r;
	return NULL;
}

const char *command_name(uint16_t command)
{
	const struct command_row *r = find(command);

	return r ? r->name : "unknown";
}

/* What may come while the guest runs; the rest would change the machine under it. */
static bool comes_late(uint16_t command)
{
	return command == CMD_PING || command == CMD_GO || command == CMD_POSTCOPY_LISTEN ||
	       command == CMD_POSTCOPY_RUN || command == CMD_POSTCOPY_RESUME ||
	       command == CMD_RECV_BITMAP;
}

int commands_load(struct command_state *cs, struct src *in, struct err *err)
{
	uint64_t at = src_offset(in);
	const struct command_row *c;
	const uint8_t *payload;
	uint16_t command, n;
	int ret;

	if (src_be16(in, &command) < 0 || src_be16(in, &n) < 0)
		return err_set(
		    err, EIO,
		    "the stream ends at offset 0x%" PRIx64 " in a command: it is cut short", at);
	c = find(command);
	if (!c)
		return err_set(err, EINVAL, "unknown command %u at stream offset 0x%" PRIx64,
			       command, at);
	if (c->length != ANY_LENGTH && n != c->length)
		return err_set(err, ERANGE,
			       "command %s at stream offset 0x%" PRIx64
			       " has %u bytes instead of %d",
			       c->name, at, n, c->length);
	if (!comes_late(command) && incoming_postcopy_begun(cs->postcopy))
		return err_set(err, EINVAL,
			       "command %s at stream offset 0x%" PRIx64
			       " comes behind POSTCOPY_LISTEN",
			       c->name, at);
	payload = n ? src_take(in, n) : in->data;
	if (n && !payload)
		return err_set(err, EIO,
			       "the stream ends at offset 0x%" PRIx64
			       " in command %s: it is cut short",
			       at, c->name);
	ret = c->load(cs, payload, n, err);
	if (ret < 0 && cs->differs.len)
		return ret; /* not a word too many */
	return ret < 0 ? err_prefix(err, ret, "command %s at stream offset 0x%" PRIx64, c->name, at)
		       : 0;
}
