/*
 * vclock.c - the virtual clock is CLOCK_MONOTONIC plus an offset
 *
 * The offset changes at a stop (it becomes the clock's value) and at a start
 * (the host's time is taken off again), never while the machine runs.  A
 * section "timer" that is loaded sets the clock to the source's value.
 */
#include "vmm/vclock.h"

#include <time.h>

#include "vmm/vmstate.h"

int64_t host_now_ns(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

uint64_t host_realtime_ns(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

int64_t vclock_now_ns(const struct vclock *c)
{
	return c->running ? c->offset_ns + host_now_ns() : c->offset_ns;
}

void vclock_start(struct vclock *c)
{
	if (c->running)
		return;
	c->offset_ns -= host_now_ns();
	c->running = true;
}

void vclock_stop(struct vclock *c)
{
	if (!c->running)
		return;
	c->offset_ns += host_now_ns();
	c->running = false;
}

static int vclock_pre_save(void *dev, struct err *err)
{
	struct vclock *c = dev;

	(void)err;
	c->cpu_clock_offset = vclock_now_ns(c);
	return 0;
}

static int vclock_post_load(void *dev, uint32_t version, struct err *err)
{
	struct vclock *c = dev;

	(void)version;
	(void)err;
	c->offset_ns = c->cpu_clock_offset - (c->running ? host_now_ns() : 0);
	return 0;
}

static const struct vms_field vclock_fields[] = {
    VMS_S64(struct vclock, cpu_ticks_offset, "cpu_ticks_offset"),
    VMS_UNUSED("unused", 8),
    VMS_S64(struct vclock, cpu_clock_offset, "cpu_clock_offset", .since = 2),
    VMS_LAST,
};

const struct vms_desc vclock_vmstate = {
    .name = "timer",
    .version = 2,
    .min_version = 1,
    .fields = vclock_fields,
    .pre_save = vclock_pre_save,
    .post_load = vclock_post_load,
};
