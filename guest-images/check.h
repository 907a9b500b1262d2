/* check.h - the parts of the "devices" guest: each returns NULL, or what is wrong in words */
#ifndef GUEST_CHECK_H
#define GUEST_CHECK_H

/* Prefix of a result that is no failure: the device is not in this machine. */
#define SKIP "skip: "

/* check-platform.c */
const char *check_serial(void);
const char *check_rtc(void);
const char *check_cmos(void);
const char *check_fw_cfg(void);
const char *check_ged(void);
const char *check_pit(void);
const char *check_lapic_timer(void);
const char *check_tsc(void);

/* check-pic.c */
const char *check_pic(void);

/* check-virtio.c */
const char *check_mmio(void);
const char *check_rng(void);
const char *check_blk(void);
const char *check_blk_errors(void);
const char *check_net(void);
const char *check_malformed(void);

/* check-acpi.c */
const char *check_acpi(void);
const char *check_smp(void);
void print_cpuid(void);

#endif
