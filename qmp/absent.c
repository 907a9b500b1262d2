/*
 * absent.c - commands of QEMU that minivmm has not, and what to use in their place
 *
 * They are in no schema, and the class of their error is CommandNotFound, so that a program does
 * what it does with an older QEMU; the sentence is for a human.
 */
#include "qmp/absent.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

/* It would align one column of every other row. */
/* clang-format off */
const struct qmp_absent qmp_absent[] = {
    {"add_client",
     "there is neither VNC nor SPICE; a chardev on a socket takes clients by itself"},
    {"block-commit block-stream blockdev-mirror drive-mirror blockdev-backup drive-backup "
     "blockdev-create x-blockdev-amend",
     "no block job runs beside the guest; use minivmm-img while it is stopped, or internal "
     "snapshots (snapshot-save)"},
    {"query-block-jobs block-job-cancel block-job-complete block-job-dismiss "
     "block-job-finalize block-job-pause block-job-resume block-job-set-speed",
     "jobs are those of query-jobs: use job-cancel, job-pause, job-resume, job-complete, "
     "job-finalize, job-dismiss"},
    {"blockdev-snapshot blockdev-snapshot-sync blockdev-snapshot-internal-sync "
     "blockdev-snapshot-delete-internal-sync",
     "use snapshot-save, snapshot-load and snapshot-delete, or make an overlay with "
     "minivmm-img create -b while the guest is stopped"},
    {"block-dirty-bitmap-add block-dirty-bitmap-remove block-dirty-bitmap-clear "
     "block-dirty-bitmap-enable block-dirty-bitmap-disable block-dirty-bitmap-merge "
     "x-debug-block-dirty-bitmap-sha256",
     "the persistent bitmaps of a qcow2 image are kept up while the guest runs; use qemu-img "
     "bitmap to make and to change them while it does not"},
    {"transaction",
     "a snapshot-save of several nodes is done for all of them or for none; other actions "
     "cannot be grouped"},
    {"block-export-add block-export-del query-block-exports nbd-server-start nbd-server-add "
     "nbd-server-remove nbd-server-stop",
     "disks are exported by other programs, such as qemu-nbd, while the guest does not run"},
    {"blockdev-reopen change-backing-file x-blockdev-change x-blockdev-set-iothread",
     "the nodes of a disk are given at the start; blockdev-add and blockdev-del make and "
     "remove others"},
    {"block_set_io_throttle",
     "limit the program's group instead (io.max of its cgroup)"},
    {"block-latency-histogram-set block-set-write-threshold",
     "query-blockstats has the time and the highest offset of requests"},
    {"blockdev-change-medium blockdev-close-tray blockdev-insert-medium blockdev-open-tray "
     "blockdev-remove-medium eject",
     "there are no drives with removable media"},
    {"change-vnc-password expire_password set_password display-reload display-update "
     "screendump send-key input-send-event query-vnc query-vnc-servers query-spice query-mice "
     "query-display-options",
     "there is no display, keyboard or mouse: use the serial console"},
    {"dump-guest-memory query-dump query-dump-guest-memory-capability",
     "use pmemsave for a range of guest memory, or migrate to file: for all of the guest"},
    {"dumpdtb",
     "there is no device tree, but ACPI tables"},
    {"query-acpi-ospm-status query-memory-devices query-hotpluggable-cpus set-numa-node",
     "there is no hotplug of processors or memory, and one NUMA node"},
    {"query-pci",
     "there is no PCI bus: devices are virtio-mmio"},
    {"netdev_add",
     "network cards and what is behind them are made at start: give it as -netdev"},
    {"query-pr-managers",
     "there are no SCSI reservations"},
    {"query-replay replay-break replay-delete-break replay-seek",
     "executions are not recorded: use snapshots"},
    {"query-rocker query-rocker-of-dpa-flows query-rocker-of-dpa-groups query-rocker-ports",
     "there is no such switch"},
    {"query-sev query-sev-attestation-report query-sev-capabilities query-sev-launch-measure "
     "sev-inject-launch-secret query-sgx query-sgx-capabilities",
     "guests are not encrypted"},
    {"query-tpm query-tpm-models query-tpm-types",
     "there is no TPM"},
    {"inject-nmi",
     "interrupts are not injected from outside; a break on the serial console (magic SysRq) "
     "makes Linux tell what it does"},
    {"memsave",
     "use pmemsave, with a guest-physical address"},
    {"rtc-reset-reinjection",
     "no interrupts of the clock are held back"},
    {"system_wakeup",
     "wake-up from suspend is not supported by this guest: it has no S3"},
    {"trace-event-get-state trace-event-set-state",
     "trace points are read from outside (bpftrace, perf), see scripts/trace"},
    {"watchdog-set-action",
     "there is no watchdog"},
    {"x-exit-preconfig",
     "The command is permitted only before machine initialization"},
    {"x-debug-query-block-graph",
     "use query-named-block-nodes"},
    {"x-query-irq x-query-jit x-query-numa x-query-opcount x-query-profile x-query-ramblock "
     "x-query-rdma x-query-roms x-query-usb x-query-virtio x-query-virtio-queue-element "
     "x-query-virtio-queue-status x-query-virtio-status x-query-virtio-vhost-queue-status",
     "use query-memory-size-summary, query-memdev, query-block and query-migrate"},
    {"query-migrationthreads",
     "use query-migrate, and /proc/PID/task/*/comm"},
    {NULL, NULL},
};
/* clang-format on */

/* Is 'name' one of the words? */
static bool has_word(const char *words, const char *name)
{
	size_t n = strlen(name);

	for (const char *at = words; *at; at += strspn(at, " ")) {
		size_t len = strcspn(at, " ");

		if (len == n && !memcmp(at, name, n))
			return true;
		at += len;
	}
	return false;
}

const char *qmp_absent_instead(const char *name)
{
	for (const struct qmp_absent *a = qmp_absent; a->names; a++)
		if (*name && has_word(a->names, name))
			return a->instead;
	return NULL;
}
