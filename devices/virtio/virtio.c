/*
 * virtio.c - the life of a virtio device's queues: start, serve, stop, break, interrupt
 *
 * The machine's side posts what it wants to the I/O loop: start_on_io() after
 * stop_on_io() as often as the guest likes.  'posts' counts what the I/O loop
 * has not come to yet, 'in_flight' what a disk has not finished: only when both
 * are zero and nothing is served may the queues be touched elsewhere.  A stop
 * that is taken back (the pause was cancelled) finds its requests where they
 * were: they complete into the queues they came from.
 */
#include "devices/virtio/virtio.h"

#include <errno.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "vmm/base/log.h"
#include "vmm/base/wake.h"
#include "vmm/loop.h"
#include "vmm/machine.h"

#define QUEUE_NOTIFY 0x50 /* offset of the register that the eventfds stand for */
#define MAX_WARNINGS 10   /* a guest may break its rings for ever; the log is finite */

/* ---- interrupts and configuration: any thread ---- */

static void raise_locked(struct virtio_device *v, uint8_t bits)
{
	bool was = v->isr != 0;

	v->isr |= bits;
	if (!was)
		machine_irq(v->dev.m, v->gsi, true);
}

void virtio_ack(struct virtio_device *v, uint32_t isr)
{
	pthread_mutex_lock(&v->irq_lock);
	if (v->isr) {
		v->isr &= (uint8_t)~isr;
		if (!v->isr)
			machine_irq(v->dev.m, v->gsi, false);
	}
	pthread_mutex_unlock(&v->irq_lock);
}

void virtio_irq_sync(struct virtio_device *v)
{
	pthread_mutex_lock(&v->irq_lock);
	machine_irq(v->dev.m, v->gsi, v->isr != 0);
	pthread_mutex_unlock(&v->irq_lock);
}

void virtio_config_changed(struct virtio_device *v)
{
	pthread_mutex_lock(&v->irq_lock);
	v->generation++;
	if (v->status & VIRTIO_STATUS_DRIVER_OK)
		raise_locked(v, VIRTIO_ISR_CONFIG);
	pthread_mutex_unlock(&v->irq_lock);
}

uint8_t virtio_status(struct virtio_device *v)
{
	uint8_t status;

	pthread_mutex_lock(&v->irq_lock);
	status = v->status;
	pthread_mutex_unlock(&v->irq_lock);
	return status;
}

void virtio_status_set(struct virtio_device *v, uint8_t status)
{
	pthread_mutex_lock(&v->irq_lock);
	/* Only a reset takes this one away. */
	v->status = status | (v->status & VIRTIO_STATUS_NEEDS_RESET);
	pthread_mutex_unlock(&v->irq_lock);
}

/* ---- the device's side: I/O loop ---- */

void virtio_fail(struct virtio_device *v, const char *why)
{
	if (v->broken)
		return;
	if (v->warned++ < MAX_WARNINGS)
		log_warn("%s at slot %u needs a reset by its driver: %s", v->ops->name, v->slot,
			 why);
	v->broken = true;
	v->serving = false;
	if (v->legacy) /* it has no such status: the device is silent */
		return;
	pthread_mutex_lock(&v->irq_lock);
	v->status |= VIRTIO_STATUS_NEEDS_RESET;
	pthread_mutex_unlock(&v->irq_lock);
	virtio_config_changed(v);
}

static void queue_fail(struct virtio_device *v, unsigned q)
{
	char why[160];

	(void)snprintf(why, sizeof(why), "queue %u: %s", q, v->queues[q].why);
	virtio_fail(v, why);
}

bool virtio_pop(struct virtio_device *v, unsigned q)
{
	int got = v->serving ? virtq_pop(&v->queues[q], v->elem) : 0;

	if (got < 0)
		queue_fail(v, q);
	return got > 0;
}

void virtio_push(struct virtio_device *v, unsigned q, const struct virtq_elem *e, uint64_t written)
{
	if (!v->broken)
		virtq_push(&v->queues[q], e->head, (uint32_t)written);
}

void virtio_interrupt(struct virtio_device *v, unsigned q)
{
	if (v->broken || !virtq_should_interrupt(&v->queues[q]))
		return;
	pthread_mutex_lock(&v->irq_lock);
	raise_locked(v, VIRTIO_ISR_QUEUE);
	pthread_mutex_unlock(&v->irq_lock);
}

/* One round of virtio_serve_all(). */
static void serve_round(struct virtio_device *v, unsigned q, bool (*one)(struct virtio_device *v))
{
	struct virtq *vq = &v->queues[q];
	unsigned budget = vq->num;

	do {
		virtq_quiet(vq);
		while (budget > 0 && virtio_pop(v, q)) {
			budget--;
			if (!one(v))
				return;
		}
		if (!v->serving)
			return;
		if (!budget) { /* let the loop's other users have their turn */
			virtio_again(v, q);
			return;
		}
	} while (virtq_listen(vq));
}

void virtio_serve_all(struct virtio_device *v, unsigned q, bool (*one)(struct virtio_device *v))
{
	uint16_t used = v->queues[q].used_idx;

	serve_round(v, q, one);
	if (v->queues[q].used_idx != used)
		virtio_interrupt(v, q);
}

/* Wake the waiting thread if the device is idle now.  I/O loop. */
static void check_idle(struct virtio_device *v)
{
	if (v->in_flight || v->serving)
		return;
	pthread_mutex_lock(&v->irq_lock);
	if (!v->posts && !v->idle) {
		v->idle = true;
		wake_set(v->idle_fd);
	}
	pthread_mutex_unlock(&v->irq_lock);
}

void virtio_request_begin(struct virtio_device *v)
{
	v->in_flight++;
}

void virtio_request_end(struct virtio_device *v)
{
	v->in_flight--;
	check_idle(v);
}

/* ---- kicks ---- */

static void serve_kick(struct virtio_kick *k)
{
	struct virtio_device *v = k->v;

	if (v->serving && v->queues[k->q].mem)
		v->ops->serve(v, k->q);
}

static void kick_posted(void *opaque)
{
	struct virtio_kick *k = opaque;

	__atomic_store_n(&k->posted, false, __ATOMIC_SEQ_CST);
	serve_kick(k);
}

static void kick_ready(void *opaque, int ready)
{
	struct virtio_kick *k = opaque;

	(void)ready;
	wake_clear(k->fd);
	serve_kick(k);
}

void virtio_again(struct virtio_device *v, unsigned q)
{
	struct virtio_kick *k = &v->kicks[q];

	if (!__atomic_exchange_n(&k->posted, true, __ATOMIC_SEQ_CST))
		loop_post(v->dev.m->io, kick_posted, k);
}

void virtio_notified(struct virtio_device *v, unsigned q)
{
	if (v->started && q < v->n_queues)
		virtio_again(v, q);
}

/* Let KVM turn writes of q to QueueNotify into an eventfd; 0, or -errno: they come as exits then.
 */
static int ioeventfd(struct virtio_kick *k, bool assign)
{
	struct virtio_device *v = k->v;
	struct kvm_ioeventfd req = {
	    .addr = v->base + QUEUE_NOTIFY,
	    .len = sizeof(uint32_t),
	    .datamatch = k->q,
	    .fd = k->fd,
	    .flags =
		KVM_IOEVENTFD_FLAG_DATAMATCH | (assign ? 0 : (uint32_t)KVM_IOEVENTFD_FLAG_DEASSIGN),
	};

	return ioctl(v->dev.m->vm_fd, KVM_IOEVENTFD, &req) < 0 ? -errno : 0;
}

static void kick_close(struct virtio_kick *k)
{
	if (k->fd < 0)
		return;
	(void)ioeventfd(k, false);
	(void)close(k->fd);
	k->fd = -1;
}

static void kick_open(struct virtio_kick *k)
{
	if (k->fd >= 0 || k->v->dev.m->vm_fd < 0)
		return;
	k->fd = wake_open();
	if (k->fd >= 0 && ioeventfd(k, true) < 0) {
		(void)close(k->fd);
		k->fd = -1;
	}
}

/* ---- start and stop ---- */

void virtio_post(struct virtio_device *v, loop_fn *fn, void *opaque)
{
	pthread_mutex_lock(&v->irq_lock);
	v->posts++;
	v->idle = false;
	wake_clear(v->idle_fd);
	pthread_mutex_unlock(&v->irq_lock);
	loop_post(v->dev.m->io, fn, opaque);
}

void virtio_posted_seen(struct virtio_device *v)
{
	pthread_mutex_lock(&v->irq_lock);
	v->posts--;
	pthread_mutex_unlock(&v->irq_lock);
	check_idle(v);
}

static void serve_from_now(struct virtio_device *v)
{
	struct machine *m = v->dev.m;

	v->serving = !v->broken;
	for (unsigned i = 0; i < v->n_queues; i++) {
		struct virtq *q = &v->queues[i];

		q->mem = NULL;
		if (v->serving && q->ready &&
		    virtq_map(q, &m->mem, virtio_has(v, VIRTIO_F_EVENT_IDX),
			      virtio_has(v, VIRTIO_F_INDIRECT_DESC)) < 0)
			queue_fail(v, i);
		q->notify_on_empty = virtio_has(v, VIRTIO_F_NOTIFY_ON_EMPTY);
	}
	if (!v->serving)
		return;
	if (v->ops->start)
		v->ops->start(v);
	for (unsigned i = 0; i < v->n_queues; i++) {
		struct virtio_kick *k = &v->kicks[i];

		if (k->fd >= 0 && v->queues[i].mem)
			k->watch = loop_fd_add(m->io, k->fd, LOOP_READABLE, kick_ready, k);
		/* Kicks from before are lost or stale: look at the rings. */
		serve_kick(k);
	}
}

static void start_on_io(void *opaque)
{
	serve_from_now(opaque);
	virtio_posted_seen(opaque);
}

static void stop_on_io(void *opaque)
{
	struct virtio_device *v = opaque;

	v->serving = false;
	for (unsigned i = 0; i < v->n_queues; i++) {
		loop_fd_del(v->kicks[i].watch);
		v->kicks[i].watch = NULL;
		virtq_suspend(&v->queues[i]);
	}
	if (v->ops->stop)
		v->ops->stop(v);
	virtio_posted_seen(v);
}

void virtio_start(struct virtio_device *v)
{
	uint8_t status = virtio_status(v);

	if (v->started || v->paused || !(status & VIRTIO_STATUS_DRIVER_OK))
		return;
	if (!v->legacy &&
	    (!(status & VIRTIO_STATUS_FEATURES_OK) || !virtio_has(v, VIRTIO_F_VERSION_1))) {
		virtio_fail(v, "DRIVER_OK came without features that were agreed on");
		return;
	}
	for (unsigned i = 0; i < v->n_queues; i++)
		if (v->queues[i].ready)
			kick_open(&v->kicks[i]);
	v->started = true;
	virtio_post(v, start_on_io, v);
}

static void stop_begin(struct virtio_device *v)
{
	if (!v->started)
		return;
	v->started = false;
	virtio_post(v, stop_on_io, v);
}

static bool is_idle(struct virtio_device *v)
{
	bool idle;

	pthread_mutex_lock(&v->irq_lock);
	idle = v->idle;
	pthread_mutex_unlock(&v->irq_lock);
	return idle;
}

int virtio_stop(struct virtio_device *v)
{
	int ret = 0;

	/* While it waits another vCPU may start the device again. */
	while (ret == 0 && (v->started || !is_idle(v))) {
		stop_begin(v);
		ret = machine_wait(v->dev.m, v->idle_fd, -1);
	}
	return ret;
}

int virtio_reset(struct virtio_device *v)
{
	int ret = virtio_stop(v);

	if (ret < 0)
		return ret;
	for (unsigned i = 0; i < v->n_queues; i++) {
		kick_close(&v->kicks[i]);
		virtq_reset(&v->queues[i]);
		v->regs[i] = (struct virtio_queue_regs){0};
	}
	v->guest_features[0] = v->guest_features[1] = 0;
	v->features = 0;
	v->queue_sel = 0;
	v->broken = false;
	pthread_mutex_lock(&v->irq_lock);
	v->status = 0;
	v->isr = 0;
	machine_irq(v->dev.m, v->gsi, false);
	pthread_mutex_unlock(&v->irq_lock);
	if (v->ops->reset)
		v->ops->reset(v);
	return 0;
}

/* ---- as a device of the machine ---- */

static struct virtio_device *to_virtio(struct device *d)
{
	return container_of(d, struct virtio_device, dev);
}

void virtio_device_reset(struct device *d)
{
	struct virtio_device *v = to_virtio(d);

	(void)virtio_reset(v); /* the machine is paused: nothing to wait for */
	v->host_features_sel = v->guest_features_sel = 0;
	v->page_shift = 0;
}

void virtio_device_pause(struct device *d)
{
	struct virtio_device *v = to_virtio(d);

	v->paused = true;
	stop_begin(v);
}

int virtio_device_busy_fd(struct device *d)
{
	struct virtio_device *v = to_virtio(d);

	return is_idle(v) ? -1 : v->idle_fd;
}

void virtio_device_resume(struct device *d)
{
	struct virtio_device *v = to_virtio(d);

	v->paused = false;
	virtio_irq_sync(v);
	virtio_start(v);
}

void virtio_device_arrived(struct device *d)
{
	struct virtio_device *v = to_virtio(d);

	if (v->ops->arrived)
		v->ops->arrived(v);
}

static void nothing(void *opaque)
{
	(void)opaque;
}

void virtio_fini(struct virtio_device *v)
{
	(void)virtio_stop(v);
	for (unsigned i = 0; i < VIRTIO_MAX_QUEUES; i++)
		kick_close(&v->kicks[i]);
	/* A kick may still be posted; this one runs after it. */
	loop_call(v->dev.m->io, nothing, NULL);
	free(v->elem);
	if (v->idle_fd >= 0)
		(void)close(v->idle_fd);
	pthread_mutex_destroy(&v->irq_lock);
}

void virtio_device_destroy(struct device *d)
{
	struct virtio_device *v = to_virtio(d);

	(void)virtio_stop(v); /* machine_end() has waited: it is idle */
	if (v->ops->destroy)
		v->ops->destroy(v);
	virtio_fini(v);
	free(v);
}

struct virtio_device *virtio_from_device(struct device *d)
{
	return d->ops->reset == virtio_device_reset ? to_virtio(d) : NULL;
}
