/* load-direct.h - plain pages from a socket straight into guest memory */
#ifndef MINIVMM_MIGRATION_LOAD_DIRECT_H
#define MINIVMM_MIGRATION_LOAD_DIRECT_H

#include <stddef.h>
#include <stdint.h>

struct src;

#define DIRECT_PAGES 64U /* at most, in one call */

/*
 * Load the page at 'to', of which less than a page is at hand in 'in' (which
 * has scatter), and as many of the 'pages' (at least 1, at most DIRECT_PAGES)
 * from it on as follow in the stream without another record in between:
 * *done, at least 1.  All but the first must be zero, and still are when they
 * did not come.  'word' stands before the second one, the next ones' words are
 * a page further each.  0, -EIO at the end of the stream, or another -errno.
 */
int direct_read(struct src *in, uint8_t *to, size_t pages, uint64_t word, size_t *done);

/* n bytes to 'to', not by way of in's buffer where that is possible.  0 or -errno. */
int direct_get(struct src *in, uint8_t *to, size_t n);

#endif
