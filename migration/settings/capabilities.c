#include "migration/settings/capabilities.h"

#include <string.h>

#define OFFERED(c, n, h)     [c] = {.name = (n), .offered = true, .help = (h)}
#define OFFERED_OLD(c, n, h) [c] = {.name = (n), .offered = true, .deprecated = true, .help = (h)}
#define UNLISTED(c, n, h)    [c] = {.name = (n), .offered = true, .unlisted = true, .help = (h)}
#define ABSENT(c, n, i)      [c] = {.name = (n), .instead = (i)}
#define ABSENT_OLD(c, n, i)  [c] = {.name = (n), .deprecated = true, .instead = (i)}
#define ABSENT_X(c, n, i)    [c] = {.name = (n), .unstable = true, .instead = (i)}

const struct migration_capability_info migration_capabilities[CAP_COUNT] = {
    OFFERED(CAP_XBZRLE, "xbzrle",
	    "send what has changed in a page since it was last sent (source)"),
    ABSENT(CAP_RDMA_PIN_ALL, "rdma-pin-all", "use tcp: or unix:"),
    OFFERED(CAP_AUTO_CONVERGE, "auto-converge",
	    "slow the guest down when the migration does not converge (source)"),
    ABSENT_OLD(CAP_ZERO_BLOCKS, "zero-blocks", "copy the disks first, or share them"),
    OFFERED_OLD(CAP_COMPRESS, "compress", "compress each page with zlib (both ends)"),
    OFFERED(CAP_EVENTS, "events", "send the events MIGRATION and MIGRATION_PASS"),
    OFFERED(
	CAP_POSTCOPY_RAM, "postcopy-ram",
	"migrate-start-postcopy may run the guest at the destination before its memory is there "
	"(both ends)"),
    ABSENT_X(CAP_X_COLO, "x-colo", NULL),
    OFFERED(CAP_RELEASE_RAM, "release-ram",
	    "give the guest's memory back at once when the migration has completed (source)"),
    ABSENT_OLD(CAP_BLOCK, "block", "copy the disks first, or share them"),
    OFFERED(CAP_RETURN_PATH, "return-path",
	    "the destination answers; always so between two minivmm over a socket"),
    OFFERED(CAP_PAUSE_BEFORE_SWITCHOVER, "pause-before-switchover",
	    "wait for migrate-continue when the guest has been stopped (source)"),
    OFFERED(CAP_MULTIFD, "multifd", "send pages over several connections (both ends)"),
    ABSENT(CAP_DIRTY_BITMAPS, "dirty-bitmaps", NULL),
    OFFERED(CAP_POSTCOPY_BLOCKTIME, "postcopy-blocktime",
	    "tell how long each vCPU has waited for pages of a postcopy (destination)"),
    OFFERED(CAP_LATE_BLOCK_ACTIVATE, "late-block-activate",
	    "do not take the locks of disk images before the guest runs (destination)"),
    [CAP_X_IGNORE_SHARED] = {.name = "x-ignore-shared",
			     .offered = true,
			     .unstable = true,
			     .must_match = true,
			     .help = "leave out RAM that both ends share (both ends)"},
    OFFERED(CAP_VALIDATE_UUID, "validate-uuid",
	    "send the UUID; the destination refuses another one (source)"),
    OFFERED(CAP_BACKGROUND_SNAPSHOT, "background-snapshot",
	    "save the guest as it is now while it runs on here; needs userfaultfd (source)"),
    OFFERED(CAP_ZERO_COPY_SEND, "zero-copy-send",
	    "send pages of multifd over tcp without a copy in the kernel (source)"),
    OFFERED(CAP_POSTCOPY_PREEMPT, "postcopy-preempt",
	    "in postcopy, pages that are waited for have a connection of their own (both ends)"),
    OFFERED(CAP_DIRTY_LIMIT, "dirty-limit",
	    "slow down the vCPUs that write most; needs the dirty ring (source)"),
    UNLISTED(CAP_SWITCHOVER_ACK, "switchover-ack",
	     "the destination agrees to the switchover first, in the way that "
	     "switchover-ack-legacy says (both ends); query-migrate-capabilities does not list it"),
    [CAP_MAPPED_RAM] = {.name = "mapped-ram",
			     .offered = true,
			     .must_match = true,
			     .help = "give each page a place of its own in the file (both ends; file: "
				"only)"},
};

int capability_parse(const char *name)
{
	for (int c = 0; c < CAP_COUNT; c++)
		if (!strcmp(migration_capabilities[c].name, name))
			return c;
	return -1;
}
