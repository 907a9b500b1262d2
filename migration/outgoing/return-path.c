/*
 * return-path.c - the messages that a destination sends, and what they leave behind
 *
 * A message is a type, a length and a payload (migration-stream 5.7).  Bytes are
 * read into one buffer without blocking the stream; each complete message is
 * checked against its row in the table (its length is fixed for most types) and
 * sets a flag or a text in struct return_path.  Nothing is acted on here: the
 * migration thread polls where it wants to know something, and looks at the
 * flags.  Texts come from a peer and end up in logs and terminals, so control
 * characters are replaced.  An end of the connection is a flag too, for it may
 * be the right end.
 */
#include "migration/outgoing/return-path.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

#include "migration/channel/channel.h"
#include "vmm/base/alloc.h"
#include "vmm/base/buf.h"
#include "vmm/base/bytes.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"
#include "vmm/describe.h"

#define REFUSED     "the destination refused: "
#define DIFFERS_MAX (2 * DESC_DIFF_BYTES)

static int on_shut(struct return_path *rp, const uint8_t *p, size_t n, struct err *err)
{
	(void)n;
	(void)err;
	rp->shut = true;
	rp->shut_status = get_be32(p);
	return 0;
}

static int on_pong(struct return_path *rp, const uint8_t *p, size_t n, struct err *err)
{
	(void)n;
	(void)err;
	switch (get_be32(p)) {
	case COOKIE_DESTINATION:
		rp->minivmm = true;
		break;
	case COOKIE_FLUSH_PASS:
		rp->flush_pass = true;
		break;
	case COOKIE_COMPARED:
		rp->compared = true;
		break;
	case COOKIE_LOADED:
		rp->loaded = true;
		break;
	case COOKIE_PASS:
		rp->passed = true;
		break;
	case COOKIE_PACKAGE:
	case COOKIE_STARTED:
		rp->package_loaded = true;
		break;
	case COOKIE_RUNS:
		rp->runs = true;
		break;
	default:
		rp->ponged = true;
	}
	return 0;
}

/* It ends up in logs and terminals. */
static void clean(char *s, size_t n)
{
	for (size_t i = 0; i < n && s[i]; i++)
		if ((unsigned char)s[i] < ' ' || s[i] == 0x7f)
			s[i] = '?';
}

/* A list: it may have lines, but none that could be taken for one of ours, at the margin. */
static void clean_lines(char *s, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (s[i] != '\n' || (i + 1 < n && s[i + 1] != ' '))
			clean(&s[i], 1);
}

static int on_error(struct return_path *rp, const uint8_t *p, size_t n, struct err *err)
{
	(void)err;
	memcpy(rp->cause, p, n);
	rp->cause[n] = 0;
	clean(rp->cause, n);
	return 0;
}

static int on_differs(struct return_path *rp, const uint8_t *p, size_t n, struct err *err)
{
	if (!rp->minivmm || !n || rp->differs.len + n > DIFFERS_MAX || memchr(p, 0, n))
		return err_set(err, EPROTO,
			       "the destination does not say properly how the machines differ");
	buf_put(&rp->differs, p, n);
	clean_lines((char *)rp->differs.data, rp->differs.len);
	return 0;
}

static int on_ready(struct return_path *rp, const uint8_t *p, size_t n, struct err *err)
{
	struct src in = src_mem(p, n);

	if (!rp->minivmm || peer_get(&rp->peer, &in) < 0)
		return err_set(err, EPROTO, "the destination sent a broken READY");
	rp->ready = true;
	return 0;
}

static int on_unexpected(struct return_path *rp, const uint8_t *p, size_t n, struct err *err)
{
	(void)rp;
	(void)p;
	(void)n;
	return err_set(err, EPROTO,
		       "the destination sent message %u, which has no place in a precopy migration",
		       get_be16(rp->in));
}

static int take_request(struct return_path *rp, const uint8_t *p, struct err *err)
{
	if (!rp->block[0])
		return err_set(err, EPROTO,
			       "the destination asks for pages before it has named a RAM block");
	return rp->request(rp->opaque, rp->block, get_be64(p), get_be32(p + 8), err);
}

static int on_request(struct return_path *rp, const uint8_t *p, size_t n, struct err *err)
{
	return rp->request ? take_request(rp, p, err) : on_unexpected(rp, p, n, err);
}

/* The same, and the block's name. */
static int on_request_named(struct return_path *rp, const uint8_t *p, size_t n, struct err *err)
{
	if (!rp->request)
		return on_unexpected(rp, p, n, err);
	if (n < 14 || n != 13U + p[12] || memchr(p + 13, 0, p[12]))
		return err_set(err, EPROTO,
			       "the destination asks for pages of a RAM block without a proper "
			       "name, in a message of %zu bytes",
			       n);
	memcpy(rp->block, p + 13, p[12]);
	rp->block[p[12]] = 0;
	clean(rp->block, p[12]);
	return take_request(rp, p, err);
}

static int on_recv_bitmap(struct return_path *rp, const uint8_t *p, size_t n, struct err *err)
{
	if (!rp->bitmap)
		return on_unexpected(rp, p, n, err);
	return recv_bitmap_in_name(rp->bitmap, p, n, err);
}

static int on_resume_ack(struct return_path *rp, const uint8_t *p, size_t n, struct err *err)
{
	if (!rp->resuming)
		return on_unexpected(rp, p, n, err);
	if (get_be32(p) != RESUME_ACK_VALUE)
		return err_set(err, EPROTO,
			       "the destination answered %u instead of %u when it was asked to "
			       "resume the migration",
			       get_be32(p), RESUME_ACK_VALUE);
	rp->resuming = false;
	rp->resumed = true;
	return 0;
}

/* Asked for or not: one that is not waited for says nothing new. */
static int on_ack(struct return_path *rp, const uint8_t *p, size_t n, struct err *err)
{
	rp->acked = true;
	(void)p;
	(void)n;
	(void)err;
	return 0;
}

#define ANY_LENGTH (-1)

static const struct rp_info {
	uint16_t type;
	int length;
	int (*take)(struct return_path *rp, const uint8_t *p, size_t n, struct err *err);
} messages[] = {
    {RP_SHUT,           4,          on_shut         },
    {RP_PONG,           4,          on_pong         },
    {RP_REQ_PAGES_ID,   ANY_LENGTH, on_request_named},
    {RP_REQ_PAGES,      12,         on_request      },
    {RP_RECV_BITMAP,    ANY_LENGTH, on_recv_bitmap  },
    {RP_RESUME_ACK,     4,          on_resume_ack   },
    {RP_SWITCHOVER_ACK, 0,          on_ack          },
    {RP_ERROR,          ANY_LENGTH, on_error        },
    {RP_READY,          ANY_LENGTH, on_ready        },
    {RP_DIFFERS,        ANY_LENGTH, on_differs      },
};

static int take_message(struct return_path *rp, uint16_t type, uint16_t n, struct err *err)
{
	for (size_t i = 0; i < ARRAY_LEN(messages); i++) {
		if (messages[i].type != type)
			continue;
		if (messages[i].length != ANY_LENGTH && messages[i].length != n)
			return err_set(err, EPROTO,
				       "the destination sent message %u with %u bytes instead of "
				       "%d",
				       type, n, messages[i].length);
		return messages[i].take(rp, rp->in + 4, n, err);
	}
	return err_set(err, EPROTO, "the destination sent an unknown message %u", type);
}

static void use_up(struct return_path *rp, size_t n)
{
	rp->have -= n;
	memmove(rp->in, rp->in + n, rp->have);
}

/* What follows a RECV_BITMAP message outside of its payload.  1: more of it has to come. */
static int take_bitmap(struct return_path *rp, struct err *err)
{
	ssize_t used = recv_bitmap_in_feed(rp->bitmap, rp->in, rp->have, err);

	if (used < 0)
		return (int)used;
	use_up(rp, (size_t)used);
	return !rp->bitmap->done;
}

static bool in_bitmap(const struct return_path *rp)
{
	return rp->bitmap && rp->bitmap->named && !rp->bitmap->done;
}

/* All complete messages in rp->in. */
static int take_messages(struct return_path *rp, struct err *err)
{
	for (;;) {
		uint16_t n;
		int ret = in_bitmap(rp) ? take_bitmap(rp, err) : 0;

		if (ret != 0 || rp->have < 4)
			return MIN(ret, 0);
		n = get_be16(rp->in + 2);
		if (n > RP_MAX_PAYLOAD)
			return err_set(err, EPROTO,
				       "the destination sent a message of %u bytes, at most %d are "
				       "allowed",
				       n, RP_MAX_PAYLOAD);
		if (rp->have < 4U + n)
			return 0;
		ret = take_message(rp, get_be16(rp->in), n, err);
		if (ret < 0)
			return ret;
		use_up(rp, 4U + n);
	}
}

/* One read; 0: nothing there. */
static int read_some(struct return_path *rp, struct err *err)
{
	ssize_t got = rp->ch->ops->read(rp->ch, rp->in + rp->have, sizeof(rp->in) - rp->have);
	int ret;

	if (got == -EAGAIN || got == -EINTR)
		return 0;
	if (got <= 0) {
		rp->ended = true;
		rp->reset = got < 0;
		return 1;
	}
	rp->have += (size_t)got;
	ret = take_messages(rp, err);
	return ret < 0 ? ret : 1;
}

int rp_poll(struct return_path *rp, int timeout_ms, struct err *err)
{
	bool any = false;
	int ret;

	if (rp->ended)
		return 0;
	if (timeout_ms) {
		ret = channel_wait(rp->ch, POLLIN, timeout_ms);
		if (ret == -ECANCELED)
			return err_set(err, ECANCELED, "the migration was cancelled");
		if (ret <= 0)
			return ret;
	}
	while (!rp->ended && (ret = read_some(rp, err)) != 0) {
		if (ret < 0)
			return ret;
		any = true;
	}
	return any;
}

int rp_refused(const struct return_path *rp, struct err *err)
{
	if (rp->differs.len)
		return err_set(err, EREMOTEIO, REFUSED "%.*s", (int)rp->differs.len,
			       (const char *)rp->differs.data);
	if (rp->cause[0])
		return err_set(err, EREMOTEIO, REFUSED "%s", rp->cause);
	return err_set(err, EREMOTEIO,
		       "the destination could not load the guest (its own error says why)");
}

char *rp_refused_text(const struct return_path *rp)
{
	if (!rp->differs.len)
		return NULL;
	return xasprintf(REFUSED "%.*s", (int)rp->differs.len, (const char *)rp->differs.data);
}

void rp_fini(struct return_path *rp)
{
	buf_free(&rp->differs);
}
