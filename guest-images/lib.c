/* lib.c - text, command line, memory, fw_cfg, CMOS, the end */
#include "lib.h"

#define SERIAL     0x3f8u
#define DEBUG_EXIT 0xf4u
#define PVH_MAGIC  0x336ec578u

/* What the PVH boot protocol hands over (version 0 and 1 begin alike). */
struct start_info {
	uint32_t magic, version, flags, n_modules;
	uint64_t modules, cmdline, rsdp;
};

static const struct start_info *boot;
static _Alignas(4096) uint8_t heap[192 * 1024];
static size_t heap_used;
static volatile char commands[16];
static volatile unsigned commands_in, commands_out;

/* Called by start.S. */
void guest_start(const struct start_info *info);

void *memcpy(void *to, const void *from, size_t n)
{
	void *at = to;

	__asm__ volatile("rep movsb" : "+D"(at), "+S"(from), "+c"(n) : : "memory");
	return to;
}

void *memset(void *to, int c, size_t n)
{
	void *at = to;

	__asm__ volatile("rep stosb" : "+D"(at), "+c"(n) : "a"(c) : "memory");
	return to;
}

int memcmp(const void *a, const void *b, size_t n)
{
	const uint8_t *x = a, *y = b;

	for (size_t i = 0; i < n; i++) {
		if (x[i] != y[i])
			return x[i] < y[i] ? -1 : 1;
	}
	return 0;
}

void *allocate(size_t bytes, size_t align)
{
	size_t at = (heap_used + align - 1) & ~(align - 1);

	if (at + bytes > sizeof(heap)) {
		text("FAIL guest out of memory\n");
		finish(3);
	}
	heap_used = at + bytes;
	return heap + at;
}

static void put(char c)
{
	while (!(inb(SERIAL + 5) & 0x20))
		;
	outb(SERIAL, (uint8_t)c);
}

void text(const char *s)
{
	for (; *s; s++)
		put(*s);
}

void dec(uint64_t v)
{
	char digits[20];
	unsigned n = 0;

	do {
		digits[n++] = "0123456789"[v % 10];
		v /= 10;
	} while (v);
	while (n)
		put(digits[--n]);
}

void hex(uint64_t v)
{
	int shift = 60;

	while (shift && !(v >> shift))
		shift -= 4;
	for (; shift >= 0; shift -= 4)
		put("0123456789abcdef"[(v >> shift) & 15]);
}

void field(const char *name, uint64_t v)
{
	text(name);
	dec(v);
}

static void serial_interrupt(unsigned vector)
{
	(void)vector;
	while (inb(SERIAL + 5) & 1) {
		char c = (char)inb(SERIAL);

		if (commands_in - commands_out < sizeof(commands))
			commands[commands_in++ % sizeof(commands)] = c;
	}
}

void commands_start(void)
{
	interrupt_handler(VECTOR_GSI(GSI_SERIAL), serial_interrupt);
	ioapic_route(GSI_SERIAL, false);
	outb(SERIAL + 4, 0x0b); /* DTR, RTS, OUT2 */
	outb(SERIAL + 1, 1);    /* received data */
}

char command(void)
{
	if (commands_out == commands_in)
		return '\0';
	return commands[commands_out++ % sizeof(commands)];
}

static bool ends_word(char c)
{
	return c == '\0' || c == ' ';
}

const char *arg(const char *name)
{
	const char *p = boot->cmdline ? at_gpa(boot->cmdline) : "";

	while (*p) {
		size_t n = 0;

		while (*p == ' ')
			p++;
		while (name[n] && p[n] == name[n])
			n++;
		if (!name[n] && p[n] == '=')
			return p + n + 1;
		if (!name[n] && ends_word(p[n]))
			return "";
		while (!ends_word(*p))
			p++;
	}
	return NULL;
}

static unsigned digit(char c)
{
	if (c >= '0' && c <= '9')
		return (unsigned)(c - '0');
	if (c >= 'a' && c <= 'f')
		return (unsigned)(c - 'a') + 10;
	return 99;
}

uint64_t arg_number(const char *name, uint64_t otherwise)
{
	const char *p = arg(name);
	unsigned base = 10;
	uint64_t v = 0;

	if (!p || ends_word(*p))
		return otherwise;
	if (p[0] == '0' && p[1] == 'x') {
		base = 16;
		p += 2;
	}
	for (; digit(*p) < base; p++)
		v = v * base + digit(*p);
	if (*p == 'K')
		v <<= 10;
	else if (*p == 'M')
		v <<= 20;
	else if (*p == 'G')
		v <<= 30;
	return v;
}

bool arg_is(const char *name, const char *value)
{
	const char *p = arg(name);

	if (!p)
		return false;
	while (*value && *p == *value) {
		p++;
		value++;
	}
	return !*value && ends_word(*p);
}

void fw_cfg_select(uint16_t key)
{
	outw(0x510, key);
}

uint8_t fw_cfg_byte(void)
{
	return inb(0x511);
}

void fw_cfg_read(uint16_t key, void *to, size_t n)
{
	uint8_t *p = to;

	fw_cfg_select(key);
	for (size_t i = 0; i < n; i++)
		p[i] = fw_cfg_byte();
}

unsigned machine_cpus(void)
{
	uint16_t n;

	fw_cfg_read(5, &n, sizeof(n));
	return n;
}

uint64_t machine_rsdp(void)
{
	return boot->rsdp;
}

uint8_t cmos_read(uint8_t index)
{
	outb(0x70, index);
	return inb(0x71);
}

void cmos_write(uint8_t index, uint8_t v)
{
	outb(0x70, index);
	outb(0x71, v);
}

static _Noreturn void halt(void)
{
	for (;;)
		__asm__ volatile("cli; hlt");
}

_Noreturn void power_off(void)
{
	mmio_write8(GED_SLEEP, 0x34); /* SLP_EN, SLP_TYP 5 */
	halt();
}

_Noreturn void request_reset(void)
{
	mmio_write8(GED_RESET, 0x42);
	halt();
}

_Noreturn void finish(uint8_t code)
{
	if (arg_is("exit", "debug"))
		outb(DEBUG_EXIT, code);
	else if (!arg_is("exit", "halt"))
		power_off();
	halt();
}

void guest_start(const struct start_info *info)
{
	boot = info;
	if (info->magic != PVH_MAGIC) {
		text("FAIL boot: the start info has no PVH magic\n");
		halt();
	}
	guest_main();
	finish(0);
}

void print_cpuid_leaf(uint32_t leaf, uint32_t sub, struct cpuid r)
{
	text("cpuid ");
	hex(leaf);
	text(" ");
	hex(sub);
	text(" ");
	hex(r.eax);
	text(" ");
	hex(r.ebx);
	text(" ");
	hex(r.ecx);
	text(" ");
	hex(r.edx);
	text("\n");
}
