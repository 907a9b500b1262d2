/* cpuid.c - prints what CPUID says, a line a leaf, then ends: tests compare the programs */
#include "lib.h"

#define SUBLEAVES 10u

static void line(uint32_t leaf, uint32_t sub)
{
	struct cpuid r = cpuid(leaf, sub);

	if (!(r.eax | r.ebx | r.ecx | r.edx))
		return;
	print_cpuid_leaf(leaf, sub, r);
}

static bool has_subleaves(uint32_t leaf)
{
	return leaf == 4 || leaf == 7 || leaf == 0xb || leaf == 0xd || leaf == 0x8000001d;
}

static void range(uint32_t first, uint32_t limit)
{
	uint32_t last = cpuid(first, 0).eax;

	if (last < first || last - first > limit)
		return;
	for (uint32_t leaf = first; leaf <= last; leaf++)
		for (uint32_t sub = 0; sub < (has_subleaves(leaf) ? SUBLEAVES : 1u); sub++)
			line(leaf, sub);
}

void guest_main(void)
{
	range(0, 0x40);
	range(0x40000000, 0x20);
	range(0x80000000, 0x40);
	text("cpuid end\n");
	finish(0);
}
