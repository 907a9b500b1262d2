/*
 * rng.c - virtio-rng (virtio 1.2, 5.4): each chain is filled with getrandom()'s bytes
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

#include "devices/virtio/props.h"
#include "devices/virtio/virtio-devices.h"
#include "devices/virtio/virtio.h"
#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"
#include "vmm/board.h"
#include "vmm/options/config.h"
#include "vmm/vmstate.h"

/* A chain may describe all of RAM many times over; the device may use less of it. */
#define MAX_BYTES   (64 * KiB)
#define CHUNK_BYTES 256 /* getrandom() gives this much without a stop */

static bool serve_one(struct virtio_device *v)
{
	const struct virtq_elem *e = v->elem;
	uint64_t room = MIN(virtq_elem_room(e), MAX_BYTES), done = 0;

	while (done < room) {
		uint8_t chunk[CHUNK_BYTES];
		ssize_t n = getrandom(chunk, MIN(room - done, sizeof(chunk)), 0);

		if (n <= 0)
			break;
		(void)virtq_elem_write(e, done, chunk, (size_t)n);
		done += (uint64_t)n;
	}
	virtio_push(v, 0, e, done);
	return true;
}

static void rng_serve(struct virtio_device *v, unsigned q)
{
	virtio_serve_all(v, q, serve_one);
}

static const struct vms_field section_fields[] = {
    VMS_CUSTOM(struct virtio_device, dev, "virtio", &virtio_codec),
    VMS_LAST,
};
static const struct vms_desc section = {
    .name = "virtio-rng", .version = 1, .min_version = 1, .fields = section_fields};

static const char *feature_name(unsigned bit)
{
	return props_feature_name(&virtio_rng_row, bit);
}

static const struct virtio_ops ops = {
    .device = VIRTIO_DEVICE_OPS("virtio-rng-device"),
    .name = "virtio-rng",
    .device_id = 4,
    .feature_name = feature_name,
    .legacy_features = VIRTIO_F_NOTIFY_ON_EMPTY | VIRTIO_F_ANY_LAYOUT,
    .serve = rng_serve,
    .section = &section,
};

static int rng_create(struct machine *m, const struct cfg_device *cfg, unsigned slot,
		      struct backends *be, struct err *err)
{
	static const uint16_t sizes[VIRTIO_MAX_QUEUES] = {8};
	struct virtio_device *v = NEW(struct virtio_device);
	int ret;

	(void)be;
	v->host_features = props_features(cfg);
	ret = virtio_init(v, m, &ops, cfg, slot, sizes, err);
	if (ret < 0) {
		virtio_fini(v);
		free(v);
		return ret;
	}
	(void)virtio_board_add(v);
	return 0;
}

/* A rate limit would stall the guest's boot for nothing: the host's generator does not run dry. */
#define NO_LIMIT "there is no rate limit; leave it out"

static const struct opt_prop props[] = {
    PROP_REFUSED("rng", "the host's getrandom() is the source; leave it out"),
    PROP_REFUSED("max-bytes", NO_LIMIT),
    PROP_REFUSED("period", NO_LIMIT),
    VIRTIO_PROPS,
};

const struct device_row virtio_rng_row = {
    .name = "virtio-rng-device",
    .kind = DEVICE_VIRTIO,
    .help = "random bytes from the host",
    .props = props,
    .create = rng_create,
};
