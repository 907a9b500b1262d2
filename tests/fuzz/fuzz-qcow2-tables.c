/*
 * An image that was right until some of its bytes were changed: entries of L1, L2, refcount table
 * and blocks, compressed clusters.  Whatever they say, nothing is written over the tables that are
 * in use without a notice in the header.
 *
 * Input: one byte (bits 0-1: layout, bit 2: version 2, bit 3: zstd), then changes of 11 bytes: be24
 * where, be64 what is put there; the rest is the operations: op, where, length.
 */
#include <assert.h>

#include "tests/unit/qcow2-rig.h"
#include "vmm/base/bytes.h"
#include "vmm/base/error.h"
#include "vmm/base/log.h"

#define DISK (512 * KiB)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void make(struct rig *r, uint8_t how)
{
	static const uint32_t clusters[] = {512, 4096, 16384, 65536};
	const struct qcow2_create c = {.bytes = DISK,
				       .version = how & 4 ? 2 : 3,
				       .cluster_bytes = clusters[how & 3],
				       .extended_l2 = (how & 3) == 2 && !(how & 4),
				       .zstd = how & 8 && !(how & 4)};
	static const struct qcow2_open rw = {.writable = true};
	static uint8_t buf[65536];
	struct qcow2_storage s = rig_storage(r);
	struct iovec v = {buf, 50000 / 512 * 512};
	struct qcow2 *q;

	if (qcow2_create(&s, &c, NULL) < 0 || qcow2_open(&q, &s, &rw, NULL) < 0)
		abort();
	memset(buf, 7, sizeof(buf));
	if (qcow2_writev(q, &v, 1, 1024) < 0 ||
	    qcow2_write_compressed(q, buf, c.cluster_bytes, 2 * 65536) < 0 ||
	    qcow2_write_zeroes(q, 4 * 65536, 65536, false) < 0 || qcow2_close(q, NULL) < 0)
		abort();
}

static void operate(struct qcow2 *q, const uint8_t *p, size_t n)
{
	static uint8_t buf[4 * 65536];

	for (size_t i = 0; i + 3 <= n && i < 300; i += 3) {
		uint64_t off = p[i + 1] * 2048ULL, bytes = (p[i + 2] + 1ULL) * 512;
		struct iovec v = {buf, MIN(bytes, DISK - off)};

		switch (p[i] % 8) {
		case 0:
			(void)qcow2_readv(q, &v, 1, off);
			break;
		case 1:
			(void)qcow2_write_zeroes(q, off, v.iov_len, p[i] & 8);
			break;
		case 2:
			(void)qcow2_discard(q, off, v.iov_len);
			break;
		case 3:
			(void)qcow2_flush(q);
			break;
		case 4:
			(void)qcow2_write_compressed(q, buf, qcow2_info(q)->cluster_bytes,
						     ALIGN_DOWN(off, 65536));
			break;
		case 5:
			(void)qcow2_resize(q, DISK + off, NULL);
			break;
		default:
			(void)qcow2_writev(q, &v, 1, off);
		}
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static const struct qcow2_open rw = {.writable = true};
	struct rig r = {.max = 8 * MiB};
	struct qcow2_storage s = rig_storage(&r);
	struct err err = {0};
	struct qcow2 *q;
	size_t at = 1, changes;

	if (len < 2 || len > 4096)
		return 0;
	(void)log_open("/dev/null", NULL);
	make(&r, data[0]);
	changes = data[0] >> 4;
	for (; changes > 0 && at + 11 <= len; changes--, at += 11) {
		uint64_t where = (get_be32(data + at) >> 8) % (r.bytes - 8) & ~7ULL;

		put_be64(r.p + where, get_be64(data + at + 3));
	}
	if (qcow2_open(&q, &s, &rw, &err) == 0) {
		operate(q, data + at, len - at);
		(void)qcow2_close(q, &err);
	} else {
		assert(err.msg[0]);
	}
	rig_fini(&r);
	return 0;
}
