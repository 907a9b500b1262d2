/*
 * device-file.h - a machine's devices without its memory, to and from a file (qmp-surface 2.1)
 *
 * All: machine lock held and given up while files are read and written; the work loop.
 */
#ifndef MINIVMM_MIGRATION_DEVICE_FILE_H
#define MINIVMM_MIGRATION_DEVICE_FILE_H

#include <stdbool.h>

struct err;
struct migration;

/*
 * xen-save-devices-state: a guest that runs stands still for it, and runs on.  'live' false, of one
 * that does not run: its disks are let go, until it is run again.  0, or -errno with *err set: the
 * guest is as it was, the file is of no use.
 */
int migration_save_devices(struct migration *mg, const char *path, bool live, struct err *err);
/*
 * xen-load-devices-state, of a guest that does not run.  -errno with *err set: the file does not
 * fit, and nothing has changed.
 */
int migration_load_devices(struct migration *mg, const char *path, struct err *err);
/*
 * xen-set-global-dirty-log: writes of the guest are noted, until a migration or a measurement needs
 * the notes for itself.  Again is fine.
 */
int migration_log_dirty(struct migration *mg, bool on, struct err *err);

#endif
