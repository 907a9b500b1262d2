#include "vmm/base/identifier.h"

static bool is_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

bool identifier_well_formed(const char *id)
{
	if (!is_letter(*id))
		return false;
	while (is_letter(*id) || (*id >= '0' && *id <= '9') || *id == '-' || *id == '.' ||
	       *id == '_')
		id++;
	return !*id;
}
