/*
 * Any bytes as the payload of BACKING, with or without a descriptor that came
 * along: the block's backing is replaced by a file that fits, or the command
 * is refused with a sentence; either way the block is whole afterwards.  The
 * first byte says what came: how large a file, or none.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "migration/channel/channel.h"
#include "migration/incoming/commands.h"
#include "migration/peer/shared-memory.h"
#include "migration/settings/capabilities.h"
#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"
#include "vmm/machine.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#define BLOCK_BYTES (64 * KiB)

/* What comes along; -1: nothing. */
static int passed(uint8_t choice)
{
	int fd;

	if (choice % 4 == 0)
		return -1;
	if (choice % 4 == 1) /* no file */
		return open("/dev/null", O_RDWR | O_CLOEXEC);
	fd = memfd_create("fuzz", MFD_CLOEXEC);
	assert(fd >= 0);
	assert(ftruncate(fd, (off_t)(choice % 4 == 2 ? BLOCK_BYTES : BLOCK_BYTES / 2)) == 0);
	return fd;
}

static void take(struct machine *m, struct channel *ch, const uint8_t *data, size_t len)
{
	struct err err = {0};
	int ret = shared_take(m, ch, data, (uint16_t)MIN(len, UINT16_MAX), &err);

	assert(ret == 0 || (ret < 0 && err.msg[0]));
	for (size_t i = 0; i < m->mem.n_blocks; i++) /* as long as it was */
		memset(m->mem.blocks[i]->hva, ret, BLOCK_BYTES);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static const struct ram_backend own = {.kind = RAM_MEMFD, .share = true, .fd = -1};
	static const struct ram_backend anon = {.kind = RAM_ANONYMOUS, .fd = -1};
	struct machine *m = NEW(struct machine);
	struct channel ch = {.fd = -1, .cancel_fd = -1};

	pthread_mutex_init(&m->lock, NULL);
	memory_init(&m->mem, -1);
	(void)memory_add_block(&m->mem, "ram", BLOCK_BYTES, &own, NULL);
	(void)memory_add_block(&m->mem, "pc.bios", BLOCK_BYTES, &anon, NULL);
	assert(m->mem.n_blocks == 2);
	ch.fds[0] = len ? passed(data[0]) : -1;
	ch.n_fds = ch.fds[0] >= 0;
	if (len)
		take(m, &ch, data + 1, len - 1);
	shared_commit(m, len % 2);
	if (ch.n_fds)
		(void)close(ch.fds[0]);
	memory_fini(&m->mem);
	pthread_mutex_destroy(&m->lock);
	free(m);
	return 0;
}
