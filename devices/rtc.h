/*
 * rtc.h - MC146818 real-time clock with 128 bytes of CMOS, ports 0x70 and 0x71, GSI 8
 *
 * The guest's time of day follows the host's CLOCK_REALTIME, also while the
 * guest is stopped, plus whatever the guest has set it off by.  Periodic,
 * update-ended and alarm interrupts come with the grain of the host's timers,
 * 1 ms; ticks that the host was too late for are not made up for.
 */
#ifndef MINIVMM_DEVICES_RTC_H
#define MINIVMM_DEVICES_RTC_H

#include <stdbool.h>
#include <stdint.h>

#include "devices/rtc-time.h"
#include "vmm/device.h"

struct err;
struct loop_timer;
struct machine;
struct vms_desc;

#define RTC_TICKS_HZ 32768
#define RTC_C_IRQF   0x80

struct rtc {
	struct device dev;
	/* set at creation and then constant */
	int64_t (*clock_ns)(void); /* CLOCK_REALTIME; tests put their own here */
	struct loop_timer *flag_timer, *tick_timer;
	/* under the machine lock */
	bool running;   /* between resume and pause: timers may change the state */
	bool irq_level; /* of the interrupt line */
	/* under the machine lock, in the stream; times are host ns since the epoch, -1: off */
	uint8_t cmos[RTC_CMOS_BYTES]; /* clock bytes are as of the last read, unless B.SET */
	uint8_t index;
	int64_t periodic_timer;
	int64_t next_periodic_time;
	uint32_t irq_coalesced; /* always 0 here */
	uint32_t period;        /* of the periodic interrupt, in ticks of 32768 Hz; 0: off */
	/* guest time in ns = base_rtc * 10^9 + (clock - last_update) + offset */
	uint64_t base_rtc;
	uint64_t last_update;
	int64_t offset;
	int64_t update_timer; /* when flags UF or AF of register C may change next */
	uint64_t next_alarm_time;
	uint16_t irq_reinject_on_ack_count; /* carried for the stream only */
};

/* Make the RTC of the board; CMOS tells the machine's memory. */
int rtc_create(struct machine *m, struct err *err);

/* The registers, for tests: port is 0 (index) or 1 (data). */
uint8_t rtc_read(struct rtc *r, unsigned port);
void rtc_write(struct rtc *r, unsigned port, uint8_t val);
/* Power-on values, the clock set to the host's; r->dev.ops and the timers are the caller's. */
void rtc_init(struct rtc *r, struct machine *m, int64_t (*clock_ns)(void));
void rtc_set_memory(struct rtc *r, uint64_t ram_bytes);
void rtc_reset(struct rtc *r);
/* Switch timers on or off; switched off they do not change the state. */
void rtc_run(struct rtc *r, bool running);
/* What a timer does when it fires: bring flags and interrupt up to the clock. */
void rtc_poll(struct rtc *r);
/* Bring the clock bytes up to the clock, unless register B holds them. */
void rtc_refresh(struct rtc *r);

extern const struct vms_desc rtc_vmstate; /* over struct rtc */

#endif
