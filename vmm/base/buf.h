/*
 * buf.h - bytes to write, bytes to read
 *
 * struct buf grows as values are appended: what a state table saves, what a
 * QMP reply becomes.  Its contents are the program's own, so growing is not
 * bounded here; it must not be fed an unbounded foreign length.
 *
 * struct src is the one accessor to foreign bytes: every get is checked
 * against what is there, and asks 'fill' for more where there is a channel
 * behind it.  One thread at a time.
 */
#ifndef MINIVMM_BASE_BUF_H
#define MINIVMM_BASE_BUF_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct buf {
	uint8_t *data; /* owned */
	size_t len, cap;
};

void buf_free(struct buf *b);  /* frees the bytes, leaves an empty buf */
void buf_clear(struct buf *b); /* len = 0, keeps the memory */
/* Room for n more bytes at b->data + b->len; the caller adds to len what it used. */
uint8_t *buf_room(struct buf *b, size_t n);
void buf_put(struct buf *b, const void *p, size_t n);
void buf_zero(struct buf *b, size_t n);
void buf_u8(struct buf *b, uint8_t v);
void buf_be16(struct buf *b, uint16_t v);
void buf_be32(struct buf *b, uint32_t v);
void buf_be64(struct buf *b, uint64_t v);
void buf_str8(struct buf *b, const char *s); /* u8 length, bytes; s is at most 255 long */
void buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

struct src {
	const uint8_t *data; /* borrowed */
	size_t at, len;      /* next byte, end of the valid ones */
	uint64_t base;       /* stream offset of data[0], for messages */
	/*
	 * Make at least n bytes readable from data[at] on if the other side
	 * sends them (may move data, at, len, base); 0 or -errno.  After it
	 * len - at may still be below n: end of stream.  NULL: none behind.
	 */
	int (*fill)(struct src *s, size_t n);
	/*
	 * Read into iov (changed), once nothing is left at data[at]: 'need' bytes
	 * or more, *got of them, fewer only at the end of the stream.  0 or
	 * -errno.  NULL: all has to go through data.
	 */
	int (*scatter)(struct src *s, struct iovec *iov, int n_iov, size_t need, size_t *got);
	/* After it: room for the last n bytes, at most SRC_UNREAD, which are read again. */
	uint8_t *(*unread)(struct src *s, size_t n);
	/* Go on at stream offset 'to'.  NULL: cannot. */
	void (*seek)(struct src *s, uint64_t to);
	void *opaque; /* for these */
};

#define SRC_UNREAD (512 * 1024UL)

/* A src over n bytes of memory, borrowed. */
struct src src_mem(const void *p, size_t n);
/* Offset in the stream of the next byte. */
uint64_t src_offset(const struct src *s);
/*
 * Pointer to n readable bytes without consuming them; NULL if fewer are left
 * (n at most 64 KiB with a fill).  Valid until the next call on s.
 */
const uint8_t *src_peek(struct src *s, size_t n);
/* The same, and consume them. */
const uint8_t *src_take(struct src *s, size_t n);
/* Each of these returns 0, or -EIO when the bytes end before the value does. */
int src_get(struct src *s, void *p, size_t n);
int src_skip(struct src *s, size_t n);
/* The next byte is that at stream offset 'to'; only where there is a file behind it. */
void src_seek(struct src *s, uint64_t to);
int src_u8(struct src *s, uint8_t *v);
int src_be16(struct src *s, uint16_t *v);
int src_be32(struct src *s, uint32_t *v);
int src_be64(struct src *s, uint64_t *v);
int src_str8(struct src *s, char out[256]); /* NUL-terminated; an embedded NUL is -EINVAL */

#endif
