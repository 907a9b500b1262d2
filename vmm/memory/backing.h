/*
 * backing.h - the descriptor behind a RAM block: memfd, file, or none
 *
 * A file that is created or enlarged for a block that then cannot be created is
 * removed, or made empty again (backing_undo).
 */
#ifndef MINIVMM_MEMORY_BACKING_H
#define MINIVMM_MEMORY_BACKING_H

#include <stdbool.h>
#include <stdint.h>

struct err;
struct ram_backend;

struct backing {
	int fd;           /* the caller's as soon as it is there; -1: anonymous memory */
	bool own_memfd;   /* made here, has no name */
	const char *path; /* of a file with a name, borrowed; else NULL */
	bool created;     /* ... which was not there before */
	bool resized;     /* ... or empty */
};

/* What the back end asks for; 'name' is the block's, for messages.  0 or -errno. */
int backing_open(struct backing *b, const char *name, const struct ram_backend *be,
		 struct err *err);
/*
 * Give an empty one this size.  One that has data is not enlarged:
 * it may be another program's.  A larger one is left as it is.
 */
int backing_size(struct backing *b, const char *name, uint64_t bytes, struct err *err);
/* The block cannot be created: release what was taken.  The descriptor stays the caller's. */
void backing_undo(const struct backing *b);
/* The page size of what fd is on: a huge page's on hugetlbfs, else PAGE_BYTES. */
uint64_t backing_page_bytes(int fd);

#endif
