/* vmstate-dump.h - the state tables as JSON, for a program that compares two versions of them */
#ifndef MINIVMM_VMSTATE_DUMP_H
#define MINIVMM_VMSTATE_DUMP_H

struct err;
struct vms_registry;

/*
 * Write the tables of all entries to the file 'path', in the form of QEMU's
 * -dump-vmstate.  'machine' is the machine type's name.
 */
int vms_dump(const struct vms_registry *r, const char *machine, const char *path, struct err *err);

#endif
