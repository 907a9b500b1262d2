#include "vmm/base/thread-name.h"

#include <stdio.h>

static bool names_on; /* set once, before there are threads */

void thread_names_switch(bool on)
{
	names_on = on;
}

void thread_name(pthread_t t, const char *name)
{
	char kept[16];

	if (!names_on)
		return;
	(void)snprintf(kept, sizeof(kept), "%s", name);
	(void)pthread_setname_np(t, kept);
}
