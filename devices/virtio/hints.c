/*
 * hints.c - what a guest's drivers have set up that not every release of QEMU takes
 *
 * QEMU only closes the connection when it refuses a device; the source knows
 * which of its guest's habits are refused, and the properties that help.
 */
#include <inttypes.h>

#include "devices/virtio/virtio-devices.h"
#include "devices/virtio/virtio.h"
#include "vmm/base/buf.h"
#include "vmm/base/units.h"
#include "vmm/machine.h"

/* The size of the largest queue that is larger than the device's own; 0: there is none. */
static uint32_t oversize(const struct virtio_device *v)
{
	uint32_t n = 0;

	for (unsigned i = 0; i < v->n_queues; i++)
		if (v->queues[i].num > v->sizes[i])
			n = MAX(n, v->queues[i].num);
	return n;
}

static void hint_queues(struct machine *m, struct buf *out)
{
	uint32_t largest = 0;
	unsigned devices = 0;

	list_for_each (d, &m->devices, struct device, link) {
		const struct virtio_device *v = virtio_from_device(d);
		uint32_t n = v ? oversize(v) : 0;

		largest = MAX(largest, n);
		devices += n > 0;
	}
	if (devices)
		buf_printf(out,
			   "QEMU 11.1 takes the queues of %" PRIu32
			   " entries, which the drivers of %u devices have here, only with "
			   "-global virtio-mmio.x-override-queue-size=%" PRIu32,
			   largest, devices, largest);
}

void virtio_hints(struct machine *m, struct buf *out)
{
	hint_queues(m, out);
}
