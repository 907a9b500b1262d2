/*
 * rtc-time.c - the calendar bytes of an MC146818 to seconds and back, next alarm
 *
 * The next alarm is found by stepping through one day: by hours until the hour
 * matches, then by minutes, then by seconds, at most 24 + 60 + 60 steps.
 */
#include "devices/rtc-time.h"

#include <stdbool.h>
#include <time.h>

#define DAY_SECONDS 86400
#define HOUR_PM     0x80
#define ALARM_ANY   0xc0 /* from here on: don't care */

static uint8_t encode(const uint8_t *cmos, int v)
{
	if (cmos[RTC_B] & RTC_B_BINARY)
		return (uint8_t)v;
	return (uint8_t)((v / 10 % 10) << 4 | v % 10);
}

static int decode(const uint8_t *cmos, uint8_t byte)
{
	if (cmos[RTC_B] & RTC_B_BINARY)
		return byte;
	return (byte >> 4) * 10 + (byte & 0x0f);
}

static uint8_t encode_hour(const uint8_t *cmos, int hour)
{
	int h12 = hour % 12 ? hour % 12 : 12;

	if (cmos[RTC_B] & RTC_B_24H)
		return encode(cmos, hour);
	return encode(cmos, h12) | (hour >= 12 ? HOUR_PM : 0);
}

static int decode_hour(const uint8_t *cmos, uint8_t byte)
{
	if (cmos[RTC_B] & RTC_B_24H)
		return decode(cmos, byte);
	return decode(cmos, byte & 0x7f) % 12 + (byte & HOUR_PM ? 12 : 0);
}

void rtc_time_store(uint8_t *cmos, int64_t seconds)
{
	time_t t = seconds;
	struct tm tm;

	if (!gmtime_r(&t, &tm)) /* a year that does not fit an int: leave the bytes alone */
		return;
	cmos[RTC_SECONDS] = encode(cmos, tm.tm_sec);
	cmos[RTC_MINUTES] = encode(cmos, tm.tm_min);
	cmos[RTC_HOURS] = encode_hour(cmos, tm.tm_hour);
	cmos[RTC_WEEKDAY] = encode(cmos, tm.tm_wday + 1);
	cmos[RTC_DAY] = encode(cmos, tm.tm_mday);
	cmos[RTC_MONTH] = encode(cmos, tm.tm_mon + 1);
	cmos[RTC_YEAR] = encode(cmos, (tm.tm_year + 1900) % 100);
	cmos[RTC_CENTURY] = encode(cmos, (tm.tm_year + 1900) / 100);
}

int64_t rtc_time_fetch(const uint8_t *cmos)
{
	struct tm tm = {
	    .tm_sec = decode(cmos, cmos[RTC_SECONDS]),
	    .tm_min = decode(cmos, cmos[RTC_MINUTES]),
	    .tm_hour = decode_hour(cmos, cmos[RTC_HOURS]),
	    .tm_mday = decode(cmos, cmos[RTC_DAY]),
	    .tm_mon = decode(cmos, cmos[RTC_MONTH]) - 1,
	    .tm_year = decode(cmos, cmos[RTC_YEAR]) + decode(cmos, cmos[RTC_CENTURY]) * 100 - 1900,
	};

	return timegm(&tm);
}

/* Does an alarm byte fit the value that the clock has in that place? */
static bool alarm_byte_matches(const uint8_t *cmos, enum rtc_reg alarm, int now)
{
	if (cmos[alarm] >= ALARM_ANY)
		return true;
	if (alarm == RTC_HOURS_ALARM)
		return decode_hour(cmos, cmos[alarm]) == now;
	return decode(cmos, cmos[alarm]) == now;
}

int64_t rtc_alarm_in(const uint8_t *cmos, int64_t seconds)
{
	int64_t day = ((seconds % DAY_SECONDS) + DAY_SECONDS) % DAY_SECONDS;
	int64_t t = day + 1;

	while (t <= day + DAY_SECONDS) {
		if (!alarm_byte_matches(cmos, RTC_HOURS_ALARM, (int)(t / 3600 % 24)))
			t += 3600 - t % 3600;
		else if (!alarm_byte_matches(cmos, RTC_MINUTES_ALARM, (int)(t / 60 % 60)))
			t += 60 - t % 60;
		else if (!alarm_byte_matches(cmos, RTC_SECONDS_ALARM, (int)(t % 60)))
			t++;
		else
			return t - day;
	}
	return 0;
}
