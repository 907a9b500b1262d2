/*
 * Any bytes of a multifd channel are placed in RAM or refused: nothing beyond the blocks is
 * written, and the load thread learns of it instead of waiting.
 *
 * Input: one byte (bits 0-1: the method of compression, bit 2: a good first packet and SYNC stand
 * in front, bit 3: the main stream ends behind the first round), then what the channel carries.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "migration/channel/channel.h"
#include "migration/ram/multifd/multifd.h"
#include "migration/ram/ram.h"
#include "tests/unit/bare-machine.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"

#define RAM        (256 * KiB)
#define MOST_BYTES (64 * KiB) /* what a socket holds: no thread reads beyond a SYNC yet */
#define MAX_SYNCS  (MOST_BYTES / MULTIFD_HEADER_BYTES + 2)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void put(int fd, const void *p, size_t n)
{
	if (write(fd, p, n) != (ssize_t)n && n > 0)
		abort();
}

static void put_beginning(int fd)
{
	static const uint8_t uuid[16];
	struct multifd_packet sync = {.flags = MULTIFD_SYNC};
	uint8_t init[MULTIFD_INIT_BYTES], header[MULTIFD_HEADER_BYTES];

	multifd_put_init(init, uuid, 0);
	put(fd, init, sizeof(init));
	multifd_put_header(header, &sync);
	put(fd, header, sizeof(header));
}

/* The channel ends, so there is a last SYNC. */
static void receive_all(struct multifd_recv *r, struct ram_load *ram)
{
	struct err err = {0};
	size_t n = 0;

	while (multifd_recv_sync(r, ram, &err) == 0)
		if (++n > MAX_SYNCS)
			abort();
	if (!err.msg[0])
		abort();
}

/* It is behind the last packet then, or says why not. */
static void finish_early(struct multifd_recv *r, struct ram_load *ram)
{
	struct err err = {0};

	if (multifd_recv_sync(r, ram, &err) == 0 && multifd_recv_finish(r, &err) < 0 && !err.msg[0])
		abort();
}

static void receive(struct machine *m, const struct multifd_config *cfg, int fd, bool early)
{
	int cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	struct multifd_recv *r = multifd_recv_new(cfg, cancel_fd, NULL, NULL, NULL);
	struct ram_load *ram = ram_load_new(m);

	if (!r)
		abort();
	multifd_recv_add(r, channel_from_socket(fd, cancel_fd));
	if (early)
		finish_early(r, ram);
	else
		receive_all(r, ram);
	multifd_recv_free(r);
	ram_load_free(ram);
	(void)close(cancel_fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static const struct ram_backend backend = {.kind = RAM_ANONYMOUS, .fd = -1};
	static const struct config machine_config;
	struct multifd_config cfg = {.channels = 1};
	struct machine *m;
	int fd[2];

	if (len < 1 || len > MOST_BYTES || (data[0] & 3) > MULTIFD_ZSTD)
		return 0;
	cfg.method = (enum multifd_compression)(data[0] & 3);
	m = bare_machine_new(&machine_config);
	if (!memory_add_block(&m->mem, "microvm.ram", RAM, &backend, NULL) ||
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd) < 0)
		abort();
	if (data[0] & 4)
		put_beginning(fd[0]);
	put(fd[0], data + 1, len - 1);
	(void)shutdown(fd[0], SHUT_WR);
	receive(m, &cfg, fd[1], data[0] & 8);
	(void)close(fd[0]);
	bare_machine_free(m);
	return 0;
}
