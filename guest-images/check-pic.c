/* check-pic.c - the pair of 8259, with the timer and the clock chip on it, through LINT0 */
#include "check.h"
#include "lib.h"

#define MASTER      0x20u
#define SLAVE       0xa0u
#define VECTOR_BASE 0x30u /* of the master; the slave's lines follow */
#define LINE_TIMER  0u
#define LINE_RTC    8u
#define EOI         0x20u
#define LAPIC_LINT0 0x350u
#define LVT_EXTINT  0x700u
#define LVT_MASKED  0x10000u
#define GUARD       (10 * TICKS_PER_SECOND)

static volatile unsigned timer_irqs, rtc_irqs;

static void timer_interrupt(unsigned vector)
{
	(void)vector;
	timer_irqs++;
	outb(MASTER, EOI);
}

static void rtc_interrupt(unsigned vector)
{
	(void)vector;
	(void)cmos_read(0x0c);
	rtc_irqs++;
	outb(SLAVE, EOI);
	outb(MASTER, EOI);
}

static void set_up(void)
{
	outb(MASTER, 0x11); /* edges, two chips, ICW4 */
	outb(SLAVE, 0x11);
	outb(MASTER + 1, VECTOR_BASE);
	outb(SLAVE + 1, VECTOR_BASE + 8);
	outb(MASTER + 1, 4); /* the slave is on line 2 */
	outb(SLAVE + 1, 2);
	outb(MASTER + 1, 1);
	outb(SLAVE + 1, 1);
	outb(MASTER + 1, 0xff);
	outb(SLAVE + 1, 0xff);
	interrupt_handler(VECTOR_BASE + LINE_TIMER, timer_interrupt);
	interrupt_handler(VECTOR_BASE + LINE_RTC, rtc_interrupt);
	lapic_write(LAPIC_LINT0, LVT_EXTINT);
}

static bool comes(volatile unsigned *counter)
{
	uint64_t guard = ticks[0] + GUARD;

	*counter = 0;
	while (*counter < 3 && ticks[0] < guard)
		wait_for_interrupt();
	return *counter >= 3;
}

static const char *timer_through_master(void)
{
	bool came;

	outb(0x43, 0x34); /* channel 0, mode 2 */
	outb(0x40, 11932 & 0xff);
	outb(0x40, 11932 >> 8); /* 100 Hz */
	outb(MASTER + 1, 0xff & ~(1u << LINE_TIMER));
	came = comes(&timer_irqs);
	outb(MASTER + 1, 0xff);
	outb(0x43, 0x30);
	return came ? NULL : "the timer does not interrupt through the master";
}

static const char *rtc_through_slave(void)
{
	uint8_t a = cmos_read(0x0a), b = cmos_read(0x0b);
	bool came;

	if (cmos_read(0x0d) == 0xff)
		return NULL;               /* none here */
	cmos_write(0x0a, (a & 0xf0) | 10); /* 64 Hz */
	cmos_write(0x0b, b | 0x40);
	(void)cmos_read(0x0c);
	outb(SLAVE + 1, 0xff & ~(1u << (LINE_RTC - 8)));
	outb(MASTER + 1, 0xff & ~(1u << 2));
	came = comes(&rtc_irqs);
	outb(MASTER + 1, 0xff);
	outb(SLAVE + 1, 0xff);
	cmos_write(0x0b, b);
	cmos_write(0x0a, a);
	(void)cmos_read(0x0c);
	return came ? NULL : "the clock chip does not interrupt through the slave";
}

const char *check_pic(void)
{
	const char *why = NULL;

	outb(MASTER + 1, 0x5a);
	if (inb(MASTER + 1) != 0x5a)
		return SKIP "no 8259";
	set_up();
	if (inb(0x40) != 0xff || inb(0x40) != 0xff)
		why = timer_through_master();
	if (!why)
		why = rtc_through_slave();
	lapic_write(LAPIC_LINT0, LVT_MASKED);
	return why;
}
