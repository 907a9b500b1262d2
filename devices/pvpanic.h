/* pvpanic.h - the port through which a guest says that it has panicked */
#ifndef MINIVMM_DEVICES_PVPANIC_H
#define MINIVMM_DEVICES_PVPANIC_H

struct device_row;

/* Has no state that migrates. */
extern const struct device_row pvpanic_row;

#endif
