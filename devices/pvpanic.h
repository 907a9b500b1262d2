/* pvpanic.h - the port through which a guest says that it has panicked */
#ifndef MINIVMM_DEVICES_PVPANIC_H
#define MINIVMM_DEVICES_PVPANIC_H

struct cfg_device;
struct err;
struct machine;

/* -device pvpanic[,ioport=0x505]; has no state that migrates. */
int pvpanic_create(struct machine *m, const struct cfg_device *cfg, struct err *err);

#endif
