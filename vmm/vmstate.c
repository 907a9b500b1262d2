/*
 * vmstate.c - saving and loading by table
 *
 * One walk over a table writes the bytes and, beside them, the JSON that
 * describes them, so the two cannot differ.  Loading is the same walk over
 * the version that the stream claims; what follows a table's fields may be a
 * subsection of it, of an enclosing table, or no subsection at all, and only
 * the name tells: nothing is consumed before it is known to be ours
 * (migration-stream 2.6).
 */
#include "vmm/vmstate.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "vmm/base/buf.h"
#include "vmm/base/bytes.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"

#define SUBSECTION_TAG 0x05
#define MAX_DEPTH      8 /* of nested tables and subsections; ours nest four deep */

static bool field_exists(const struct vms_field *f, const void *dev, uint32_t version)
{
	return f->exists ? f->exists(dev, version) : f->since <= version;
}

static size_t field_count(const struct vms_field *f, const void *dev)
{
	uint32_t n;

	if (!f->counted)
		return f->count ? f->count : 1;
	memcpy(&n, (const uint8_t *)dev + f->count_at, sizeof(n));
	return MIN(n, f->count);
}

static uint8_t *element(const struct vms_field *f, void *dev, size_t i)
{
	return (uint8_t *)dev + f->offset + i * (f->stride ? f->stride : f->size);
}

static const char *json_type(const struct vms_field *f)
{
	static const char *const uints[] = {
	    [1] = "uint8", [2] = "uint16", [4] = "uint32", [8] = "uint64"};
	static const char *const ints[] = {
	    [1] = "int8", [2] = "int16", [4] = "int32", [8] = "int64"};

	switch (f->kind) {
	case VMS_BOOL:
		return "bool";
	case VMS_UINT:
		return uints[f->size];
	case VMS_INT:
		return ints[f->size];
	case VMS_TIMER:
		return "timer";
	case VMS_BUFFER:
		return "buffer";
	case VMS_UNUSED:
		return "unused_buffer";
	case VMS_STRUCT:
		return "struct";
	case VMS_TMP:
		return "tmp";
	case VMS_CUSTOM:
		return f->codec->json_type;
	case VMS_END:
		break;
	}
	return "";
}

/* Do all elements of an array look the same, so that describing the first describes all? */
static bool uniform(const struct vms_field *f) /* NOLINT(misc-no-recursion): tables nest, bounded */
{
	if (f->exists)
		return false;
	if (f->kind != VMS_STRUCT && f->kind != VMS_TMP)
		return true;
	if (f->sub->subs)
		return false;
	for (const struct vms_field *s = f->sub->fields; s->kind != VMS_END; s++)
		if (!uniform(s))
			return false;
	return true;
}

/* ---- save ---- */

struct saver {
	struct buf *out;
	struct buf *json; /* NULL: not described */
	struct err *err;
};

static int save_table(struct saver *s, const struct vms_desc *d, void *dev);

static void put_scalar(struct buf *out, const void *mem, size_t size)
{
	uint16_t v16;
	uint32_t v32;
	uint64_t v64;

	switch (size) {
	case 1:
		buf_put(out, mem, 1);
		break;
	case 2:
		memcpy(&v16, mem, sizeof(v16));
		buf_be16(out, v16);
		break;
	case 4:
		memcpy(&v32, mem, sizeof(v32));
		buf_be32(out, v32);
		break;
	default:
		memcpy(&v64, mem, sizeof(v64));
		buf_be64(out, v64);
		break;
	}
}

/* NOLINTNEXTLINE(misc-no-recursion): tables nest; their depth is fixed when they are written */
static int save_element(struct saver *s, const struct vms_field *f, void *dev, uint8_t *mem)
{
	int ret = 0;

	switch (f->kind) {
	case VMS_BOOL:
		buf_u8(s->out, *mem != 0);
		break;
	case VMS_UINT:
	case VMS_INT:
	case VMS_TIMER:
		put_scalar(s->out, mem, f->size);
		break;
	case VMS_BUFFER:
		buf_put(s->out, mem, f->size);
		break;
	case VMS_UNUSED:
		buf_zero(s->out, f->size);
		break;
	case VMS_STRUCT:
		if (s->json)
			buf_printf(s->json, ", \"struct\": {");
		ret = save_table(s, f->sub, mem);
		if (s->json)
			buf_printf(s->json, "}");
		break;
	case VMS_TMP:
		if (s->json)
			buf_printf(s->json, ", ");
		ret = save_table(s, f->sub, dev);
		break;
	case VMS_CUSTOM:
		ret = f->codec->save(dev, mem, s->out, s->err);
		break;
	case VMS_END:
		break;
	}
	return ret;
}

/* NOLINTNEXTLINE(misc-no-recursion): see save_element */
static int save_field(struct saver *s, const struct vms_field *f, void *dev, bool *first)
{
	size_t n = field_count(f, dev);
	bool array = f->count > 0;
	bool same = uniform(f);

	for (size_t i = 0; i < n; i++) {
		struct saver es = *s;
		size_t start = s->out->len;
		int ret;

		if (same && i > 0)
			es.json = NULL;
		if (es.json) {
			buf_printf(es.json, "%s{\"name\": \"%s\"", *first ? "" : ", ", f->name);
			*first = false;
			if (array && same)
				buf_printf(es.json, ", \"array_len\": %zu", n);
			else if (array)
				buf_printf(es.json, ", \"index\": %zu", i);
			buf_printf(es.json, ", \"type\": \"%s\"", json_type(f));
		}
		ret = save_element(&es, f, dev, element(f, dev, i));
		if (ret < 0)
			return ret;
		if (es.json)
			buf_printf(es.json, ", \"size\": %zu}", s->out->len - start);
	}
	return 0;
}

/* NOLINTNEXTLINE(misc-no-recursion): see save_element */
static int save_subsections(struct saver *s, const struct vms_desc *d, void *dev)
{
	bool any = false;

	for (const struct vms_desc *const *sub = d->subs; sub && *sub; sub++) {
		int ret;

		if ((*sub)->needed && !(*sub)->needed(dev))
			continue;
		buf_u8(s->out, SUBSECTION_TAG);
		buf_str8(s->out, (*sub)->name);
		buf_be32(s->out, (*sub)->version);
		if (s->json)
			buf_printf(s->json, any ? ", {" : ", \"subsections\": [{");
		any = true;
		ret = save_table(s, *sub, dev);
		if (ret < 0)
			return ret;
		if (s->json)
			buf_printf(s->json, "}");
	}
	if (any && s->json)
		buf_printf(s->json, "]");
	return 0;
}

/* NOLINTNEXTLINE(misc-no-recursion): see save_element */
static int save_table(struct saver *s, const struct vms_desc *d, void *dev)
{
	bool first = true;
	int ret;

	if (d->pre_save) {
		ret = d->pre_save(dev, s->err);
		if (ret < 0)
			return ret;
	}
	if (s->json)
		buf_printf(s->json,
			   "\"vmsd_name\": \"%s\", \"version\": %" PRIu32 ", \"fields\": [",
			   d->name, d->version);
	for (const struct vms_field *f = d->fields; f->kind != VMS_END; f++) {
		if (!field_exists(f, dev, d->version))
			continue;
		ret = save_field(s, f, dev, &first);
		if (ret < 0)
			return ret;
	}
	if (s->json)
		buf_printf(s->json, "]");
	return save_subsections(s, d, dev);
}

int vms_save(const struct vms_desc *d, void *dev, struct buf *out, struct buf *json,
	     struct err *err)
{
	struct saver s = {.out = out, .json = json, .err = err};

	return save_table(&s, d, dev);
}

/* ---- load ---- */

static int load_table(const struct vms_desc *d, void *dev, struct src *in, uint32_t version,
		      unsigned depth, struct err *err);

static int get_scalar(struct src *in, void *mem, size_t size)
{
	const uint8_t *p = src_take(in, size);
	uint16_t v16;
	uint32_t v32;
	uint64_t v64;

	if (!p)
		return -EIO;
	switch (size) {
	case 1:
		memcpy(mem, p, 1);
		break;
	case 2:
		v16 = get_be16(p);
		memcpy(mem, &v16, sizeof(v16));
		break;
	case 4:
		v32 = get_be32(p);
		memcpy(mem, &v32, sizeof(v32));
		break;
	default:
		v64 = get_be64(p);
		memcpy(mem, &v64, sizeof(v64));
		break;
	}
	return 0;
}

static int get_bool(struct src *in, void *mem)
{
	uint8_t byte;
	bool v;

	if (src_u8(in, &byte) < 0)
		return -EIO;
	v = byte != 0;
	memcpy(mem, &v, sizeof(v));
	return 0;
}

/* NOLINTNEXTLINE(misc-no-recursion): depth is bounded by MAX_DEPTH */
static int load_element(const struct vms_field *f, void *dev, uint8_t *mem, struct src *in,
			unsigned depth, struct err *err)
{
	switch (f->kind) {
	case VMS_BOOL:
		return get_bool(in, mem);
	case VMS_UINT:
	case VMS_INT:
	case VMS_TIMER:
		return get_scalar(in, mem, f->size);
	case VMS_BUFFER:
		return src_get(in, mem, f->size);
	case VMS_UNUSED:
		return src_skip(in, f->size);
	case VMS_STRUCT:
		return load_table(f->sub, mem, in, f->sub->version, depth + 1, err);
	case VMS_TMP:
		return load_table(f->sub, dev, in, f->sub->version, depth + 1, err);
	case VMS_CUSTOM:
		return f->codec->load(dev, mem, in, err);
	case VMS_END:
		break;
	}
	return 0;
}

/* Kinds whose own loader has already said in words what was wrong. */
static bool explains_itself(const struct vms_field *f)
{
	return f->kind == VMS_STRUCT || f->kind == VMS_TMP || f->kind == VMS_CUSTOM;
}

/* NOLINTNEXTLINE(misc-no-recursion): see load_element */
static int load_field(const struct vms_desc *d, const struct vms_field *f, void *dev,
		      struct src *in, unsigned depth, struct err *err)
{
	size_t n = field_count(f, dev);

	if (f->counted) {
		uint32_t claimed;

		memcpy(&claimed, (const uint8_t *)dev + f->count_at, sizeof(claimed));
		if (claimed > f->count)
			return err_set(err, EINVAL,
				       "%s: %" PRIu32
				       " elements of %s, at most %zu are possible (stream offset "
				       "0x%" PRIx64 ")",
				       d->name, claimed, f->name, f->count, src_offset(in));
	}
	for (size_t i = 0; i < n; i++) {
		uint64_t at = src_offset(in);
		int ret = load_element(f, dev, element(f, dev, i), in, depth, err);

		if (ret < 0 && !explains_itself(f))
			return err_set(err, -ret,
				       "%s: the stream ends within %s at offset 0x%" PRIx64
				       ": it is cut short",
				       d->name, f->name, at);
		if (ret < 0)
			return ret;
	}
	return 0;
}

static const struct vms_desc *find_sub(const struct vms_desc *d, const char *name)
{
	for (const struct vms_desc *const *sub = d->subs; sub && *sub; sub++)
		if (!strcmp((*sub)->name, name))
			return *sub;
	return NULL;
}

/*
 * Is the next thing in the stream a subsection that belongs to table 'd'?
 * 1 and its name, or 0.  Nothing is consumed.
 */
static int peek_subsection(const struct vms_desc *d, struct src *in, char name[256])
{
	size_t own = strlen(d->name);
	const uint8_t *p = src_peek(in, 2);
	size_t len;

	if (!p || p[0] != SUBSECTION_TAG)
		return 0;
	len = p[1];
	if (len < own + 1)
		return 0;
	p = src_peek(in, 2 + len);
	if (!p || memcmp(p + 2, d->name, own) != 0)
		return 0;
	memcpy(name, p + 2, len);
	name[len] = 0;
	return 1;
}

/* NOLINTNEXTLINE(misc-no-recursion): see load_element */
static int load_subsections(const struct vms_desc *d, void *dev, struct src *in, unsigned depth,
			    struct err *err)
{
	char name[256];

	while (peek_subsection(d, in, name)) {
		const struct vms_desc *sub = find_sub(d, name);
		uint64_t at = src_offset(in);
		uint32_t version;
		int ret;

		if (!sub)
			return err_set(err, ENOENT,
				       "%s: unknown subsection '%s' at stream offset 0x%" PRIx64,
				       d->name, name, at);
		if (src_skip(in, 2 + strlen(name)) < 0 || src_be32(in, &version) < 0)
			return err_set(err, EIO,
				       "%s: the stream ends within the header of subsection '%s': "
				       "it is cut short",
				       d->name, name);
		ret = load_table(sub, dev, in, version, depth + 1, err);
		if (ret < 0)
			return ret;
	}
	return 0;
}

/* NOLINTNEXTLINE(misc-no-recursion): see load_element */
static int load_table(const struct vms_desc *d, void *dev, struct src *in, uint32_t version,
		      unsigned depth, struct err *err)
{
	int ret;

	if (depth > MAX_DEPTH)
		return err_set(err, EINVAL, "%s: nested too deep at stream offset 0x%" PRIx64,
			       d->name, src_offset(in));
	if (version > d->version || version < d->min_version)
		return err_set(err, EINVAL,
			       "%s: version %" PRIu32 " at stream offset 0x%" PRIx64
			       ", this program reads %" PRIu32 " to %" PRIu32,
			       d->name, version, src_offset(in), d->min_version, d->version);
	ret = d->pre_load ? d->pre_load(dev, err) : 0;
	for (const struct vms_field *f = d->fields; ret >= 0 && f->kind != VMS_END; f++)
		if (field_exists(f, dev, version))
			ret = load_field(d, f, dev, in, depth, err);
	if (ret >= 0)
		ret = load_subsections(d, dev, in, depth, err);
	if (ret >= 0 && d->post_load)
		ret = d->post_load(dev, version, err);
	return ret < 0 ? ret : 0;
}

int vms_load(const struct vms_desc *d, void *dev, struct src *in, uint32_t version, struct err *err)
{
	return load_table(d, dev, in, version, 0, err);
}
