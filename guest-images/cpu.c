/* cpu.c - interrupt table, LAPIC, IOAPIC, timer ticks, starting the other processors */
#include "lib.h"

#define LAPIC       0xfee00000u
#define IOAPIC      0xfec00000u
#define IOAPIC_PINS 24u

#define TRAMPOLINE     0x8000u
#define LAPIC_TIMER_HZ 1000000000ul /* what KVM gives its LAPIC */
#define TIMER_DIVIDE   16u

struct gate {
	uint16_t offset_low, selector, flags, offset_mid;
	uint32_t offset_high, zero;
};

/* of start.S */
extern uint8_t vectors[256][16];
extern uint8_t stacks[MAX_CPUS][STACK_BYTES];
extern uint8_t ap_trampoline[], ap_trampoline_end[];
extern volatile uint32_t ap_next_number;
/* called by start.S */
void cpu_init(void);
void trap(uint64_t vector, uint64_t error, uint64_t rip);
void ap_start(uint64_t cpu);

volatile uint64_t ticks[MAX_CPUS];
static _Alignas(16) struct gate idt[256];
static interrupt_fn *handlers[256];
static bool level[256]; /* the vector's source is level-triggered */
static cpu_fn *ap_fn;
static volatile uint32_t cpus_up;

unsigned cpu_number(void)
{
	uintptr_t at = (uintptr_t)__builtin_frame_address(0);

	return (unsigned)((at - (uintptr_t)stacks) / STACK_BYTES);
}

uint32_t lapic_read(unsigned reg)
{
	return mmio_read32(LAPIC + reg);
}

void lapic_write(unsigned reg, uint32_t v)
{
	mmio_write32(LAPIC + reg, v);
}

static void idt_build(void)
{
	for (unsigned i = 0; i < 256; i++) {
		uintptr_t at = (uintptr_t)vectors[i];

		idt[i].offset_low = (uint16_t)at;
		idt[i].selector = 0x08;
		idt[i].flags = 0x8e00; /* present, interrupt gate */
		idt[i].offset_mid = (uint16_t)(at >> 16);
	}
}

void cpu_init(void)
{
	struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) pointer = {sizeof(idt) - 1, (uintptr_t)idt};

	if (cpu_number() == 0) {
		idt_build();
		outb(0x21, 0xff); /* both PICs off */
		outb(0xa1, 0xff);
	}
	__asm__ volatile("lidt %0" : : "m"(pointer));
	lapic_write(LAPIC_SVR, 0x100 | VECTOR_SPURIOUS);
}

static _Noreturn void trap_fatal(uint64_t vector, uint64_t error, uint64_t rip)
{
	field("\nTRAP ", vector);
	text(" error ");
	hex(error);
	text(" rip ");
	hex(rip);
	text("\n");
	for (;;)
		__asm__ volatile("cli; hlt");
}

void trap(uint64_t vector, uint64_t error, uint64_t rip)
{
	if (vector == VECTOR_SPURIOUS)
		return;
	/*
	 * An edge is acknowledged first: KVM drops one of the clock chip that comes before the
	 * end of the last one.  A level only when its source has been silenced.
	 */
	if (!level[vector])
		lapic_write(LAPIC_EOI, 0);
	if (vector == VECTOR_TIMER)
		ticks[cpu_number()]++;
	else if (handlers[vector])
		handlers[vector]((unsigned)vector);
	else
		trap_fatal(vector, error, rip);
	if (level[vector])
		lapic_write(LAPIC_EOI, 0);
}

void interrupt_handler(unsigned vector, interrupt_fn *fn)
{
	handlers[vector] = fn;
}

/* Half of a pin's entry; the second IOAPIC has the pins from 24 on. */
static void ioapic_write(unsigned gsi, unsigned half, uint32_t v)
{
	uintptr_t at = IOAPIC + 0x10000u * (gsi / IOAPIC_PINS);

	mmio_write32(at, 0x10 + 2 * (gsi % IOAPIC_PINS) + half);
	mmio_write32(at + 0x10, v);
}

void ioapic_route(unsigned gsi, bool is_level)
{
	level[VECTOR_GSI(gsi)] = is_level;
	ioapic_write(gsi, 1, lapic_read(LAPIC_ID) & 0xff000000u);
	ioapic_write(gsi, 0, VECTOR_GSI(gsi) | (is_level ? 0x8000u : 0));
}

void ioapic_mask(unsigned gsi)
{
	ioapic_write(gsi, 0, 0x10000);
}

void ticks_start(void)
{
	lapic_write(LAPIC_TDCR, 3); /* by 16 */
	lapic_write(LAPIC_LVTT, 0x20000 | VECTOR_TIMER);
	lapic_write(LAPIC_TICR, (uint32_t)(LAPIC_TIMER_HZ / TIMER_DIVIDE / TICKS_PER_SECOND));
}

void ap_start(uint64_t cpu)
{
	__atomic_add_fetch(&cpus_up, 1, __ATOMIC_SEQ_CST);
	ap_fn((unsigned)cpu);
}

static void icr_send(uint32_t command)
{
	lapic_write(LAPIC_ICR2, 0);
	lapic_write(LAPIC_ICR, command);
	while (lapic_read(LAPIC_ICR) & 0x1000)
		;
}

unsigned cpus_start(unsigned cpus, cpu_fn *fn)
{
	uint64_t guard = ticks[0] + 10 * TICKS_PER_SECOND;

	ap_fn = fn;
	cpus_up = 1;
	ap_next_number = 1;
	memcpy(at_gpa(TRAMPOLINE), ap_trampoline, (size_t)(ap_trampoline_end - ap_trampoline));
	if (cpus > MAX_CPUS)
		cpus = MAX_CPUS;
	if (cpus == 1)
		return 1;
	icr_send(0xc4500); /* INIT, to all others */
	icr_send(0xc4600 | TRAMPOLINE >> 12);
	while (cpus_up < cpus && ticks[0] < guard)
		wait_for_interrupt();
	return cpus_up;
}
