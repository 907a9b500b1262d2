/*
 * manual.h - what minivmm(1) and the completion say of capabilities and parameters
 */
#ifndef MINIVMM_MIGRATION_SETTINGS_MANUAL_H
#define MINIVMM_MIGRATION_SETTINGS_MANUAL_H

#include "vmm/options/options.h"

/* Ends with a NULL title.  What is not offered is left out. */
extern const struct manual_part migration_manual[];

#endif
