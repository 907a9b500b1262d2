/*
 * stream-sections.h - device sections of real streams, for unit tests
 *
 * The fixtures are described in tests/data/sections/README.md.  Paths are from
 * the repository's root, where tests are started.
 */
#ifndef MINIVMM_TESTS_STREAM_SECTIONS_H
#define MINIVMM_TESTS_STREAM_SECTIONS_H

#include <check.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/alloc.h"
#include "vmm/base/buf.h"
#include "vmm/base/error.h"
#include "vmm/vmstate.h"

#define SECTIONS_DIR "tests/data/sections"

struct section {
	struct buf body; /* owned */
	struct buf json; /* owned */
	uint32_t version;
};

/* A whole file, appended. */
static inline void section_read_file(const char *path, struct buf *out)
{
	FILE *f = fopen(path, "rbe");
	size_t n;

	ck_assert_msg(f != NULL, "cannot open %s", path);
	while ((n = fread(buf_room(out, 4096), 1, 4096, f)) > 0)
		out->len += n;
	ck_assert_int_eq(fclose(f), 0);
}

/* The version that the stream's header gives the section. */
static inline uint32_t section_version(const char *stream, const char *idstr, unsigned instance)
{
	char *path = xasprintf(SECTIONS_DIR "/%s/index", stream);
	char *want = xasprintf("\n%s %u ", idstr, instance);
	struct buf index = {0};
	const char *at;
	uint32_t version;

	buf_put(&index, "\n", 1);
	section_read_file(path, &index);
	buf_u8(&index, 0);
	at = strstr((const char *)index.data, want);
	ck_assert_msg(at != NULL, "%s has no section %s %u", path, idstr, instance);
	version = (uint32_t)strtoul(at + strlen(want), NULL, 10);
	buf_free(&index);
	free(want);
	free(path);
	return version;
}

static inline struct section section_open(const char *stream, const char *idstr, unsigned instance)
{
	struct section s = {.version = section_version(stream, idstr, instance)};
	char *path = xasprintf(SECTIONS_DIR "/%s/%s.%u.bin", stream, idstr, instance);

	section_read_file(path, &s.body);
	free(path);
	path = xasprintf(SECTIONS_DIR "/%s/%s.%u.json", stream, idstr, instance);
	section_read_file(path, &s.json);
	free(path);
	return s;
}

static inline void section_close(struct section *s)
{
	buf_free(&s->body);
	buf_free(&s->json);
}

/* Load the section into dev; the table must consume all of it. */
static inline void section_load(const struct section *s, const struct vms_desc *d, void *dev)
{
	struct src in = src_mem(s->body.data, s->body.len);
	struct err err = {0};

	ck_assert_msg(vms_load(d, dev, &in, s->version, &err) == 0, "%s", err.msg);
	ck_assert_uint_eq(in.at, in.len);
}

/* Save dev: the same bytes and the same description as in the stream. */
static inline void section_compare(const struct section *s, const struct vms_desc *d, void *dev,
				   const char *idstr, unsigned instance)
{
	struct buf out = {0}, body = {0}, json = {0};
	struct err err = {0};

	ck_assert_msg(vms_save(d, dev, &out, &body, &err) == 0, "%s", err.msg);
	for (size_t i = 0; i < out.len && i < s->body.len; i++)
		ck_assert_msg(out.data[i] == s->body.data[i], "%s: byte %zu is %02x, not %02x",
			      idstr, i, out.data[i], s->body.data[i]);
	ck_assert_uint_eq(out.len, s->body.len);
	buf_u8(&body, 0);
	buf_printf(&json, "{\"name\": \"%s\", \"instance_id\": %u, %s}", idstr, instance,
		   (const char *)body.data);
	ck_assert_msg(json.len == s->json.len && !memcmp(json.data, s->json.data, json.len),
		      "%s is described as\n%.*s\nnot as\n%.*s", idstr, (int)json.len,
		      (const char *)json.data, (int)s->json.len, (const char *)s->json.data);
	buf_free(&out);
	buf_free(&body);
	buf_free(&json);
}

#endif
