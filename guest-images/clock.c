/*
 * clock.c - says what its clocks show: r prints the time stamp counter and the paravirtual clock
 * (kvmclock), in ns, read together
 */
#include "lib.h"

#define MSR_SYSTEM_TIME 0x4b564d01u

/* What KVM writes for a vCPU; 'version' is odd while it does. */
struct time_info {
	uint32_t version, pad;
	uint64_t tsc_then, system_time;
	uint32_t multiplier;
	int8_t shift;
	uint8_t flags, pad2[2];
};

static volatile _Alignas(64) struct time_info info;

static void wrmsr(uint32_t msr, uint64_t v)
{
	__asm__ volatile("wrmsr"
			 :
			 : "c"(msr), "a"((uint32_t)v), "d"((uint32_t)(v >> 32))
			 : "memory");
}

static uint64_t clock_ns(uint64_t *tsc)
{
	uint32_t version;
	uint64_t ns;

	do {
		uint64_t ran;

		version = info.version;
		barrier();
		*tsc = rdtsc();
		ran = *tsc - info.tsc_then;
		ran = info.shift < 0 ? ran >> -info.shift : ran << info.shift;
		ns =
		    info.system_time + (uint64_t)((unsigned __int128)ran * info.multiplier >> 32);
		barrier();
	} while (version & 1 || version != info.version);
	return ns;
}

void guest_main(void)
{
	ticks_start();
	commands_start();
	wrmsr(MSR_SYSTEM_TIME, (uintptr_t)&info | 1);
	text("counting on\n");
	for (;;) {
		uint64_t ns, tsc;

		wait_for_interrupt();
		switch (command()) {
		case 'r':
			ns = clock_ns(&tsc);
			field("clock tsc=", tsc);
			field(" ns=", ns);
			text("\n");
			break;
		case 'q':
			power_off();
		default:
			break;
		}
	}
}
