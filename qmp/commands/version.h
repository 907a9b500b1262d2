/* version.h - what this program calls itself on QMP: the greeting and query-version */
#ifndef MINIVMM_QMP_COMMANDS_VERSION_H
#define MINIVMM_QMP_COMMANDS_VERSION_H

#include <stdint.h>

#include "qmp/schema.h"

struct qmp_version_triple {
	int64_t micro, minor, major;
};

struct qmp_version_info {
	struct qmp_version_triple qemu;
	const char *package;
};

extern const struct qmp_version_info qmp_version;
extern const struct qmp_type qmp_version_type;

#endif
