/*
 * room.h - allocating guest pages where the host may run out of them
 *
 * The pages of a file on tmpfs, of a sparse file on a disk, and huge pages that
 * were not reserved are allocated when they are touched, and without room for
 * one more the access raises SIGBUS.  So code that fills such memory asks
 * for the pages first.  Anonymous memory and memfds have no such limit.
 */
#ifndef MINIVMM_MEMORY_ROOM_H
#define MINIVMM_MEMORY_ROOM_H

#include <stdbool.h>
#include <stdint.h>

struct err;
struct ram_block;

/* May a page of the block turn out not to be had?  fd, share, page_bytes, no_reserve are set. */
bool room_is_scarce(const struct ram_block *b);
/*
 * Have the pages of [off, off + len) there, writable; what they hold is kept.
 * -ENOSPC: there is no room, and *err says where and how much is missing.
 * Some of them may be there then.  Any thread.
 */
int room_populate(const struct ram_block *b, uint64_t off, uint64_t len, struct err *err);
/*
 * All of the block's file, or nothing: what did not fit is given back.  Nothing is
 * done where pages are not the file's, or where the file system cannot.
 */
int room_reserve(const struct ram_block *b, struct err *err);
/* Fill in *err, with the sentence that room_populate() has; returns -ENOSPC. */
int room_say_none(const struct ram_block *b, struct err *err);

#endif
