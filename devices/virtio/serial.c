/*
 * serial.c - the virtio-serial device: its control queues, its ports, its configuration
 *
 * A driver that takes MULTIPORT is told of every port, asks for what there is
 * to know of it, and says when it opens one; another has port 0 alone, always
 * open.  What is to be said stands in the ports as flags until the driver
 * gives a buffer for it, so a driver that gives none makes nothing grow.
 */
#include "devices/virtio/serial.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "devices/chardev/chardev.h"
#include "devices/virtio/props.h"
#include "devices/virtio/virtio-devices.h"
#include "vmm/base/alloc.h"
#include "vmm/base/bytes.h"
#include "vmm/base/error.h"
#include "vmm/base/iov.h"
#include "vmm/base/log.h"
#include "vmm/base/wake.h"
#include "vmm/machine.h"

#define CONTROL_BYTES    8 /* le32 port, le16 event, le16 value */
#define CONFIG_MAX_PORTS 4 /* behind le16 columns and rows, which are 0 */

/* virtio 1.2, 5.3.6.2 */
enum control_event {
	EV_DEVICE_READY,
	EV_PORT_ADD,
	EV_PORT_REMOVE,
	EV_PORT_READY,
	EV_CONSOLE_PORT,
	EV_RESIZE,
	EV_PORT_OPEN,
	EV_PORT_NAME,
};

struct vser_port *vser_find_port(const struct vser *s, uint32_t id)
{
	for (unsigned i = 0; i < s->n_ports; i++)
		if (s->ports[i]->id == id)
			return s->ports[i];
	return NULL;
}

/* ---- what the guest is told: I/O loop ---- */

/* False: the driver has no buffer for it now. */
static bool say(const struct vser_port *p, enum control_event event, uint16_t value,
		const char *text)
{
	struct virtio_device *v = &p->s->v;
	uint8_t msg[CONTROL_BYTES + VSER_MAX_NAME + 1];
	size_t n = CONTROL_BYTES;

	put_le32(msg, p->id);
	put_le16(msg + 4, (uint16_t)event);
	put_le16(msg + 6, value);
	if (text) {
		memcpy(msg + n, text, strlen(text) + 1);
		n += strlen(text) + 1;
	}
	if (!virtio_pop(v, VSER_CONTROL_IN))
		return false;
	virtio_push(v, VSER_CONTROL_IN, v->elem, virtq_elem_write(v->elem, 0, msg, n));
	return true;
}

static bool say_if(bool *flag, const struct vser_port *p, enum control_event event,
		   const char *text)
{
	if (*flag && !say(p, event, 1, text))
		return false;
	*flag = false;
	return true;
}

/* A peer that has left and come again is told as such. */
static bool say_open(struct vser_port *p)
{
	struct vser *s = p->s;
	bool open, away;

	pthread_mutex_lock(&s->lock);
	open = p->host_open;
	away = p->reopened || !open;
	pthread_mutex_unlock(&s->lock);
	if (!p->ready)
		return true;
	if (p->told_open && away) {
		if (!say(p, EV_PORT_OPEN, 0, NULL))
			return false;
		p->told_open = false;
	}
	pthread_mutex_lock(&s->lock);
	p->reopened = false;
	open = p->host_open;
	pthread_mutex_unlock(&s->lock);
	if (open && !p->told_open) {
		if (!say(p, EV_PORT_OPEN, 1, NULL))
			return false;
		p->told_open = true;
	}
	return true;
}

static bool say_all(struct vser *s)
{
	for (unsigned i = 0; i < s->n_ports; i++)
		if (!say_if(&s->ports[i]->say_add, s->ports[i], EV_PORT_ADD, NULL))
			return false;
	for (unsigned i = 0; i < s->n_ports; i++) {
		struct vser_port *p = s->ports[i];

		if (!say_if(&p->say_console, p, EV_CONSOLE_PORT, NULL) ||
		    !say_if(&p->say_name, p, EV_PORT_NAME, p->name) || !say_open(p))
			return false;
	}
	return true;
}

static void control_in(struct vser *s)
{
	struct virtio_device *v = &s->v;
	struct virtq *q = &v->queues[VSER_CONTROL_IN];
	uint16_t used = q->used_idx;

	if (!v->serving || !q->mem || !virtio_has(v, VSER_F_MULTIPORT))
		return;
	virtq_quiet(q);
	/* Kicks are of interest only while something is left to say. */
	while (!say_all(s) && v->serving && virtq_listen(q))
		;
	if (q->used_idx != used)
		virtio_interrupt(v, VSER_CONTROL_IN);
}

/* ---- what the guest says: I/O loop ---- */

static void complain(struct vser *s, const char *what, uint32_t id)
{
	if (s->v.warned++ < 10)
		log_warn("virtio-console at slot %u: %s %u", s->v.slot, what, id);
}

static void port_ready(struct vser_port *p)
{
	p->ready = true;
	p->say_console = p->console;
	p->say_name = p->name != NULL;
	p->told_open = false;
}

static void control_message(struct vser *s, const uint8_t *msg)
{
	uint32_t id = get_le32(msg);
	uint16_t event = get_le16(msg + 4), value = get_le16(msg + 6);
	struct vser_port *p = vser_find_port(s, id);

	if (event == EV_DEVICE_READY) {
		for (unsigned i = 0; value && i < s->n_ports; i++)
			s->ports[i]->say_add = true;
		if (!value)
			complain(s, "the guest could not set up the device; status", value);
		return;
	}
	if (!p) {
		complain(s, "the guest speaks of a port that is not there:", id);
		return;
	}
	switch (event) {
	case EV_PORT_READY:
		if (value)
			port_ready(p);
		else
			complain(s, "the guest could not set up port", id);
		break;
	case EV_PORT_OPEN:
		vser_port_guest_open(p, value != 0);
		break;
	default:
		break;
	}
}

static bool control_out_one(struct virtio_device *v)
{
	uint8_t msg[CONTROL_BYTES];

	if (iov_read(v->elem->out, v->elem->n_out, 0, msg, sizeof(msg)) == sizeof(msg) &&
	    virtio_has(v, VSER_F_MULTIPORT)) {
		/* The answers need v->elem. */
		virtio_push(v, VSER_CONTROL_OUT, v->elem, 0);
		control_message(to_vser(v), msg);
		return true;
	}
	virtio_push(v, VSER_CONTROL_OUT, v->elem, 0);
	return true;
}

/* ---- queues: I/O loop ---- */

static bool swallow(struct virtio_device *v, unsigned q)
{
	if (!virtio_pop(v, q))
		return false;
	virtio_push(v, q, v->elem, 0);
	return true;
}

/* Nothing is at the other end of the queue. */
static void no_port(struct virtio_device *v, unsigned q)
{
	struct virtq *vq = &v->queues[q];
	uint16_t used = vq->used_idx;

	if (!(q & 1))
		return;
	for (unsigned n = vq->num; n > 0 && swallow(v, q); n--)
		;
	if (v->serving && virtq_listen(vq))
		virtio_again(v, q);
	if (vq->used_idx != used)
		virtio_interrupt(v, q);
}

static void vser_serve(struct virtio_device *v, unsigned q)
{
	struct vser *s = to_vser(v);
	struct vser_port *p = vser_find_port(s, q < 2 ? 0 : q / 2 - 1);

	if (q == VSER_CONTROL_IN || q == VSER_CONTROL_OUT) {
		if (q == VSER_CONTROL_OUT)
			virtio_serve_all(v, q, control_out_one);
		control_in(s);
	} else if (!p) {
		no_port(v, q);
	} else if (q == p->in_queue) {
		vser_port_input(p);
	} else {
		vser_port_output(p);
	}
}

static void vser_start(struct virtio_device *v)
{
	struct vser *s = to_vser(v);
	struct vser_port *first = vser_find_port(s, 0);

	for (unsigned i = 0; i < s->n_ports; i++)
		vser_port_start(s->ports[i]);
	/* Such a driver cannot say that it opens its port. */
	if (first && !virtio_has(v, VSER_F_MULTIPORT))
		vser_port_guest_open(first, true);
	vser_wake_main(s);
}

/* ---- the main loop's side ---- */

void vser_wake_main(struct vser *s)
{
	wake_set(s->wake_fd);
}

static void pump_all(void *opaque)
{
	struct vser *s = opaque;

	for (unsigned i = 0; i < s->n_ports; i++)
		vser_port_pump(s->ports[i]);
}

static void woken(void *opaque, int ready)
{
	struct vser *s = opaque;

	(void)ready;
	wake_clear(s->wake_fd);
	pump_all(s);
}

static void vser_reset(struct virtio_device *v)
{
	struct vser *s = to_vser(v);

	for (unsigned i = 0; i < s->n_ports; i++)
		vser_port_reset(s->ports[i]);
}

static void get_config(struct virtio_device *v, uint8_t *config)
{
	memset(config, 0, VSER_CONFIG_BYTES);
	put_le32(config + CONFIG_MAX_PORTS, to_vser(v)->max_ports);
}

/* A byte of a kernel that has no driver yet, for the first console. */
static void set_config(struct virtio_device *v, const uint8_t *config)
{
	struct vser *s = to_vser(v);

	for (unsigned i = 0; config[VSER_CONFIG_SHORT] && i < s->n_ports; i++)
		if (s->ports[i]->console && s->ports[i]->chr) {
			(void)chardev_write(s->ports[i]->chr, config + VSER_CONFIG_SHORT, 1);
			return;
		}
}

/* ---- life ---- */

void vser_fini(struct vser *s)
{
	for (unsigned i = 0; i < s->n_ports; i++)
		vser_port_free(s->ports[i]);
	vser_wire_free(&s->wire);
	loop_timer_free(s->event_timer);
	loop_fd_del(s->wake);
	if (s->wake_fd >= 0)
		(void)close(s->wake_fd);
	pthread_mutex_destroy(&s->lock);
}

static void vser_destroy(struct virtio_device *v)
{
	vser_fini(to_vser(v));
}

static const char *feature_name(unsigned bit)
{
	return bit == 1 ? "max_ports" : props_feature_name(&virtio_serial_row, bit);
}

const struct virtio_ops vser_ops = {
    .device = VIRTIO_DEVICE_OPS("virtio-serial-device"),
    .name = "virtio-console",
    .device_id = 3,
    .feature_name = feature_name,
    .legacy_features = VIRTIO_F_NOTIFY_ON_EMPTY | VIRTIO_F_ANY_LAYOUT,
    .get_config = get_config,
    .set_config = set_config,
    .serve = vser_serve,
    .start = vser_start,
    .reset = vser_reset,
    .destroy = vser_destroy,
    .section = &vser_section,
    .body = &vser_body,
    .loaded = vser_loaded,
};

int vser_init(struct vser *s, struct machine *m, struct err *err)
{
	pthread_mutex_init(&s->lock, NULL);
	s->wake_fd = wake_open();
	if (s->wake_fd < 0)
		return err_set(err, errno, "virtio-console: cannot make an eventfd: %s",
			       err_text(errno));
	s->wake = loop_fd_add(m->loop, s->wake_fd, LOOP_READABLE, woken, s);
	s->event_timer = loop_timer_new(m->loop, pump_all, s);
	return 0;
}
