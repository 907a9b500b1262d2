/*
 * describe.h - the description of a machine that the source sends to the destination
 *
 *     be16 format (DESC_FORMAT)
 *     records: be16 kind, be16 length, body
 *
 * Each record is independent of the others.  A reader skips a kind that it does
 * not know, and the rest of a body that is longer than it knows: the writer may
 * be newer than the reader.  The meaning of a record never changes; such a change,
 * or a record that may be absent, is another format.
 *
 * What differs is told as sentences in one text, a line each, from the second on
 * indented; each has both values, in words that are true at either end.
 */
#ifndef MINIVMM_DESCRIBE_H
#define MINIVMM_DESCRIBE_H

#include <stddef.h>
#include <stdint.h>

#include "vmm/base/buf.h"

#define DESC_FORMAT     1
#define DESC_DIFF_BYTES (16 * 1024UL) /* of the text: more is cut off, in words */

enum desc_kind {
	/* the board's: migration/peer/describe.c */
	DESC_OPTION = 1,  /* str8 name, str8 value: the same at both ends */
	DESC_CPUS = 2,    /* be32 vCPUs, be32 cores a socket, be32 threads a core */
	DESC_BLOCK = 3,   /* str8 name, be64 bytes, be64 page_bytes, u8 shared */
	DESC_DEVICE = 4,  /* be16 slot or DESC_NO_SLOT, str8 name, str8 id, be64 base,
			     be32 gsi, u8 n, n times: str8 property, str8 text */
	DESC_SECTION = 5, /* str8 idstr, be32 instance, be32 version */
	/* the processor's: arch/ */
	DESC_ARCH = 0x100,
	DESC_CPUID = 0x100,     /* be32 leaf, be32 subleaf, be32 EAX, EBX, ECX, EDX of vCPU 0 */
	DESC_MSR = 0x101,       /* be32 index, be16 how many from there on, str8 name */
	DESC_TSC_KHZ = 0x102,   /* be32, of vCPU 0 */
	DESC_CPU_MODEL = 0x103, /* str8 name */
	DESC_CLOCK = 0x104      /* be64 ns of the guest's clock at the stop, be64 ns since 1970
				   then; 0, 0: it runs, or nothing is known.  Not compared */
};

#define DESC_NO_SLOT 0xffff

/* Begin a record; returns what desc_end() wants. */
size_t desc_begin(struct buf *out, enum desc_kind kind);
void desc_end(struct buf *out, size_t begun);

/* Add a sentence to the text; what it quotes may be foreign: only printable ASCII stays. */
void desc_differ(struct buf *diff, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
