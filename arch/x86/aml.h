/*
 * aml.h - a writer of the few ACPI Machine Language terms that this board needs
 *
 * A term with contents takes them as a finished buffer, because the length in
 * front of it is itself of variable length: build inside out.
 */
#ifndef MINIVMM_ARCH_X86_AML_H
#define MINIVMM_ARCH_X86_AML_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/base/buf.h"

/* Append to out; 'body' is taken: emptied and freed. */
void aml_scope(struct buf *out, const char *name, struct buf *body); /* "\\" is the root */
void aml_device(struct buf *out, const char name[4], struct buf *body);
void aml_method(struct buf *out, const char name[4], uint8_t args,
		struct buf *body); /* serialized */
void aml_if(struct buf *out, struct buf *predicate, struct buf *body);
/* Name (NAME, value) */
void aml_name_int(struct buf *out, const char name[4], uint64_t v);
void aml_name_string(struct buf *out, const char name[4], const char *s);
void aml_name_eisa(struct buf *out, const char name[4], const char id[7]); /* "PNP0501" */
void aml_name_resources(struct buf *out, const char name[4], struct buf *resources);
void aml_name_package(struct buf *out, const char name[4], const uint32_t *ints, uint8_t n);
void aml_region_memory(struct buf *out, const char name[4], uint32_t base, uint8_t bytes);
/* One 32-bit field, accessed as such. */
void aml_field32(struct buf *out, const char region[4], const char name[4]);
/* Terms of a method. */
void aml_int(struct buf *out, uint64_t v);
void aml_nameseg(struct buf *out, const char name[4]);
void aml_op(struct buf *out, uint8_t op);

#define AML_STORE     0x70
#define AML_LOCAL0    0x60
#define AML_AND       0x7b
#define AML_EQUAL     0x93
#define AML_NOTIFY    0x86
#define AML_NO_TARGET 0x00

/* Resource descriptors, appended to a buffer for aml_name_resources. */
void aml_res_io(struct buf *res, uint16_t port, uint8_t align, uint8_t bytes);
void aml_res_irq(struct buf *res, unsigned irq); /* ISA: edge, active high, exclusive */
void aml_res_memory32(struct buf *res, uint32_t base, uint32_t bytes);
void aml_res_interrupt(struct buf *res, uint32_t gsi, bool edge);

#endif
