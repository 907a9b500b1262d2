/*
 * Bytes of a QMP client, from the chardev to the replies.
 *
 * The first byte says how the peer behaves: bit 0 negotiates for it, bit 1
 * makes it a slow reader, the others are the size of the pieces it sends in.
 * The machine has no RAM, has been moved away, and cannot be reset: so no
 * command finds anything that it could write, run or connect to.
 */
#include <errno.h>

#include "tests/unit/qmp-rig.h"
#include "vmm/base/log.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static int no_reset(struct machine *m, struct err *err)
{
	(void)m;
	return err_set(err, EIO, "no");
}

static const struct arch_ops arch = {
    .reset = no_reset,
    .stage_boot = no_reset,
    .stopped = rig_arch_nothing,
    .starting = rig_arch_nothing,
    .fini = rig_arch_nothing,
};

/* Every reply is ASCII, and a line ends it. */
static void check_output(const struct peer *p, bool whole)
{
	for (size_t i = 0; i < p->got.len; i++)
		if (p->got.data[i] > 0x7e)
			abort();
	if (whole && p->got.len && p->got.data[p->got.len - 1] != '\n')
		abort();
}

static void talk(struct rig *r, struct peer *p, uint8_t how, const uint8_t *data, size_t len)
{
	size_t piece = 1 + (how >> 2);

	while (len && p->c.connected) {
		size_t n = MIN(len, piece);
		size_t sent = peer_send_some(p, data, n);

		data += sent;
		len -= sent;
		if (sent == n)
			continue;
		p->room = 1000; /* it reads a little after all */
		peer_reads(p);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct rig *r;
	struct peer *p;

	if (!len)
		return 0;
	log_set_level(LOG_ERROR);
	(void)log_open("/dev/null", NULL);
	r = rig_new();
	r->m.arch = &arch;
	r->m.state = RS_POSTMIGRATE;
	r->m.needs_boot = true;
	p = data[0] & 1 ? rig_peer(r, 0) : &r->peers[0];
	if (data[0] & 2)
		p->room = 100;
	talk(r, p, data[0], data + 1, len - 1);
	check_output(p, !(data[0] & 2));
	rig_free(r);
	return 0;
}
