/* piecewise.h - bytes in memory as a src that hands them out like a socket: through a buffer, in
 * pieces */
#ifndef MINIVMM_TESTS_PIECEWISE_H
#define MINIVMM_TESTS_PIECEWISE_H

#include <assert.h>
#include <string.h>

#include "vmm/base/alloc.h"
#include "vmm/base/buf.h"
#include "vmm/base/units.h"

struct piecewise {
	struct src src;
	const uint8_t *rest; /* what has not been read yet */
	size_t left, piece;  /* 'piece' bytes come at a time */
	uint8_t buf[SRC_UNREAD];
};

static inline int piecewise_fill(struct src *s, size_t n)
{
	struct piecewise *p = container_of(s, struct piecewise, src);

	if (n > sizeof(p->buf))
		return -1;
	memmove(p->buf, p->buf + s->at, s->len - s->at);
	s->base += s->at;
	s->len -= s->at;
	s->at = 0;
	while (s->len < n && p->left > 0) {
		size_t more = MIN(MIN(p->left, p->piece), sizeof(p->buf) - s->len);

		memcpy(p->buf + s->len, p->rest, more);
		p->rest += more;
		p->left -= more;
		s->len += more;
	}
	return 0;
}

static inline int piecewise_scatter(struct src *s, struct iovec *iov, int n_iov, size_t need,
				    size_t *got)
{
	struct piecewise *p = container_of(s, struct piecewise, src);
	size_t want = MAX(need, p->piece);

	assert(s->at == s->len);
	*got = 0;
	for (int i = 0; i < n_iov; i++) {
		size_t n = MIN(MIN(iov[i].iov_len, want - *got), p->left);

		memcpy(iov[i].iov_base, p->rest, n);
		p->rest += n;
		p->left -= n;
		*got += n;
	}
	s->base += s->at + *got;
	s->at = s->len = 0;
	return 0;
}

static inline uint8_t *piecewise_unread(struct src *s, size_t n)
{
	struct piecewise *p = container_of(s, struct piecewise, src);

	assert(s->at == s->len && n <= sizeof(p->buf));
	s->base += s->at;
	s->base -= n;
	s->at = 0;
	s->len = n;
	return p->buf;
}

static inline struct piecewise *piecewise_new(const uint8_t *data, size_t len, size_t piece)
{
	struct piecewise *p = NEW(struct piecewise);

	p->rest = data;
	p->left = len;
	p->piece = piece;
	p->src = (struct src){
	    .data = p->buf,
	    .fill = piecewise_fill,
	    .scatter = piecewise_scatter,
	    .unread = piecewise_unread,
	};
	return p;
}

#endif
