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
#include "vmm/board.h"
#include "vmm/machine.h"

struct habits {
	uint32_t largest_queue; /* of those larger than the device's own; 0: there is none */
	unsigned large_devices; /* how many have such */
	uint64_t rare, wide;    /* features: rare ones in use, from bit 64 on those offered */
	const char *(*feature_name)(unsigned bit); /* of these */
};

static void look_at(const struct virtio_device *v, struct habits *h)
{
	uint32_t n = 0;

	for (unsigned i = 0; i < v->n_queues; i++)
		if (v->queues[i].num > v->sizes[i])
			n = MAX(n, v->queues[i].num);
	h->large_devices += n > 0;
	h->largest_queue = MAX(h->largest_queue, n);
	h->rare |= v->features & v->rare_features;
	h->wide |= v->host_features_64;
	if ((v->features & v->rare_features) || v->host_features_64)
		h->feature_name = v->ops->feature_name;
}

static void next_sentence(struct buf *out)
{
	if (out->len)
		buf_printf(out, "; ");
}

static void hint_queues(const struct habits *h, struct buf *out)
{
	if (!h->large_devices)
		return;
	buf_printf(out,
		   "QEMU 11.1 takes the queues of %" PRIu32
		   " entries, which the drivers of %u devices have here, only with "
		   "-global virtio-mmio.x-override-queue-size=%" PRIu32,
		   h->largest_queue, h->large_devices, h->largest_queue);
}

static void hint_features(const struct habits *h, uint64_t bits, unsigned base,
			  const char *releases, struct buf *out)
{
	char list[128] = "";

	board_feature_list(list, sizeof(list), h->feature_name, bits, base);
	if (!*list)
		return;
	next_sentence(out);
	buf_printf(out, "for QEMU %s a guest must have been started with these off: %s", releases,
		   list);
}

void virtio_hints(struct machine *m, struct buf *out)
{
	struct habits h = {0};

	list_for_each (d, &m->devices, struct device, link) {
		const struct virtio_device *v = virtio_from_device(d);

		if (v)
			look_at(v, &h);
	}
	hint_queues(&h, out);
	hint_features(&h, h.rare, 0, "7.2", out);
	hint_features(&h, h.wide, 64, "7.2 and 10.0", out);
}
