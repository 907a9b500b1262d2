/*
 * vmstate.h - device state as tables of fields, and the registry of all of them
 *
 * A device describes once, in a const table beside its struct, what migrates:
 * the wire name, the codec, where it lives.  That table saves, loads, writes
 * the JSON description at the end of a stream, and is what fuzz targets walk.
 *
 * Wire form (migration-stream 2): the fields present for the version, in
 * table order, big-endian, unpadded; then subsections, each
 * 0x05, str8 name, be32 version, fields, its own subsections.
 */
#ifndef MINIVMM_VMSTATE_H
#define MINIVMM_VMSTATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/base/list.h"

struct buf;
struct err;
struct src;

enum vms_kind {
	VMS_END,
	VMS_BOOL,   /* C bool, one byte */
	VMS_UINT,   /* uint8_t .. uint64_t, by size */
	VMS_INT,    /* int8_t .. int64_t, by size */
	VMS_TIMER,  /* int64_t ns, -1 (all ones): not armed */
	VMS_BUFFER, /* size raw bytes */
	VMS_UNUSED, /* size zero bytes, ignored on load */
	VMS_STRUCT, /* nested table 'sub' */
	VMS_TMP,    /* nested table 'sub', JSON in the "tmp" form */
	VMS_CUSTOM, /* 'codec' */
};

/* For bodies that no table can say (virtio's transport within one field). */
struct vms_codec {
	const char *json_type;
	/* Append the wire form of *field. */
	int (*save)(void *dev, void *field, struct buf *out, struct err *err);
	int (*load)(void *dev, void *field, struct src *in, struct err *err);
};

struct vms_field {
	const char *name; /* as the stream's description names it */
	enum vms_kind kind;
	size_t offset;  /* bytes from the start of the struct */
	size_t size;    /* bytes of one element, in memory; scalars: on the wire too */
	size_t count;   /* elements; 0 and 1 both mean a single value */
	size_t stride;  /* bytes from one element to the next; 0: size */
	uint32_t since; /* first version of the table that carries it */
	bool counted;   /* elements present are *(uint32_t *)(dev + count_at), at most count */
	size_t count_at;
	bool (*exists)(const void *dev, uint32_t version); /* NULL: always */
	const struct vms_desc *sub;
	const struct vms_codec *codec;
};

struct vms_desc {
	const char *name;
	uint32_t version;                            /* written by save */
	uint32_t min_version;                        /* oldest accepted by load */
	const struct vms_field *fields;              /* ends with VMS_LAST */
	const struct vms_desc *const *subs;          /* subsections, NULL-terminated, or NULL */
	bool (*needed)(void *dev);                   /* subsections only; NULL: always */
	int (*pre_save)(void *dev, struct err *err); /* before the fields are read */
	int (*pre_load)(void *dev, struct err *err); /* e.g. defaults of absent subsections */
	/* Checks what the stream claims; it is hostile.  After fields and subsections. */
	int (*post_load)(void *dev, uint32_t version, struct err *err);
};

/* A VMS_* that does not match the member's type is a compile error. */
#define VMS_TYPED_(k, T, S, m, n, ...)                                                             \
	{                                                                                          \
		.name = (n), .kind = (k), .offset = offsetof(S, m),                                \
		.size = __builtin_choose_expr(                                                     \
		    __builtin_types_compatible_p(T, __typeof__(((S *)0)->m)), sizeof(T), (void)0), \
		##__VA_ARGS__                                                                      \
	}
/* S: the struct; m: its member; n: the name on the wire; then e.g. .since = 3, .exists = fn */
#define VMS_BOOL(S, m, n, ...)  VMS_TYPED_(VMS_BOOL, bool, S, m, n, ##__VA_ARGS__)
#define VMS_U8(S, m, n, ...)    VMS_TYPED_(VMS_UINT, uint8_t, S, m, n, ##__VA_ARGS__)
#define VMS_U16(S, m, n, ...)   VMS_TYPED_(VMS_UINT, uint16_t, S, m, n, ##__VA_ARGS__)
#define VMS_U32(S, m, n, ...)   VMS_TYPED_(VMS_UINT, uint32_t, S, m, n, ##__VA_ARGS__)
#define VMS_U64(S, m, n, ...)   VMS_TYPED_(VMS_UINT, uint64_t, S, m, n, ##__VA_ARGS__)
#define VMS_S32(S, m, n, ...)   VMS_TYPED_(VMS_INT, int32_t, S, m, n, ##__VA_ARGS__)
#define VMS_S64(S, m, n, ...)   VMS_TYPED_(VMS_INT, int64_t, S, m, n, ##__VA_ARGS__)
#define VMS_TIMER(S, m, n, ...) VMS_TYPED_(VMS_TIMER, int64_t, S, m, n, ##__VA_ARGS__)
/* uintN_t m[K] */
#define VMS_ARRAY(T, S, m, n, ...)                                                                 \
	{                                                                                          \
		.name = (n), .kind = VMS_UINT, .offset = offsetof(S, m),                           \
		.size = __builtin_choose_expr(                                                     \
		    __builtin_types_compatible_p(T, __typeof__(((S *)0)->m[0])), sizeof(T),        \
		    (void)0),                                                                      \
		.count = sizeof(((S *)0)->m) / sizeof(T), ##__VA_ARGS__                            \
	}
#define VMS_BUFFER(S, m, n, ...)                                                                   \
	{                                                                                          \
		.name = (n), .kind = VMS_BUFFER, .offset = offsetof(S, m),                         \
		.size = sizeof(((S *)0)->m), ##__VA_ARGS__                                         \
	}
#define VMS_UNUSED(n, bytes, ...)                                                                  \
	{                                                                                          \
		.name = (n), .kind = VMS_UNUSED, .size = (bytes), ##__VA_ARGS__                    \
	}
#define VMS_STRUCT(S, m, n, d, ...)                                                                \
	{                                                                                          \
		.name = (n), .kind = VMS_STRUCT, .offset = offsetof(S, m),                         \
		.size = sizeof(((S *)0)->m), .sub = (d), ##__VA_ARGS__                             \
	}
/* struct m[K], each written by table d */
#define VMS_STRUCTS(S, m, n, d, ...)                                                               \
	{                                                                                          \
		.name = (n), .kind = VMS_STRUCT, .offset = offsetof(S, m),                         \
		.size = sizeof(((S *)0)->m[0]),                                                    \
		.count = sizeof(((S *)0)->m) / sizeof(((S *)0)->m[0]), .sub = (d), ##__VA_ARGS__   \
	}
/* A piece of the wire that is a table over the same struct. */
#define VMS_TMP(n, d, ...)                                                                         \
	{                                                                                          \
		.name = (n), .kind = VMS_TMP, .sub = (d), ##__VA_ARGS__                            \
	}
#define VMS_CUSTOM(S, m, n, c, ...)                                                                \
	{                                                                                          \
		.name = (n), .kind = VMS_CUSTOM, .offset = offsetof(S, m), .codec = (c),           \
		##__VA_ARGS__                                                                      \
	}
#define VMS_LAST                                                                                   \
	{                                                                                          \
		.name = NULL, .kind = VMS_END                                                      \
	}

/*
 * Append the body of 'dev' (fields and subsections) to 'out'; with 'json' also
 * its description ("vmsd_name": ..., "version": ..., "fields": [...]).
 * 0, or what a pre_save hook returned.
 */
int vms_save(const struct vms_desc *d, void *dev, struct buf *out, struct buf *json,
	     struct err *err);
/*
 * Load a body of that version.  On failure *dev is half loaded: it must be
 * reset or destroyed, and must not run.  The message names the table, the
 * field and the stream offset.
 */
int vms_load(const struct vms_desc *d, void *dev, struct src *in, uint32_t version,
	     struct err *err);

/* ---- the registry: what the device part of a stream consists of ---- */

/* Where an entry stands in the stream; equal ranks keep the order of registration. */
enum vms_rank {
	VMS_RANK_TIMER,
	VMS_RANK_SLIRP,
	VMS_RANK_FW_CFG,
	VMS_RANK_CPU, /* per vCPU: cpu_common, cpu, (kvm-tpr-opt after the first), apic */
	VMS_RANK_IOAPIC,
	VMS_RANK_KVMCLOCK,
	VMS_RANK_GED,
	VMS_RANK_PIC,
	VMS_RANK_PIT,
	VMS_RANK_RTC,
	VMS_RANK_SERIAL,
	VMS_RANK_VIRTIO,
	VMS_RANK_GLOBALSTATE,
};

struct vms_entry {
	enum vms_rank rank;
	char idstr[256];
	uint32_t instance;
	int32_t alias; /* another instance id accepted on load, or -1 */
	uint32_t section_id;
	const struct vms_desc *desc;
	void *dev; /* borrowed */
	struct list link;
};

struct vms_registry {
	struct list entries; /* in the order of the stream */
	uint32_t next_id;    /* section ids; 'ram' takes one too */
};

void vms_registry_init(struct vms_registry *r);
void vms_registry_fini(struct vms_registry *r);
/* Add an entry; 'dev' must outlive the registry.  idstr is at most 255 bytes. */
void vms_register(struct vms_registry *r, enum vms_rank rank, const char *idstr, uint32_t instance,
		  int32_t alias, const struct vms_desc *desc, void *dev);
struct vms_entry *vms_find(const struct vms_registry *r, const char *idstr, uint32_t instance);

#endif
