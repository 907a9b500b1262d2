/*
 * state.c - a virtio device in the stream: one field that holds three parts
 *
 *     transport and queues            tables 'head' and 'queues' below
 *     the device's own data           virtio_ops.body
 *     subsections of "virtio"         table 'tail' below
 *
 * (machine-microvm 3.7).  The tables stand over struct virtio_wire, an image
 * of the stream that exists during save and load only: the stream has room for
 * 1024 queues, a device has a few.  What was loaded is checked as a whole
 * before any of it reaches the device, except the device's own data, whose
 * table checks itself.
 *
 * A load is refused for what no guest can bring about: another machine or a
 * stream that is not whole.  What a guest can do to its device, status bits in
 * any order, rings anywhere and with anything in them, is a state like others:
 * it loads, and when the device is started, on the I/O loop, the queues are
 * mapped and a device that cannot work needs a reset.  Guest memory may not be
 * there yet when a load runs, so nothing here looks at it: the used index,
 * which the stream does not carry, is read from the ring at the start.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "devices/virtio/virtio.h"
#include "vmm/base/alloc.h"
#include "vmm/base/buf.h"
#include "vmm/base/error.h"
#include "vmm/board.h"
#include "vmm/machine.h"
#include "vmm/vmstate.h"

#define WIRE_QUEUES 1024 /* room in the subsections */

struct wire_queue {
	uint32_t num, align;
	uint64_t desc;
	uint16_t last_avail;
};

struct wire_rings {
	uint64_t avail, used;
};

struct wire_regs {
	uint16_t num;
	bool enabled;
	uint32_t desc[2], avail[2], used[2];
};

struct virtio_wire {
	uint32_t host_features_sel, guest_features_sel, page_shift;
	uint8_t status, isr;
	uint16_t queue_sel;
	uint32_t features_low;
	uint32_t config_bytes;
	uint8_t config[VIRTIO_CONFIG_BYTES];
	uint32_t n_queues;
	struct wire_queue queues[VIRTIO_MAX_QUEUES];
	/* subsections; their has_ flags say on load whether they came, on save whether they go */
	bool has_features_64, has_features, has_rings, has_sizes, has_mmio, has_started;
	uint64_t features_64, features;
	struct wire_rings rings[WIRE_QUEUES];
	uint32_t num_default[WIRE_QUEUES];
	bool broken, started;
	uint32_t guest_features[2];
	struct wire_regs regs[WIRE_QUEUES];
};

/* ---- the tables ---- */

static const struct vms_field queue_fields[] = {
    VMS_U32(struct wire_queue, num, "num"),
    VMS_U32(struct wire_queue, align, "align"),
    VMS_U64(struct wire_queue, desc, "desc"),
    VMS_U16(struct wire_queue, last_avail, "last_avail_idx"),
    VMS_LAST,
};
static const struct vms_desc queue_desc = {
    .name = "virtqueue", .version = 1, .min_version = 1, .fields = queue_fields};

static const struct vms_field head_fields[] = {
    VMS_U32(struct virtio_wire, host_features_sel, "host_features_sel"),
    VMS_U32(struct virtio_wire, guest_features_sel, "guest_features_sel"),
    VMS_U32(struct virtio_wire, page_shift, "guest_page_shift"),
    VMS_U8(struct virtio_wire, status, "status"),
    VMS_U8(struct virtio_wire, isr, "isr"),
    VMS_U16(struct virtio_wire, queue_sel, "queue_sel"),
    VMS_U32(struct virtio_wire, features_low, "guest_features"),
    VMS_U32(struct virtio_wire, config_bytes, "config_len"),
    VMS_LAST,
};
/* The name is no prefix of "virtio/...", so that what follows is not taken for its subsections. */
static const struct vms_desc head = {
    .name = "virtio transport", .version = 1, .min_version = 1, .fields = head_fields};

static const struct vms_field queues_fields[] = {
    VMS_ARRAY(uint8_t, struct virtio_wire, config, "config", .counted = true,
	      .count_at = offsetof(struct virtio_wire, config_bytes)),
    VMS_U32(struct virtio_wire, n_queues, "queues"),
    VMS_STRUCTS(struct virtio_wire, queues, "vq", &queue_desc, .counted = true,
		.count_at = offsetof(struct virtio_wire, n_queues)),
    VMS_LAST,
};
static const struct vms_desc queues = {
    .name = "virtio queues", .version = 1, .min_version = 1, .fields = queues_fields};

/* A subsection over virtio_wire with its has_ flag. */
#define SUBSECTION(id, wire_name, flag)                                                            \
	static bool id##_needed(void *dev)                                                         \
	{                                                                                          \
		return ((const struct virtio_wire *)dev)->flag;                                    \
	}                                                                                          \
	static int id##_loaded(void *dev, uint32_t version, struct err *err)                       \
	{                                                                                          \
		(void)version;                                                                     \
		(void)err;                                                                         \
		((struct virtio_wire *)dev)->flag = true;                                          \
		return 0;                                                                          \
	}                                                                                          \
	static const struct vms_desc id = {.name = (wire_name),                                    \
					   .version = 1,                                           \
					   .min_version = 1,                                       \
					   .fields = id##_fields,                                  \
					   .needed = id##_needed,                                  \
					   .post_load = id##_loaded}

static const struct vms_field features_64_fields[] = {
    VMS_U64(struct virtio_wire, features_64, "guest_features_128"),
    VMS_LAST,
};
SUBSECTION(features_64, "virtio/128bit_features", has_features_64);

static const struct vms_field features_fields[] = {
    VMS_U64(struct virtio_wire, features, "guest_features"),
    VMS_LAST,
};
SUBSECTION(features, "virtio/64bit_features", has_features);

static const struct vms_field ring_fields[] = {
    VMS_U64(struct wire_rings, avail, "vring.avail"),
    VMS_U64(struct wire_rings, used, "vring.used"),
    VMS_LAST,
};
static const struct vms_desc ring_desc = {
    .name = "virtqueue_state", .version = 1, .min_version = 1, .fields = ring_fields};
static const struct vms_field rings_fields[] = {
    VMS_STRUCTS(struct virtio_wire, rings, "vq", &ring_desc),
    VMS_LAST,
};
SUBSECTION(rings, "virtio/virtqueues", has_rings);

static const struct vms_field sizes_fields[] = {
    VMS_ARRAY(uint32_t, struct virtio_wire, num_default, "vring.num_default"),
    VMS_LAST,
};
SUBSECTION(sizes, "virtio/ringsize", has_sizes);

static const struct vms_field broken_fields[] = {
    VMS_BOOL(struct virtio_wire, broken, "broken"),
    VMS_LAST,
};
static bool broken_needed(void *dev)
{
	return ((const struct virtio_wire *)dev)->broken;
}
static const struct vms_desc broken = {.name = "virtio/broken",
				       .version = 1,
				       .min_version = 1,
				       .fields = broken_fields,
				       .needed = broken_needed};

static const struct vms_field regs_fields[] = {
    VMS_U16(struct wire_regs, num, "num"),
    VMS_BOOL(struct wire_regs, enabled, "enabled"),
    VMS_ARRAY(uint32_t, struct wire_regs, desc, "desc"),
    VMS_ARRAY(uint32_t, struct wire_regs, avail, "avail"),
    VMS_ARRAY(uint32_t, struct wire_regs, used, "used"),
    VMS_LAST,
};
static const struct vms_desc regs_desc = {
    .name = "virtio_mmio_queue", .version = 1, .min_version = 1, .fields = regs_fields};
static const struct vms_field mmio_state_fields[] = {
    VMS_ARRAY(uint32_t, struct virtio_wire, guest_features, "guest_features"),
    VMS_STRUCTS(struct virtio_wire, regs, "vqs", &regs_desc),
    VMS_LAST,
};
SUBSECTION(mmio_state, "virtio_mmio/state", has_mmio);

static const struct vms_field no_fields[] = {VMS_LAST};
static const struct vms_desc mmio = {
    .name = "virtio_mmio",
    .version = 1,
    .min_version = 1,
    .fields = no_fields,
    .subs = (const struct vms_desc *const[]){&mmio_state, NULL}
};

static const struct vms_field extra_fields[] = {
    VMS_TMP("extra_state", &mmio),
    VMS_LAST,
};
static const struct vms_desc extra = {.name = "virtio/extra_state",
				      .version = 1,
				      .min_version = 1,
				      .fields = extra_fields,
				      .needed = mmio_state_needed};

static const struct vms_field started_fields[] = {
    VMS_BOOL(struct virtio_wire, started, "started"),
    VMS_LAST,
};
SUBSECTION(started, "virtio/started", has_started);

static const struct vms_desc tail = {
    .name = "virtio",
    .version = 1,
    .min_version = 1,
    .fields = no_fields,
    .subs = (const struct vms_desc *const[]){&features_64, &features, &rings, &sizes, &broken,
					     &extra, &started, NULL}
};

/* ---- save ---- */

static void fill_queue(struct virtio_wire *w, const struct virtio_device *v, unsigned i)
{
	const struct virtq *q = &v->queues[i];
	const struct virtio_queue_regs *r = &v->regs[i];
	struct wire_regs *wr = &w->regs[i];

	w->queues[i] = (struct wire_queue){.num = q->num,
					   .align = virtio_queue_align(r),
					   .desc = q->desc,
					   .last_avail = q->last_avail};
	w->rings[i] = (struct wire_rings){.avail = q->avail, .used = q->used};
	w->num_default[i] = q->num_default;
	w->has_sizes |= q->num != q->num_default;
	wr->num = r->num;
	wr->enabled = r->enabled;
	memcpy(wr->desc, r->desc, sizeof(wr->desc));
	memcpy(wr->avail, r->avail, sizeof(wr->avail));
	memcpy(wr->used, r->used, sizeof(wr->used));
}

static void state_fill(struct virtio_wire *w, const struct virtio_device *v)
{
	w->host_features_sel = v->host_features_sel;
	w->guest_features_sel = v->guest_features_sel;
	w->page_shift = v->page_shift;
	w->status = v->status;
	w->isr = v->isr;
	w->queue_sel = v->queue_sel;
	w->features_low = (uint32_t)v->features;
	w->config_bytes = v->config_bytes;
	memcpy(w->config, v->config, sizeof(w->config));
	w->n_queues = v->n_queues;
	for (unsigned i = 0; i < v->n_queues; i++)
		fill_queue(w, v, i);
	/* Its value is always 0: QEMU 11.1 sends it where it has such features, and 7.2 and 10.0
	 * refuse it. */
	w->has_features_64 = v->host_features_64 != 0;
	w->has_features = true;
	w->has_rings = w->has_mmio = !v->legacy; /* a legacy queue is where its first page is */
	w->features = v->features;
	memcpy(w->guest_features, v->guest_features, sizeof(w->guest_features));
	w->broken = v->broken;
	w->has_started = w->started = (v->status & VIRTIO_STATUS_DRIVER_OK) != 0;
}

/* The machine is paused: no other thread touches the device. */
static int state_save(void *dev, void *field, struct buf *out, struct err *err)
{
	struct virtio_device *v = dev;
	CLEANUP(cleanup_free) struct virtio_wire *w = NEW(struct virtio_wire);
	int ret;

	(void)field;
	state_fill(w, v);
	ret = vms_save(&head, w, out, NULL, err);
	if (ret >= 0)
		ret = vms_save(&queues, w, out, NULL, err);
	if (ret >= 0 && v->ops->body)
		ret = vms_save(v->ops->body, v, out, NULL, err);
	if (ret >= 0)
		ret = vms_save(&tail, w, out, NULL, err);
	return ret;
}

/* ---- load ---- */

static int check_head(const struct virtio_wire *w, const struct virtio_device *v, struct err *err)
{
	const char *name = v->ops->name;

	if (w->host_features_sel > 1 || w->guest_features_sel > 1)
		return err_set(err, EINVAL,
			       "%s: feature selectors %" PRIu32 " and %" PRIu32 " are not 0 or 1",
			       name, w->host_features_sel, w->guest_features_sel);
	if (w->page_shift > 31)
		return err_set(err, EINVAL, "%s: the driver's pages have 2^%" PRIu32 " bytes", name,
			       w->page_shift);
	if (w->queue_sel >= WIRE_QUEUES)
		return err_set(err, EINVAL, "%s: queue selector %u is out of range", name,
			       w->queue_sel);
	if (w->config_bytes != v->config_bytes)
		return err_set(err, EINVAL,
			       "%s: the configuration space has %" PRIu32
			       " bytes in the stream and %" PRIu32 " here",
			       name, w->config_bytes, v->config_bytes);
	return 0;
}

static int check_queues(const struct virtio_wire *w, const struct virtio_device *v, struct err *err)
{
	if (w->n_queues != v->n_queues)
		return err_set(err, EINVAL, "%s: %" PRIu32 " queues in the stream, %u here",
			       v->ops->name, w->n_queues, v->n_queues);
	return 0;
}

static int check_features(const struct virtio_wire *w, const struct virtio_device *v,
			  struct err *err)
{
	static const char *const transport[] = {"modern virtio-mmio transport (version 2)",
						"legacy virtio-mmio transport (version 1)"};
	const uint8_t live = VIRTIO_STATUS_FEATURES_OK | VIRTIO_STATUS_DRIVER_OK;
	char list[256] = "";

	if ((w->status & live) && (w->has_mmio && w->has_rings) == v->legacy)
		return err_set(err, ENOTSUP,
			       "%s: its driver runs on a %s, here it is a %s; give this side "
			       "-global virtio-mmio.force-legacy=%s, or the source the other",
			       v->ops->name, transport[!v->legacy], transport[v->legacy],
			       v->legacy ? "off" : "on");
	board_feature_list(list, sizeof(list), v->ops->feature_name,
			   w->features & ~v->host_features, 0);
	/* What no driver can see here, none can use. */
	board_feature_list(list, sizeof(list), v->ops->feature_name, w->features_64, 64);
	if (*list)
		return err_set(err, EINVAL,
			       "%s: the guest uses features that are not offered here: %s; give "
			       "both ends the same back ends, or turn these off for the guest at "
			       "the source before it starts",
			       v->ops->name, list);
	return 0;
}

/* Has the driver, since the last reset, said how large the queue is, or where it lies?  Streams of
 * legacy devices do not tell. */
static bool is_set_up(const struct virtio_wire *w, const struct virtio_device *v, unsigned i)
{
	return v->legacy || w->regs[i].num || w->regs[i].enabled || w->queues[i].desc;
}

static int apply_queue(const struct virtio_wire *w, struct virtio_device *v, unsigned i,
		       struct err *err)
{
	const struct wire_queue *wq = &w->queues[i];
	const struct wire_regs *wr = &w->regs[i];
	struct virtio_queue_regs *r = &v->regs[i];
	struct virtq *q = &v->queues[i];

	/* No guest can write these; what it can write is judged when the queue is started. */
	if (!wq->num || wq->num > VIRTQ_MAX_NUM)
		return err_set(err, EINVAL, "%s: queue %u has %" PRIu32 " entries, not 1 to %d",
			       v->ops->name, i, wq->num, VIRTQ_MAX_NUM);
	/* A source may call an untouched queue larger than it is here; no driver relies on that. */
	q->num = is_set_up(w, v, i) ? wq->num : q->num_default;
	q->desc = wq->desc;
	q->avail = w->rings[i].avail;
	q->used = w->rings[i].used;
	q->last_avail = wq->last_avail;
	q->ready = wr->enabled;
	r->num = wr->num;
	r->enabled = wr->enabled;
	memcpy(r->desc, wr->desc, sizeof(r->desc));
	memcpy(r->avail, wr->avail, sizeof(r->avail));
	memcpy(r->used, wr->used, sizeof(r->used));
	q->used_idx_from_ring = true;
	if (v->legacy) {
		r->align = wq->align;
		virtio_legacy_place(q, wq->desc, virtio_queue_align(r));
	}
	return 0;
}

static int state_apply(const struct virtio_wire *w, struct virtio_device *v, struct err *err)
{
	v->features = w->features;
	for (unsigned i = 0; i < v->n_queues; i++) {
		int ret = apply_queue(w, v, i, err);

		if (ret < 0)
			return ret;
	}
	v->host_features_sel = w->host_features_sel;
	v->guest_features_sel = w->guest_features_sel;
	v->page_shift = w->page_shift;
	v->queue_sel = w->queue_sel;
	memcpy(v->guest_features, w->guest_features, sizeof(v->guest_features));
	if (v->legacy)
		v->guest_features[0] = (uint32_t)w->features;
	v->broken = w->broken;
	pthread_mutex_lock(&v->irq_lock);
	v->status = w->status;
	v->isr = w->isr;
	memcpy(v->config, w->config, v->config_bytes);
	pthread_mutex_unlock(&v->irq_lock);
	return 0;
}

static int state_load(void *dev, void *field, struct src *in, struct err *err)
{
	struct virtio_device *v = dev;
	CLEANUP(cleanup_free) struct virtio_wire *w = NEW(struct virtio_wire);
	int ret;

	(void)field;
	virtio_reset(v);
	ret = vms_load(&head, w, in, head.version, err);
	if (ret >= 0)
		ret = check_head(w, v, err);
	if (ret >= 0)
		ret = vms_load(&queues, w, in, queues.version, err);
	if (ret >= 0)
		ret = check_queues(w, v, err);
	if (ret < 0)
		return ret;
	/* The device's own table asks for them; the upper half comes later. */
	v->features = w->features_low;
	if (v->ops->body)
		ret = vms_load(v->ops->body, v, in, v->ops->body->version, err);
	if (ret >= 0)
		ret = vms_load(&tail, w, in, tail.version, err);
	if (!w->has_features)
		w->features = w->features_low;
	if (ret >= 0)
		ret = check_features(w, v, err);
	if (ret >= 0)
		ret = state_apply(w, v, err);
	if (ret >= 0 && v->ops->loaded)
		ret = v->ops->loaded(v, err);
	if (ret < 0)
		virtio_reset(v);
	return ret;
}

const struct vms_codec virtio_codec = {
    .json_type = "virtio", .save = state_save, .load = state_load};
