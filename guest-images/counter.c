/* counter.c - stamps pages on one processor, without devices (see counting.h) */
#include "counting.h"

void guest_main(void)
{
	counting_run(false, false);
}
