/*
 * writer.c - rewrites a range of memory at a known rate, or as fast as it can
 *
 * In round G the first word of every page becomes G; the other words stay as
 * the host has filled them, so the host chooses how well a page compresses.
 * The last 'zeros' pages of the range are rewritten with 0 instead, with
 * flicker=1 in every other round only.
 *
 * Command line: start=16M pages=4096 rate=0 (pages a second, 0: as fast as it
 * goes) zeros=0 flicker=0, touch=0 (pages from the start on that are written
 * once, before anything else).  The status page is a counting guest's (counting.h),
 * but 'index' only advances by whole pieces: pages from index on, up to a piece
 * further, may be of either round.
 */
#include "counting.h"

#define PIECE 64u /* pages between two looks at the clock */

static volatile struct counting_status *const status = (void *)(uintptr_t)COUNTING_STATUS;
static uint64_t rate, budget, tick_seen;

/* One piece may be written; waits for the timer when the rate's share is used up. */
static void pace(uint64_t pages)
{
	if (!rate)
		return;
	while (budget < pages) {
		while (ticks[0] == tick_seen)
			wait_for_interrupt();
		budget += (ticks[0] - tick_seen) * rate / TICKS_PER_SECOND;
		tick_seen = ticks[0];
	}
	budget -= pages;
}

/* How long a piece takes at most is how long the guest stands still, and little more. */
static void look_at_clock(void)
{
	uint64_t now = rdtsc();

	if (now - status->tsc > status->gap)
		status->gap = now - status->tsc;
	status->tsc = now;
}

/* Nothing but what is needed: the instructions between two stores limit the rate. */
static void write_pages(uint64_t first, uint64_t n, uint64_t value)
{
	uint64_t gpa = status->base + first * PAGE_BYTES, end = gpa + n * PAGE_BYTES;

	for (; gpa != end; gpa += PAGE_BYTES)
		*(volatile uint64_t *)at_gpa(gpa) = value;
}

void guest_main(void)
{
	uint64_t pages = arg_number("pages", 4096) / PIECE * PIECE;
	uint64_t stamped = pages - arg_number("zeros", 0) / PIECE * PIECE;
	bool flicker = arg_number("flicker", 0);

	rate = arg_number("rate", 0);
	ticks_start();
	memset((void *)(uintptr_t)COUNTING_STATUS, 0, sizeof(*status));
	status->base = arg_number("start", 16u << 20);
	status->pages = pages;
	status->generation = 1;
	status->tsc = rdtsc();
	status->magic = COUNTING_MAGIC;
	write_pages(0, arg_number("touch", 0), 1);
	text("writing\n");
	for (;;) {
		for (uint64_t i = 0; i < pages; i += PIECE) {
			bool stamp = i < stamped || (flicker && (status->generation & 1));

			pace(PIECE);
			write_pages(i, PIECE, stamp ? status->generation : 0);
			look_at_clock();
			status->index = i + PIECE < pages ? i + PIECE : 0;
		}
		status->generation++;
	}
}
