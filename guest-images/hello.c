/*
 * hello.c - says hello, then ends: exit=ged, exit=debug [code=N], exit=reset, exit=triple,
 * exit=badcode (an instruction that an emulating KVM does not know), exit=panic (pvpanic),
 * exit=halt
 */
#include "lib.h"

static _Noreturn void triple_fault(void)
{
	static const struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) nothing;

	/* nothing is mapped above 4 GiB, and no gate answers the fault */
	__asm__ volatile("lidt %0; movl %%eax, (%1)" : : "m"(nothing), "r"(1ul << 32));
	__builtin_unreachable();
}

/* Where KVM executes it, int3 finds no gate, and this is a triple fault. */
static _Noreturn void bad_code(void)
{
	static const struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) nothing;

	__asm__ volatile("lidt %0; int3" : : "m"(nothing));
	__builtin_unreachable();
}

void guest_main(void)
{
	text("hello from a tiny guest\n");
	if (arg("say")) {
		text("say ");
		for (const char *p = arg("say"); *p && *p != ' '; p++)
			text((char[]){*p, '\0'});
		text("\n");
	}
	if (arg_is("exit", "triple"))
		triple_fault();
	if (arg_is("exit", "badcode"))
		bad_code();
	if (arg_is("exit", "panic"))
		outb(0x505, 1);
	if (arg_is("exit", "reset"))
		request_reset();
	else
		finish((uint8_t)arg_number("code", 0));
}
