/* multifd-rules.h - what goes together with multifd and zero-copy-send (qmp-surface 3.1, M and Z)
 */
#ifndef MINIVMM_MIGRATION_MULTIFD_RULES_H
#define MINIVMM_MIGRATION_MULTIFD_RULES_H

#include <stdbool.h>

struct err;
struct migration_params;

/* May these capabilities (CAP_COUNT of them) and parameters be together? */
int multifd_check_rules(const bool *caps, const struct migration_params *p, struct err *err);
/* The same, and what may be set but not be used together: when a migration starts. */
int multifd_check_start(const bool *caps, const struct migration_params *p, struct err *err);

#endif
