/*
 * working-set.c - the file of pages that a guest touches first (working-set.h)
 *
 * Everything is read into maps of its own, and added when all of it was right.
 */
#include "migration/ram/lazy/working-set.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "migration/ram/lazy/source.h"
#include "vmm/base/alloc.h"
#include "vmm/base/bitmap.h"
#include "vmm/base/buf.h"
#include "vmm/base/bytes.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"
#include "vmm/base/xxh64.h"

static const char magic[] = "minivmm working set 1\n";

#define MAGIC_BYTES (sizeof(magic) - 1)
#define SUM_BYTES   8U

int working_set_init(struct working_set *ws, const struct memory *mem)
{
	*ws = (struct working_set){.n = 0};
	for (size_t i = 0; i < mem->n_blocks; i++) {
		struct working_set_block *b = &ws->blocks[ws->n];

		(void)snprintf(b->name, sizeof(b->name), "%s", mem->blocks[i]->name);
		b->pages = mem->blocks[i]->bytes / PAGE_BYTES;
		b->map = bitmap_new(b->pages);
		if (!b->map) {
			working_set_fini(ws);
			return -ENOMEM;
		}
		ws->n++;
	}
	return 0;
}

void working_set_fini(struct working_set *ws)
{
	for (size_t i = 0; i < ws->n; i++)
		free(ws->blocks[i].map);
	ws->n = 0;
}

uint64_t working_set_pages(const struct working_set *ws)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < ws->n; i++)
		sum += bitmap_count(ws->blocks[i].map, ws->blocks[i].pages);
	return sum;
}

static uint64_t hash(const void *p, size_t n)
{
	struct xxh64 h;

	xxh64_init(&h);
	xxh64_add(&h, p, n);
	return xxh64_value(&h);
}

/* The next run, from *first on; 0: none. */
static uint64_t next_run(const struct working_set_block *b, uint64_t *first)
{
	*first = bitmap_next_set(b->map, b->pages, *first);
	return bitmap_next_clear(b->map, b->pages, *first) - *first;
}

/* ---- writing ---- */

static void put_block(const struct working_set_block *b, uint32_t *left, struct buf *out)
{
	uint64_t first = 0, n;
	uint32_t runs = 0;
	size_t at;

	buf_str8(out, b->name);
	at = out->len;
	buf_be32(out, 0);
	for (; *left && b->pages <= UINT32_MAX && (n = next_run(b, &first)); first += n) {
		buf_be32(out, (uint32_t)first);
		buf_be32(out, (uint32_t)n);
		runs++;
		--*left;
	}
	put_be32(out->data + at, runs);
}

void working_set_put(const struct working_set *ws, const uint8_t *identity, struct buf *out)
{
	uint32_t left = WORKING_SET_MAX_RUNS;
	size_t start = out->len;

	buf_put(out, magic, MAGIC_BYTES);
	buf_put(out, identity, PAGE_SOURCE_IDENTITY);
	buf_u8(out, (uint8_t)ws->n);
	for (size_t i = 0; i < ws->n; i++)
		put_block(&ws->blocks[i], &left, out);
	buf_be64(out, hash(out->data + start, out->len - start));
}

/* ---- reading ---- */

static int say_short(struct src *in, const char *what, struct err *err)
{
	return err_set(err, EINVAL, "it ends at offset 0x%" PRIx64 " in %s", src_offset(in), what);
}

static int get_run(struct working_set_block *b, struct src *in, uint64_t *behind, struct err *err)
{
	uint64_t at = src_offset(in);
	uint32_t first, n;

	if (src_be32(in, &first) < 0 || src_be32(in, &n) < 0)
		return say_short(in, "a run of pages", err);
	if (!n || first < *behind || first >= b->pages || n > b->pages - first)
		return err_set(err, EINVAL,
			       "the run of %u pages from page %u of RAM block '%s' on, at offset "
			       "0x%" PRIx64 ", is empty, not in order or beyond the block",
			       n, first, b->name, at);
	bitmap_set_range(b->map, first, n);
	*behind = (uint64_t)first + n;
	return 0;
}

static struct working_set_block *find(struct working_set *ws, const char *name)
{
	for (size_t i = 0; i < ws->n; i++)
		if (!strcmp(ws->blocks[i].name, name))
			return &ws->blocks[i];
	return NULL;
}

static int get_block(struct working_set *ws, struct src *in, struct err *err)
{
	struct working_set_block *b;
	uint64_t behind = 0;
	uint32_t runs;
	char name[256];
	int ret = src_str8(in, name);

	if (ret == -EINVAL)
		return err_set(err, EINVAL, "the name of a RAM block contains a NUL byte");
	if (ret < 0 || src_be32(in, &runs) < 0)
		return say_short(in, "the entry of a RAM block", err);
	b = find(ws, name);
	if (!b)
		return err_set(err, EINVAL, "unknown RAM block '%s'", name);
	if (runs > WORKING_SET_MAX_RUNS)
		return err_set(err, EINVAL, "RAM block '%s' has %u runs of pages, at most %u are",
			       name, runs, WORKING_SET_MAX_RUNS);
	for (ret = 0; ret == 0 && runs > 0; runs--)
		ret = get_run(b, in, &behind, err);
	return ret;
}

static int get_all(struct working_set *ws, struct src *in, struct err *err)
{
	uint8_t blocks;
	int ret = 0;

	if (src_u8(in, &blocks) < 0)
		return say_short(in, "the number of RAM blocks", err);
	if (blocks > ws->n)
		return err_set(err, EINVAL, "it has %u RAM blocks, the guest has %zu", blocks,
			       ws->n);
	for (; ret == 0 && blocks > 0; blocks--)
		ret = get_block(ws, in, err);
	if (ret == 0 && in->at != in->len)
		ret = err_set(err, EINVAL, "bytes follow at offset 0x%" PRIx64, src_offset(in));
	return ret;
}

static int check_head(struct src *in, const uint8_t *identity, size_t n, struct err *err)
{
	const uint8_t *p = in->data;

	if (n < MAGIC_BYTES + PAGE_SOURCE_IDENTITY + 1 + SUM_BYTES ||
	    memcmp(p, magic, MAGIC_BYTES) != 0)
		return err_set(err, EINVAL, "it is no working set, or one of another version");
	if (get_be64(p + n - SUM_BYTES) != hash(p, n - SUM_BYTES))
		return err_set(err, EINVAL, "its checksum does not match");
	if (memcmp(p + MAGIC_BYTES, identity, PAGE_SOURCE_IDENTITY) != 0)
		return err_set(err, ESTALE, "it belongs to another saved guest");
	return src_skip(in, MAGIC_BYTES + PAGE_SOURCE_IDENTITY);
}

static int copy_shape(struct working_set *to, const struct working_set *from)
{
	*to = (struct working_set){.n = 0};
	for (; to->n < from->n; to->n++) {
		struct working_set_block *b = &to->blocks[to->n];

		*b = from->blocks[to->n];
		b->map = bitmap_new(b->pages);
		if (!b->map) {
			working_set_fini(to);
			return -ENOMEM;
		}
	}
	return 0;
}

int working_set_get(struct working_set *ws, const uint8_t *identity, const uint8_t *p, size_t n,
		    struct err *err)
{
	struct src in = src_mem(p, n >= SUM_BYTES ? n - SUM_BYTES : 0);
	struct working_set read;
	int ret = check_head(&in, identity, n, err);

	if (ret == 0 && copy_shape(&read, ws) < 0)
		ret = err_set(err, ENOMEM, "no memory for it");
	if (ret < 0)
		return ret;
	ret = get_all(&read, &in, err);
	for (size_t i = 0; ret == 0 && i < ws->n; i++)
		(void)bitmap_or(ws->blocks[i].map, read.blocks[i].map, ws->blocks[i].pages);
	working_set_fini(&read);
	return ret;
}

/* ---- files ---- */

/* What is at 'path' may be anything: it is not waited for, and only so much of it is read. */
int working_set_load(struct working_set *ws, const uint8_t *identity, const char *path,
		     struct err *err)
{
	CLEANUP(cleanup_close)
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
	CLEANUP(cleanup_free) uint8_t *p = NULL;
	struct stat st;
	ssize_t n;

	if (fd < 0 || fstat(fd, &st) < 0)
		return err_set(err, errno, "%s", err_text(errno));
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size > WORKING_SET_MAX_BYTES)
		return err_set(err, EINVAL, "it is no regular file of at most %lu bytes",
			       WORKING_SET_MAX_BYTES);
	p = xcalloc(1, (size_t)st.st_size + 1);
	n = read(fd, p, (size_t)st.st_size);
	if (n < 0)
		return err_set(err, errno, "%s", err_text(errno));
	return working_set_get(ws, identity, p, (size_t)n, err);
}

int working_set_save(const struct working_set *ws, const uint8_t *identity, const char *path,
		     struct err *err)
{
	CLEANUP(cleanup_free) char *temp = xasprintf("%s.XXXXXX", path);
	struct buf out = {0};
	int fd = mkostemp(temp, O_CLOEXEC), ret = 0;

	if (fd < 0)
		return err_set(err, errno, "%s", err_text(errno));
	working_set_put(ws, identity, &out);
	if (write(fd, out.data, out.len) != (ssize_t)out.len || fchmod(fd, 0644) < 0 ||
	    rename(temp, path) < 0) {
		ret = err_set(err, errno ? errno : ENOSPC, "%s", err_text(errno ? errno : ENOSPC));
		(void)unlink(temp);
	}
	(void)close(fd);
	buf_free(&out);
	return ret;
}
