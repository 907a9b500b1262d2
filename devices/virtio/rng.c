/*
 * rng.c - virtio-rng (virtio 1.2, 5.4): each chain is filled from the source that rng= names
 *
 * A chain stays in the ring until the source has bytes for it, so that no
 * request is in flight when the guest is stopped or moved.
 */
#include <errno.h>
#include <stdlib.h>

#include "devices/virtio/props.h"
#include "devices/virtio/rng-source.h"
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

struct rng {
	struct virtio_device v; /* first */
	struct rng_source *source;
};

static struct rng *to_rng(struct virtio_device *v)
{
	return container_of(v, struct rng, v);
}

static bool serve_one(struct virtio_device *v)
{
	const struct virtq_elem *e = v->elem;
	uint64_t room = MIN(virtq_elem_room(e), MAX_BYTES), done = 0;
	ssize_t n = 0;

	while (done < room) {
		uint8_t chunk[CHUNK_BYTES];

		n = rng_source_read(to_rng(v)->source, chunk, MIN(room - done, sizeof(chunk)));
		if (n <= 0)
			break;
		(void)virtq_elem_write(e, done, chunk, (size_t)n);
		done += (uint64_t)n;
	}
	if (n == -EAGAIN && !done) {
		virtq_unpop(&v->queues[0], 1);
		return false;
	}
	virtio_push(v, 0, e, done);
	return true;
}

static void rng_serve(struct virtio_device *v, unsigned q)
{
	virtio_serve_all(v, q, serve_one);
}

static void source_ready(void *opaque)
{
	struct rng *rng = opaque;

	if (rng->v.serving)
		virtio_again(&rng->v, 0);
}

static void rng_stop(struct virtio_device *v)
{
	rng_source_quiet(to_rng(v)->source);
}

static void rng_destroy(struct virtio_device *v)
{
	rng_source_free(to_rng(v)->source);
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
    .stop = rng_stop,
    .destroy = rng_destroy,
    .section = &section,
};

static int rng_create(struct machine *m, const struct cfg_device *cfg, unsigned slot,
		      struct backends *be, struct err *err)
{
	static const uint16_t sizes[VIRTIO_MAX_QUEUES] = {8};
	struct rng *rng = NEW(struct rng);
	int ret = -EINVAL;

	(void)be;
	rng->v.host_features = props_features(cfg);
	rng->source = rng_source_new(m, cfg, source_ready, rng, err);
	if (rng->source) {
		ret = virtio_init(&rng->v, m, &ops, cfg, slot, sizes, err);
		if (ret < 0)
			virtio_fini(&rng->v);
	}
	if (ret < 0) {
		rng_source_free(rng->source);
		free(rng);
		return ret;
	}
	(void)virtio_board_add(&rng->v);
	return 0;
}

/* A rate limit would stall the guest's boot for nothing: the host's generator does not run dry. */
#define NO_LIMIT "there is no rate limit; leave it out"

static const struct opt_prop props[] = {
    DEVICE_TEXT("rng", "ID",
		"the -object rng-random or rng-builtin that bytes come from (default: "
		"the host's generator)"),
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
