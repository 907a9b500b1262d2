/*
 * x86.h - the processor side of the machine, as main.c sees it
 */
#ifndef MINIVMM_ARCH_X86_H
#define MINIVMM_ARCH_X86_H

#include <stdio.h>

struct buf;
struct err;
struct machine;

/*
 * Sets m->arch and m->arch_state; makes the in-kernel PIC, IOAPIC, PIT and
 * registers their state tables.  After machine_new, before vCPUs.
 */
int x86_create(struct machine *m, struct err *err);
/*
 * Read kernel, initrd and firmware files once (held in memory for every later
 * reset).  After devices exist (m->board is complete).  A wrong file is
 * refused with a sentence that says what it is not.
 */
int x86_load_boot_files(struct machine *m, struct err *err);
/* The flattened device tree of m->board; appended to out. */
int x86_build_fdt(const struct machine *m, struct buf *out, struct err *err);
/* Names for -cpu help, one a line. */
void x86_list_cpu_models(FILE *out);

#endif
