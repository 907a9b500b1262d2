/*
 * qcow2-rig.h - storage in memory for images under test: it fails, and loses what was not flushed
 *
 * Each call of an operation counts; the call number 'fail_at' fails with 'fail_with', and, with
 * 'fail_for_good', every one after it, as when the process had been killed there.  What was written
 * since the last flush is remembered: rig_cut() makes the storage what it might be after a loss of
 * power: each of these writes is there or not.
 */
#ifndef MINIVMM_TESTS_QCOW2_RIG_H
#define MINIVMM_TESTS_QCOW2_RIG_H

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "devices/block/qcow2/qcow2.h"
#include "vmm/base/alloc.h"
#include "vmm/base/iov.h"
#include "vmm/base/units.h"

struct rig_write {
	uint64_t off, bytes;
	uint8_t *was; /* what was there */
};

struct rig {
	uint8_t *p;
	uint64_t bytes, cap;
	uint64_t max; /* it does not grow beyond; 0: 1 GiB */
	/* failing */
	unsigned long calls, writes, flushes, fail_at;
	int fail_with;
	bool fail_for_good, failed;
	/* since the last flush */
	bool remember;
	struct rig_write *log;
	size_t n_log, cap_log;
};

static inline void rig_fini(struct rig *r)
{
	for (size_t i = 0; i < r->n_log; i++)
		free(r->log[i].was);
	free(r->log);
	free(r->p);
	*r = (struct rig){0};
}

static inline int rig_call(struct rig *r)
{
	r->calls++;
	if ((r->fail_at && r->calls == r->fail_at) || (r->failed && r->fail_for_good)) {
		r->failed = true;
		return r->fail_with;
	}
	return 0;
}

static inline void rig_room(struct rig *r, uint64_t bytes)
{
	if (bytes > r->cap) {
		uint64_t cap = ALIGN_UP(bytes * 2, MiB);

		r->p = realloc(r->p, cap);
		if (!r->p)
			abort();
		memset(r->p + r->cap, 0, cap - r->cap);
		r->cap = cap;
	}
	r->bytes = MAX(r->bytes, bytes);
}

static inline void rig_note(struct rig *r, uint64_t off, uint64_t bytes)
{
	struct rig_write *w;

	if (!r->remember)
		return;
	if (r->n_log == r->cap_log) {
		r->cap_log = 2 * r->cap_log + 64;
		r->log = xrealloc(r->log, r->cap_log * sizeof(*r->log));
	}
	w = &r->log[r->n_log++];
	*w = (struct rig_write){off, bytes, malloc(bytes + 1)};
	memcpy(w->was, r->p + off, bytes);
}

static int rig_readv(void *opaque, const struct iovec *iov, int n_iov, uint64_t off)
{
	struct rig *r = opaque;
	int ret = rig_call(r);
	size_t n = (size_t)iov_bytes(iov, (size_t)n_iov);
	size_t have = off < r->bytes ? (size_t)MIN(n, r->bytes - off) : 0;

	if (ret < 0)
		return ret;
	(void)iov_zero(iov, (size_t)n_iov, 0, n);
	if (have)
		(void)iov_write(iov, (size_t)n_iov, 0, r->p + off, have);
	return 0;
}

static int rig_writev(void *opaque, const struct iovec *iov, int n_iov, uint64_t off)
{
	struct rig *r = opaque;
	int ret = rig_call(r);
	size_t n = (size_t)iov_bytes(iov, (size_t)n_iov);

	if (ret < 0)
		return ret;
	if (n > (r->max ? r->max : GiB) || off > (r->max ? r->max : GiB) - n)
		return -ENOSPC;
	r->writes++;
	rig_room(r, off + n);
	rig_note(r, off, n);
	(void)iov_read(iov, (size_t)n_iov, 0, r->p + off, n);
	return 0;
}

static int rig_flush(void *opaque)
{
	struct rig *r = opaque;
	int ret = rig_call(r);

	if (ret < 0)
		return ret;
	r->flushes++;
	for (size_t i = 0; i < r->n_log; i++)
		free(r->log[i].was);
	r->n_log = 0;
	return 0;
}

static int rig_size(void *opaque, uint64_t *bytes)
{
	*bytes = ((struct rig *)opaque)->bytes;
	return 0;
}

static int rig_truncate(void *opaque, uint64_t bytes)
{
	struct rig *r = opaque;
	int ret = rig_call(r);

	if (ret < 0)
		return ret;
	if (bytes > (r->max ? r->max : GiB))
		return -ENOSPC;
	if (bytes < r->bytes)
		memset(r->p + bytes, 0, r->bytes - bytes);
	rig_room(r, bytes);
	r->bytes = bytes;
	return 0;
}

static int rig_discard(void *opaque, uint64_t off, uint64_t bytes, bool zero)
{
	struct rig *r = opaque;
	int ret = rig_call(r);

	(void)zero;
	if (ret < 0)
		return ret;
	if (off >= r->bytes)
		return 0;
	bytes = MIN(bytes, r->bytes - off);
	rig_note(r, off, bytes);
	memset(r->p + off, 0, bytes);
	return 0;
}

static const struct qcow2_storage_ops rig_ops = {
    .readv = rig_readv,
    .writev = rig_writev,
    .flush = rig_flush,
    .size = rig_size,
    .truncate = rig_truncate,
    .discard = rig_discard,
};

static inline struct qcow2_storage rig_storage(struct rig *r)
{
	return (struct qcow2_storage){&rig_ops, r};
}

/* The next calls work; the one number 'in' from now (1: the next) fails; 0: none. */
static inline void rig_fail(struct rig *r, unsigned long in, int with, bool for_good)
{
	r->fail_at = in ? r->calls + in : 0;
	r->fail_with = with;
	r->fail_for_good = for_good;
	r->failed = false;
}

/* A loss of power: each write since the last flush is there, or not, or in a part of its sectors.
 */
static inline void rig_cut(struct rig *r, unsigned *seed)
{
	for (size_t i = r->n_log; i > 0; i--) {
		struct rig_write *w = &r->log[i - 1];
		int how = rand_r(seed) % 3;

		for (uint64_t at = 0; at < w->bytes && how; at += 512)
			if (how == 1 || rand_r(seed) % 2)
				memcpy(r->p + w->off + at, w->was + at, MIN(512, w->bytes - at));
		free(w->was);
	}
	r->n_log = 0;
}

static inline void rig_load(struct rig *r, const char *path)
{
	FILE *f = fopen(path, "rb");
	uint8_t buf[4096];
	size_t n;

	if (!f)
		abort();
	while ((n = fread(buf, 1, sizeof(buf), f)) > 0) {
		uint64_t at = r->bytes;

		rig_room(r, at + n);
		memcpy(r->p + at, buf, n);
	}
	(void)fclose(f);
}

static inline void rig_store(const struct rig *r, const char *path)
{
	FILE *f = fopen(path, "wb");

	if (!f || fwrite(r->p, 1, r->bytes, f) != r->bytes || fclose(f) != 0)
		abort();
}

#endif
