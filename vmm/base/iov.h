/*
 * iov.h - arrays of memory pieces: copy, count, cut
 *
 * The pieces point into guest memory that the guest may change at any time:
 * what is copied out is copied once and judged afterwards.
 */
#ifndef MINIVMM_BASE_IOV_H
#define MINIVMM_BASE_IOV_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

/* Sum of the lengths; UINT64_MAX when it does not fit. */
uint64_t iov_bytes(const struct iovec *iov, size_t n_iov);
/* Copy at most n bytes from 'off' on; returns how many there were. */
size_t iov_read(const struct iovec *iov, size_t n_iov, uint64_t off, void *buf, size_t n);
size_t iov_write(const struct iovec *iov, size_t n_iov, uint64_t off, const void *buf, size_t n);
size_t iov_zero(const struct iovec *iov, size_t n_iov, uint64_t off, size_t n);
/*
 * Put the pieces of [off, off + n) of 'in' into out[], which has room for
 * n_in pieces and may be 'in' itself; returns their number.
 */
size_t iov_slice(struct iovec *out, const struct iovec *in, size_t n_in, uint64_t off, uint64_t n);

#endif
