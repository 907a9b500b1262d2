/*
 * Any bytes as a qcow2 image: opened, read, written, its snapshots and bitmaps looked at, checked
 * and closed, or refused with a sentence.  The storage stays small whatever the image says.
 *
 * Input: one byte (bit 0: for writing, bit 1: for a check, bit 2: first inactive), then the image.
 */
#include <assert.h>

#include "tests/unit/qcow2-rig.h"
#include "vmm/base/error.h"
#include "vmm/base/log.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void use(struct qcow2 *q)
{
	static uint8_t buf[70000 / 512 * 512];
	uint64_t size = qcow2_info(q)->bytes;
	const uint64_t offs[] = {0, 65536 - 512, size / 2 / 512 * 512,
				 size - MIN(size, sizeof(buf))};

	for (size_t i = 0; i < ARRAY_LEN(offs); i++) {
		struct iovec v = {buf, sizeof(buf)};
		struct qcow2_extent x;

		(void)qcow2_readv(q, &v, 1, offs[i]);
		if (qcow2_map(q, offs[i], size - offs[i], true, &x) == 0)
			assert(x.bytes >= 1 && x.bytes <= size - offs[i]);
		(void)qcow2_writev(q, &v, 1, offs[i]);
		(void)qcow2_map_write(q, offs[i], 512, &x);
		(void)qcow2_write_zeroes(q, offs[i] + 512, 66000 / 512 * 512, i % 2);
		(void)qcow2_flush(q);
		(void)qcow2_discard(q, offs[i], sizeof(buf));
		(void)qcow2_write_compressed(q, buf, qcow2_info(q)->cluster_bytes & 0xffff, 0);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct rig r = {.max = 8 * MiB};
	struct qcow2_storage s = rig_storage(&r);
	struct qcow2_open how = {0};
	struct err err = {0};
	struct qcow2 *q;

	if (len < 1 || len > MiB)
		return 0;
	(void)log_open("/dev/null", NULL);
	how.writable = data[0] & 1;
	how.checking = data[0] & 2;
	how.inactive = data[0] & 4;
	rig_room(&r, len - 1);
	memcpy(r.p, data + 1, len - 1);
	if (qcow2_open(&q, &s, &how, &err) == 0) {
		if (how.inactive)
			(void)qcow2_activate(q, &err);
		use(q);
		(void)qcow2_close(q, &err);
	} else {
		assert(err.msg[0]);
	}
	rig_fini(&r);
	return 0;
}
