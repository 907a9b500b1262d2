/*
 * smp-counter.c - stamps pages on every processor, and works with disk, entropy and network;
 * drivers=0 leaves these alone
 */
#include "counting.h"

void guest_main(void)
{
	counting_run(true, arg_number("drivers", 1));
}
