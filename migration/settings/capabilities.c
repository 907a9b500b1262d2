#include "migration/settings/capabilities.h"

#include <errno.h>
#include <string.h>

#include "vmm/base/error.h"
#include "vmm/machine.h"

#define OFFERED(c, n, h)  [c] = {.name = (n), .offered = true, .help = (h)}
#define ABSENT(c, n, i)   [c] = {.name = (n), .instead = (i)}
#define ABSENT_X(c, n, i) [c] = {.name = (n), .unstable = true, .instead = (i)}

const struct migration_capability_info migration_capabilities[CAP_COUNT] = {
    OFFERED(CAP_XBZRLE, "xbzrle",
	    "send what has changed in a page since it was last sent (source)"),
    ABSENT(CAP_RDMA_PIN_ALL, "rdma-pin-all", "use tcp: or unix:"),
    OFFERED(CAP_AUTO_CONVERGE, "auto-converge",
	    "slow the guest down when the migration does not converge (source)"),
    ABSENT(CAP_ZERO_BLOCKS, "zero-blocks", "copy the disks first, or share them"),
    OFFERED(CAP_COMPRESS, "compress", "compress each page with zlib (both ends)"),
    OFFERED(CAP_EVENTS, "events", "send the events MIGRATION and MIGRATION_PASS"),
    ABSENT(CAP_POSTCOPY_RAM, "postcopy-ram", "raise 'downtime-limit' or 'max-bandwidth'"),
    ABSENT_X(CAP_X_COLO, "x-colo", NULL),
    OFFERED(CAP_RELEASE_RAM, "release-ram",
	    "give the guest's memory back at once when the migration has completed (source)"),
    ABSENT(CAP_BLOCK, "block", "copy the disks first, or share them"),
    OFFERED(CAP_RETURN_PATH, "return-path",
	    "the destination answers; always so between two minivmm over a socket"),
    OFFERED(CAP_PAUSE_BEFORE_SWITCHOVER, "pause-before-switchover",
	    "wait for migrate-continue when the guest has been stopped (source)"),
    OFFERED(CAP_MULTIFD, "multifd", "send pages over several connections (both ends)"),
    ABSENT(CAP_DIRTY_BITMAPS, "dirty-bitmaps", NULL),
    ABSENT(CAP_POSTCOPY_BLOCKTIME, "postcopy-blocktime", NULL),
    OFFERED(CAP_LATE_BLOCK_ACTIVATE, "late-block-activate",
	    "do not take the locks of disk images before the guest runs (destination)"),
    [CAP_X_IGNORE_SHARED] = {.name = "x-ignore-shared",
			     .offered = true,
			     .unstable = true,
			     .must_match = true,
			     .help = "leave out RAM that both ends share (both ends)"},
    OFFERED(CAP_VALIDATE_UUID, "validate-uuid",
	    "send the UUID; the destination refuses another one (source)"),
    ABSENT(CAP_BACKGROUND_SNAPSHOT, "background-snapshot", "stop the guest and migrate to file:"),
    OFFERED(CAP_ZERO_COPY_SEND, "zero-copy-send",
	    "send pages of multifd over tcp without a copy in the kernel (source)"),
    ABSENT(CAP_POSTCOPY_PREEMPT, "postcopy-preempt", NULL),
    OFFERED(CAP_DIRTY_LIMIT, "dirty-limit",
	    "slow down the vCPUs that write most; needs the dirty ring (source)"),
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
