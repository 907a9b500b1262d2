/*
 * Any file as one with mapped-ram loads or is refused with a sentence: nothing beside the blocks is
 * written, wherever the file says that its bitmaps and pages are.
 *
 * Input: one byte (bits 0-1: threads, bit 2: a hole follows, in which pages may be), then the file.
 */
#include <assert.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "migration/channel/channel.h"
#include "migration/channel/checksum.h"
#include "migration/incoming/loader.h"
#include "migration/ram/mapped/mapped.h"
#include "migration/stream/reader.h"
#include "tests/unit/bare-machine.h"
#include "vmm/base/error.h"
#include "vmm/base/log.h"
#include "vmm/base/units.h"

#define RAM_BYTES  (5 * PAGE_BYTES) /* the last word of its bitmap is not full */
#define BIOS_BYTES (2 * PAGE_BYTES)
#define HOLE       (4 * MiB)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static int load(struct machine *m, struct channel *ch, unsigned threads, struct err *err)
{
	static const bool caps[CAP_COUNT] = {[CAP_MAPPED_RAM] = true};
	const struct mapped_config cfg = {.threads = threads};
	struct reader *in = reader_new(ch, m);
	struct loader l;
	int ret;

	loader_init(&l, m, in, NULL);
	l.commands.caps = caps;
	ret = loader_map(&l, &cfg, err);
	if (ret == 0)
		ret = loader_header(&l, err);
	if (ret == 0)
		ret = loader_records(&l, err);
	loader_fini(&l);
	reader_free(in);
	return ret;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static const struct ram_backend backend = {.kind = RAM_ANONYMOUS, .fd = -1};
	static const struct config config;
	struct channel *ch;
	struct err err = {0};
	struct machine *m;
	char path[32];
	int fd, ret;

	if (len < 1 || len > MiB)
		return 0;
	(void)log_open("/dev/null", NULL);
	fd = memfd_create("fuzz", MFD_CLOEXEC);
	m = bare_machine_new(&config);
	if (fd < 0 || !memory_add_block(&m->mem, "microvm.ram", RAM_BYTES, &backend, NULL) ||
	    !memory_add_block(&m->mem, "pc.bios", BIOS_BYTES, &backend, NULL) ||
	    write(fd, data + 1, len - 1) != (ssize_t)len - 1 ||
	    (data[0] & 4 && ftruncate(fd, (off_t)(len + HOLE)) < 0))
		abort();
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	ch = channel_file_read(path, 0, -1, &err);
	assert(ch);
	ch = channel_checksum_read(ch);
	ret = load(m, ch, data[0] & 3, &err);
	assert(ret == 0 || (ret < 0 && err.msg[0]));
	channel_close(ch);
	(void)close(fd);
	bare_machine_free(m);
	return 0;
}
