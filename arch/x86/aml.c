/*
 * aml.c - ACPI Machine Language: opcodes, package lengths, resource descriptors
 *
 * A term with contents is opcode, package length, contents.  The length counts
 * itself and takes one byte up to 63, two up to 4095, else three; so the
 * contents are built into a buffer of their own first (ACPI specification,
 * 20.2.4).
 */
#include "arch/x86/aml.h"

#include <assert.h>
#include <string.h>

#include "vmm/base/bytes.h"

#define OP_ZERO    0x00
#define OP_ONE     0x01
#define OP_NAME    0x08
#define OP_BYTE    0x0a
#define OP_WORD    0x0b
#define OP_DWORD   0x0c
#define OP_STRING  0x0d
#define OP_QWORD   0x0e
#define OP_SCOPE   0x10
#define OP_BUFFER  0x11
#define OP_PACKAGE 0x12
#define OP_METHOD  0x14
#define OP_IF      0xa0
#define OP_EXT     0x5b
#define EXT_REGION 0x80
#define EXT_FIELD  0x81
#define EXT_DEVICE 0x82

void aml_op(struct buf *out, uint8_t op)
{
	buf_u8(out, op);
}

static void le16(struct buf *out, uint16_t v)
{
	v = htole16(v);
	buf_put(out, &v, sizeof(v));
}

static void le32(struct buf *out, uint32_t v)
{
	v = htole32(v);
	buf_put(out, &v, sizeof(v));
}

static void le64(struct buf *out, uint64_t v)
{
	v = htole64(v);
	buf_put(out, &v, sizeof(v));
}

void aml_nameseg(struct buf *out, const char name[4])
{
	buf_put(out, name, 4);
}

void aml_int(struct buf *out, uint64_t v)
{
	if (v == 0) {
		buf_u8(out, OP_ZERO);
	} else if (v == 1) {
		buf_u8(out, OP_ONE);
	} else if (v <= UINT8_MAX) {
		buf_u8(out, OP_BYTE);
		buf_u8(out, (uint8_t)v);
	} else if (v <= UINT16_MAX) {
		buf_u8(out, OP_WORD);
		le16(out, (uint16_t)v);
	} else if (v <= UINT32_MAX) {
		buf_u8(out, OP_DWORD);
		le32(out, (uint32_t)v);
	} else {
		buf_u8(out, OP_QWORD);
		le64(out, v);
	}
}

/*
 * A package length counts itself: one byte up to 63, else a lead byte with
 * the low 4 bits and the number of bytes that follow.
 */
static void package(struct buf *out, struct buf *body)
{
	size_t len = body->len + 1;

	if (len < 0x40) {
		buf_u8(out, (uint8_t)len);
	} else if (len + 1 < 0x1000) {
		len += 1;
		buf_u8(out, (uint8_t)(0x40 | (len & 0xf)));
		buf_u8(out, (uint8_t)(len >> 4));
	} else {
		len += 2;
		assert(len < 0x100000);
		buf_u8(out, (uint8_t)(0x80 | (len & 0xf)));
		le16(out, (uint16_t)(len >> 4));
	}
	buf_put(out, body->data, body->len);
	buf_free(body);
}

/* 'name' and then 'body' as one package. */
static void named_package(struct buf *out, const char name[4], struct buf *body)
{
	struct buf all = {0};

	aml_nameseg(&all, name);
	buf_put(&all, body->data, body->len);
	buf_free(body);
	package(out, &all);
}

void aml_scope(struct buf *out, const char *name, struct buf *body)
{
	struct buf all = {0};

	buf_u8(out, OP_SCOPE);
	if (strcmp(name, "\\") != 0) {
		named_package(out, name, body);
		return;
	}
	buf_put(&all, "\\\0", 2);
	buf_put(&all, body->data, body->len);
	buf_free(body);
	package(out, &all);
}

void aml_device(struct buf *out, const char name[4], struct buf *body)
{
	buf_u8(out, OP_EXT);
	buf_u8(out, EXT_DEVICE);
	named_package(out, name, body);
}

void aml_method(struct buf *out, const char name[4], uint8_t args, struct buf *body)
{
	struct buf all = {0};

	buf_u8(&all, args | 1U << 3); /* serialized */
	buf_put(&all, body->data, body->len);
	buf_free(body);
	buf_u8(out, OP_METHOD);
	named_package(out, name, &all);
}

void aml_if(struct buf *out, struct buf *predicate, struct buf *body)
{
	buf_put(predicate, body->data, body->len);
	buf_free(body);
	buf_u8(out, OP_IF);
	package(out, predicate);
}

static void name_op(struct buf *out, const char name[4])
{
	buf_u8(out, OP_NAME);
	aml_nameseg(out, name);
}

void aml_name_int(struct buf *out, const char name[4], uint64_t v)
{
	name_op(out, name);
	aml_int(out, v);
}

void aml_name_string(struct buf *out, const char name[4], const char *s)
{
	name_op(out, name);
	buf_u8(out, OP_STRING);
	buf_put(out, s, strlen(s) + 1);
}

static unsigned hex_digit(char c)
{
	return (unsigned)(c <= '9' ? c - '0' : c - 'A' + 10);
}

/* Three letters of 5 bits and four hexadecimal digits, big-endian. */
void aml_name_eisa(struct buf *out, const char name[4], const char id[7])
{
	uint32_t v = 0;

	for (unsigned i = 0; i < 3; i++)
		v |= (uint32_t)(id[i] - '@') << (26 - 5 * i);
	for (unsigned i = 0; i < 4; i++)
		v |= hex_digit(id[3 + i]) << (12 - 4 * i);
	name_op(out, name);
	buf_u8(out, OP_DWORD);
	buf_be32(out, v);
}

void aml_name_resources(struct buf *out, const char name[4], struct buf *resources)
{
	struct buf all = {0};

	name_op(out, name);
	buf_u8(out, OP_BUFFER);
	buf_u8(resources, 0x79); /* end tag, no checksum */
	buf_u8(resources, 0);
	aml_int(&all, resources->len);
	buf_put(&all, resources->data, resources->len);
	buf_free(resources);
	package(out, &all);
}

void aml_name_package(struct buf *out, const char name[4], const uint32_t *ints, uint8_t n)
{
	struct buf all = {0};

	name_op(out, name);
	buf_u8(out, OP_PACKAGE);
	buf_u8(&all, n);
	for (unsigned i = 0; i < n; i++)
		aml_int(&all, ints[i]);
	package(out, &all);
}

void aml_region_memory(struct buf *out, const char name[4], uint32_t base, uint8_t bytes)
{
	buf_u8(out, OP_EXT);
	buf_u8(out, EXT_REGION);
	aml_nameseg(out, name);
	buf_u8(out, 0); /* system memory */
	aml_int(out, base);
	aml_int(out, bytes);
}

void aml_field32(struct buf *out, const char region[4], const char name[4])
{
	struct buf all = {0};

	buf_u8(out, OP_EXT);
	buf_u8(out, EXT_FIELD);
	aml_nameseg(&all, region);
	buf_u8(&all, 0x43); /* 32-bit access, no lock, other bits are written as zeros */
	aml_nameseg(&all, name);
	buf_u8(&all, 32); /* bits */
	package(out, &all);
}

void aml_res_io(struct buf *res, uint16_t port, uint8_t align, uint8_t bytes)
{
	buf_u8(res, 0x47);
	buf_u8(res, 1); /* all 16 address lines are decoded */
	le16(res, port);
	le16(res, port);
	buf_u8(res, align);
	buf_u8(res, bytes);
}

void aml_res_irq(struct buf *res, unsigned irq)
{
	buf_u8(res, 0x22);
	le16(res, (uint16_t)(1U << irq));
}

void aml_res_memory32(struct buf *res, uint32_t base, uint32_t bytes)
{
	buf_u8(res, 0x86);
	le16(res, 9);
	buf_u8(res, 1); /* writable */
	le32(res, base);
	le32(res, bytes);
}

void aml_res_interrupt(struct buf *res, uint32_t gsi, bool edge)
{
	buf_u8(res, 0x89);
	le16(res, 6);
	buf_u8(res, edge ? 3 : 1); /* consumer; active high, exclusive */
	buf_u8(res, 1);
	le32(res, gsi);
}
