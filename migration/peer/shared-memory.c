/*
 * shared-memory.c - memory that both ends map, so that its pages stay where they are
 *
 * Source: for each shared block a BACKING command with its name and size goes to a
 * minivmm, and the descriptor of its backing with it (SCM_RIGHTS).  Any other
 * destination has to open the same file, so the block must have a name there.
 * Destination: the block of that name is mapped from the descriptor instead of
 * its own backing, which is kept aside.  Until GO the memory is the source's: when the
 * load fails, the old backing is put back (shared_commit), and the source's
 * memory has not been written.
 */
#include "migration/peer/shared-memory.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "migration/channel/channel.h"
#include "migration/stream/device-state.h"
#include "migration/stream/wire.h"
#include "migration/stream/writer.h"
#include "vmm/base/alloc.h"
#include "vmm/base/buf.h"
#include "vmm/base/units.h"
#include "vmm/machine.h"

uint64_t shared_bytes(const struct memory *mem)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < mem->n_blocks; i++)
		sum += mem->blocks[i]->share ? mem->blocks[i]->bytes : 0;
	return sum;
}

/* ---- source ---- */

/* Can another process open what backs the block? */
static bool has_name(const struct ram_block *b)
{
	struct stat st;

	return b->fd >= 0 && fstat(b->fd, &st) == 0 && st.st_nlink > 0;
}

static int pass_block(struct writer *w, const struct ram_block *b, struct err *err)
{
	struct buf p = {0}, c = {0};
	int ret;

	buf_str8(&p, b->name);
	buf_be64(&p, b->bytes);
	buf_command(&c, CMD_BACKING, p.data, (uint16_t)p.len);
	ret = channel_write_fd(w->ch, c.data, c.len, b->fd, err);
	w->bytes += c.len;
	buf_free(&p);
	buf_free(&c);
	return ret;
}

int shared_offer(const struct memory *mem, struct writer *w, bool to_minivmm, bool *given,
		 struct err *err)
{
	bool may_pass = to_minivmm && channel_passes_fds(w->ch);
	int ret = 0;

	*given = false;
	for (size_t i = 0; ret == 0 && i < mem->n_blocks; i++) {
		const struct ram_block *b = mem->blocks[i];

		if (!b->share)
			continue;
		if (may_pass && b->fd >= 0) {
			ret = pass_block(w, b, err);
			*given = true;
		} else if (!has_name(b)) {
			ret = err_set(
			    err, EINVAL,
			    "x-ignore-shared would leave out RAM block '%s', but its memory "
			    "is no file that the destination could open: use unix: to a "
			    "minivmm on this host, or a memory-backend-file",
			    b->name);
		}
	}
	return ret;
}

/* ---- destination ---- */

static bool same_file(int a, int b)
{
	struct stat x, y;

	return fstat(a, &x) == 0 && fstat(b, &y) == 0 && x.st_dev == y.st_dev &&
	       x.st_ino == y.st_ino;
}

static int replace_block(struct machine *m, struct ram_block *b, uint64_t bytes, int fd,
			 struct err *err)
{
	int ret;

	if (!b->share || b->fd < 0)
		ret = err_set(err, EINVAL,
			      "the source passes the memory of RAM block '%s', which here is not "
			      "shared: use the same memory backend, with share=on",
			      b->name);
	else if (bytes != b->bytes)
		ret = err_set(err, EINVAL,
			      "RAM block '%s' has 0x%" PRIx64 " bytes at the source and 0x%" PRIx64
			      " here",
			      b->name, bytes, b->bytes);
	else if (same_file(fd, b->fd))
		ret = 1; /* it is mapped already */
	else
		ret = 0;
	if (ret) {
		(void)close(fd);
		return MIN(ret, 0);
	}
	machine_lock(m);
	ret = memory_replace_backing(b, fd, err);
	machine_unlock(m);
	return ret;
}

int shared_take(struct machine *m, struct channel *ch, const uint8_t *payload, uint16_t n,
		struct err *err)
{
	struct src in = src_mem(payload, n);
	struct ram_block *b;
	char name[256];
	uint64_t bytes;
	int fd;

	if (src_str8(&in, name) < 0 || src_be64(&in, &bytes) < 0)
		return err_set(err, EINVAL, "it is broken");
	b = memory_find_block(&m->mem, name);
	if (!b)
		return err_set(err, EINVAL, "unknown RAM block '%s'", name);
	fd = channel_take_fd(ch);
	if (fd < 0)
		return err_set(err, EINVAL,
			       "the memory of RAM block '%s' was announced and did not come: is "
			       "there a relay on the way?",
			       name);
	return replace_block(m, b, bytes, fd, err);
}

void shared_commit(struct machine *m, bool ours)
{
	for (size_t i = 0; i < m->mem.n_blocks; i++)
		memory_commit_backing(m->mem.blocks[i], ours);
}
