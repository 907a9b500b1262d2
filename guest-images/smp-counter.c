/* smp-counter.c - stamps pages on every processor, and works with disk, entropy and network */
#include "counting.h"

void guest_main(void)
{
	counting_run(true, true);
}
