/* idle.c - sleeps; answers the power button and the commands r (report), q, x */
#include "lib.h"

static volatile uint32_t button;

static void ged_interrupt(unsigned vector)
{
	(void)vector;
	button |= mmio_read32(GED_SELECTOR);
}

void guest_main(void)
{
	ticks_start();
	commands_start();
	interrupt_handler(VECTOR_GSI(GSI_GED), ged_interrupt);
	ioapic_route(GSI_GED, false);
	text("idle\n");
	for (;;) {
		wait_for_interrupt();
		switch (command()) {
		case 'r':
			field("R ticks=", ticks[0]);
			text("\nR end\n");
			break;
		case 'q':
			power_off();
		case 'x':
			request_reset();
		default:
			break;
		}
		if (button) {
			field("button ", button);
			text("\n");
			power_off();
		}
	}
}
