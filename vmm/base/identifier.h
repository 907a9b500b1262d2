/* identifier.h - names that users give to things */
#pragma once

#include <stdbool.h>

/* A letter, then letters, digits, '-', '.' and '_' (qmp-surface 6.1). */
bool identifier_well_formed(const char *id);
