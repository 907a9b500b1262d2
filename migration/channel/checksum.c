/*
 * checksum.c - a channel that hashes what goes through it (checksum.h)
 *
 * Writing, bytes are copied into a buffer, hashed there and written from there:
 * the guest may change a page between the hash and a write of the page itself.
 * What the channel below does not take at once stays in the buffer, and the
 * caller, who comes again with the same bytes, is told how many have gone.
 *
 * Reading, the last bytes that came are held back from the hash, for they may
 * be the line.  Only the reader of the stream knows where it ends.
 */
#include "migration/channel/checksum.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "migration/channel/channel.h"
#include "vmm/base/alloc.h"
#include "vmm/base/bytes.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"
#include "vmm/base/xxh64.h"

#define PIECE_BYTES (256 * KiB) /* stays in a core's cache from the copy to the write */

struct checksum_channel {
	struct channel ch;
	struct xxh64 hash;
	bool has_pages; /* some lie beside the stream ... */
	uint64_t pages; /* ... and this is their sum */
	/* writing */
	uint8_t *piece; /* owned: copied and hashed; written up to 'at' of 'len' */
	size_t at, len;
	/* reading */
	uint8_t held[CHECKSUM_LINE_BYTES]; /* the last ones read, not yet hashed */
	size_t n_held;
	bool hashing, expected;
};

static struct checksum_channel *sum_of(struct channel *c)
{
	return container_of(c, struct checksum_channel, ch);
}

static void line_of(const struct checksum_channel *s, char line[CHECKSUM_LINE_BYTES + 1])
{
	struct xxh64 h = s->hash;
	uint8_t pages[8];

	put_be64(pages, s->pages);
	if (s->has_pages)
		xxh64_add(&h, pages, sizeof(pages));
	(void)snprintf(line, CHECKSUM_LINE_BYTES + 1,
		       "\nx-minivmm-checksum: xxh64 %016" PRIx64 "\n", xxh64_value(&h));
}

/* ---- writing ---- */

static void gather(struct checksum_channel *s, const struct iovec *iov, int n_iov)
{
	s->at = s->len = 0;
	for (int i = 0; i < n_iov && s->len < PIECE_BYTES; i++) {
		size_t n = MIN(iov[i].iov_len, PIECE_BYTES - s->len);

		memcpy(s->piece + s->len, iov[i].iov_base, n);
		s->len += n;
	}
	xxh64_add(&s->hash, s->piece, s->len);
}

static ssize_t sum_writev(struct channel *c, struct iovec *iov, int n_iov)
{
	struct checksum_channel *s = sum_of(c);
	struct iovec piece;
	ssize_t sent;

	if (s->at == s->len)
		gather(s, iov, n_iov);
	piece = iov_of(s->piece + s->at, s->len - s->at);
	sent = channel_try_writev(c->below, &piece, 1);
	if (sent > 0)
		s->at += (size_t)sent;
	return sent;
}

static int sum_finish(struct channel *c, struct err *err)
{
	struct checksum_channel *s = sum_of(c);
	char line[CHECKSUM_LINE_BYTES + 1];
	int ret;

	line_of(s, line);
	s->ch.below->patience = c->patience;
	ret = channel_write(s->ch.below, line, CHECKSUM_LINE_BYTES, err);
	return ret == 0 ? channel_finish(s->ch.below, err) : ret;
}

/* ---- reading ---- */

/* All but the last bytes are hashed; those are held. */
static void checksum_take(struct checksum_channel *s, const uint8_t *p, size_t n)
{
	size_t all = s->n_held + n, hold = MIN(all, CHECKSUM_LINE_BYTES), old = all - hold;
	size_t from_held = MIN(old, s->n_held);

	xxh64_add(&s->hash, s->held, from_held);
	s->n_held -= from_held;
	memmove(s->held, s->held + from_held, s->n_held);
	xxh64_add(&s->hash, p, old - from_held);
	memcpy(s->held + s->n_held, p + (old - from_held), n - (old - from_held));
	s->n_held = hold;
}

static ssize_t sum_read(struct channel *c, void *buf, size_t n)
{
	struct checksum_channel *s = sum_of(c);
	ssize_t got = channel_try_read(c->below, buf, n);

	if (got > 0 && s->hashing)
		checksum_take(s, buf, (size_t)got);
	return got;
}

/* ---- both ---- */

static void sum_close(struct channel *c)
{
	struct checksum_channel *s = sum_of(c);

	channel_close(s->ch.below);
	free(s->piece);
	free(s);
}

static const struct channel_ops sum_write_ops = {
    .kind = "checksum",
    .writev = sum_writev,
    .finish = sum_finish,
    .close = sum_close,
};

static const struct channel_ops sum_read_ops = {
    .kind = "checksum",
    .read = sum_read,
    .close = sum_close,
};

static struct checksum_channel *sum_new(struct channel *below, const struct channel_ops *ops)
{
	struct checksum_channel *s = NEW(struct checksum_channel);

	channel_put_above(&s->ch, ops, below);
	xxh64_init(&s->hash);
	return s;
}

struct channel *channel_checksum_write(struct channel *below)
{
	struct checksum_channel *s = sum_new(below, &sum_write_ops);

	s->piece = xcalloc(1, PIECE_BYTES);
	return &s->ch;
}

struct channel *channel_checksum_read(struct channel *below)
{
	struct checksum_channel *s = sum_new(below, &sum_read_ops);

	s->hashing = true;
	return &s->ch;
}

void channel_checksum_pages(struct channel *c, uint64_t sum)
{
	if (c->ops != &sum_write_ops && c->ops != &sum_read_ops)
		return;
	sum_of(c)->has_pages = true;
	sum_of(c)->pages = sum;
}

/* ---- does it fit? ---- */

size_t checksum_line_at_end(const void *p, size_t n)
{
	static const char head[] = "\nx-minivmm-checksum: xxh64 ";
	const char *line = (const char *)p + n - CHECKSUM_LINE_BYTES;

	if (n < CHECKSUM_LINE_BYTES || memcmp(line, head, sizeof(head) - 1) != 0 ||
	    line[CHECKSUM_LINE_BYTES - 1] != '\n')
		return 0;
	return CHECKSUM_LINE_BYTES;
}

static const struct checksum_channel *reader_of(const struct channel *c)
{
	if (c->ops != &sum_read_ops)
		return NULL;
	return (const struct checksum_channel *)((const char *)c -
						 offsetof(struct checksum_channel, ch));
}

void channel_checksum_expect(struct channel *c, bool comes)
{
	if (!reader_of(c))
		return;
	sum_of(c)->expected = comes;
	sum_of(c)->hashing = comes;
}

bool channel_checksum_expected(const struct channel *c)
{
	const struct checksum_channel *s = reader_of(c);

	return s && s->expected;
}

static int say_damaged(const char *where, const char *how, struct err *err)
{
	return err_set(err, EBADMSG,
		       "the guest saved in %s is damaged: %s; it does not run here: take another "
		       "copy of the file, or save the guest again",
		       where, how);
}

static int compare(const struct checksum_channel *s, const char *where, struct err *err)
{
	char line[CHECKSUM_LINE_BYTES + 1];

	if (!checksum_line_at_end(s->held, s->n_held))
		return say_damaged(where,
				   "its end is not the checksum that it announces (was it cut "
				   "short, or something appended?)",
				   err);
	line_of(s, line);
	if (memcmp(line, s->held, CHECKSUM_LINE_BYTES) != 0)
		return say_damaged(where, "its checksum does not match", err);
	return 0;
}

int channel_checksum_verify(const struct channel *c, const char *where, struct err *err)
{
	const struct checksum_channel *s = reader_of(c);

	return s && s->expected ? compare(s, where, err) : 0;
}

static bool file_has_line(int fd)
{
	char end[CHECKSUM_LINE_BYTES];
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size >= (off_t)sizeof(end) &&
	       pread(fd, end, sizeof(end), st.st_size - (off_t)sizeof(end)) ==
		   (ssize_t)sizeof(end) &&
	       checksum_line_at_end(end, sizeof(end));
}

int channel_checksum_explain(struct channel *c, const char *where, int ret, struct err *err)
{
	const struct checksum_channel *s = reader_of(c);
	CLEANUP(cleanup_free) uint8_t *scrap = NULL;
	struct err ignored = {0};
	ssize_t got;
	int damaged;

	/* What is left of a file with pages beside the stream cannot just be read on. */
	if (!s || !c->steady || !s->hashing || s->has_pages || ret == -EBADMSG ||
	    ret == -ECANCELED || !(s->expected || file_has_line(channel_fd(c))))
		return ret;
	scrap = xcalloc(1, PIECE_BYTES);
	do
		got = channel_read(c, scrap, PIECE_BYTES, &ignored);
	while (got > 0);
	damaged = got == 0 ? compare(s, where, err) : 0;
	return damaged ? damaged : ret;
}
