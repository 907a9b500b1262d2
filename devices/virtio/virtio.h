/*
 * virtio.h - what all virtio devices have in common
 *
 * A device embeds struct virtio_device first and gives it a const struct
 * virtio_ops.  The transport (mmio.c) answers the driver's register accesses
 * on vCPU threads; the life of the queues (virtio.c) is: the driver sets
 * DRIVER_OK, or a paused machine goes on -> virtio_start() -> the queues are
 * served on the I/O loop -> reset or pause -> the device is asked to stop, and
 * is idle some time later.  Start and stop are posts to the I/O loop, which
 * runs them in their order; no thread waits for a start, and a thread that waits for a
 * stop gives the machine lock up, for the I/O loop may wait for guest memory or a
 * disk.  Unless the device is idle the fields marked so belong to the I/O
 * loop.
 */
#ifndef MINIVMM_DEVICES_VIRTIO_VIRTIO_H
#define MINIVMM_DEVICES_VIRTIO_VIRTIO_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "devices/virtio/queue.h"
#include "vmm/device.h"
#include "vmm/loop.h"

struct board_device;
struct cfg_device;
struct err;
struct loop_fd;
struct machine;
struct virtio_device;
struct vms_codec;
struct vms_desc;

#define VIRTIO_MAX_QUEUES   64 /* virtio-serial with 31 ports */
#define VIRTIO_CONFIG_BYTES 64

/* Device status bits (virtio 1.2, 2.1) */
#define VIRTIO_STATUS_ACKNOWLEDGE 0x01
#define VIRTIO_STATUS_DRIVER      0x02
#define VIRTIO_STATUS_DRIVER_OK   0x04
#define VIRTIO_STATUS_FEATURES_OK 0x08
#define VIRTIO_STATUS_NEEDS_RESET 0x40
#define VIRTIO_STATUS_FAILED      0x80

/* InterruptStatus bits */
#define VIRTIO_ISR_QUEUE  1
#define VIRTIO_ISR_CONFIG 2

#define VIRTIO_BIT(n) (1ULL << (n))
/* Features of every device here */
#define VIRTIO_F_INDIRECT_DESC VIRTIO_BIT(28)
#define VIRTIO_F_EVENT_IDX     VIRTIO_BIT(29)
#define VIRTIO_F_VERSION_1     VIRTIO_BIT(32)
#define VIRTIO_F_RING_RESET    VIRTIO_BIT(40)
/* Features of legacy devices only */
#define VIRTIO_F_NOTIFY_ON_EMPTY VIRTIO_BIT(24)
#define VIRTIO_F_ANY_LAYOUT      VIRTIO_BIT(27)
#define VIRTIO_LEGACY_ALIGN      4096U
#define VIRTIO_FEATURES_COMMON                                                                     \
	(VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX | VIRTIO_F_VERSION_1 | VIRTIO_F_RING_RESET)

struct virtio_ops {
	struct device_ops device; /* VIRTIO_DEVICE_OPS("virtio-blk-device") */
	const char *name;         /* "virtio-blk": section name, board entry, messages */
	uint32_t device_id;       /* virtio 1.2, 5 */
	/* The property that offers a feature, NULL: none does. */
	const char *(*feature_name)(unsigned bit);
	/* Fill config[] with what the driver reads; irq_lock held.  NULL: no config space. */
	void (*get_config)(struct virtio_device *v, uint8_t *config);
	/* The driver has written config[]; machine lock, irq_lock held.  May be NULL. */
	void (*set_config)(struct virtio_device *v, const uint8_t *config);
	/* The same after irq_lock has been given up, for what needs the machine lock alone.  May be
	 * NULL. */
	void (*config_written)(struct virtio_device *v);
	/* Machine lock, queues not served: the driver has accepted v->features.  May be NULL. */
	void (*negotiated)(struct virtio_device *v);
	/* I/O loop: chains may be available in queue q. */
	void (*serve)(struct virtio_device *v, unsigned q);
	/* I/O loop: v->features are final, the queues are mapped; before the first serve.  May be
	 * NULL. */
	void (*start)(struct virtio_device *v);
	/* I/O loop: take no new work; requests in flight may still complete.  May be NULL. */
	void (*stop)(struct virtio_device *v);
	/* Machine lock, queues not served: the driver reset the device.  May be NULL. */
	void (*reset)(struct virtio_device *v);
	/* Machine lock: the guest has moved here.  May be NULL. */
	void (*arrived)(struct virtio_device *v);
	/* Free what the device owns, not the struct.  May be NULL. */
	void (*destroy)(struct virtio_device *v);
	/* What a legacy transport offers besides. */
	uint64_t legacy_features;
	/* State: version and the device's own part after the queues (machine-microvm 3.7). */
	const struct vms_desc *section; /* the whole section; its one field is virtio_codec */
	const struct vms_desc *body;    /* the device class data, over the device; NULL: none */
	/* Machine lock: v->features and the body have been loaded; is it so that one fits the
	 * other?  May be NULL. */
	int (*loaded)(struct virtio_device *v, struct err *err);
};

struct virtio_kick {
	struct virtio_device *v;
	unsigned q;
	int fd;                /* eventfd behind QueueNotify, -1: none */
	struct loop_fd *watch; /* I/O loop; while served */
	bool posted;           /* atomic: a post to the I/O loop is under way */
};

/* What the driver wrote to the queue registers of the transport. */
struct virtio_queue_regs {
	uint16_t num;
	bool enabled;
	uint32_t desc[2], avail[2], used[2]; /* low, high */
	uint32_t align;                      /* legacy; 0: VIRTIO_LEGACY_ALIGN */
};

struct virtio_device {
	struct device dev; /* first */
	/* set at creation and then constant */
	const struct virtio_ops *ops;
	bool legacy; /* behind a transport of version 1 */
	unsigned slot, gsi;
	uint64_t base;
	uint64_t host_features;
	uint64_t rare_features;    /* those of them that QEMU 7.2 and some hosts do not offer */
	uint64_t host_features_64; /* bits 64 to 127, which no driver sees behind virtio-mmio */
	uint32_t config_bytes;
	unsigned n_queues;
	uint16_t sizes[VIRTIO_MAX_QUEUES]; /* of the queues, as the device has them */
	/* machine lock */
	uint32_t host_features_sel, guest_features_sel; /* 0 or 1 */
	uint32_t guest_features[2];
	uint32_t page_shift; /* a legacy driver's, less than 32 */
	uint16_t queue_sel;
	struct virtio_queue_regs regs[VIRTIO_MAX_QUEUES];
	bool paused;     /* the machine is; true at creation */
	bool started;    /* the I/O loop has been told to serve the queues, and not to stop */
	unsigned warned; /* I/O loop: how often a driver's mistake was logged */
	/* irq_lock: a leaf (vmm/machine.h), taken by any thread */
	pthread_mutex_t irq_lock;
	uint8_t status, isr;
	uint32_t generation;
	uint8_t config[VIRTIO_CONFIG_BYTES]; /* as the driver last saw it */
	unsigned posts; /* stops and the like that the I/O loop has not seen yet */
	bool idle;      /* none, nothing is served, no request is in flight */
	int idle_fd;    /* constant; eventfd: readable while idle */
	/* machine lock while idle, else I/O loop */
	uint64_t features;
	struct virtq queues[VIRTIO_MAX_QUEUES];
	struct virtio_kick kicks[VIRTIO_MAX_QUEUES];
	bool serving;            /* new work may be taken */
	bool broken;             /* a ring was malformed: silent until reset */
	unsigned in_flight;      /* requests taken and not completed */
	struct virtq_elem *elem; /* scratch for virtio_pop() */
};

static inline bool virtio_has(const struct virtio_device *v, uint64_t feature)
{
	return (v->features & feature) == feature;
}

/*
 * Set up a device behind transport 'slot' with these queue sizes (0 ends the
 * list), unless virtio-mmio.x-override-queue-size says others; the caller has filled host_features
 * and config_bytes.  Adds its registers to the bus, its state to the registry, itself to the
 * machine, after which the machine destroys it; on failure the caller still owns it and calls
 * virtio_fini().
 */
int virtio_init(struct virtio_device *v, struct machine *m, const struct virtio_ops *ops,
		const struct cfg_device *cfg, unsigned slot, const uint16_t *queue_sizes,
		struct err *err);
/* Undo what virtio_init() did before it failed. */
void virtio_fini(struct virtio_device *v);

/* ---- the transport's side: machine lock ---- */
/* Serve the queues if the driver is ready and the machine runs; else nothing happens. */
void virtio_start(struct virtio_device *v);
/*
 * Returns 0 when the device is idle and not started.  Gives the machine lock
 * up while it waits, so that another vCPU may have written registers.
 * -ECANCELED: the program ends, and the device must be left alone.
 */
int virtio_stop(struct virtio_device *v);
/* Status 0: everything the driver did is forgotten.  As virtio_stop(). */
int virtio_reset(struct virtio_device *v);
/* The driver kicked queue q by a register write that no eventfd caught. */
void virtio_notified(struct virtio_device *v, unsigned q);
void virtio_ack(struct virtio_device *v, uint32_t isr);
uint8_t virtio_status(struct virtio_device *v);
void virtio_status_set(struct virtio_device *v, uint8_t status);
/* Raise or lower the line as isr says: after a load. */
void virtio_irq_sync(struct virtio_device *v);

/* ---- the device's side: I/O loop ---- */
/* As virtq_pop() into v->elem; a malformed ring breaks the device and is reported as "none". */
bool virtio_pop(struct virtio_device *v, unsigned q);
/*
 * Take chains until there are none, at most a ring full of them, and give each
 * to one() in v->elem; false from it: stop, without asking for kicks.
 * Interrupts the guest for what was completed meanwhile.
 */
void virtio_serve_all(struct virtio_device *v, unsigned q, bool (*one)(struct virtio_device *v));
/* Come back to queue q soon. */
void virtio_again(struct virtio_device *v, unsigned q);
/* Complete a chain, telling the driver that the first 'written' bytes of what it lets the device
 * write have changed.  A broken device completes nothing. */
void virtio_push(struct virtio_device *v, unsigned q, const struct virtq_elem *e, uint64_t written);
/* Interrupt the guest if its driver asked for it on completions in queue q. */
void virtio_interrupt(struct virtio_device *v, unsigned q);
/* Mark the device as needing a reset; 'why' goes to the log. */
void virtio_fail(struct virtio_device *v, const char *why);
/* A request outlives serve(); until it is done the device is not idle. */
void virtio_request_begin(struct virtio_device *v);
void virtio_request_end(struct virtio_device *v);

/* Machine lock: have fn(opaque) run on the I/O loop; the device is not idle until it has called
 * virtio_posted_seen(). */
void virtio_post(struct virtio_device *v, loop_fn *fn, void *opaque);
void virtio_posted_seen(struct virtio_device *v);

/* Any thread: the config space has changed; takes irq_lock. */
void virtio_config_changed(struct virtio_device *v);

/* ---- between the files of this folder ---- */
#define VIRTIO_DEVICE_OPS(driver, ...)                                                             \
	{                                                                                          \
		.name = (driver), .reset = virtio_device_reset, .pause = virtio_device_pause,      \
		.busy_fd = virtio_device_busy_fd, .resume = virtio_device_resume,                  \
		.arrived = virtio_device_arrived, .destroy = virtio_device_destroy, ##__VA_ARGS__  \
	}
void virtio_device_reset(struct device *d);
void virtio_device_pause(struct device *d);
int virtio_device_busy_fd(struct device *d);
void virtio_device_resume(struct device *d);
void virtio_device_arrived(struct device *d);
void virtio_device_destroy(struct device *d);
/* The virtio device that d is, or NULL. */
struct virtio_device *virtio_from_device(struct device *d);
/* A board entry with the slot's place and what all have; the device adds its own properties, after
 * virtio_init().  NULL: the board is full. */
struct board_device *virtio_board_add(struct virtio_device *v);
extern const struct vms_codec virtio_codec; /* over a whole virtio device (state.c) */
/* Where a legacy device's rings are, of a queue whose num is known; desc 0: nowhere, not ready. */
void virtio_legacy_place(struct virtq *q, uint64_t desc, uint32_t align);
static inline uint32_t virtio_queue_align(const struct virtio_queue_regs *r)
{
	return r->align ? r->align : VIRTIO_LEGACY_ALIGN;
}
/* Put the registers on the bus (mmio.c). */
int virtio_mmio_add(struct virtio_device *v, struct machine *m, struct err *err);

#endif
