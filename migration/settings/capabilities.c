#include "migration/settings/capabilities.h"

#include <errno.h>
#include <string.h>

#include "vmm/base/error.h"
#include "vmm/machine.h"

#define OFFERED(c, n)     [c] = {.name = (n), .offered = true}
#define ABSENT(c, n, i)   [c] = {.name = (n), .instead = (i)}
#define ABSENT_X(c, n, i) [c] = {.name = (n), .unstable = true, .instead = (i)}

const struct migration_capability_info migration_capabilities[CAP_COUNT] = {
    OFFERED(CAP_XBZRLE, "xbzrle"),
    ABSENT(CAP_RDMA_PIN_ALL, "rdma-pin-all", "use tcp: or unix:"),
    OFFERED(CAP_AUTO_CONVERGE, "auto-converge"),
    ABSENT(CAP_ZERO_BLOCKS, "zero-blocks", "copy the disks first, or share them"),
    OFFERED(CAP_COMPRESS, "compress"),
    OFFERED(CAP_EVENTS, "events"),
    ABSENT(CAP_POSTCOPY_RAM, "postcopy-ram", "raise 'downtime-limit' or 'max-bandwidth'"),
    ABSENT_X(CAP_X_COLO, "x-colo", NULL),
    OFFERED(CAP_RELEASE_RAM, "release-ram"),
    ABSENT(CAP_BLOCK, "block", "copy the disks first, or share them"),
    OFFERED(CAP_RETURN_PATH, "return-path"),
    OFFERED(CAP_PAUSE_BEFORE_SWITCHOVER, "pause-before-switchover"),
    OFFERED(CAP_MULTIFD, "multifd"),
    ABSENT(CAP_DIRTY_BITMAPS, "dirty-bitmaps", NULL),
    ABSENT(CAP_POSTCOPY_BLOCKTIME, "postcopy-blocktime", NULL),
    OFFERED(CAP_LATE_BLOCK_ACTIVATE, "late-block-activate"),
    [CAP_X_IGNORE_SHARED] = {.name = "x-ignore-shared",
			     .offered = true,
			     .unstable = true,
			     .must_match = true},
    OFFERED(CAP_VALIDATE_UUID, "validate-uuid"),
    ABSENT(CAP_BACKGROUND_SNAPSHOT, "background-snapshot", "stop the guest and migrate to file:"),
    OFFERED(CAP_ZERO_COPY_SEND, "zero-copy-send"),
    ABSENT(CAP_POSTCOPY_PREEMPT, "postcopy-preempt", NULL),
    OFFERED(CAP_DIRTY_LIMIT, "dirty-limit"),
};

int capability_parse(const char *name)
{
	for (int c = 0; c < CAP_COUNT; c++)
		if (!strcmp(migration_capabilities[c].name, name))
			return c;
	return -1;
}

static int check_dirty_limit(const bool set[CAP_COUNT], const struct machine *m, struct err *err)
{
	if (!set[CAP_DIRTY_LIMIT])
		return 0;
	if (!m->ring)
		return err_set(err, ENOTSUP,
			       "Capability 'dirty-limit' needs the dirty ring: start with -accel "
			       "kvm,dirty-ring-size=N");
	if (set[CAP_AUTO_CONVERGE])
		return err_set(err, EINVAL,
			       "Capabilities 'dirty-limit' and 'auto-converge' exclude each other: "
			       "one of them slows the guest down");
	return 0;
}

int capabilities_check(const bool set[CAP_COUNT], const struct machine *m, struct err *err)
{
	for (int c = 0; c < CAP_COUNT; c++) {
		const struct migration_capability_info *info = &migration_capabilities[c];

		if (set[c] && !info->offered)
			return err_set(err, ENOTSUP,
				       "Capability '%s' is not supported by this version of "
				       "minivmm%s%s",
				       info->name, info->instead ? ": " : "",
				       info->instead ? info->instead : "");
	}
	return check_dirty_limit(set, m, err);
}
