/* iov.c - one walk over a scattered range serves reading, writing and zeroing */
#include "vmm/base/iov.h"

#include <string.h>

#include "vmm/base/units.h"

uint64_t iov_bytes(const struct iovec *iov, size_t n_iov)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < n_iov; i++)
		if (__builtin_add_overflow(sum, iov[i].iov_len, &sum))
			return UINT64_MAX;
	return sum;
}

enum iov_way { IOV_READ, IOV_WRITE, IOV_ZERO };

/* The other end of a copy: 'to' when reading, 'from' when writing. */
struct flat {
	uint8_t *to;
	const uint8_t *from;
};

static void move_piece(enum iov_way way, uint8_t *guest, const struct flat *flat, size_t at,
		       size_t n)
{
	switch (way) {
	case IOV_READ:
		memcpy(flat->to + at, guest, n);
		break;
	case IOV_WRITE:
		memcpy(guest, flat->from + at, n);
		break;
	case IOV_ZERO:
		memset(guest, 0, n);
		break;
	}
}

static size_t iov_walk(enum iov_way way, const struct iovec *iov, size_t n_iov, uint64_t off,
		       const struct flat *flat, size_t n)
{
	size_t done = 0;

	for (size_t i = 0; i < n_iov && done < n; i++) {
		size_t part;

		if (off >= iov[i].iov_len) {
			off -= iov[i].iov_len;
			continue;
		}
		part = MIN(iov[i].iov_len - off, n - done);
		move_piece(way, (uint8_t *)iov[i].iov_base + off, flat, done, part);
		done += part;
		off = 0;
	}
	return done;
}

size_t iov_read(const struct iovec *iov, size_t n_iov, uint64_t off, void *buf, size_t n)
{
	return iov_walk(IOV_READ, iov, n_iov, off, &(struct flat){.to = buf}, n);
}

size_t iov_write(const struct iovec *iov, size_t n_iov, uint64_t off, const void *buf, size_t n)
{
	return iov_walk(IOV_WRITE, iov, n_iov, off, &(struct flat){.from = buf}, n);
}

size_t iov_zero(const struct iovec *iov, size_t n_iov, uint64_t off, size_t n)
{
	return iov_walk(IOV_ZERO, iov, n_iov, off, NULL, n);
}

size_t iov_slice(struct iovec *out, const struct iovec *in, size_t n_in, uint64_t off, uint64_t n)
{
	size_t n_out = 0;

	for (size_t i = 0; i < n_in && n > 0; i++) {
		struct iovec v = in[i];

		if (off >= v.iov_len) {
			off -= v.iov_len;
			continue;
		}
		v.iov_base = (uint8_t *)v.iov_base + off;
		v.iov_len = MIN(v.iov_len - off, n);
		n -= v.iov_len;
		off = 0;
		out[n_out++] = v;
	}
	return n_out;
}
