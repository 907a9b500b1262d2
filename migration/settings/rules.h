/*
 * rules.h - which capabilities and parameters go together (qmp-surface 3.1, 3.2)
 *
 * One table; each row has the sentence of its refusal.
 */
#ifndef MINIVMM_MIGRATION_SETTINGS_RULES_H
#define MINIVMM_MIGRATION_SETTINGS_RULES_H

#include <stdbool.h>

struct err;
struct migration_params;

/* Also said of parameters that change while a migration without the capability runs. */
#define RULES_LATE_POSTCOPY                                                                        \
	"Parameter 'x-minivmm-deadline-policy' is 'postcopy', which needs capability "             \
	"'postcopy-ram' at both ends: switch it on before the migration, or choose 'force' or "    \
	"'cancel'"

/* When the question is asked. */
enum rules_moment {
	RULES_SET,     /* migrate-set-capabilities, migrate-set-parameters, -global migration.X */
	RULES_START,   /* migrate: also what may be set, but not used, together */
	RULES_CHANNEL, /* the address is known, at the source or for migrate-incoming */
};

struct rules_subject {
	const bool *caps;                      /* CAP_COUNT of them */
	const struct migration_params *params; /* NULL: RULES_CHANNEL asks for none */
	bool dirty_ring;                       /* the machine has one */
	bool one_connection;                   /* the migration at hand cannot open more */
	bool seekable;                         /* it is with a file: places can be chosen in it */
};

/* 0, or -errno with the sentence of the first rule that is broken.  Any thread. */
int rules_check(enum rules_moment moment, const struct rules_subject *s, struct err *err);

#endif
