/*
 * commands.c - COMMAND records: a row each, with the length that its payload must have
 *
 * The table knows all commands of the format (migration-stream 5.1), so that one
 * that has no place here is refused by name and not as broken bytes.  Three kinds:
 *
 *     any source     OPEN_RETURN_PATH, then PING, which is answered by PONG
 *     minivmm        after a PING with its own cookie both ends know each other:
 *                    DESCRIPTION compares the machines, BACKING passes memory,
 *                    SPARSE names memory that was never touched
 *     postcopy       refused at this point of the stream, except an ADVISE without
 *                    payload, which is about dirty bitmaps only
 *
 * A refused command ends the load; the message names the command and its offset.
 */
#include "migration/incoming/commands.h"

#include <errno.h>
#include <inttypes.h>

#include "migration/channel/channel.h"
#include "migration/peer/compare.h"
#include "migration/peer/shared-memory.h"
#include "migration/peer/untouched.h"
#include "migration/ram/ram.h"
#include "migration/settings/capabilities.h"
#include "migration/stream/reply.h"
#include "vmm/base/buf.h"
#include "vmm/base/bytes.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"
#include "vmm/machine.h"

#define ANY_LENGTH (-1)

struct command_info {
	const char *name;
	uint16_t command;
	int length; /* of the payload, or ANY_LENGTH */
	int (*load)(struct command_state *cs, const uint8_t *payload, uint16_t n, struct err *err);
};

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
	return 0;
}

static int answer(struct command_state *cs, uint32_t cookie, struct err *err)
{
	uint8_t payload[4];

	put_be32(payload, cookie);
	return rp_send(cs->ch, RP_PONG, payload, sizeof(payload), err);
}

static int ping(struct command_state *cs, const uint8_t *payload, uint16_t n, struct err *err)
{
	uint32_t cookie = get_be32(payload);

	(void)n;
	if (!cs->return_path)
		return err_set(err, EINVAL, "the source sends PING without a return path");
	if (cookie == COOKIE_SOURCE) {
		int ret = answer(cs, COOKIE_DESTINATION, err);

		if (ret < 0)
			return ret;
		cs->minivmm = true;
		if (cs->ram)
			ram_load_take_runs(cs->ram);
	}
	return answer(cs, cookie, err);
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

static int not_now(struct command_state *cs, const uint8_t *payload, uint16_t n, struct err *err)
{
	(void)cs;
	(void)payload;
	(void)n;
	return err_set(err, EINVAL, "it makes no sense at this point");
}

static int ignore(struct command_state *cs, const uint8_t *payload, uint16_t n, struct err *err)
{
	(void)cs;
	(void)payload;
	(void)n;
	(void)err;
	return 0;
}

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
		return not_now(cs, payload, n, err);
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
		return not_now(cs, payload, n, err);
	return sparse_take(cs->m, cs->ram, payload, n, err);
}

static const struct command_info commands[] = {
    {"OPEN_RETURN_PATH",     CMD_OPEN_RETURN_PATH,     0,          open_return_path},
    {"PING",		 CMD_PING,                 4,          ping            },
    {"POSTCOPY_ADVISE",      CMD_POSTCOPY_ADVISE,      ANY_LENGTH, postcopy_advise },
    {"POSTCOPY_LISTEN",      CMD_POSTCOPY_LISTEN,      0,          not_now         },
    {"POSTCOPY_RUN",         CMD_POSTCOPY_RUN,         0,          not_now         },
    {"POSTCOPY_RAM_DISCARD", CMD_POSTCOPY_RAM_DISCARD, ANY_LENGTH, not_now         },
    {"PACKAGED",             CMD_PACKAGED,             4,          not_now         },
    {"ENABLE_COLO",          CMD_ENABLE_COLO,          ANY_LENGTH, not_now         },
    {"POSTCOPY_RESUME",      CMD_POSTCOPY_RESUME,      0,          not_now         },
    {"RECV_BITMAP",          CMD_RECV_BITMAP,          ANY_LENGTH, not_now         },
    {"SWITCHOVER_START",     CMD_SWITCHOVER_START,     0,          ignore          },
    {"DESCRIPTION",          CMD_DESCRIPTION,          ANY_LENGTH, description     },
    {"BACKING",              CMD_BACKING,              ANY_LENGTH, backing         },
    {"SPARSE",	       CMD_SPARSE,               ANY_LENGTH, sparse          },
    {"GO",		   CMD_GO,		   0,          not_now         },
};

static const struct command_info *find(uint16_t command)
{
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		if (commands[i].command == command)
			return &commands[i];
	return NULL;
}

const char *command_name(uint16_t command)
{
	const struct command_info *c = find(command);

	return c ? c->name : "unknown";
}

int commands_load(struct command_state *cs, struct src *in, struct err *err)
{
	uint64_t at = src_offset(in);
	const struct command_info *c;
	const uint8_t *payload;
	uint16_t command, n;
	int ret;

	if (src_be16(in, &command) < 0 || src_be16(in, &n) < 0)
		return err_set(err, EIO, "the stream ends at offset 0x%" PRIx64 " in a command",
			       at);
	c = find(command);
	if (!c)
		return err_set(err, EINVAL, "unknown command %u at stream offset 0x%" PRIx64,
			       command, at);
	if (c->length != ANY_LENGTH && n != c->length)
		return err_set(err, ERANGE,
			       "command %s at stream offset 0x%" PRIx64
			       " has %u bytes instead of %d",
			       c->name, at, n, c->length);
	payload = n ? src_take(in, n) : in->data;
	if (n && !payload)
		return err_set(err, EIO, "the stream ends at offset 0x%" PRIx64 " in command %s",
			       at, c->name);
	ret = c->load(cs, payload, n, err);
	if (ret < 0 && cs->differs.len)
		return ret; /* not a word too many */
	return ret < 0 ? err_prefix(err, ret, "command %s at stream offset 0x%" PRIx64, c->name, at)
		       : 0;
}
