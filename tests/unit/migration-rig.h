/*
 * migration-rig.h - two machines without KVM, to move between
 *
 * A machine of the rig has two RAM blocks, one device with a state table and
 * no vCPU.  Its main loop runs in a thread of its own, as the program's main
 * thread would; the test calls migration on that thread with rig_migrate() and
 * the like, and waits for statuses, never for a time.
 */
#ifndef MINIVMM_TESTS_MIGRATION_RIG_H
#define MINIVMM_TESTS_MIGRATION_RIG_H

#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "migration/migration.h"
#include "vmm/base/alloc.h"
#include "vmm/base/bitmap.h"
#include "vmm/base/buf.h"
#include "vmm/base/error.h"
#include "vmm/base/log.h"
#include "vmm/base/units.h"
#include "vmm/device.h"
#include "vmm/loop.h"
#include "vmm/machine.h"
#include "vmm/options/config.h"

#define RIG_RAM_BYTES  (4 * MiB)
#define RIG_BIOS_BYTES (64 * KiB)

/* ---- a device ---- */

struct rig_device {
	struct device dev;
	uint32_t counter;
	uint8_t bytes[16];
	bool extra; /* carried in a subsection when set */
	bool given; /* its "disk" was handed over */
	bool refuse_load, refuse_acquire;
	unsigned arrived;
};

static bool rig_extra_needed(void *dev)
{
	return ((struct rig_device *)dev)->extra;
}

static const struct vms_field rig_extra_fields[] = {
    VMS_BOOL(struct rig_device, extra, "extra"),
    VMS_LAST,
};

static const struct vms_desc rig_extra = {
    .name = "rig-device/extra",
    .version = 1,
    .min_version = 1,
    .fields = rig_extra_fields,
    .needed = rig_extra_needed,
};

static const struct vms_desc *const rig_subs[] = {&rig_extra, NULL};

static int rig_post_load(void *dev, uint32_t version, struct err *err)
{
	(void)version;
	if (((struct rig_device *)dev)->refuse_load)
		return err_set(err, EINVAL, "rig-device: counter does not please");
	return 0;
}

static const struct vms_field rig_fields[] = {
    VMS_U32(struct rig_device, counter, "counter"),
    VMS_BUFFER(struct rig_device, bytes, "bytes"),
    VMS_LAST,
};

static const struct vms_desc rig_vmstate = {
    .name = "rig-device",
    .version = 2,
    .min_version = 2,
    .fields = rig_fields,
    .subs = rig_subs,
    .post_load = rig_post_load,
};

static int rig_handover(struct device *d, enum handover what, struct err *err)
{
	struct rig_device *r = container_of(d, struct rig_device, dev);

	if (what != HANDOVER_RELEASE && r->refuse_acquire)
		return err_set(err, EBUSY, "another program holds the disk");
	if (what != HANDOVER_PROBE)
		r->given = what == HANDOVER_RELEASE;
	return 0;
}

static void rig_arrived(struct device *d)
{
	(void)__atomic_fetch_add(&container_of(d, struct rig_device, dev)->arrived, 1,
				 __ATOMIC_SEQ_CST);
}

static void rig_reset(struct device *d)
{
	struct rig_device *r = container_of(d, struct rig_device, dev);

	r->counter = 0;
	memset(r->bytes, 0, sizeof(r->bytes));
	r->extra = false;
}

static const struct device_ops rig_device_ops = {
    .name = "rig-device",
    .reset = rig_reset,
    .handover = rig_handover,
    .arrived = rig_arrived,
};

/* ---- an architecture ---- */

static int rig_nothing(struct machine *m, struct err *err)
{
	(void)m;
	(void)err;
	return 0;
}

static void rig_clock(struct machine *m)
{
	(void)m;
}

static const struct arch_ops rig_arch = {
    .reset = rig_nothing,
    .stage_boot = rig_nothing,
    .stopped = rig_clock,
    .starting = rig_clock,
    .fetch = rig_nothing,
    .push = rig_nothing,
};

/* ---- a machine ---- */

struct rig {
	struct config cfg;
	struct machine m;
	struct migration *mg;
	struct rig_device dev;
	struct notify_listener listener;
	pthread_cond_t changed; /* a notification came; with m.lock */
	char events[1024];      /* "setup PASS active STOP ..." */
	pthread_t thread;
	bool up;
};

static inline void rig_event(void *opaque, const struct notification *n)
{
	struct rig *r = opaque;
	const char *what = n->kind == NOTIFY_MIGRATION        ? n->text
			   : n->kind == NOTIFY_MIGRATION_PASS ? "PASS"
			   : n->kind == NOTIFY_STOP           ? "STOP"
			   : n->kind == NOTIFY_RESUME         ? "RESUME"
			   : n->kind == NOTIFY_RESET          ? "RESET"
			   : n->kind == NOTIFY_POWERDOWN      ? "POWERDOWN"
			   : n->kind == NOTIFY_JOB_STATUS     ? n->text2
							      : "?";
	size_t len = strlen(r->events), w = strlen(what);

	pthread_cond_broadcast(&r->changed);
	/* The number of passes depends on speed: say "PASS" once for several. */
	if (len >= w && !strcmp(what, "PASS") && !strcmp(r->events + len - w, "PASS"))
		return;
	(void)snprintf(r->events + len, sizeof(r->events) - len, "%s%s", len ? " " : "", what);
}

static inline void *rig_loop(void *opaque)
{
	loop_run(((struct rig *)opaque)->m.loop);
	return NULL;
}

static inline void rig_is_up(void *opaque)
{
	struct rig *r = opaque;

	r->up = true;
	pthread_cond_broadcast(&r->changed);
}

static inline struct ram_block *rig_block(struct rig *r, size_t i)
{
	return r->m.mem.blocks[i];
}

static inline struct rig *rig_new_with(enum runstate state, uint64_t ram_bytes,
				       const struct config *cfg)
{
	static const struct ram_backend anon = {.kind = RAM_ANONYMOUS, .fd = -1};
	struct rig *r = NEW(struct rig);
	struct machine *m = &r->m;
	struct err err = {0};

	(void)signal(SIGPIPE, SIG_IGN);
	if (!getenv("RIG_LOG"))
		ck_assert_int_eq(log_open("/dev/null", &err), 0);
	if (cfg)
		r->cfg = *cfg;
	ck_assert_int_eq(machine_init(m, &r->cfg, &err), 0);
	m->state = state;
	m->arch = &rig_arch;
	pthread_cond_init(&r->changed, NULL);
	m->loop = m->work = loop_new(&m->lock, &err);
	ck_assert_ptr_nonnull(m->loop);
	ck_assert_ptr_nonnull(memory_add_block(&m->mem, "microvm.ram", ram_bytes, &anon, &err));
	ck_assert_ptr_nonnull(memory_add_block(&m->mem, "pc.bios", RIG_BIOS_BYTES, &anon, &err));
	vms_register(&m->vmstate, VMS_RANK_TIMER, "timer", 0, -1, &vclock_vmstate, &m->vclock);
	vms_register(&m->vmstate, VMS_RANK_VIRTIO, "rig/rig-device", 0, -1, &rig_vmstate, &r->dev);
	r->dev.dev.ops = &rig_device_ops;
	machine_add_device(m, &r->dev.dev);
	r->mg = migration_new(m, &err);
	ck_assert_msg(r->mg != NULL, "%s", err.msg);
	r->listener = (struct notify_listener){.fn = rig_event, .opaque = r};
	notify_subscribe(&m->notify, &r->listener);
	ck_assert_int_eq(pthread_create(&r->thread, NULL, rig_loop, r), 0);
	loop_post(m->loop, rig_is_up, r);
	machine_lock(m);
	while (!r->up) /* from here on loop_call() uses the thread */
		pthread_cond_wait(&r->changed, &m->lock);
	machine_unlock(m);
	return r;
}

static inline struct rig *rig_new(enum runstate state)
{
	return rig_new_with(state, RIG_RAM_BYTES, NULL);
}

static inline void rig_free(struct rig *r)
{
	loop_stop(r->m.loop);
	(void)pthread_join(r->thread, NULL);
	migration_free(r->mg);
	loop_free(r->m.loop);
	pthread_cond_destroy(&r->changed);
	machine_fini(&r->m);
	free(r);
}

/* ---- what the main thread does ---- */

struct rig_call {
	struct rig *r;
	const char *uri;
	int fd, ret;
	bool outgoing, from_qmp;
	struct err err;
};

static inline void rig_do_call(void *opaque)
{
	struct rig_call *c = opaque;
	struct migrate_args args = {.where.uri = c->uri, .fd = c->fd};

	c->ret = c->outgoing
		     ? migration_start(c->r->mg, &args, &c->err)
		     : migration_incoming(c->r->mg, &args.where, c->fd, c->from_qmp, &c->err);
}

static inline int rig_migrate_fd(struct rig *r, const char *uri, int fd, struct err *err)
{
	struct rig_call c = {.r = r, .uri = uri, .fd = fd, .outgoing = true};

	loop_call(r->m.loop, rig_do_call, &c);
	if (err)
		*err = c.err;
	return c.ret;
}

static inline int rig_migrate(struct rig *r, const char *uri, struct err *err)
{
	return rig_migrate_fd(r, uri, -1, err);
}

static inline int rig_incoming_fd(struct rig *r, const char *uri, int fd, bool from_qmp,
				  struct err *err)
{
	struct rig_call c = {.r = r, .uri = uri, .fd = fd, .from_qmp = from_qmp};

	loop_call(r->m.loop, rig_do_call, &c);
	if (err)
		*err = c.err;
	return c.ret;
}

static inline int rig_incoming(struct rig *r, const char *uri, struct err *err)
{
	return rig_incoming_fd(r, uri, -1, false, err);
}

static inline void rig_do_cancel(void *opaque)
{
	(void)migration_cancel(((struct rig *)opaque)->mg, NULL);
}

static inline void rig_cancel(struct rig *r)
{
	loop_call(r->m.loop, rig_do_cancel, r);
}

static inline void rig_do_continue(void *opaque)
{
	struct rig *r = opaque;

	ck_assert_int_eq(migration_continue(r->mg, MIG_PRE_SWITCHOVER, NULL), 0);
}

static inline void rig_continue(struct rig *r)
{
	loop_call(r->m.loop, rig_do_continue, r);
}

static inline void rig_run_guest(struct rig *r)
{
	struct err err = {0};

	machine_lock(&r->m);
	ck_assert_msg(machine_start(&r->m, &err) == 0, "%s", err.msg);
	r->events[0] = 0;
	machine_unlock(&r->m);
}

__attribute__((noinline, unused)) static void rig_capability(struct rig *r,
							     enum migration_capability c, bool on)
{
	struct err err = {0};

	machine_lock(&r->m);
	ck_assert_msg(migration_set_capabilities(r->mg, &c, &on, 1, &err) == 0, "%s", err.msg);
	machine_unlock(&r->m);
}

static inline void rig_parameter(struct rig *r, const char *name, const char *value)
{
	struct migration_params_set set = {0};
	struct err err = {0};

	ck_assert_int_eq(migration_params_parse(&set, migration_params_find(name), value, &err), 0);
	machine_lock(&r->m);
	ck_assert_msg(migration_set_params(r->mg, &set, &err) == 0, "%s", err.msg);
	machine_unlock(&r->m);
}

static inline struct migration_info rig_query(struct rig *r)
{
	struct migration_info info;

	machine_lock(&r->m);
	migration_query(r->mg, &info);
	machine_unlock(&r->m);
	return info;
}

static inline bool rig_at(struct rig *r, enum migration_status s)
{
	struct migration_info info;

	migration_query(r->mg, &info);
	return info.status == s;
}

static inline bool rig_ended(struct rig *r)
{
	return rig_at(r, MIG_COMPLETED) || rig_at(r, MIG_FAILED) || rig_at(r, MIG_CANCELLED);
}

/* Wait until the status is there; a migration that ends otherwise fails the test. */
static inline void rig_await(struct rig *r, enum migration_status s)
{
	struct migration_info info;

	machine_lock(&r->m);
	while (!rig_at(r, s) && !rig_ended(r))
		pthread_cond_wait(&r->changed, &r->m.lock);
	migration_query(r->mg, &info);
	machine_unlock(&r->m);
	ck_assert_msg(info.status == s, "%s instead of %s: %s", migration_status_name(info.status),
		      migration_status_name(s), info.error_desc);
}

/* Wait until it has been told since the guest was started. */
static inline void rig_await_event(struct rig *r, const char *event)
{
	machine_lock(&r->m);
	while (!strstr(r->events, event))
		pthread_cond_wait(&r->changed, &r->m.lock);
	machine_unlock(&r->m);
}

static inline enum runstate rig_state(struct rig *r)
{
	enum runstate s;

	machine_lock(&r->m);
	s = r->m.state;
	machine_unlock(&r->m);
	return s;
}

/* Wait until the machine is in that run state: an end's last act follows its event. */
static inline void rig_await_state(struct rig *r, enum runstate s)
{
	machine_lock(&r->m);
	while (r->m.state != s)
		pthread_cond_wait(&r->changed, &r->m.lock);
	machine_unlock(&r->m);
}

/* ---- content ---- */

/* Some pages with content, one touched and zero, the rest untouched. */
static inline void rig_fill(struct rig *r, unsigned seed)
{
	for (size_t i = 0; i < 2; i++) {
		struct ram_block *b = rig_block(r, i);

		for (uint64_t page = 0; page < b->bytes / PAGE_BYTES; page += 3)
			memset(b->hva + page * PAGE_BYTES, (int)(seed + page) & 0xff, PAGE_BYTES);
		memset(b->hva + PAGE_BYTES, 0, PAGE_BYTES);
	}
	r->dev.counter = seed;
	memset(r->dev.bytes, (int)seed, sizeof(r->dev.bytes));
	r->dev.extra = true;
}

static inline void rig_check_same(struct rig *a, struct rig *b)
{
	for (size_t i = 0; i < 2; i++)
		ck_assert_int_eq(
		    memcmp(rig_block(a, i)->hva, rig_block(b, i)->hva, rig_block(a, i)->bytes), 0);
	ck_assert_uint_eq(a->dev.counter, b->dev.counter);
	ck_assert_mem_eq(a->dev.bytes, b->dev.bytes, sizeof(a->dev.bytes));
	ck_assert_int_eq(a->dev.extra, b->dev.extra);
}

/* A scratch directory of this test process; static storage. */
static inline const char *rig_dir(void)
{
	static char dir[64];

	if (!dir[0]) {
		(void)snprintf(dir, sizeof(dir), "/tmp/minivmm-test-XXXXXX");
		ck_assert_ptr_nonnull(mkdtemp(dir));
	}
	return dir;
}

static inline void rig_remove_dir(void)
{
	char cmd[128];

	(void)snprintf(cmd, sizeof(cmd), "rm -rf '%s'", rig_dir());
	ck_assert_int_eq(system(cmd), 0);
}

/* A whole file. */
static inline void rig_read_file(const char *path, struct buf *out)
{
	FILE *f = fopen(path, "rbe");
	size_t n;

	ck_assert_msg(f != NULL, "cannot open %s", path);
	while ((n = fread(buf_room(out, 65536), 1, 65536, f)) > 0)
		out->len += n;
	ck_assert_int_eq(fclose(f), 0);
}

#endif
