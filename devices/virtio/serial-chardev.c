/*
 * serial-chardev.c - one port of virtio-serial: its chardev, and what the monitors hear of it
 *
 * All of this is the main loop's, under the machine lock.  While the machine
 * is paused nothing is read and nothing written, so that a saved state stays
 * true; a peer may come and leave.
 */
#include <stdlib.h>
#include <string.h>

#include "devices/chardev/chardev.h"
#include "devices/virtio/serial.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"
#include "vmm/loop.h"
#include "vmm/machine.h"
#include "vmm/vclock.h"

#define EVENT_NS 1000000000LL /* a port's events are not closer together */

static void tell_event(struct vser_port *p, bool open)
{
	struct machine *m = p->s->v.dev.m;
	struct notification n = {.kind = NOTIFY_VSERPORT_CHANGE, .number = open, .text = p->dev_id};
	int64_t now = host_now_ns();

	if (p->event_open == open || !p->dev_id)
		return;
	if (p->event_ns && now - p->event_ns < EVENT_NS) {
		loop_timer_arm_ms(p->s->event_timer,
				  (uint64_t)(p->event_ns + EVENT_NS - now) / 1000000 + 1);
		return;
	}
	p->event_open = open;
	p->event_ns = now;
	notify_publish(&m->notify, &n);
}

static bool may_write(struct vser_port *p)
{
	bool yes;

	pthread_mutex_lock(&p->s->lock);
	yes = p->n_out > 0 && !p->s->v.paused;
	pthread_mutex_unlock(&p->s->lock);
	return yes;
}

/* The main loop is the one that changes out_at while n_out is not 0. */
static void pump_out(struct vser_port *p)
{
	struct vser *s = p->s;
	ssize_t n = 1;

	if (!may_write(p))
		return;
	while (p->out_at < p->n_out && n > 0) {
		n = chardev_write(p->chr, p->out + p->out_at, p->n_out - p->out_at);
		if (n < 0 || (n == 0 && p->console))
			n = (ssize_t)(p->n_out - p->out_at); /* lost */
		p->out_at += (size_t)n;
	}
	if (p->out_at < p->n_out)
		return; /* chr_writable() goes on */
	pthread_mutex_lock(&s->lock);
	p->n_out = p->out_at = 0;
	pthread_mutex_unlock(&s->lock);
	virtio_again(&s->v, p->out_queue);
}

void vser_port_pump(struct vser_port *p)
{
	bool accept, open;

	pthread_mutex_lock(&p->s->lock);
	accept = p->accept;
	p->accept = false;
	open = p->guest_open;
	pthread_mutex_unlock(&p->s->lock);
	tell_event(p, open);
	if (!p->chr)
		return;
	if (!p->console)
		chardev_set_client_open(p->chr, open);
	pump_out(p);
	if (accept)
		chardev_accept_input(p->chr);
}

static void chr_writable(void *opaque)
{
	pump_out(opaque);
}

static size_t chr_can_read(void *opaque)
{
	struct vser_port *p = opaque;
	size_t room;

	if (p->s->v.paused)
		return 0;
	pthread_mutex_lock(&p->s->lock);
	room = p->room;
	pthread_mutex_unlock(&p->s->lock);
	return room;
}

static void chr_read(void *opaque, const uint8_t *bytes, size_t n)
{
	struct vser_port *p = opaque;
	struct vser *s = p->s;

	pthread_mutex_lock(&s->lock);
	n = MIN(n, sizeof(p->in) - p->n_in);
	memcpy(p->in + p->n_in, bytes, n);
	p->n_in += n;
	p->room -= MIN(n, p->room);
	pthread_mutex_unlock(&s->lock);
	virtio_again(&s->v, p->in_queue);
}

static void chr_opened(void *opaque)
{
	struct vser_port *p = opaque;

	pthread_mutex_lock(&p->s->lock);
	p->host_open = true;
	p->hold = false;
	pthread_mutex_unlock(&p->s->lock);
	virtio_again(&p->s->v, VSER_CONTROL_IN);
	virtio_again(&p->s->v, p->out_queue);
}

/* What the peer has not taken is dropped; a console goes on without one. */
static void chr_closed(void *opaque)
{
	struct vser_port *p = opaque;
	struct vser *s = p->s;

	pthread_mutex_lock(&s->lock);
	if (!p->console) {
		p->host_open = p->hold = false;
		p->reopened = p->discard = true;
		p->n_out = p->out_at = 0;
	}
	pthread_mutex_unlock(&s->lock);
	if (p->console)
		pump_out(p);
	virtio_again(&s->v, p->out_queue);
	virtio_again(&s->v, VSER_CONTROL_IN);
}

static void chr_moved(void *opaque, struct chardev *to)
{
	((struct vser_port *)opaque)->chr = to;
}

static const struct chardev_client chr_client = {
    .moved = chr_moved,
    .opened = chr_opened,
    .closed = chr_closed,
    .can_read = chr_can_read,
    .read = chr_read,
    .writable = chr_writable,
};

/* ---- life ---- */

int vser_port_attach(struct vser_port *p, struct err *err)
{
	int ret;

	if (!p->chr)
		return 0;
	p->host_open = p->console;
	ret = chardev_attach(p->chr, &chr_client, p, err);
	if (ret >= 0 && !p->console)
		chardev_set_client_open(p->chr, false);
	return ret;
}

void vser_port_free(struct vser_port *p)
{
	if (p->chr && p->chr->client == &chr_client && p->chr->client_opaque == p)
		chardev_detach(p->chr);
	free(p->chain);
	free(p->name);
	free(p->dev_id);
	free(p);
}
