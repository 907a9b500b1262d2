/*
 * balloon.c - virtio-balloon (virtio 1.2, 5.5): its configuration, state and properties
 *
 * The host says how many pages are to be in the balloon (num_pages), the driver says how many
 * are (actual) and gives them up on a queue (balloon-queues.c).  Both numbers are the guest's
 * and the user's wishes: nothing here relies on them, and a reset keeps them, as in QEMU.
 *
 * Hints of free pages (free_page_hint_cmd_id):
 *
 *     balloon_hints_start()   a new id shows, and the driver answers with it  REQUESTED
 *     the driver's answer     its hints count                                 STARTED
 *     another id from it      it has no more                                  STOPPED
 *     balloon_hints_stop()    DONE shows: the driver uses its pages again     DONE
 */
#include "devices/virtio/balloon.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "devices/virtio/props.h"
#include "vmm/base/alloc.h"
#include "vmm/base/bytes.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"
#include "vmm/board.h"
#include "vmm/machine.h"
#include "vmm/options/config.h"
#include "vmm/vmstate.h"

#define QUEUE_NUM   128 /* inflate, deflate, stats */
#define HINTS_NUM   1024
#define REPORTS_NUM 32
#define MS_PER_S    1000U

/* Offsets in the configuration space */
#define CFG_NUM_PAGES  0
#define CFG_ACTUAL     4
#define CFG_CMD_ID     8
#define CFG_POISON_VAL 12
#define CFG_BYTES      16

/* ---- configuration: irq_lock held ---- */

static uint32_t shown_cmd_id(const struct balloon *b)
{
	if (b->hint_status == HINTS_REQUESTED)
		return b->cmd_id;
	return b->hint_status == HINTS_DONE ? BALLOON_CMD_DONE : BALLOON_CMD_STOP;
}

static void get_config(struct virtio_device *v, uint8_t *config)
{
	const struct balloon *b = to_balloon(v);

	put_le32(config + CFG_NUM_PAGES, b->num_pages);
	put_le32(config + CFG_ACTUAL, b->actual);
	put_le32(config + CFG_CMD_ID, shown_cmd_id(b));
	put_le32(config + CFG_POISON_VAL, b->poison_val);
}

static void set_config(struct virtio_device *v, const uint8_t *config)
{
	struct balloon *b = to_balloon(v);

	b->actual = get_le32(config + CFG_ACTUAL);
	b->poison_val = virtio_has(v, BALLOON_F_POISON) ? get_le32(config + CFG_POISON_VAL) : 0;
}

static void config_written(struct virtio_device *v)
{
	struct balloon *b = to_balloon(v);
	struct notification n = {.kind = NOTIFY_BALLOON_CHANGE,
				 .number = (int64_t)balloon_actual_bytes(b)};
	uint32_t actual;

	pthread_mutex_lock(&v->irq_lock);
	actual = b->actual;
	pthread_mutex_unlock(&v->irq_lock);
	if (actual == b->told)
		return;
	b->told = actual;
	notify_publish(&v->dev.m->notify, &n);
}

static void reset(struct virtio_device *v)
{
	struct balloon *b = to_balloon(v);

	pthread_mutex_lock(&v->irq_lock);
	b->hint_status = HINTS_STOPPED;
	b->poison_val = 0;
	pthread_mutex_unlock(&v->irq_lock);
}

/* ---- what others ask of it ---- */

uint64_t balloon_actual_bytes(struct balloon *b)
{
	uint64_t away;

	pthread_mutex_lock(&b->v.irq_lock);
	away = (uint64_t)b->actual * PAGE_BYTES;
	pthread_mutex_unlock(&b->v.irq_lock);
	return b->ram_bytes - MIN(away, b->ram_bytes);
}

void balloon_set_target(struct balloon *b, uint64_t bytes)
{
	uint64_t away = b->ram_bytes - MIN(bytes, b->ram_bytes);

	pthread_mutex_lock(&b->v.irq_lock);
	b->num_pages = (uint32_t)(away / PAGE_BYTES);
	pthread_mutex_unlock(&b->v.irq_lock);
	virtio_config_changed(&b->v);
}

bool balloon_hints_start(struct balloon *b, balloon_drop_fn *drop, void *opaque)
{
	bool can = b->v.started && virtio_has(&b->v, BALLOON_F_HINT);

	pthread_mutex_lock(&b->v.irq_lock);
	can = can && !b->poison_val;
	if (can) {
		b->drop = drop;
		b->drop_opaque = opaque;
		b->cmd_id = MAX(b->cmd_id + 1, BALLOON_CMD_FIRST);
		b->hint_status = HINTS_REQUESTED;
	}
	pthread_mutex_unlock(&b->v.irq_lock);
	if (can)
		virtio_config_changed(&b->v);
	return can;
}

void balloon_hints_stop(struct balloon *b)
{
	bool was;

	pthread_mutex_lock(&b->v.irq_lock);
	was = b->drop != NULL;
	b->drop = NULL;
	if (was)
		b->hint_status = HINTS_DONE;
	pthread_mutex_unlock(&b->v.irq_lock);
	if (was)
		virtio_config_changed(&b->v);
}

/* ---- statistics ---- */

struct balloon_stats balloon_stats(struct balloon *b)
{
	struct balloon_stats s;

	pthread_mutex_lock(&b->v.irq_lock);
	s = b->stats;
	pthread_mutex_unlock(&b->v.irq_lock);
	return s;
}

/* Main loop.  A period that begins with the answer would end with a driver that is reset. */
static void stats_due(void *opaque)
{
	struct balloon *b = opaque;

	balloon_ask_stats(b);
	loop_timer_arm_ms(b->timer, b->stats_interval_s * MS_PER_S);
}

/* ---- state (machine-microvm 3.7) ---- */

static bool has_hints(void *dev)
{
	return virtio_has(dev, BALLOON_F_HINT);
}

static bool has_poison(void *dev)
{
	return virtio_has(dev, BALLOON_F_POISON);
}

static const struct vms_field hint_fields[] = {
    VMS_U32(struct balloon, cmd_id, "free_page_hint_cmd_id"),
    VMS_U32(struct balloon, hint_status, "free_page_hint_status"),
    VMS_LAST,
};
static const struct vms_desc hints = {.name = "virtio-balloon-device/free-page-report",
				      .version = 1,
				      .min_version = 1,
				      .fields = hint_fields,
				      .needed = has_hints};

static const struct vms_field poison_fields[] = {
    VMS_U32(struct balloon, poison_val, "poison_val"),
    VMS_LAST,
};
static const struct vms_desc poison = {.name = "virtio-balloon-device/page-poison",
				       .version = 1,
				       .min_version = 1,
				       .fields = poison_fields,
				       .needed = has_poison};

static const struct vms_field body_fields[] = {
    VMS_U32(struct balloon, num_pages, "num_pages"),
    VMS_U32(struct balloon, actual, "actual"),
    VMS_LAST,
};
static const struct vms_desc body = {
    .name = "virtio-balloon-device",
    .version = 1,
    .min_version = 1,
    .fields = body_fields,
    .subs = (const struct vms_desc *const[]){&hints, &poison, NULL}
};

/* Nobody here waits for hints that the guest was giving to its source. */
static int loaded(struct virtio_device *v, struct err *err)
{
	struct balloon *b = to_balloon(v);

	if (b->hint_status > HINTS_DONE)
		return err_set(err, EINVAL, "%s: %" PRIu32 " is no state of free page hinting",
			       v->ops->name, b->hint_status);
	b->told = b->actual;
	return 0;
}

static const struct vms_field section_fields[] = {
    VMS_CUSTOM(struct virtio_device, dev, "virtio", &virtio_codec),
    VMS_LAST,
};
static const struct vms_desc section = {
    .name = "virtio-balloon", .version = 1, .min_version = 1, .fields = section_fields};

/* ---- creation ---- */

static const char *feature_name(unsigned bit)
{
	return props_feature_name(&virtio_balloon_row, bit);
}

static void destroy(struct virtio_device *v)
{
	loop_timer_free(to_balloon(v)->timer);
}

static const struct virtio_ops ops = {
    .device = VIRTIO_DEVICE_OPS("virtio-balloon-device"),
    .name = "virtio-balloon",
    .device_id = 5,
    .feature_name = feature_name,
    .legacy_features = VIRTIO_F_NOTIFY_ON_EMPTY | VIRTIO_F_ANY_LAYOUT,
    .get_config = get_config,
    .set_config = set_config,
    .config_written = config_written,
    .serve = balloon_serve,
    .start = balloon_start,
    .reset = reset,
    .destroy = destroy,
    .section = &section,
    .body = &body,
    .loaded = loaded,
};

struct balloon *balloon_find(struct machine *m)
{
	list_for_each (d, &m->devices, struct device, link) {
		struct virtio_device *v = virtio_from_device(d);

		if (v && v->ops == &ops)
			return to_balloon(v);
	}
	return NULL;
}

uint64_t balloon_stats_interval(const struct balloon *b)
{
	return b->stats_interval_s;
}

void balloon_set_stats_interval(struct balloon *b, uint64_t seconds)
{
	b->stats_interval_s = seconds;
	if (seconds)
		loop_timer_arm_ms(b->timer, seconds * MS_PER_S);
	else
		loop_timer_cancel(b->timer);
}

/* The drivers number the queues that there are: those not offered leave no gap. */
static void list_queues(struct balloon *b, uint16_t *sizes)
{
	unsigned n = 0;

	for (enum balloon_role r = BALLOON_INFLATE; r <= BALLOON_REPORTS; r++) {
		if ((r == BALLOON_HINTS && !(b->v.host_features & BALLOON_F_HINT)) ||
		    (r == BALLOON_REPORTS && !(b->v.host_features & BALLOON_F_REPORTING)))
			continue;
		sizes[n] = r == BALLOON_HINTS     ? HINTS_NUM
			   : r == BALLOON_REPORTS ? REPORTS_NUM
						  : QUEUE_NUM;
		b->roles[n++] = r;
	}
}

static uint32_t config_bytes(uint64_t features)
{
	if (features & BALLOON_F_POISON)
		return CFG_BYTES;
	return features & BALLOON_F_HINT ? CFG_POISON_VAL : CFG_CMD_ID;
}

static int balloon_create(struct machine *m, const struct cfg_device *cfg, unsigned slot,
			  struct backends *be, struct err *err)
{
	uint16_t sizes[VIRTIO_MAX_QUEUES] = {0};
	struct balloon *b;
	int ret;

	(void)be;
	if (balloon_find(m))
		return err_set(err, EEXIST, "%s: Only one balloon device is supported",
			       cfg->driver);
	b = NEW(struct balloon);
	b->v.host_features = props_features(cfg) | BALLOON_F_STATS_VQ;
	b->v.config_bytes = config_bytes(b->v.host_features);
	b->ram_bytes = m->mem.blocks[0]->bytes;
	b->cmd_id = BALLOON_CMD_FIRST;
	b->stats_interval_s = device_number(cfg, "guest-stats-polling-interval");
	memset(b->stats.v, 0xff, sizeof(b->stats.v));
	list_queues(b, sizes);
	ret = virtio_init(&b->v, m, &ops, cfg, slot, sizes, err);
	if (ret < 0) {
		virtio_fini(&b->v);
		free(b);
		return ret;
	}
	b->timer = loop_timer_new(m->loop, stats_due, b);
	if (b->stats_interval_s)
		loop_timer_arm_ms(b->timer, b->stats_interval_s * MS_PER_S);
	(void)virtio_board_add(&b->v);
	return 0;
}

static const struct opt_prop props[] = {
    DEVICE_FEATURE_OFF("deflate-on-oom", BALLOON_F_DEFLATE_ON_OOM,
		       "a guest short of memory may take pages out of the balloon"),
    DEVICE_FEATURE_OFF("free-page-hint", BALLOON_F_HINT,
		       "the guest says which pages are free, and precopy leaves them out"),
    DEVICE_FEATURE("page-poison", BALLOON_F_POISON,
		   "the guest says which pattern its free pages hold"),
    DEVICE_FEATURE_OFF("free-page-reporting", BALLOON_F_REPORTING,
		       "the guest says which pages are free, and they go back to the host"),
    DEVICE_NUMBER("guest-stats-polling-interval", 0, UINT32_MAX, "0",
		  "seconds between two questions for the guest's statistics; 0: none"),
    PROP_REFUSED("iothread", "queues have an I/O thread; leave it out"),
    DEVICE_FIXED("qemu-4-0-config-size", "off", "the size is that of the features offered",
		 "a configuration space of 16 bytes"),
    VIRTIO_PROPS,
};

const struct device_row virtio_balloon_row = {
    .name = "virtio-balloon-device",
    .kind = DEVICE_VIRTIO,
    .help = "memory that the guest gives back to the host",
    .props = props,
    .create = balloon_create,
};
