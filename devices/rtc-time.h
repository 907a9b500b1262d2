/*
 * rtc-time.h - the clock and calendar bytes of an MC146818, and its alarm
 *
 * Pure functions over the 128 CMOS bytes.  Register B says how the bytes are
 * written: binary or BCD, 24 or 12 hours (bit 7 of the hour is PM).  The
 * century is the PC's byte 0x32.
 */
#ifndef MINIVMM_DEVICES_RTC_TIME_H
#define MINIVMM_DEVICES_RTC_TIME_H

#include <stdint.h>

#define RTC_CMOS_BYTES 128

enum rtc_reg {
	RTC_SECONDS = 0,
	RTC_SECONDS_ALARM = 1,
	RTC_MINUTES = 2,
	RTC_MINUTES_ALARM = 3,
	RTC_HOURS = 4,
	RTC_HOURS_ALARM = 5,
	RTC_WEEKDAY = 6, /* 1: Sunday */
	RTC_DAY = 7,
	RTC_MONTH = 8,
	RTC_YEAR = 9,
	RTC_A = 10,
	RTC_B = 11,
	RTC_C = 12,
	RTC_D = 13,
	RTC_CENTURY = 0x32,
	RTC_CENTURY_PS2 = 0x37, /* another name of 0x32 on this machine */
};

#define RTC_B_24H    0x02
#define RTC_B_BINARY 0x04

/* Write the time, seconds since the epoch (UTC), into its bytes. */
void rtc_time_store(uint8_t *cmos, int64_t seconds);
/* What the bytes say.  Any bytes are fine: fields out of range carry over, as in timegm(). */
int64_t rtc_time_fetch(const uint8_t *cmos);
/*
 * Seconds, 1 to 86400, from the given time until the alarm bytes match next;
 * 0 when they never will.  An alarm byte of 0xc0 and above matches always.
 */
int64_t rtc_alarm_in(const uint8_t *cmos, int64_t seconds);

#endif
