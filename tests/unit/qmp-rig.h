/*
 * qmp-rig.h - monitors on a machine without KVM, driven through chardevs that a test plays
 *
 * The machine lock is held by the test, as by a callback of the main loop.
 * There is one thread: rig_turn() lets the main loop, which is the work loop
 * too, and the control loop do what was posted to them.
 */
#ifndef MINIVMM_TESTS_QMP_RIG_H
#define MINIVMM_TESTS_QMP_RIG_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "devices/microvm.h"
#include "migration/migration.h"
#include "qmp/server.h"
#include "vmm/base/alloc.h"
#include "vmm/base/buf.h"
#include "vmm/base/error.h"
#include "vmm/loop.h"
#include "vmm/machine.h"
#include "vmm/options/config.h"

#define RIG_MONITORS 2

/* The other end of a monitor's chardev. */
struct peer {
	struct chardev c;
	struct rig *r;
	struct buf got; /* a NUL behind it */
	size_t room;    /* bytes it still takes; SIZE_MAX: all */
	unsigned writes;
	bool dropped; /* the monitor has cut the connection */
};

struct rig {
	struct config cfg;
	struct cfg_monitor monitors[RIG_MONITORS];
	struct machine m;
	struct backends be;
	struct chardev *chardevs[RIG_MONITORS];
	struct peer peers[RIG_MONITORS];
	struct migration *mg;
	struct qmp_server *server;
};

static inline ssize_t peer_write(struct chardev *c, const uint8_t *p, size_t n)
{
	struct peer *peer = c->state;

	if (peer->room != SIZE_MAX) {
		n = n < peer->room ? n : peer->room;
		peer->room -= n;
	}
	if (n)
		peer->writes++;
	buf_put(&peer->got, p, n);
	buf_u8(&peer->got, 0);
	peer->got.len--;
	return (ssize_t)n;
}

static inline void rig_turn(struct rig *r);

static inline void peer_left(struct peer *p)
{
	if (!p->c.connected)
		return;
	p->c.connected = false;
	if (p->c.client)
		p->c.client->closed(p->c.client_opaque);
}

static inline void peer_close(struct peer *p)
{
	pthread_mutex_lock(&p->c.m->control_lock);
	peer_left(p);
	pthread_mutex_unlock(&p->c.m->control_lock);
	rig_turn(p->r);
}

static inline void peer_disconnect(struct chardev *c)
{
	struct peer *p = c->state;

	p->dropped = true;
	peer_left(p);
}

static inline void peer_accept_input(struct chardev *c)
{
	(void)c;
}

static inline void peer_end(struct chardev *c)
{
	(void)c;
}

static const struct chardev_ops peer_ops = {
    .type = "peer",
    .write = peer_write,
    .accept_input = peer_accept_input,
    .close = peer_end,
    .disconnect = peer_disconnect,
};

static inline void peer_open(struct peer *p)
{
	buf_clear(&p->got);
	p->writes = 0;
	p->dropped = false;
	p->c.connected = true;
	pthread_mutex_lock(&p->c.m->control_lock);
	p->c.client->opened(p->c.client_opaque);
	pthread_mutex_unlock(&p->c.m->control_lock);
	rig_turn(p->r);
}

/* One read of the monitor's; returns how many bytes it took. */
static inline size_t peer_send_once(struct peer *p, const uint8_t *data, size_t n)
{
	size_t room;

	pthread_mutex_lock(&p->c.m->control_lock);
	room = p->c.client->can_read(p->c.client_opaque);
	n = n < room ? n : room;
	if (n)
		p->c.client->read(p->c.client_opaque, data, n);
	pthread_mutex_unlock(&p->c.m->control_lock);
	return n;
}

/* As much as the monitor takes, and what it does then; returns how much that was. */
static inline size_t peer_send_some(struct peer *p, const void *data, size_t n)
{
	size_t sent = 0, part = 1;

	while (sent < n && part) {
		part = peer_send_once(p, (const uint8_t *)data + sent, n - sent);
		sent += part;
		rig_turn(p->r);
	}
	return sent;
}

/* A descriptor comes in front of the next bytes. */
static inline void peer_send_fd(struct peer *p, int fd)
{
	pthread_mutex_lock(&p->c.m->control_lock);
	p->c.client->receive_fd(p->c.client_opaque, fd);
	pthread_mutex_unlock(&p->c.m->control_lock);
}

/* It has read something. */
static inline void peer_reads(struct peer *p)
{
	pthread_mutex_lock(&p->c.m->control_lock);
	p->c.client->writable(p->c.client_opaque);
	pthread_mutex_unlock(&p->c.m->control_lock);
	rig_turn(p->r);
}

/* Send a text and return all that came since the last call; valid until the next. */
static inline const char *peer_ask(struct peer *p, const char *text)
{
	size_t len;

	buf_clear(&p->got);
	if (peer_send_some(p, text, strlen(text)) != strlen(text))
		return "(the monitor does not take it)";
	do {
		len = p->got.len;
		rig_turn(p->r);
	} while (p->got.len != len);
	return p->got.len ? (const char *)p->got.data : "";
}

static inline const char *peer_got(struct peer *p)
{
	return p->got.len ? (const char *)p->got.data : "";
}

static inline int rig_arch_ok(struct machine *m, struct err *err)
{
	(void)m;
	(void)err;
	return 0;
}

static inline void rig_arch_nothing(struct machine *m)
{
	(void)m;
}

static const struct arch_ops rig_arch = {
    .reset = rig_arch_ok,
    .stage_boot = rig_arch_ok,
    .stopped = rig_arch_nothing,
    .starting = rig_arch_nothing,
    .fini = rig_arch_nothing,
};

static inline void rig_machine(struct rig *r)
{
	struct machine *m = &r->m;

	if (machine_init(m, &r->cfg, NULL) < 0)
		abort();
	m->arch = &rig_arch;
	m->loop = m->work = loop_new(&m->lock, NULL);
	m->control = loop_new(&m->control_lock, NULL);
}

/* Monitors m0 (plain) and m1 (pretty), both connected. */
static inline struct rig *rig_new(void)
{
	struct rig *r = NEW(struct rig);
	struct err err = {0};

	rig_machine(r);
	r->cfg.ram_bytes = 64 << 20;
	r->cfg.monitors = r->monitors;
	r->cfg.n_monitors = RIG_MONITORS;
	r->be.chardevs = (struct chardevs){r->chardevs, RIG_MONITORS};
	for (int i = 0; i < RIG_MONITORS; i++) {
		struct peer *p = &r->peers[i];

		p->r = r;
		p->c = (struct chardev){.ops = &peer_ops, .m = &r->m, .state = p, .log_fd = -1};
		p->c.id = xasprintf("m%d", i);
		p->c.filename = xasprintf("unix:/m%d,server=on", i);
		p->room = SIZE_MAX;
		r->chardevs[i] = &p->c;
		r->monitors[i] = (struct cfg_monitor){p->c.id, i == 1};
	}
	machine_lock(&r->m);
	r->mg = migration_new(&r->m, &err);
	r->server = qmp_server_new(&r->m, &r->be, r->mg, &err);
	if (!r->server)
		abort();
	for (int i = 0; i < RIG_MONITORS; i++)
		peer_open(&r->peers[i]);
	return r;
}

static inline void rig_stop_loop(void *opaque)
{
	loop_stop(opaque);
}

/* Let the loop run what is posted now. */
static inline void rig_run(struct loop *l)
{
	loop_post(l, rig_stop_loop, l);
	loop_run(l);
}

/* Often enough for a burst of requests, of which each is a turn of both. */
#define RIG_TURNS 3

static inline void rig_turn(struct rig *r)
{
	machine_unlock(&r->m);
	for (int i = 0; i < RIG_TURNS; i++) {
		rig_run(r->m.loop);
		rig_run(r->m.control);
	}
	machine_lock(&r->m);
}

static inline void rig_free(struct rig *r)
{
	qmp_server_free(r->server);
	machine_unlock(&r->m);
	migration_free(r->mg);
	loop_free(r->m.control);
	loop_free(r->m.loop);
	machine_fini(&r->m);
	for (int i = 0; i < RIG_MONITORS; i++) {
		free(r->peers[i].c.id);
		free(r->peers[i].c.filename);
		buf_free(&r->peers[i].got);
	}
	free(r);
}

/* Negotiated, with nothing left to read. */
static inline struct peer *rig_peer(struct rig *r, int i)
{
	(void)peer_ask(&r->peers[i], "{\"execute\":\"qmp_capabilities\"}");
	buf_clear(&r->peers[i].got);
	return &r->peers[i];
}

#endif
