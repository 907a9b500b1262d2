/*
 * requester.c - asks for what its host is told to do: x reset, t triple fault, q power-off,
 * p panic (pvpanic), i an instruction that an emulating KVM does not know; e says that it lives.
 *
 * It says "boot" when it begins, "ask X" before it asks, and "button" when the power button is
 * pressed; between that it rewrites some pages (pages=N).
 */
#include "lib.h"

static volatile uint32_t button;

static void ged_interrupt(unsigned vector)
{
	(void)vector;
	button |= mmio_read32(GED_SELECTOR);
}

static void say(const char *what, char command)
{
	text(what);
	text((char[]){command, '\n', '\0'});
}

/* No gate answers: a triple fault, where KVM does not give up before. */
static void fault(bool unknown)
{
	static const struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) nothing;

	if (unknown)
		__asm__ volatile("lidt %0; int3" : : "m"(nothing));
	else
		__asm__ volatile("lidt %0; movl %%eax, (%1)" : : "m"(nothing), "r"(1ul << 32));
}

static void obey(char c)
{
	switch (c) {
	case 'e':
		text("alive\n");
		return;
	case 'x':
		say("ask ", c);
		request_reset();
	case 't':
	case 'i':
		say("ask ", c);
		fault(c == 'i');
		return;
	case 'q':
		say("ask ", c);
		power_off();
	case 'p':
		say("ask ", c);
		outb(0x505, 1);
		return;
	default:
		return;
	}
}

void guest_main(void)
{
	uint64_t pages = arg_number("pages", 20), round = 0;

	ticks_start();
	commands_start();
	interrupt_handler(VECTOR_GSI(GSI_GED), ged_interrupt);
	ioapic_route(GSI_GED, false);
	text("boot\n");
	for (;;) {
		round++;
		for (uint64_t i = 0; i < pages; i++)
			*(volatile uint64_t *)at_gpa((16ul << 20) + i * PAGE_BYTES) = round;
		wait_for_interrupt();
		obey(command());
		if (button) {
			button = 0;
			text("button\n");
		}
	}
}
