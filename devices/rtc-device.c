/* rtc-device.c - the MC146818 as a device of the board: ports, state table, timers' owner */
#include "devices/rtc.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"
#include "vmm/loop.h"
#include "vmm/machine.h"
#include "vmm/options/config.h"

static uint64_t port_read(void *dev, uint64_t off, unsigned len)
{
	uint64_t val = 0;

	for (unsigned i = 0; i < len; i++)
		val |= (uint64_t)rtc_read(dev, (unsigned)off + i) << 8 * i;
	return val;
}

static void port_write(void *dev, uint64_t off, unsigned len, uint64_t val)
{
	for (unsigned i = 0; i < len; i++)
		rtc_write(dev, (unsigned)off + i, (uint8_t)(val >> 8 * i));
}

static const struct bus_ops port_ops = {.read = port_read, .write = port_write};

/* ---- state ---- */

static int rtc_pre_save(void *dev, struct err *err)
{
	(void)err;
	rtc_refresh(dev);
	return 0;
}

static int rtc_pre_load(void *dev, struct err *err)
{
	struct rtc *r = dev;

	(void)err;
	r->irq_reinject_on_ack_count = 0;
	return 0;
}

static int rtc_post_load(void *dev, uint32_t version, struct err *err)
{
	struct rtc *r = dev;

	(void)version;
	if (r->index >= RTC_CMOS_BYTES)
		return err_set(err, EINVAL, "mc146818rtc: CMOS index %u, it has %d bytes", r->index,
			       RTC_CMOS_BYTES);
	if (r->period > RTC_TICKS_HZ / 2)
		return err_set(err, EINVAL,
			       "mc146818rtc: a period of %u ticks, at most %d are possible",
			       r->period, RTC_TICKS_HZ / 2);
	r->irq_level = r->cmos[RTC_C] & RTC_C_IRQF;
	return 0;
}

static bool reinject_needed(void *dev)
{
	const struct rtc *r = dev;

	return r->irq_reinject_on_ack_count != 0;
}

static const struct vms_field reinject_fields[] = {
    VMS_U16(struct rtc, irq_reinject_on_ack_count, "irq_reinject_on_ack_count"),
    VMS_LAST,
};

static const struct vms_desc reinject_vmstate = {
    .name = "mc146818rtc/irq_reinject_on_ack_count",
    .version = 1,
    .min_version = 1,
    .fields = reinject_fields,
    .needed = reinject_needed,
};

static const struct vms_field rtc_fields[] = {
    VMS_BUFFER(struct rtc, cmos, "cmos_data"),
    VMS_U8(struct rtc, index, "cmos_index"),
    VMS_UNUSED("unused[0]", 28),
    VMS_TIMER(struct rtc, periodic_timer, "periodic_timer"),
    VMS_S64(struct rtc, next_periodic_time, "next_periodic_time"),
    VMS_UNUSED("unused[1]", 24),
    VMS_U32(struct rtc, irq_coalesced, "irq_coalesced", .since = 2),
    VMS_U32(struct rtc, period, "period", .since = 2),
    VMS_U64(struct rtc, base_rtc, "base_rtc", .since = 3),
    VMS_U64(struct rtc, last_update, "last_update", .since = 3),
    VMS_S64(struct rtc, offset, "offset", .since = 3),
    VMS_TIMER(struct rtc, update_timer, "update_timer", .since = 3),
    VMS_U64(struct rtc, next_alarm_time, "next_alarm_time", .since = 3),
    VMS_LAST,
};

const struct vms_desc rtc_vmstate = {
    .name = "mc146818rtc",
    .version = 3,
    .min_version = 3,
    .fields = rtc_fields,
    .subs = (const struct vms_desc *const[]){&reinject_vmstate, NULL},
    .pre_save = rtc_pre_save,
    .pre_load = rtc_pre_load,
    .post_load = rtc_post_load,
};

/* ---- the device ---- */

static int64_t realtime_ns(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_REALTIME, &ts);
	return (int64_t)ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

static void rtc_dev_reset(struct device *d)
{
	rtc_reset(container_of(d, struct rtc, dev));
}

static void rtc_pause(struct device *d)
{
	rtc_run(container_of(d, struct rtc, dev), false);
}

static void rtc_resume(struct device *d)
{
	rtc_run(container_of(d, struct rtc, dev), true);
}

static void rtc_destroy(struct device *d)
{
	struct rtc *r = container_of(d, struct rtc, dev);

	loop_timer_free(r->tick_timer);
	loop_timer_free(r->flag_timer);
	free(r);
}

static void timer_fired(void *opaque)
{
	rtc_poll(opaque);
}

static const struct device_ops rtc_ops = {
    .name = "mc146818rtc",
    .reset = rtc_dev_reset,
    .pause = rtc_pause,
    .resume = rtc_resume,
    .destroy = rtc_destroy,
};

int rtc_create(struct machine *m, struct err *err)
{
	struct rtc *r = NEW(struct rtc);
	struct board_device *b;
	int ret;

	r->dev.ops = &rtc_ops;
	rtc_init(r, m, realtime_ns);
	rtc_set_memory(r, m->cfg->ram_bytes);
	ret = bus_add(&m->ports, BOARD_PORT_RTC, 2, &port_ops, r, err);
	if (ret < 0) {
		free(r);
		return ret;
	}
	r->tick_timer = loop_timer_new(m->loop, timer_fired, r);
	r->flag_timer = loop_timer_new(m->loop, timer_fired, r);
	vms_register(&m->vmstate, VMS_RANK_RTC, "mc146818rtc", 0, BOARD_PORT_RTC, &rtc_vmstate, r);
	b = board_add(&m->board, BOARD_RTC, "rtc");
	if (b) {
		b->base = BOARD_PORT_RTC;
		b->bytes = 2;
		b->gsi = BOARD_GSI_RTC;
	}
	machine_add_device(m, &r->dev);
	return 0;
}
