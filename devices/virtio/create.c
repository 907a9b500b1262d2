/* create.c - what the making of every virtio device does: its queues, its slot, its place on the
 * bus */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>

#include "devices/virtio/virtio-devices.h"
#include "devices/virtio/virtio.h"
#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"
#include "vmm/base/wake.h"
#include "vmm/board.h"
#include "vmm/machine.h"
#include "vmm/options/config.h"
#include "vmm/options/device-row.h"

#define MAX_LISTED 8U /* queues whose sizes the board's entry tells */

/* The transport's size for every queue, 0: their own. */
static int override_size(const struct config *cfg, uint32_t *size, struct err *err)
{
	uint64_t n = device_part_number(cfg, &virtio_mmio_row, "x-override-queue-size");

	if (n & (n - 1))
		return err_set(
		    err, EINVAL,
		    "virtio-mmio.x-override-queue-size=%" PRIu64 " is not a power of two", n);
	*size = (uint32_t)n;
	return 0;
}

static void init_kicks(struct virtio_device *v)
{
	for (unsigned i = 0; i < VIRTIO_MAX_QUEUES; i++)
		v->kicks[i] = (struct virtio_kick){.v = v, .q = i, .fd = -1};
}

static int init_queues(struct virtio_device *v, const uint16_t *sizes, struct err *err)
{
	uint32_t override = 0;
	int ret = override_size(v->dev.m->cfg, &override, err);

	if (ret < 0)
		return ret;
	for (unsigned i = 0; i < VIRTIO_MAX_QUEUES && sizes[i]; i++) {
		v->sizes[i] = sizes[i];
		v->queues[i].num_default = override ? override : sizes[i];
		virtq_reset(&v->queues[i]);
		v->n_queues++;
	}
	return 0;
}

int virtio_init(struct virtio_device *v, struct machine *m, const struct virtio_ops *ops,
		const struct cfg_device *cfg, unsigned slot, const uint16_t *queue_sizes,
		struct err *err)
{
	char idstr[64];
	int ret;

	v->dev = (struct device){.ops = &ops->device, .m = m};
	v->ops = ops;
	v->slot = slot;
	v->gsi = board_virtio_gsi(&m->board) + slot;
	v->base = BOARD_VIRTIO_BASE + slot * BOARD_VIRTIO_BYTES;
	v->legacy = virtio_mmio_is_legacy(m);
	if (v->legacy)
		v->host_features = (v->host_features & ~VIRTIO_F_VERSION_1) | ops->legacy_features;
	v->paused = true;
	v->idle = true;
	v->elem = virtq_elem_new();
	pthread_mutex_init(&v->irq_lock, NULL);
	v->idle_fd = wake_open();
	init_kicks(v);
	if (v->idle_fd < 0)
		return err_set(err, errno, "%s: cannot make an eventfd: %s", ops->name,
			       err_text(errno));
	wake_set(v->idle_fd);
	ret = init_queues(v, queue_sizes, err);
	if (ret >= 0)
		ret = virtio_mmio_add(v, m, err);
	if (ret < 0)
		return ret;
	(void)snprintf(idstr, sizeof(idstr), "virtio-mmio@%016" PRIx64 "/%s", v->base, ops->name);
	vms_register(&m->vmstate, VMS_RANK_VIRTIO, idstr, 0, -1, ops->section, v);
	if (cfg->id)
		v->dev.id = xstrdup(cfg->id);
	machine_add_device(m, &v->dev);
	return 0;
}

struct board_device *virtio_board_add(struct virtio_device *v)
{
	struct board_device *b = board_add(&v->dev.m->board, BOARD_VIRTIO_MMIO, v->ops->name);
	char sizes[MAX_LISTED * 8] = "";
	int n = 0;

	if (!b)
		return NULL;
	b->slot = (int)v->slot;
	b->base = v->base;
	b->bytes = BOARD_VIRTIO_BYTES;
	b->gsi = v->gsi;
	b->feature_name = v->ops->feature_name;
	b->rare_features = v->rare_features;
	b->taken = &v->features;
	(void)snprintf(b->id, sizeof(b->id), "%s", v->dev.id ? v->dev.id : "");
	for (unsigned i = 0; i < MIN(v->n_queues, MAX_LISTED); i++)
		n += snprintf(sizes + n, sizeof(sizes) - (size_t)n, "%s%u", i ? " " : "",
			      v->sizes[i]);
	board_prop(b, "transport", "%s", v->legacy ? "legacy" : "modern");
	board_prop(b, "features", "0x%" PRIx64, v->host_features);
	board_prop(b, "queue-sizes", "%s", sizes);
	board_prop(b, "config-bytes", "%" PRIu32, v->config_bytes);
	return b;
}
