/*
 * load-direct.c - plain pages from a socket straight into guest memory
 *
 * In the stream each page stands behind its own 8-byte word, so where a page
 * goes is known only when its word has been read.  But pages mostly come in a
 * row, and pages that nothing has been loaded into yet can take a guess: they
 * are read together with the words that are expected before them.  From the
 * first word that is another one on, what was read is taken back, to be read
 * again in the usual way, and those pages are zero again.
 */
#include "migration/ram/load-direct.h"

#include <errno.h>
#include <string.h>

#include "vmm/base/buf.h"
#include "vmm/base/bytes.h"
#include "vmm/base/units.h"

#define WORD_BYTES     8U
#define RUN_HEAD_BYTES 12U /* of a block named before: word and number */

_Static_assert((DIRECT_PAGES + 1) * (WORD_BYTES + PAGE_BYTES) <= SRC_UNREAD,
	       "all can be taken back");

static void unread_pages(struct src *in, uint8_t (*words)[WORD_BYTES], uint8_t *pages, size_t n)
{
	uint8_t *back = in->unread(in, n);

	for (size_t i = 0; n > 0; i++) {
		size_t word = MIN(n, WORD_BYTES), page = MIN(n - word, PAGE_BYTES);

		memcpy(back, words[i], word);
		memcpy(back + word, pages + i * PAGE_BYTES, page);
		memset(pages + i * PAGE_BYTES, 0, page);
		back += word + page;
		n -= word + page;
	}
}

int direct_read(struct src *in, uint8_t *to, size_t pages, uint64_t word, size_t *done)
{
	uint8_t words[DIRECT_PAGES + 1][WORD_BYTES];
	struct iovec iov[2 * DIRECT_PAGES];
	size_t have = MIN(in->len - in->at, PAGE_BYTES), need = PAGE_BYTES - have, got = 0;
	int n = 0, ret;

	if (src_get(in, to, have) < 0)
		return -EIO;
	iov[n++] = (struct iovec){to + have, need};
	for (size_t i = 1; i < pages; i++) {
		iov[n++] = (struct iovec){words[i], WORD_BYTES};
		iov[n++] = (struct iovec){to + i * PAGE_BYTES, PAGE_BYTES};
	}
	/* The word behind the last one, too, so that it is not fetched together with its page. */
	iov[n++] = (struct iovec){words[pages], WORD_BYTES};
	ret = in->scatter(in, iov, n, need, &got);
	if (ret < 0)
		return ret;
	if (got < need)
		return -EIO;
	got -= need;
	for (*done = 1; *done < pages && got >= WORD_BYTES + PAGE_BYTES; (*done)++) {
		if (get_be64(words[*done]) != word)
			break;
		word += PAGE_BYTES;
		got -= WORD_BYTES + PAGE_BYTES;
	}
	unread_pages(in, words + *done, to + *done * PAGE_BYTES, got);
	return 0;
}

int direct_get(struct src *in, uint8_t *to, size_t n)
{
	size_t have = MIN(in->len - in->at, n), left = n - have, got = 0;
	/* The next run's head, read together with it: else its pages would come by the buffer. */
	uint8_t next[RUN_HEAD_BYTES];
	struct iovec iov[2];
	int ret = src_get(in, to, in->scatter ? have : n);

	if (ret < 0 || !in->scatter || !left)
		return ret;
	iov[0] = (struct iovec){to + have, left};
	iov[1] = (struct iovec){next, sizeof(next)};
	ret = in->scatter(in, iov, ARRAY_LEN(iov), left, &got);
	if (ret < 0)
		return ret;
	if (got < left)
		return -EIO;
	if (got > left)
		memcpy(in->unread(in, got - left), next, got - left);
	return 0;
}
