/* file-open.h - a host file as a disk: opening it, its size, whether it can be read directly */
#ifndef MINIVMM_DEVICES_BLOCK_FILE_OPEN_H
#define MINIVMM_DEVICES_BLOCK_FILE_OPEN_H

#include <stdbool.h>
#include <stdint.h>

struct err;

/* A descriptor, owned, or -errno.  Never waits, also not for a FIFO (which file_bytes() refuses).
 */
int file_open(const char *filename, bool writable, bool direct, struct err *err);
/* Of a regular file or block device; anything else is refused. */
int file_bytes(int fd, const char *filename, uint64_t *bytes, struct err *err);
/*
 * Can an O_DIRECT descriptor be read in sectors of 512 bytes?  A medium with larger ones is
 * read through the page cache from now on: false, and a warning.
 */
bool file_check_direct(int fd, const char *filename);

#endif
