/*
 * serial-port.c - one port of virtio-serial: its queues, on the I/O loop
 *
 * Out: the I/O loop copies the next part of the chain at hand into 'out' and
 * wakes the main loop, which writes it to the chardev, perhaps in several
 * turns, and kicks the queue for the next part.  Nobody waits: a chardev that
 * takes nothing leaves the chain where it is, and the guest's ring fills.  A
 * console's output is dropped instead, for Linux spins until its chain is
 * back.
 *
 * In: the I/O loop counts what the guest's buffers hold, up to one 'in', and
 * the main loop takes that much from the chardev.  Buffers are looked at and
 * put back, so that a ring at rest holds what the stream says.
 */
#include <stdlib.h>
#include <string.h>

#include "devices/virtio/serial.h"
#include "vmm/base/alloc.h"
#include "vmm/base/units.h"
#include "vmm/machine.h"
#include "vmm/memory/memory.h"

/* ---- out: I/O loop ---- */

static struct vser_chain *chain_of(const struct virtq_elem *e)
{
	struct vser_chain *c = xcalloc(1, sizeof(*c) + e->n_out * sizeof(c->piece[0]));

	c->head = e->head;
	c->n = e->n_out;
	for (unsigned i = 0; i < e->n_out; i++) {
		c->piece[i] = (struct vser_piece){
		    .gpa = e->out_gpa[i], .bytes = e->out[i].iov_len, .hva = e->out[i].iov_base};
		c->bytes += e->out[i].iov_len;
	}
	return c;
}

static void chain_done(struct vser_port *p)
{
	struct virtq_elem e = {.head = p->chain->head};

	virtio_push(&p->s->v, p->out_queue, &e, 0);
	free(p->chain);
	p->chain = NULL;
}

/* The next bytes of the chain, at most n. */
static size_t chain_copy(struct vser_chain *c, uint8_t *to, size_t n)
{
	uint64_t off = c->at;
	size_t done = 0;

	for (unsigned i = 0; i < c->n && done < n; i++) {
		const struct vser_piece *s = &c->piece[i];
		size_t part;

		if (off >= s->bytes) {
			off -= s->bytes;
			continue;
		}
		part = (size_t)MIN(s->bytes - off, n - done);
		memcpy(to + done, s->hva + off, part);
		done += part;
		off = 0;
	}
	c->at += done;
	return done;
}

/* Give the main loop the next part; false: it still has the last one. */
static bool hand_over(struct vser_port *p)
{
	struct vser *s = p->s;
	bool busy, drop;
	size_t n;

	pthread_mutex_lock(&s->lock);
	drop = !p->host_open && !p->hold;
	busy = p->n_out > 0 || !p->host_open;
	pthread_mutex_unlock(&s->lock);
	if (!drop && busy)
		return false;
	if (drop || p->chain->at == p->chain->bytes) {
		chain_done(p);
		return true;
	}
	n = chain_copy(p->chain, p->out, sizeof(p->out));
	pthread_mutex_lock(&s->lock);
	p->out_at = 0;
	p->n_out = p->discard ? 0 : n;
	pthread_mutex_unlock(&s->lock);
	vser_wake_main(s);
	return false;
}

/* A peer has left: what the guest has sent up to now is not for the next one. */
static void discard(struct vser_port *p)
{
	struct virtio_device *v = &p->s->v;
	bool want;

	pthread_mutex_lock(&p->s->lock);
	want = p->discard;
	p->discard = false;
	pthread_mutex_unlock(&p->s->lock);
	if (want && p->chain)
		chain_done(p);
	for (unsigned n = v->queues[p->out_queue].num; want && n > 0; n--)
		if (virtio_pop(v, p->out_queue))
			virtio_push(v, p->out_queue, v->elem, 0);
}

void vser_port_output(struct vser_port *p)
{
	struct virtio_device *v = &p->s->v;
	struct virtq *q = &v->queues[p->out_queue];
	unsigned budget = q->num;
	uint16_t used = q->used_idx;

	discard(p);
	do {
		virtq_quiet(q);
		while (budget > 0 && (!p->chain || hand_over(p))) {
			if (!p->chain && !virtio_pop(v, p->out_queue))
				break;
			if (!p->chain)
				p->chain = chain_of(v->elem);
			budget--;
		}
		if (!budget)
			virtio_again(v, p->out_queue);
	} while (v->serving && budget > 0 && !p->chain && virtq_listen(q));
	if (q->used_idx != used)
		virtio_interrupt(v, p->out_queue);
}

/* ---- in: I/O loop ---- */

/* Put the first n bytes into the guest's buffers; returns how many there was room for in one round
 * of the ring. */
static size_t fill(struct vser_port *p, const uint8_t *bytes, size_t n)
{
	struct virtio_device *v = &p->s->v;
	unsigned budget = v->queues[p->in_queue].num;
	size_t done = 0;

	while (done < n && budget-- > 0 && virtio_pop(v, p->in_queue)) {
		size_t part = virtq_elem_write(v->elem, 0, bytes + done, n - done);

		virtio_push(v, p->in_queue, v->elem, part);
		done += part;
	}
	return done;
}

/* What the guest's buffers hold, as far as it matters. */
static size_t count_room(struct vser_port *p)
{
	struct virtio_device *v = &p->s->v;
	uint64_t room = 0;
	unsigned n = 0;

	while (room < VSER_BUFFER_BYTES && virtio_pop(v, p->in_queue)) {
		room += virtq_elem_room(v->elem);
		n++;
	}
	virtq_unpop(&v->queues[p->in_queue], n);
	return v->broken ? 0 : (size_t)MIN(room, VSER_BUFFER_BYTES);
}

static void set_room(struct vser_port *p, size_t room)
{
	struct vser *s = p->s;
	bool grown;

	pthread_mutex_lock(&s->lock);
	room = p->guest_open && room > p->n_in ? MIN(room, VSER_BUFFER_BYTES) - p->n_in : 0;
	grown = room > 0 && p->room == 0;
	p->room = room;
	p->accept |= grown;
	pthread_mutex_unlock(&s->lock);
	if (grown)
		vser_wake_main(s);
}

void vser_port_input(struct vser_port *p)
{
	struct vser *s = p->s;
	struct virtio_device *v = &s->v;
	struct virtq *q = &v->queues[p->in_queue];
	uint16_t used = q->used_idx;
	uint8_t bytes[VSER_BUFFER_BYTES];
	size_t n, done;

	if (!v->serving || !q->mem)
		return;
	pthread_mutex_lock(&s->lock);
	n = p->n_in;
	memcpy(bytes, p->in, n);
	pthread_mutex_unlock(&s->lock);
	done = fill(p, bytes, n);
	pthread_mutex_lock(&s->lock);
	p->n_in -= done;
	memmove(p->in, p->in + done, p->n_in);
	pthread_mutex_unlock(&s->lock);
	if (q->used_idx != used)
		virtio_interrupt(v, p->in_queue);
	if (virtq_listen(q)) /* counted below, and what comes from now on is a kick */
		n = count_room(p);
	else
		n = 0;
	set_room(p, n);
}

void vser_port_guest_open(struct vser_port *p, bool open)
{
	pthread_mutex_lock(&p->s->lock);
	p->guest_open = open;
	p->hold &= open;
	pthread_mutex_unlock(&p->s->lock);
	virtio_again(&p->s->v, p->out_queue);
	vser_wake_main(p->s);
	vser_port_input(p);
}

/* ---- start and reset ---- */

/* Guest memory may be elsewhere than when the chain was taken, or the chain come from a stream. */
static bool chain_find(struct vser_port *p)
{
	const struct virtq *q = &p->s->v.queues[p->out_queue];
	struct vser_chain *c = p->chain;

	if (c->head >= q->num)
		return false;
	for (unsigned i = 0; i < c->n; i++) {
		c->piece[i].hva = memory_ptr(q->mem, c->piece[i].gpa, c->piece[i].bytes);
		if (!c->piece[i].hva)
			return false;
	}
	return true;
}

void vser_port_start(struct vser_port *p)
{
	struct virtio_device *v = &p->s->v;
	const struct virtq *q = &v->queues[p->out_queue];

	/* The chardev was not read while the machine was paused, and what it refused waits. */
	pthread_mutex_lock(&p->s->lock);
	p->accept = true;
	pthread_mutex_unlock(&p->s->lock);
	if (!p->chain)
		return;
	/* The driver has set the queue up anew: nothing is in flight in it. */
	if (!q->mem || q->last_avail == q->used_idx) {
		free(p->chain);
		p->chain = NULL;
	} else if (!chain_find(p)) {
		virtio_fail(v, "a chain that was in flight is not in its queue or not in RAM");
	}
}

void vser_port_reset(struct vser_port *p)
{
	struct vser *s = p->s;

	free(p->chain);
	p->chain = NULL;
	p->ready = p->told_open = p->say_add = p->say_console = p->say_name = false;
	pthread_mutex_lock(&s->lock);
	p->guest_open = p->hold = p->discard = p->reopened = p->accept = false;
	p->room = p->n_in = p->n_out = p->out_at = 0;
	pthread_mutex_unlock(&s->lock);
	vser_wake_main(s);
}
