/*
 * toucher.c - touches pages that may be missing, and keeps how long each touch took
 *
 * Command line: start=64M pages=4096 (a power of two, at least 16), touch (all of
 * them are written first).  It tells the ticks a second of the TSC, then sleeps.
 * Commands: g reads each page once, in an order that looks random, as fast as it
 * can; t prints a dot again and again, each a few hundred instructions behind the
 * other.  Any other command ends either.
 *
 * For the host: the words of struct touches at TOUCHES; which touches took longer
 * than one does whose page is there, and how long.
 */
#include "counting.h"

#define TOUCHES     (32u << 20)
#define MOST        (1u << 16)
#define LOOK_EVERY  16u
#define DOT_EVERY   200u
#define TICKS_TAKEN 10u

struct touches {
	uint64_t magic, hz, touched, slow;
	struct {
		uint32_t which, took; /* took: ticks of the TSC */
	} list[MOST];
};

static volatile struct touches *const touches = (void *)(uintptr_t)TOUCHES;

static uint64_t measure_hz(void)
{
	uint64_t first, before;

	for (first = ticks[0]; ticks[0] == first;)
		wait_for_interrupt();
	before = rdtsc();
	for (first = ticks[0]; ticks[0] < first + TICKS_TAKEN;)
		wait_for_interrupt();
	return (rdtsc() - before) * TICKS_PER_SECOND / TICKS_TAKEN;
}

static uint32_t touch(uint64_t gpa)
{
	uint64_t before = rdtsc();

	*(volatile uint8_t *)at_gpa(gpa);
	return (uint32_t)(rdtsc() - before);
}

static void touch_all(uint64_t start, uint64_t pages)
{
	uint32_t slow = (uint32_t)(touches->hz / 100000); /* 10 us */
	uint64_t at = 0, n;

	touches->touched = touches->slow = 0;
	for (n = 0; n < pages; n++) {
		uint32_t took;

		at = (at * 1664525 + 1013904223) & (pages - 1); /* goes over all of them */
		took = touch(start + at * PAGE_BYTES);
		if (took > slow && touches->slow < MOST) {
			touches->list[touches->slow].which = (uint32_t)n;
			touches->list[touches->slow].took = took;
			touches->slow++;
		}
		touches->touched = n;
		if (n % LOOK_EVERY == 0 && command())
			break;
	}
	field("touched ", n);
	text("\n");
}

static void print_dots(void)
{
	while (!command()) {
		text(".");
		for (volatile unsigned i = 0; i < DOT_EVERY; i++)
			;
	}
	text("\n");
}

void guest_main(void)
{
	uint64_t start = arg_number("start", 64u << 20), pages = arg_number("pages", 4096);

	ticks_start();
	commands_start();
	interrupts_off();
	touches->hz = measure_hz();
	touches->magic = COUNTING_MAGIC;
	for (uint64_t i = 0; arg("touch") && i < pages; i++)
		*(volatile uint64_t *)at_gpa(start + i * PAGE_BYTES) = i;
	field("touching hz=", touches->hz);
	text("\n");
	for (;;) {
		char c;

		wait_for_interrupt();
		c = command();
		if (!c)
			continue;
		interrupts_on();
		if (c == 'g')
			touch_all(start, pages);
		else if (c == 't')
			print_dots();
		interrupts_off();
	}
}
