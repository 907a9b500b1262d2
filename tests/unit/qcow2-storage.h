/*
 * qcow2-storage.h - the storage of an image in memory, which fails at a call that the test names,
 * and loses what was not on the medium
 */
#ifndef MINIVMM_TESTS_QCOW2_STORAGE_H
#define MINIVMM_TESTS_QCOW2_STORAGE_H

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "devices/block/qcow2/qcow2.h"
#include "vmm/base/units.h"

#define MEM_MAX (64 * MiB)

struct mem_write {
	uint64_t off;
	size_t n;
	uint8_t *old; /* what was there */
};

struct mem_storage {
	uint8_t *p; /* MEM_MAX bytes */
	uint64_t bytes;
	/* Calls that change or flush: the fail_at-th (from 1) and, with 'dead', all after it, fail
	 * with fail_errno.  0: none. */
	unsigned calls, fail_at;
	int fail_errno;
	bool dead;
	uint64_t limit; /* a write behind this: -ENOSPC; 0: none */
	/* What is not on the medium yet, oldest first. */
	struct mem_write *log;
	size_t n_log;
	uint64_t durable_bytes;
};

static inline bool mem_fails(struct mem_storage *m)
{
	m->calls++;
	return m->fail_at && (m->calls == m->fail_at || (m->dead && m->calls > m->fail_at));
}

static inline int mem_readv(void *opaque, const struct iovec *iov, int n_iov, uint64_t off)
{
	const struct mem_storage *m = opaque;

	for (int i = 0; i < n_iov; i++) {
		ck_assert_uint_le(off + iov[i].iov_len, MEM_MAX);
		memcpy(iov[i].iov_base, m->p + off, iov[i].iov_len);
		off += iov[i].iov_len;
	}
	return 0;
}

static inline void mem_log(struct mem_storage *m, uint64_t off, size_t n)
{
	struct mem_write *w;

	m->log = realloc(m->log, (m->n_log + 1) * sizeof(*m->log));
	w = &m->log[m->n_log++];
	*w = (struct mem_write){.off = off, .n = n, .old = malloc(n + 1)};
	memcpy(w->old, m->p + off, n);
}

static inline int mem_writev(void *opaque, const struct iovec *iov, int n_iov, uint64_t off)
{
	struct mem_storage *m = opaque;

	if (mem_fails(m))
		return -m->fail_errno;
	for (int i = 0; i < n_iov; i++) {
		if (m->limit && off + iov[i].iov_len > m->limit)
			return -ENOSPC;
		ck_assert_uint_le(off + iov[i].iov_len, MEM_MAX);
		mem_log(m, off, iov[i].iov_len);
		memcpy(m->p + off, iov[i].iov_base, iov[i].iov_len);
		off += iov[i].iov_len;
		m->bytes = MAX(m->bytes, off);
	}
	return 0;
}

static inline void mem_forget(struct mem_storage *m)
{
	for (size_t i = 0; i < m->n_log; i++)
		free(m->log[i].old);
	free(m->log);
	m->log = NULL;
	m->n_log = 0;
	m->durable_bytes = m->bytes;
}

static inline int mem_flush(void *opaque)
{
	struct mem_storage *m = opaque;

	if (mem_fails(m))
		return -m->fail_errno;
	mem_forget(m);
	return 0;
}

static inline int mem_size(void *opaque, uint64_t *bytes)
{
	*bytes = ((const struct mem_storage *)opaque)->bytes;
	return 0;
}

static inline int mem_truncate(void *opaque, uint64_t bytes)
{
	struct mem_storage *m = opaque;

	if (mem_fails(m))
		return -m->fail_errno;
	ck_assert_uint_le(bytes, MEM_MAX);
	if (bytes < m->bytes)
		memset(m->p + bytes, 0, m->bytes - bytes);
	m->bytes = bytes;
	return 0;
}

static inline int mem_discard(void *opaque, uint64_t off, uint64_t bytes, bool zero)
{
	struct mem_storage *m = opaque;

	(void)zero;
	if (mem_fails(m))
		return -m->fail_errno;
	if (off < m->bytes) {
		size_t n = (size_t)MIN(bytes, m->bytes - off);

		mem_log(m, off, n);
		memset(m->p + off, 0, n);
	}
	return 0;
}

/*
 * The power goes: of what was written since the last flush, some has reached the medium and some
 * has not, sector by sector, as the seed says.
 */
static inline void mem_power_cut(struct mem_storage *m, unsigned seed)
{
	for (size_t i = m->n_log; i-- > 0;) {
		const struct mem_write *w = &m->log[i];

		for (size_t at = 0; at < w->n;) {
			size_t n = MIN(512 - (w->off + at) % 512, w->n - at);

			if (rand_r(&seed) & 1)
				memcpy(m->p + w->off + at, w->old + at, n);
			at += n;
		}
	}
	mem_forget(m);
}

static const struct qcow2_storage_ops mem_ops = {
    .readv = mem_readv,
    .writev = mem_writev,
    .flush = mem_flush,
    .size = mem_size,
    .truncate = mem_truncate,
    .discard = mem_discard,
};

static inline struct mem_storage *mem_new(void)
{
	struct mem_storage *m = calloc(1, sizeof(*m));

	m->p = calloc(1, MEM_MAX);
	return m;
}

static inline void mem_free(struct mem_storage *m)
{
	mem_forget(m);
	free(m->p);
	free(m);
}

static inline struct mem_storage *mem_copy(const struct mem_storage *from)
{
	struct mem_storage *m = mem_new();

	memcpy(m->p, from->p, from->bytes);
	m->bytes = m->durable_bytes = from->bytes;
	return m;
}

static inline void mem_load(struct mem_storage *m, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	ck_assert_int_ge(fd, 0);
	memset(m->p, 0, m->bytes);
	n = pread(fd, m->p, MEM_MAX, 0);
	ck_assert_int_ge(n, 0);
	m->bytes = (uint64_t)n;
	mem_forget(m);
	(void)close(fd);
}

static inline void mem_save(const struct mem_storage *m, const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(pwrite(fd, m->p, m->bytes, 0), (ssize_t)m->bytes);
	(void)close(fd);
}

static inline int mem_open(struct mem_storage *m, struct qcow2 **q, bool writable, struct err *err)
{
	const struct qcow2_storage s = {.ops = &mem_ops, .opaque = m};
	const struct qcow2_open how = {.writable = writable};

	return qcow2_open(q, &s, &how, err);
}

#endif
