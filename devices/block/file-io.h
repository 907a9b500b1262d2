/*
 * file-io.h - reading, writing and zeroing a host file with calls that wait
 *
 * 'direct': the descriptor has O_DIRECT; what it does not take as it is goes through an aligned
 * buffer, and a write of a part of a sector reads the rest of it first: two such writes to one
 * sector are kept apart by the caller.  Each function moves all or fails with -errno.  Any thread.
 */
#ifndef MINIVMM_DEVICES_BLOCK_FILE_IO_H
#define MINIVMM_DEVICES_BLOCK_FILE_IO_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#define FILE_SECTOR_BYTES 512

/* Would an O_DIRECT descriptor take it as it is, but for the offset? */
bool file_iov_aligned(const struct iovec *iov, int n_iov);
/* Bytes behind the end of the file read as zero. */
int file_readv(int fd, bool direct, const struct iovec *iov, int n_iov, uint64_t off);
int file_writev(int fd, bool direct, const struct iovec *iov, int n_iov, uint64_t off);
/* 'unmap': the space may be given back to the file system.  The file's size stays as it is but
 * where zeroes have to be written. */
int file_write_zeroes(int fd, bool direct, uint64_t off, uint64_t bytes, bool unmap);
/* The space is given back; it reads as zero then.  -EOPNOTSUPP: nothing has happened. */
int file_punch(int fd, uint64_t off, uint64_t bytes);

#endif
