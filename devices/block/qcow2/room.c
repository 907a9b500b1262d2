/* room.c - how much of the storage is free for new clusters without growing */
#include "devices/block/qcow2/internal.h"
#include "vmm/base/units.h"

#define LOOK_CLUSTERS 4096 /* at a time: requests go on in between */

/* Of clusters [first, end) those that are free.  Lock held. */
static int count_free(struct qcow2 *q, uint64_t first, uint64_t end, uint64_t *n)
{
	for (uint64_t c = first; c < end; c++) {
		uint64_t count;
		int ret = qcow2_refcount_get(q, c, &count);

		if (ret < 0)
			return ret;
		*n += count == 0;
	}
	return 0;
}

int qcow2_room(struct qcow2 *q, uint64_t enough, uint64_t *bytes)
{
	uint64_t size, end, n = 0, freed = 0;
	int ret = q->s.ops->size(q->s.opaque, &size);

	end = ret == 0 ? ALIGN_UP(size, q->cluster_bytes) >> q->cluster_bits : 0;
	for (uint64_t c = 0; c < end && ret == 0 && freed + (n << q->cluster_bits) < enough;
	     c += LOOK_CLUSTERS) {
		(void)pthread_mutex_lock(&q->lock);
		ret = q->active ? count_free(q, c, MIN(c + LOOK_CLUSTERS, end), &n) : 0;
		freed = q->freed_bytes;
		(void)pthread_mutex_unlock(&q->lock);
	}
	if (ret == 0)
		*bytes = freed + (n << q->cluster_bits);
	return ret;
}
