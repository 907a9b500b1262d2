/* modes.c - which mode the capabilities ask for; the rows are in files of their own */
#include "migration/outgoing/modes.h"

#include "migration/settings/capabilities.h"
#include "vmm/base/units.h"

static const struct {
	enum migration_capability cap; /* CAP_COUNT: when no other row is asked for */
	const struct migration_mode *mode;
} modes[] = {
    {CAP_BACKGROUND_SNAPSHOT, &background_mode},
    {CAP_POSTCOPY_RAM,        &postcopy_mode  },
    {CAP_COUNT,               &precopy_mode   },
};

const struct migration_mode *mode_of(const bool *caps)
{
	for (size_t i = 0; i < ARRAY_LEN(modes); i++)
		if (modes[i].cap == CAP_COUNT || caps[modes[i].cap])
			return modes[i].mode;
	return NULL; /* not reached: the last row takes all */
}
