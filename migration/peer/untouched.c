#include "migration/peer/untouched.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "migration/peer/process.h"
#include "migration/ram/ram.h"
#include "migration/stream/device-state.h"
#include "migration/stream/wire.h"
#include "migration/stream/writer.h"
#include "vmm/base/buf.h"
#include "vmm/machine.h"

/* A file, by what only one kernel knows it by. */
struct identity {
	char boot_id[256]; /* of the kernel; "" without a file */
	uint64_t device, inode;
};

static struct identity identity_of(const struct ram_block *b, const char *boot_id)
{
	struct identity id = {0};
	struct stat st;

	if (b->fd >= 0 && fstat(b->fd, &st) == 0) {
		(void)snprintf(id.boot_id, sizeof(id.boot_id), "%s", boot_id);
		id.device = st.st_dev;
		id.inode = st.st_ino;
	}
	return id;
}

static int offer_block(struct writer *w, const struct ram_block *b, const char *boot_id)
{
	struct identity id = identity_of(b, boot_id);
	struct buf p = {0};
	int ret;

	buf_str8(&p, b->name);
	buf_str8(&p, id.boot_id);
	buf_be64(&p, id.device);
	buf_be64(&p, id.inode);
	ret = stream_put_command(w, CMD_SPARSE, p.data, (uint16_t)p.len);
	buf_free(&p);
	return ret;
}

int sparse_offer(const struct memory *mem, struct writer *w, bool ignore_shared, bool *sparse,
		 struct err *err)
{
	struct peer self;
	int ret = 0;

	peer_self(&self);
	/* Without the kernel's identity the other end could not tell one file from another. */
	*sparse = self.boot_id[0];
	for (size_t i = 0; *sparse && ret == 0 && i < mem->n_blocks; i++)
		if (!ignore_shared || !mem->blocks[i]->share)
			ret = offer_block(w, mem->blocks[i], self.boot_id);
	return writer_explain(w, ret, err);
}

/* ---- destination ---- */

/* What is written here would appear in the source's guest, which still runs. */
static bool is_the_sources(const struct ram_block *b, const struct identity *theirs)
{
	struct identity ours;
	struct peer self;

	if (!b->share || !theirs->boot_id[0])
		return false;
	peer_self(&self);
	ours = identity_of(b, self.boot_id);
	return !strcmp(ours.boot_id, theirs->boot_id) && ours.device == theirs->device &&
	       ours.inode == theirs->inode;
}

int sparse_take(struct machine *m, struct ram_load *ram, const uint8_t *payload, uint16_t n,
		struct err *err)
{
	struct src in = src_mem(payload, n);
	const struct ram_block *b;
	struct identity theirs;
	char name[256];

	if (src_str8(&in, name) < 0 || src_str8(&in, theirs.boot_id) < 0 ||
	    src_be64(&in, &theirs.device) < 0 || src_be64(&in, &theirs.inode) < 0)
		return err_set(err, EINVAL, "it is broken");
	b = memory_find_block(&m->mem, name);
	if (!b)
		return err_set(err, EINVAL, "unknown RAM block '%s'", name);
	if (is_the_sources(b, &theirs))
		return err_set(err, EBUSY,
			       "RAM block '%s' has the same file at both ends, so pages cannot be "
			       "copied: switch 'x-ignore-shared' on at both",
			       name);
	return ram_load_sparse(ram, b, err);
}
