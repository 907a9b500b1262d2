/*
 * source.c - pages from a mapped-ram file whose guest runs already (source.h)
 *
 * Size and time of change are looked at after each read: what was read before a change is as it
 * was, and what was read while the file changed is dropped.  A file that was truncated and
 * has its old size and time again (restored, with its times) is taken as before.
 *
 * The descriptor is one of our own, so that the load may end and close its channel.
 */
#include "migration/ram/mapped/source.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "devices/block/lock.h"
#include "migration/channel/channel.h"
#include "vmm/base/alloc.h"
#include "vmm/base/bitmap.h"
#include "vmm/base/bytes.h"
#include "vmm/base/error.h"
#include "vmm/base/fdset.h"
#include "vmm/base/units.h"
#include "vmm/base/xxh64.h"
#include "vmm/memory/memory.h"

#define NOTES_SUFFIX ".working-set"

struct mapped_source {
	struct page_source base;
	int fd; /* owned */
	char path[PATH_MAX];
	char name[PATH_MAX + 3]; /* in quotes */
	struct stat was;
	bool regular;
	bool named; /* ... and a client may look beside it */
	uint64_t pages_off[MEMORY_MAX_BLOCKS];
	struct xxh64 bitmaps; /* of all blocks */
};

static struct mapped_source *source_of(const struct page_source *s)
{
	return container_of(s, struct mapped_source, base);
}

static int say_changed(const struct mapped_source *m, const struct stat *is, struct err *err)
{
	if (is->st_size != m->was.st_size)
		return err_set(err, ESTALE,
			       "%s has %" PRIi64 " bytes instead of %" PRIi64
			       ": another program has changed it, and pages of the guest's memory "
			       "are still in it",
			       m->name, (int64_t)is->st_size, (int64_t)m->was.st_size);
	return err_set(err, ESTALE,
		       "%s was written to by another program, and pages of the guest's memory are "
		       "still in it",
		       m->name);
}

static int check_same(const struct mapped_source *m, struct err *err)
{
	struct stat is;

	if (!m->regular)
		return 0;
	if (fstat(m->fd, &is) < 0)
		return err_set(err, errno, "%s: %s", m->name, err_text(errno));
	if (is.st_size == m->was.st_size && is.st_mtim.tv_sec == m->was.st_mtim.tv_sec &&
	    is.st_mtim.tv_nsec == m->was.st_mtim.tv_nsec)
		return 0;
	return say_changed(m, &is, err);
}

static int read_all(int fd, uint8_t *to, size_t n, uint64_t off)
{
	while (n > 0) {
		ssize_t got = pread(fd, to, n, (off_t)off);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return got < 0 ? -errno : -ENODATA;
		to += got;
		n -= (size_t)got;
		off += (uint64_t)got;
	}
	return 0;
}

static int mapped_source_read(struct page_source *s, size_t block, uint64_t page, uint64_t n,
			      uint8_t *to, struct err *err)
{
	struct mapped_source *m = source_of(s);
	uint64_t off = m->pages_off[block] + page * PAGE_BYTES;
	int ret = read_all(m->fd, to, n * PAGE_BYTES, off);
	int same = check_same(m, err);

	if (same < 0 || ret == 0)
		return same;
	if (ret == -ENODATA)
		return err_set(err, EIO, "%s ends in front of file offset 0x%" PRIx64, m->name,
			       off + n * PAGE_BYTES);
	return err_set(err, -ret, "cannot read %s at file offset 0x%" PRIx64 ": %s", m->name, off,
		       err_text(-ret));
}

static void mapped_source_identity(const struct page_source *s, uint8_t out[PAGE_SOURCE_IDENTITY])
{
	const struct mapped_source *m = source_of(s);

	put_be64(out, (uint64_t)m->was.st_size);
	put_be64(out + 8, (uint64_t)m->was.st_mtim.tv_sec);
	put_be64(out + 16, (uint64_t)m->was.st_mtim.tv_nsec);
	put_be64(out + 24, xxh64_value(&m->bitmaps));
}

/* The name that the descriptor was opened by may be another file's by now. */
static char *mapped_source_notes(const struct page_source *s)
{
	const struct mapped_source *m = source_of(s);
	struct stat st;

	if (!m->named || stat(m->path, &st) < 0 || st.st_dev != m->was.st_dev ||
	    st.st_ino != m->was.st_ino)
		return NULL;
	return xasprintf("%s" NOTES_SUFFIX, m->path);
}

static void mapped_source_close(struct page_source *s)
{
	struct mapped_source *m = source_of(s);

	path_close(m->fd); /* the last descriptor of the open file: the locks go, too */
	free(m);
}

static const struct page_source_ops mapped_source_ops = {
    .read = mapped_source_read,
    .identity = mapped_source_identity,
    .notes_path = mapped_source_notes,
    .close = mapped_source_close,
};

static void find_path(struct mapped_source *m)
{
	char self[32];
	ssize_t n;

	(void)snprintf(self, sizeof(self), "/proc/self/fd/%d", m->fd);
	n = readlink(self, m->path, sizeof(m->path) - 1);
	m->path[n > 0 ? n : 0] = 0;
	(void)snprintf(m->name, sizeof(m->name), "'%s'", m->path);
}

static int lock_file(const struct mapped_source *m, struct err *err)
{
	const struct block_perms perms = {
	    .used = BLOCK_PERM_READ,
	    .unshared = BLOCK_PERM_WRITE | BLOCK_PERM_RESIZE,
	};
	int ret = block_lock(m->fd, m->path, perms, false, err);

	return ret == -ENOTSUP ? 0 : ret; /* size and time are looked at all the same */
}

struct page_source *mapped_source_new(const struct channel *ch, bool direct, struct err *err)
{
	struct mapped_source *m = NEW(struct mapped_source);

	m->base.ops = &mapped_source_ops;
	m->base.name = m->name;
	xxh64_init(&m->bitmaps);
	/* An open file of its own: locks and O_DIRECT belong to it. */
	m->fd = channel_open_again(ch, O_RDONLY | (direct ? O_DIRECT : 0), err);
	if (m->fd < 0)
		goto fail;
	find_path(m);
	if (fstat(m->fd, &m->was) < 0) {
		(void)err_set(err, errno, "%s: %s", m->name, err_text(errno));
		goto fail;
	}
	m->regular = S_ISREG(m->was.st_mode);
	m->named = m->regular && channel_has_name(ch);
	if (lock_file(m, err) == 0)
		return &m->base;
fail:
	mapped_source_close(&m->base);
	return NULL;
}

void mapped_source_add(struct page_source *s, size_t index, uint64_t pages_off,
		       const uint64_t *comes, uint64_t pages)
{
	struct mapped_source *m = source_of(s);

	m->pages_off[index] = pages_off;
	xxh64_add(&m->bitmaps, comes, BITMAP_WORDS(pages) * sizeof(uint64_t));
}
