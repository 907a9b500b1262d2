/*
 * acpi.h - the ACPI tables of the board (machine-microvm 2)
 */
#ifndef MINIVMM_ARCH_X86_ACPI_H
#define MINIVMM_ARCH_X86_ACPI_H

#include <stdint.h>

#include "vmm/base/buf.h"

struct board;

#define ACPI_RSDP_BYTES 36

/*
 * Append RSDP (36 bytes, then padding to 64) and behind it DSDT, FADT, MADT
 * and XSDT, linked for being placed at gpa.  Pure; the result depends on its
 * arguments alone.
 */
void acpi_build(const struct board *board, unsigned cpus, uint64_t gpa, struct buf *out);

#endif
