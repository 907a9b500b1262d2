/* check-platform.c - serial port, clock chip, fw_cfg, GED, timers */
#include "check.h"
#include "lib.h"

#define SERIAL 0x3f8u
#define GUARD  (10 * TICKS_PER_SECOND)

static volatile unsigned serial_irqs, rtc_irqs, rtc_flags, pit_irqs[2];

/* Sleeps until *counter has reached n; false when that takes ten seconds. */
static bool wait_count(const volatile unsigned *counter, unsigned n)
{
	uint64_t guard = ticks[0] + GUARD;

	while (*counter < n) {
		if (ticks[0] > guard)
			return false;
		wait_for_interrupt();
	}
	return true;
}

static void serial_interrupt(unsigned vector)
{
	(void)vector;
	(void)inb(SERIAL + 2); /* IIR: acknowledges THR empty */
	serial_irqs++;
}

const char *check_serial(void)
{
	bool irq;

	outb(SERIAL + 7, 0x5a);
	if (inb(SERIAL + 7) != 0x5a)
		return "the scratch register does not hold its value";

	outb(SERIAL + 4, 0x10 | 0x0f); /* loopback: modem inputs follow the outputs */
	if ((inb(SERIAL + 6) & 0xf0) != 0xf0) {
		outb(SERIAL + 4, 0x08);
		return "modem status does not follow modem control in loopback";
	}
	outb(SERIAL, 'x');
	irq = inb(SERIAL + 5) & 1;
	if (!irq || inb(SERIAL) != 'x') {
		outb(SERIAL + 4, 0x08);
		return "a byte written in loopback is not received";
	}
	outb(SERIAL + 4, 0x08); /* OUT2 */

	serial_irqs = 0;
	interrupt_handler(VECTOR_GSI(GSI_SERIAL), serial_interrupt);
	ioapic_route(GSI_SERIAL, false);
	outb(SERIAL + 1, 2); /* THR empty */
	irq = wait_count(&serial_irqs, 1);
	outb(SERIAL + 1, 0);
	ioapic_mask(GSI_SERIAL);
	return irq ? NULL : "no interrupt for an empty transmitter";
}

static void rtc_interrupt(unsigned vector)
{
	(void)vector;
	rtc_flags |= cmos_read(0x0c);
	rtc_irqs++;
}

/* Register D has bits that are always 0. */
static bool no_rtc(void)
{
	return cmos_read(0x0d) == 0xff;
}

static unsigned rtc_seconds(void)
{
	unsigned v;

	while (cmos_read(0x0a) & 0x80)
		;
	v = cmos_read(0);
	return cmos_read(0x0b) & 4 ? v : (v >> 4) * 10 + (v & 15);
}

/* One interrupt of the kind 'enable' (a bit of register B, and the same bit of C). */
static bool rtc_fires(uint8_t enable, unsigned times)
{
	uint8_t b = cmos_read(0x0b);
	bool came;

	rtc_irqs = 0;
	rtc_flags = 0;
	cmos_write(0x0b, b | enable);
	(void)cmos_read(0x0c);
	came = wait_count(&rtc_irqs, times);
	cmos_write(0x0b, b);
	(void)cmos_read(0x0c);
	return came && rtc_flags & enable;
}

const char *check_rtc(void)
{
	const char *why = NULL;
	uint8_t a = cmos_read(0x0a);
	unsigned before;

	if (no_rtc())
		return SKIP "no clock chip";
	before = rtc_seconds();
	interrupt_handler(VECTOR_GSI(GSI_RTC), rtc_interrupt);
	ioapic_route(GSI_RTC, false);
	cmos_write(0x0a, (a & 0xf0) | 10); /* 64 Hz */
	if (!rtc_fires(0x40, 3))
		why = "no periodic interrupt";
	else if (!rtc_fires(0x10, 1))
		why = "no update-ended interrupt";
	else if (rtc_seconds() == before)
		why = "the seconds do not advance";
	cmos_write(0x0a, a);
	ioapic_mask(GSI_RTC);
	return why;
}

const char *check_cmos(void)
{
	uint32_t pages64k = cmos_read(0x34) | (uint32_t)cmos_read(0x35) << 8;
	uint64_t ram;

	if (no_rtc())
		return SKIP "no clock chip";
	fw_cfg_read(3, &ram, sizeof(ram));
	cmos_write(0x6f, 0x3c);
	if (cmos_read(0x6f) != 0x3c)
		return "a byte of CMOS does not hold its value";
	if (!(cmos_read(0x0d) & 0x80))
		return "register D says that the battery is dead";
	if (ram > 16ull << 20 && ram <= 3ull << 30 && pages64k != (ram - (16ull << 20)) >> 16)
		return "the RAM size in 0x34 is not that of fw_cfg";
	return NULL;
}

struct fw_cfg_dma {
	uint32_t control, length;
	uint64_t gpa;
};

static const char *fw_cfg_dma_read(uint16_t key, void *to, uint32_t n)
{
	static volatile struct fw_cfg_dma dma;
	uint64_t at = (uintptr_t)&dma;

	dma.control = __builtin_bswap32((uint32_t)key << 16 | 8 | 2); /* select, read */
	dma.length = __builtin_bswap32(n);
	dma.gpa = __builtin_bswap64((uintptr_t)to);
	outl(0x514, __builtin_bswap32((uint32_t)(at >> 32)));
	outl(0x518, __builtin_bswap32((uint32_t)at));
	for (uint64_t guard = ticks[0] + GUARD; dma.control & ~__builtin_bswap32(1);) {
		if (ticks[0] > guard)
			return "DMA never ends";
		wait_for_interrupt();
	}
	return dma.control ? "DMA reports an error" : NULL;
}

struct fw_cfg_file {
	uint32_t size;
	uint16_t key, reserved;
	char name[56];
};

static const char *check_directory(uint32_t n)
{
	struct fw_cfg_file *files;
	const char *why;

	if (n == 0 || n > 64)
		return "the number of files is out of range";
	files = allocate(sizeof(*files) * n, 8);
	fw_cfg_select(0x19);
	for (unsigned i = 0; i < 4; i++)
		(void)fw_cfg_byte();
	for (size_t i = 0; i < sizeof(*files) * n; i++)
		((uint8_t *)files)[i] = fw_cfg_byte();
	for (unsigned i = 0; i < n; i++) {
		uint32_t size = __builtin_bswap32(files[i].size);
		static uint8_t by_port[64], by_dma[64];
		uint32_t part = size < sizeof(by_port) ? size : (uint32_t)sizeof(by_port);

		if (__builtin_bswap16(files[i].key) < 0x20 || files[i].name[55])
			return "a directory entry is malformed";
		fw_cfg_read(__builtin_bswap16(files[i].key), by_port, part);
		why = fw_cfg_dma_read(__builtin_bswap16(files[i].key), by_dma, part);
		if (why)
			return why;
		if (memcmp(by_port, by_dma, part) != 0)
			return "a file reads differently by port and by DMA";
	}
	return NULL;
}

const char *check_fw_cfg(void)
{
	char signature[4];
	uint32_t id, n;
	const char *why;

	fw_cfg_read(0, signature, sizeof(signature));
	if (memcmp(signature, "QEMU", 4) != 0)
		return "wrong signature";
	fw_cfg_read(1, &id, sizeof(id));
	if (id != 3)
		return "the id is not 3 (ports and DMA)";
	if (inl(0x514) != __builtin_bswap32(0x51454d55) ||
	    inl(0x518) != __builtin_bswap32(0x20434647))
		return "the DMA register does not read QEMU CFG";
	memset(signature, 0, sizeof(signature));
	why = fw_cfg_dma_read(0, signature, sizeof(signature));
	if (why)
		return why;
	if (memcmp(signature, "QEMU", 4) != 0)
		return "DMA reads another signature";
	if (machine_cpus() == 0)
		return "no processors";
	fw_cfg_read(0x19, &n, sizeof(n));
	return check_directory(__builtin_bswap32(n));
}

const char *check_ged(void)
{
	if (mmio_read32(GED_SELECTOR) != 0)
		return "an event is pending";
	if (mmio_read8(GED_SLEEP) || mmio_read8(GED_STATUS) || mmio_read8(GED_RESET))
		return "a register does not read as zero";
	mmio_write8(GED_RESET, 0x41);  /* not the reset value */
	mmio_write8(GED_SLEEP, 0x20);  /* SLP_EN, but not S5 */
	mmio_write32(GED_SELECTOR, 2); /* read only */
	if (mmio_read32(GED_SELECTOR) != 0)
		return "writing the selector raised an event";
	return NULL;
}

static void pit_interrupt(unsigned vector)
{
	pit_irqs[vector == VECTOR_GSI(0) ? 0 : 1]++;
}

const char *check_pit(void)
{
	uint64_t guard = ticks[0] + GUARD;
	unsigned a, b;

	if (inb(0x40) == 0xff && inb(0x40) == 0xff && inb(0x40) == 0xff && inb(0x40) == 0xff)
		return SKIP "no timer";
	interrupt_handler(VECTOR_GSI(0), pit_interrupt);
	interrupt_handler(VECTOR_GSI(2), pit_interrupt);
	ioapic_route(0, false);
	ioapic_route(2, false);
	outb(0x43, 0x34); /* channel 0, mode 2, both bytes */
	outb(0x40, 11932 & 0xff);
	outb(0x40, 11932 >> 8); /* 100 Hz */
	while (pit_irqs[0] + pit_irqs[1] < 3 && ticks[0] < guard)
		wait_for_interrupt();
	outb(0x43, 0x30); /* mode 0, and a count that is never written: quiet */
	ioapic_mask(0);
	ioapic_mask(2);
	if (pit_irqs[0] + pit_irqs[1] < 3)
		return "no interrupt from channel 0";

	outb(0x43, 0x74); /* channel 1, mode 2 */
	outb(0x41, 0xff);
	outb(0x41, 0xff);
	outb(0x43, 0x40); /* latch */
	a = inb(0x41);
	a |= (unsigned)inb(0x41) << 8;
	do {
		outb(0x43, 0x40);
		b = inb(0x41);
		b |= (unsigned)inb(0x41) << 8;
	} while (a == b && ticks[0] < guard);
	return a == b ? "the counter of channel 1 stands still" : NULL;
}

const char *check_lapic_timer(void)
{
	uint64_t guard = ticks[0] + 3;
	uint32_t first = lapic_read(LAPIC_TCCR);

	while (ticks[0] < guard)
		wait_for_interrupt();
	if (!first)
		return "the current count is zero while it runs";
	return NULL;
}

const char *check_tsc(void)
{
	uint64_t last = rdtsc(), first = last;

	for (unsigned i = 0; i < 1000; i++) {
		uint64_t now = rdtsc();

		if (now < last)
			return "the time stamp counter runs backwards";
		last = now;
	}
	return last == first ? "the time stamp counter stands still" : NULL;
}
