/*
 * lib.h - what the tiny guests share: ports, serial text, the command line, interrupts, the end
 *
 * One address space, identity mapped; processor 0 enters guest_main() with
 * interrupts off.  Text goes to the first serial port, by polling.
 */
#ifndef GUEST_LIB_H
#define GUEST_LIB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PAGE_BYTES  4096u
#define STACK_BYTES 8192u
#define MAX_CPUS    8u

/* Interrupt vectors: one per IOAPIC pin, and the processor's own. */
#define VECTOR_GSI(gsi) (0x40u + (gsi))
#define VECTOR_TIMER    0xe0u
#define VECTOR_SPURIOUS 0xffu

#define GSI_SERIAL 4u
#define GSI_RTC    8u
#define GSI_GED    9u

#define GED_SELECTOR 0xfea00000u
#define GED_SLEEP    0xfea00200u
#define GED_STATUS   0xfea00201u
#define GED_RESET    0xfea00202u

#define LAPIC_ID   0x020u
#define LAPIC_EOI  0x0b0u
#define LAPIC_SVR  0x0f0u
#define LAPIC_ICR  0x300u
#define LAPIC_ICR2 0x310u
#define LAPIC_LVTT 0x320u
#define LAPIC_TICR 0x380u
#define LAPIC_TCCR 0x390u
#define LAPIC_TDCR 0x3e0u

#define TICKS_PER_SECOND 50ul

/* ---- ports and registers ---- */
static inline void outb(uint16_t port, uint8_t v)
{
	__asm__ volatile("outb %0, %1" : : "a"(v), "Nd"(port) : "memory");
}

static inline uint8_t inb(uint16_t port)
{
	uint8_t v;

	__asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port) : "memory");
	return v;
}

static inline void outw(uint16_t port, uint16_t v)
{
	__asm__ volatile("outw %0, %1" : : "a"(v), "Nd"(port) : "memory");
}

static inline void outl(uint16_t port, uint32_t v)
{
	__asm__ volatile("outl %0, %1" : : "a"(v), "Nd"(port) : "memory");
}

static inline uint32_t inl(uint16_t port)
{
	uint32_t v;

	__asm__ volatile("inl %1, %0" : "=a"(v) : "Nd"(port) : "memory");
	return v;
}

static inline uint32_t mmio_read32(uintptr_t gpa)
{
	uint32_t v;

	__asm__ volatile("movl %1, %0" : "=r"(v) : "m"(*(volatile uint32_t *)gpa) : "memory");
	return v;
}

static inline void mmio_write32(uintptr_t gpa, uint32_t v)
{
	__asm__ volatile("movl %1, %0" : "=m"(*(volatile uint32_t *)gpa) : "r"(v) : "memory");
}

static inline uint8_t mmio_read8(uintptr_t gpa)
{
	uint8_t v;

	__asm__ volatile("movb %1, %0" : "=q"(v) : "m"(*(volatile uint8_t *)gpa) : "memory");
	return v;
}

static inline void mmio_write8(uintptr_t gpa, uint8_t v)
{
	__asm__ volatile("movb %1, %0" : "=m"(*(volatile uint8_t *)gpa) : "q"(v) : "memory");
}

static inline uint64_t rdtsc(void)
{
	uint32_t lo, hi;

	__asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi) : : "memory");
	return (uint64_t)hi << 32 | lo;
}

static inline void interrupts_on(void)
{
	__asm__ volatile("sti" : : : "memory");
}

static inline void interrupts_off(void)
{
	__asm__ volatile("cli" : : : "memory");
}

/* Interrupts off on entry and on return; sleeps until one has been taken. */
static inline void wait_for_interrupt(void)
{
	__asm__ volatile("sti; hlt; cli" : : : "memory");
}

static inline void barrier(void)
{
	__asm__ volatile("mfence" : : : "memory");
}

struct cpuid {
	uint32_t eax, ebx, ecx, edx;
};

static inline struct cpuid cpuid(uint32_t leaf, uint32_t sub)
{
	struct cpuid r;

	__asm__ volatile("cpuid"
			 : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx)
			 : "a"(leaf), "c"(sub));
	return r;
}

/* "cpuid LEAF SUB EAX EBX ECX EDX", a line. */
void print_cpuid_leaf(uint32_t leaf, uint32_t sub, struct cpuid r);

/* Memory is mapped one to one. */
static inline void *at_gpa(uint64_t gpa)
{
	return (void *)gpa; /* NOLINT(performance-no-int-to-ptr) */
}

/* ---- memory; gcc needs these three by name ---- */
void *memcpy(void *to, const void *from, size_t n);
void *memset(void *to, int c, size_t n);
int memcmp(const void *a, const void *b, size_t n);
/* Zeroed, never freed, at most 128 KiB in all; align is a power of two. */
void *allocate(size_t bytes, size_t align);

/* ---- text on the serial port ---- */
void text(const char *s);
void dec(uint64_t v);
void hex(uint64_t v);
/* "name" then the number in decimal, as in field(" gen=", 5) */
void field(const char *name, uint64_t v);
/* From now on bytes that arrive interrupt processor 0 and wait for command(). */
void commands_start(void);
/* The oldest byte that has arrived, or 0. */
char command(void);

/* ---- the command line: words "name" and "name=value" ---- */
/* The value of name, "" for a word without one, NULL when absent; not NUL-terminated: ends at a
 * blank. */
const char *arg(const char *name);
/* A number, decimal or 0x, with suffix K, M or G; 'otherwise' when absent. */
uint64_t arg_number(const char *name, uint64_t otherwise);
bool arg_is(const char *name, const char *value);

/* ---- interrupts ---- */
typedef void interrupt_fn(unsigned vector);

void interrupt_handler(unsigned vector, interrupt_fn *fn);
/* Routes an IOAPIC pin to VECTOR_GSI(gsi) on processor 0; the handler is called before the EOI. */
void ioapic_route(unsigned gsi, bool is_level);
void ioapic_mask(unsigned gsi);
uint32_t lapic_read(unsigned reg);
void lapic_write(unsigned reg, uint32_t v);
/* The calling processor's timer, TICKS_PER_SECOND times a second; counts in ticks[cpu]. */
void ticks_start(void);
extern volatile uint64_t ticks[MAX_CPUS];
/* Which processor runs this: 0 is the one that booted. */
unsigned cpu_number(void);

/* ---- other processors ---- */
typedef void cpu_fn(unsigned cpu);
/* Starts all others by INIT and SIPI; each enters fn with interrupts off.  How many there are now.
 */
unsigned cpus_start(unsigned cpus, cpu_fn *fn);

/* ---- fw_cfg, CMOS ---- */
void fw_cfg_select(uint16_t key);
uint8_t fw_cfg_byte(void);
void fw_cfg_read(uint16_t key, void *to, size_t n);
uint8_t cmos_read(uint8_t index);
void cmos_write(uint8_t index, uint8_t v);
/* vCPUs of this machine, by fw_cfg */
unsigned machine_cpus(void);
uint64_t machine_rsdp(void);

/* ---- the end: exit=ged (default), debug (isa-debug-exit, status code), halt ---- */
_Noreturn void finish(uint8_t code);
_Noreturn void power_off(void);
_Noreturn void request_reset(void);

/* Each guest has one. */
void guest_main(void);

#endif
