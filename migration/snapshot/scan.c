/* scan.c - header, mark, list of blocks, pages: the front of a saved stream (migration-stream 1, 3)
 */
#include "migration/snapshot/scan.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "migration/ram/ram.h"
#include "migration/stream/wire.h"
#include "vmm/base/bytes.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"

#define MAX_MACHINE_BYTES 255U
#define FLAG_MASK         ((uint64_t)PAGE_BYTES - 1)

static int say_ended(const struct stream_scan *s, const char *what, struct err *err)
{
	return err_set(err, EIO, "the stream ends at offset 0x%" PRIx64 " in %s: it is cut short",
		       src_offset(s->in), what);
}

static int refuse(const struct stream_scan *s, const char *what, struct err *err)
{
	return err_set(err, ENOTSUP,
		       "the stream has %s at offset 0x%" PRIx64
		       ", which is not as minivmm saves a snapshot",
		       what, src_offset(s->in));
}

/* n bytes, which are kept as they are; NULL: there are fewer. */
static const uint8_t *keep(struct stream_scan *s, struct buf *to, size_t n)
{
	const uint8_t *p = src_take(s->in, n);

	if (p)
		buf_put(to, p, n);
	return p;
}

static int keep_be32(struct stream_scan *s, struct buf *to, uint32_t *v)
{
	const uint8_t *p = keep(s, to, 4);

	*v = p ? get_be32(p) : 0;
	return p ? 0 : -EIO;
}

static int keep_be64(struct stream_scan *s, struct buf *to, uint64_t *v)
{
	const uint8_t *p = keep(s, to, 8);

	*v = p ? get_be64(p) : 0;
	return p ? 0 : -EIO;
}

/* ---- the header ---- */

static int scan_header(struct stream_scan *s, struct err *err)
{
	uint32_t magic, version, n;
	const uint8_t *p;

	if (keep_be32(s, &s->head, &magic) < 0 || keep_be32(s, &s->head, &version) < 0)
		return say_ended(s, "its header", err);
	if (magic != STREAM_MAGIC || version != STREAM_VERSION)
		return refuse(s, "another header", err);
	p = keep(s, &s->head, 1);
	if (!p || *p != TAG_CONFIGURATION)
		return p ? refuse(s, "no configuration", err) : say_ended(s, "its header", err);
	if (keep_be32(s, &s->head, &n) < 0)
		return say_ended(s, "the configuration", err);
	if (n > MAX_MACHINE_BYTES)
		return refuse(s, "a machine with so long a name", err);
	return keep(s, &s->head, n) ? 0 : say_ended(s, "the configuration", err);
}

/* A section's end; *id is its own. */
static int scan_footer(struct stream_scan *s, uint32_t id, struct err *err)
{
	uint32_t end;
	uint8_t tag;

	if (src_u8(s->in, &tag) < 0 || src_be32(s->in, &end) < 0)
		return say_ended(s, "a section's footer", err);
	return tag == TAG_FOOTER && end == id ? 0 : refuse(s, "no footer", err);
}

/* The section that may stand in front of RAM. */
static int scan_mark(struct stream_scan *s, struct err *err)
{
	uint32_t id, instance, version;
	char name[256];
	int ret;

	(void)src_skip(s->in, 1);
	if (src_be32(s->in, &id) < 0 || src_str8(s->in, name) < 0 ||
	    src_be32(s->in, &instance) < 0 || src_be32(s->in, &version) < 0)
		return say_ended(s, "a section's header", err);
	if (strcmp(name, PARENT_SECTION) != 0 || version != PARENT_SECTION_VERSION)
		return refuse(s, "another section in front of RAM", err);
	ret = parent_mark_load(&s->parent, s->in, err);
	if (ret == -EIO)
		return say_ended(s, "section '" PARENT_SECTION "'", err);
	s->marked = true;
	return ret < 0 ? ret : scan_footer(s, id, err);
}

/* ---- the list of blocks ---- */

static int find_block(const struct stream_scan *s, const char *name)
{
	for (size_t i = 0; i < s->n; i++)
		if (!strcmp(s->blocks[i].name, name))
			return (int)i;
	return -1;
}

static int scan_list_entry(struct stream_scan *s, uint64_t *left, struct err *err)
{
	struct scan_block *b = &s->blocks[s->n];
	const uint8_t *p = keep(s, &s->list, 1);
	size_t n = p ? *p : 0;
	uint64_t bytes;

	if (s->n == MEMORY_MAX_BLOCKS)
		return refuse(s, "more RAM blocks than there can be", err);
	p = p ? keep(s, &s->list, n) : NULL;
	if (!p)
		return say_ended(s, "the list of RAM blocks", err);
	if (!n || memchr(p, '\0', n))
		return refuse(s, "a RAM block without a name", err);
	memcpy(b->name, p, n);
	b->name[n] = '\0';
	if (keep_be64(s, &s->list, &bytes) < 0)
		return say_ended(s, "the list of RAM blocks", err);
	if (!bytes || bytes % PAGE_BYTES || bytes > *left || bytes / PAGE_BYTES > UINT32_MAX ||
	    find_block(s, b->name) >= 0)
		return refuse(s, "a RAM block whose length or name cannot be", err);
	*left -= bytes;
	b->pages = bytes / PAGE_BYTES;
	s->n++;
	return 0;
}

static int scan_list(struct stream_scan *s, struct err *err)
{
	uint64_t word, left;
	int ret = 0;

	if (keep_be64(s, &s->list, &word) < 0)
		return say_ended(s, "the list of RAM blocks", err);
	if ((word & FLAG_MASK) != RAM_FLAG_MEM_SIZE)
		return refuse(s, "no list of RAM blocks", err);
	for (left = word & ~FLAG_MASK; ret == 0 && left;)
		ret = scan_list_entry(s, &left, err);
	if (ret < 0)
		return ret;
	if (keep_be64(s, &s->list, &word) < 0)
		return say_ended(s, "the list of RAM blocks", err);
	return word == RAM_FLAG_EOS ? 0 : refuse(s, "more behind the list of RAM blocks", err);
}

static int scan_start(struct stream_scan *s, struct err *err)
{
	static const char name[] = RAM_SECTION;
	const size_t n = sizeof(name) - 1;
	uint32_t instance, version, end;
	const uint8_t *p = keep(s, &s->list, 1);
	int ret;

	if (p && *p != TAG_START)
		return refuse(s, "no RAM", err);
	if (!p || keep_be32(s, &s->list, &s->ram_id) < 0 || !(p = keep(s, &s->list, n + 1)))
		return say_ended(s, "the header of RAM", err);
	if (p[0] != n || memcmp(p + 1, name, n) != 0)
		return refuse(s, "another section in front of RAM", err);
	if (keep_be32(s, &s->list, &instance) < 0 || keep_be32(s, &s->list, &version) < 0)
		return say_ended(s, "the header of RAM", err);
	if (instance != 0 || version != RAM_SECTION_VERSION)
		return refuse(s, "RAM of another version", err);
	ret = scan_list(s, err);
	if (ret < 0)
		return ret;
	p = keep(s, &s->list, 1);
	if (!p || keep_be32(s, &s->list, &end) < 0)
		return say_ended(s, "a section's footer", err);
	return s->list.data[s->list.len - 5] == TAG_FOOTER && end == s->ram_id
		   ? 0
		   : refuse(s, "no footer", err);
}

int stream_scan_begin(struct stream_scan *s, struct err *err)
{
	int ret = scan_header(s, err);
	const uint8_t *p = ret == 0 ? src_peek(s->in, 1) : NULL;

	if (p && *p == TAG_FULL)
		ret = scan_mark(s, err);
	return ret == 0 ? scan_start(s, err) : ret;
}

void stream_scan_fini(struct stream_scan *s)
{
	buf_free(&s->head);
	buf_free(&s->list);
}

/* ---- pages ---- */

/* The block that a record is about, of one that begins with its name or goes on; -errno. */
static int page_block(const struct stream_scan *s, uint64_t word, int last, struct err *err)
{
	uint64_t page = (word & ~FLAG_MASK) / PAGE_BYTES;
	char name[256];

	if (!(word & RAM_FLAG_CONTINUE)) {
		if (src_str8(s->in, name) < 0)
			return say_ended(s, "a RAM page's block name", err);
		last = find_block(s, name);
	}
	if (last < 0 || page >= s->blocks[last].pages)
		return refuse(s, "a page of no RAM block", err);
	return last;
}

static int scan_page(const struct stream_scan *s, uint64_t word, int block, scan_page_fn *fn,
		     void *opaque, struct err *err)
{
	uint64_t page = (word & ~FLAG_MASK) / PAGE_BYTES;
	const uint8_t *p;
	uint8_t fill;

	switch (word & FLAG_MASK & ~(uint64_t)RAM_FLAG_CONTINUE) {
	case RAM_FLAG_ZERO:
		if (src_u8(s->in, &fill) < 0)
			return say_ended(s, "a zero page", err);
		if (fill)
			return refuse(s, "a page that is one byte, repeated,", err);
		return fn(opaque, (size_t)block, page, NULL, err);
	case RAM_FLAG_PAGE:
		p = src_take(s->in, PAGE_BYTES);
		if (!p)
			return say_ended(s, "a page", err);
		return fn(opaque, (size_t)block, page, p, err);
	default:
		return refuse(s, "a RAM record of another kind", err);
	}
}

/* The body of one record, behind its id. */
static int scan_body(const struct stream_scan *s, int *last, scan_page_fn *fn, void *opaque,
		     struct err *err)
{
	for (;;) {
		uint64_t word, kind;
		int ret;

		if (src_be64(s->in, &word) < 0)
			return say_ended(s, "a RAM record", err);
		if (word == RAM_FLAG_EOS)
			return 0;
		kind = word & FLAG_MASK & ~(uint64_t)RAM_FLAG_CONTINUE;
		if (kind != RAM_FLAG_ZERO && kind != RAM_FLAG_PAGE)
			return refuse(s, "a RAM record of another kind", err);
		*last = page_block(s, word, *last, err);
		ret = *last < 0 ? *last : scan_page(s, word, *last, fn, opaque, err);
		if (ret < 0)
			return ret;
	}
}

int stream_scan_pages(struct stream_scan *s, scan_page_fn *fn, void *opaque, struct err *err)
{
	const uint8_t *p;
	int last = -1, ret = 0;

	while (ret == 0 && (p = src_peek(s->in, 1)) && (*p == TAG_PART || *p == TAG_END)) {
		uint32_t id;

		(void)src_skip(s->in, 1);
		if (src_be32(s->in, &id) < 0)
			return say_ended(s, "a section's header", err);
		if (id != s->ram_id)
			return refuse(s, "a part of another section", err);
		ret = scan_body(s, &last, fn, opaque, err);
		if (ret == 0)
			ret = scan_footer(s, id, err);
	}
	return ret;
}
