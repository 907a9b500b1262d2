/*
 * pit-counter.c - the counters of an 8254, told by the time at which each was loaded
 *
 * Nothing counts: what a counter holds and what its output is follow from the
 * ticks since count_load_time.  The gates of channels 0 and 1 are tied high;
 * that of channel 2 is low and no port of this board changes it, so that modes 1 and 5,
 * which wait for a gate, never start.
 *
 *     mode   output
 *     0      low, high from the end of the count on
 *     2      high, low in the last tick of each period
 *     3      high in the first half of each period, low in the second
 *     4      high, low for one tick at the end of the count
 */
#include "arch/x86/pit-counter.h"

#include "vmm/base/units.h"

#define PIT_HZ     1193182
#define NS_PER_SEC 1000000000
#define COUNT_ZERO 0x10000 /* what a count of 0 stands for */

#define PORT_CONTROL 3
#define READ_BACK    3 /* "channel" of the control word */
#define NO_COUNT     0x20
#define NO_STATUS    0x10
#define STATUS_OUT   0x80

/* Which byte comes next; rw_mode has one of the first three. */
enum rw { RW_LATCH, RW_LSB, RW_MSB, RW_WORD, RW_WORD_MSB };

enum mode { MODE_TERMINAL, MODE_ONE_SHOT, MODE_RATE, MODE_SQUARE, MODE_STROBE, MODE_HW_STROBE };

static enum mode mode_of(const struct pit_channel *c)
{
	unsigned mode = c->mode & 7;

	return mode > MODE_HW_STROBE ? (enum mode)(mode - 4) : (enum mode)mode;
}

/* The wire may bring any time, hence the wide arithmetic. */
static int64_t ticks_since_load(const struct pit_channel *c, int64_t now)
{
	__int128 ns = (__int128)now - c->count_load_time;

	return ns <= 0 ? 0 : (int64_t)(ns * PIT_HZ / NS_PER_SEC);
}

static int64_t time_of_tick(const struct pit_channel *c, int64_t tick)
{
	__int128 ns = ((__int128)tick * NS_PER_SEC + PIT_HZ - 1) / PIT_HZ + c->count_load_time;

	return ns > INT64_MAX ? PIT_NEVER : (int64_t)ns;
}

static int64_t period(const struct pit_channel *c)
{
	return c->count > 0 ? c->count : COUNT_ZERO;
}

bool pit_out(const struct pit_channel *c, int64_t now)
{
	int64_t n = period(c), d = ticks_since_load(c, now);

	switch (mode_of(c)) {
	case MODE_TERMINAL:
		return d >= n;
	case MODE_RATE:
		return d % n != n - 1;
	case MODE_SQUARE:
		return d % n < (n + 1) / 2;
	case MODE_STROBE:
		return d != n;
	default:
		return true;
	}
}

int64_t pit_next_rise(const struct pit_channel *c, int64_t now)
{
	int64_t n = period(c), d = ticks_since_load(c, now);

	switch (mode_of(c)) {
	case MODE_TERMINAL:
		return d < n ? time_of_tick(c, n) : PIT_NEVER;
	case MODE_RATE:
	case MODE_SQUARE:
		return time_of_tick(c, (d / n + 1) * n);
	case MODE_STROBE:
		return d <= n ? time_of_tick(c, n + 1) : PIT_NEVER;
	default:
		return PIT_NEVER;
	}
}

int64_t pit_next_change(const struct pit_channel *c, int64_t now)
{
	int64_t n = period(c), d = ticks_since_load(c, now), start = d - d % n, fall;

	switch (mode_of(c)) {
	case MODE_RATE:
		fall = start + n - 1;
		break;
	case MODE_SQUARE:
		fall = start + (n + 1) / 2;
		break;
	case MODE_STROBE:
		fall = n;
		break;
	default:
		return pit_next_rise(c, now);
	}
	return d < fall ? time_of_tick(c, fall) : pit_next_rise(c, now);
}

static uint16_t counter(const struct pit_channel *c, int64_t now)
{
	int64_t n = period(c), d = ticks_since_load(c, now);

	switch (mode_of(c)) {
	case MODE_RATE:
		return (uint16_t)(n - d % n);
	case MODE_SQUARE: /* counts by two, twice */
		return (uint16_t)(n - 2 * d % n);
	default:
		return (uint16_t)(n - d);
	}
}

/* ---- registers ---- */

static void latch_count(struct pit_channel *c, int64_t now)
{
	if (c->count_latched)
		return;
	c->latched_count = counter(c, now);
	c->count_latched = c->rw_mode;
}

static void latch_status(struct pit_channel *c, int64_t now)
{
	if (c->status_latched)
		return;
	c->status =
	    (uint8_t)((pit_out(c, now) ? STATUS_OUT : 0) | c->rw_mode << 4 | c->mode << 1 | c->bcd);
	c->status_latched = 1;
}

static void load_count(struct pit_channel *c, uint16_t count, int64_t now)
{
	c->count = count ? count : COUNT_ZERO;
	c->count_load_time = now;
}

static void write_control(struct pit_state *p, uint8_t val, int64_t now)
{
	unsigned channel = val >> 6, access = val >> 4 & 3;
	struct pit_channel *c;

	if (channel == READ_BACK) {
		for (unsigned i = 0; i < ARRAY_LEN(p->channels); i++) {
			if (!(val >> (i + 1) & 1))
				continue;
			if (!(val & NO_COUNT))
				latch_count(&p->channels[i], now);
			if (!(val & NO_STATUS))
				latch_status(&p->channels[i], now);
		}
		return;
	}
	c = &p->channels[channel];
	if (access == RW_LATCH) {
		latch_count(c, now);
		return;
	}
	c->rw_mode = c->read_state = c->write_state = (uint8_t)access;
	c->mode = val >> 1 & 7;
	c->bcd = val & 1;
}

void pit_write(struct pit_state *p, unsigned port, uint8_t val, int64_t now)
{
	struct pit_channel *c = &p->channels[port % ARRAY_LEN(p->channels)];

	if (port == PORT_CONTROL) {
		write_control(p, val, now);
		return;
	}
	switch (c->write_state) {
	case RW_LSB:
		load_count(c, val, now);
		break;
	case RW_MSB:
		load_count(c, (uint16_t)(val << 8), now);
		break;
	case RW_WORD:
		c->write_latch = val;
		c->write_state = RW_WORD_MSB;
		break;
	case RW_WORD_MSB:
		load_count(c, (uint16_t)(c->write_latch | val << 8), now);
		c->write_state = RW_WORD;
		break;
	default: /* never programmed */
		break;
	}
}

/* The byte of 'count' that state asks for; the state moves on to the next. */
static uint8_t next_byte(uint16_t count, uint8_t *state, uint8_t after_msb)
{
	uint8_t was = *state;

	if (was == RW_WORD) {
		*state = RW_WORD_MSB;
		return (uint8_t)count;
	}
	*state = was == RW_WORD_MSB ? after_msb : was;
	return (uint8_t)(was == RW_LSB ? count : count >> 8);
}

uint8_t pit_read(struct pit_state *p, unsigned port, int64_t now)
{
	struct pit_channel *c = &p->channels[port % ARRAY_LEN(p->channels)];
	uint8_t val;

	if (port == PORT_CONTROL)
		return 0;
	if (c->status_latched) {
		c->status_latched = 0;
		return c->status;
	}
	if (!c->count_latched)
		return next_byte(counter(c, now), &c->read_state, RW_WORD);
	/* The second byte of a latched word is asked for as RW_MSB, as KVM and QEMU store it. */
	val = c->count_latched == RW_MSB ? (uint8_t)(c->latched_count >> 8)
					 : (uint8_t)c->latched_count;
	c->count_latched = c->count_latched == RW_WORD ? RW_MSB : 0;
	return val;
}
