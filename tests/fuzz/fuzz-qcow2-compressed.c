/*
 * Any bytes as a compressed cluster: unpacked to a whole cluster or refused, in bounded memory.
 *
 * Input: one byte (bit 0: zstd, bits 1-2: cluster size), then the bytes, which end the storage.
 */
#include <assert.h>

#include "devices/block/qcow2/internal.h"
#include "tests/unit/qcow2-rig.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct qcow2 q = {0};
	uint8_t *out, *in;
	int ret;

	if (len < 1 || len > MiB)
		return 0;
	q.h.compression = data[0] & 1;
	q.h.cluster_bits = 9 + 4 * (data[0] >> 1 & 3U);
	in = malloc(len); /* of exactly this size: what is read behind it is seen */
	out = malloc(1UL << q.h.cluster_bits);
	memcpy(in, data + 1, len - 1);
	ret = qcow2_inflate(&q, in, len - 1, out);
	assert(ret == 0 || ret == -EIO || ret == -ENOMEM);
	free(in);
	free(out);
	return 0;
}
