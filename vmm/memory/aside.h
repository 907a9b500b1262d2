/*
 * aside.h - what a block held, moved out of the way to be given back to the host later
 *
 * Giving back takes as long as there are pages, half a second a GiB; moving them takes
 * none.  Only private anonymous memory can be moved: what else holds the pages of a file
 * holds them afterwards, too.
 */
#ifndef MINIVMM_MEMORY_ASIDE_H
#define MINIVMM_MEMORY_ASIDE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ram_block;

struct memory_aside {
	uint8_t *map; /* NULL: nothing */
	size_t bytes;
};

/*
 * The block, in which no guest runs, reads as zero from now on, and *a has what it held.
 * -ENOTSUP: not of this kind; or the host's -errno.  Nothing has changed then.
 */
int memory_move_aside(const struct ram_block *b, struct memory_aside *a);
/*
 * Give it back, piece by piece, while others use and change the address space.  'stop' (atomic)
 * ends it early: the rest goes at once.  Any thread.
 */
void memory_aside_free(struct memory_aside *a, const bool *stop);

#endif
