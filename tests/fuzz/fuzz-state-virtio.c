/*
 * Any bytes load as a virtio section or are refused; what has loaded can be saved, loads again to
 * the same, and runs.
 *
 * Input: a byte that chooses the device (0 blk, 1 net, 2 net with offloads, 3 rng; 8 a balloon, 9
 * one with all of its queues; with 16: serial; and 4: behind a legacy transport), then the section.
 */
#include <stdlib.h>
#include <string.h>

#define GUEST_MUST(cond) ((cond) ? (void)0 : abort())
#include "tests/unit/virtio-ports.h"
#include "vmm/base/buf.h"
#include "vmm/base/log.h"

#define SLOT    7
#define BALLOON 8 /* and FULL */
#define FULL    1

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static struct machine *new_machine(bool legacy)
{
	struct machine *m = guest_machine_of(legacy ? &guest_stock_config : &guest_no_config);

	log_set_level(LOG_ERROR);
	return m;
}

static int make(struct machine *m, unsigned kind, struct backends *be)
{
	struct cfg_device cfg;
	int ret;

	switch (kind) {
	case 0:
		cfg = test_device("virtio-blk-device", NULL);
		keyvals_add(&cfg.props, "drive", "disk0");
		ret = device_create(m, &cfg, SLOT, be, NULL);
		break;
	case BALLOON:
	case BALLOON | FULL:
		cfg = test_device("virtio-balloon-device", NULL);
		keyvals_add(&cfg.props, "free-page-hint", kind & FULL ? "on" : "off");
		keyvals_add(&cfg.props, "free-page-reporting", kind & FULL ? "on" : "off");
		ret = device_create(m, &cfg, SLOT, be, NULL);
		break;
	case 3:
		cfg = test_device("virtio-rng-device", NULL);
		ret = device_create(m, &cfg, SLOT, be, NULL);
		break;
	default:
		cfg = test_device("virtio-net-device", NULL);
		keyvals_add(&cfg.props, "netdev", "net0");
		ret = device_create(m, &cfg, SLOT, be, NULL);
		break;
	}
	device_free(&cfg);
	return ret;
}

#define MAX_SECTION (128 * KiB)

static struct buf expand(const uint8_t *data, size_t len)
{
	struct buf out = {0};

	while (len > 0 && out.len < MAX_SECTION) {
		size_t n = MIN(data[0], len - 1);

		buf_put(&out, data + 1, n);
		data += 1 + n;
		len -= 1 + n;
		if (len < 2)
			break;
		buf_zero(&out, get_le16(data));
		data += 2;
		len -= 2;
	}
	return out;
}

static void save(const struct vms_entry *e, struct buf *out)
{
	if (vms_save(e->desc, e->dev, out, NULL, NULL) < 0)
		abort();
}

/* Saved, loaded and saved again it is the same. */
static void check_same(const struct vms_entry *e)
{
	struct buf first = {0}, second = {0};
	struct src in;

	save(e, &first);
	in = src_mem(first.data, first.len);
	if (vms_load(e->desc, e->dev, &in, e->desc->version, NULL) < 0)
		abort();
	save(e, &second);
	if (first.len != second.len || memcmp(first.data, second.data, first.len) != 0)
		abort();
	buf_free(&first);
	buf_free(&second);
}

/* What has loaded is the same again, and runs. */
static void use(struct machine *m, const struct vms_entry *e)
{
	check_same(e);
	guest_resume(m);
	kick(m, SLOT, 0);
	guest_wait_idle(m);
}

/* With peers that come and go, and take what the guest sends in parts. */
static void use_ports(struct ports *p)
{
	static const uint8_t bytes[100];

	check_same(p->entry);
	p->chr[1].room = 100;
	guest_resume(p->m);
	ports_connect(p, true);
	for (unsigned q = 0; q < PORTS_RINGS; q++)
		kick(p->m, SLOT, q);
	(void)ports_from_peer(p, bytes, sizeof(bytes));
	guest_pause(p->m);
	check_same(p->entry);
	guest_resume(p->m);
	ports_connect(p, false);
	ports_connect(p, true);
	ports_writable(p, SIZE_MAX);
}

static int fuzz_ports(const uint8_t *data, size_t len)
{
	struct ports *p = ports_new_of(data[0] & 4 ? &guest_stock_config : &guest_no_config, 2);
	struct buf section = expand(data + 1, len - 1);
	struct src in = src_mem(section.data, section.len);

	log_set_level(LOG_ERROR);
	if (vms_load(p->entry->desc, p->entry->dev, &in, p->entry->desc->version, NULL) >= 0)
		use_ports(p);
	buf_free(&section);
	ports_free(p);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	unsigned kind = !len ? 0 : data[0] & (data[0] & BALLOON ? BALLOON | FULL : 3);
	struct machine *m;
	struct disk disk;
	struct fake_net net;
	struct block_node *nodes[1];
	struct net_backend *nets[1];
	struct backends be = {
	    .blocks = {.v = nodes, .n = 1},
              .nets = {.v = nets,  .n = 1}
        };
	const struct vms_entry *e;
	struct buf section;
	struct src in;

	if (!len)
		return 0;
	if (data[0] & 16)
		return fuzz_ports(data, len);
	m = new_machine(data[0] & 4);
	disk_open(&disk, 4 * MiB, true, true, true);
	fake_net_init(&net, m, kind == 2);
	net.be.has_uso = net.be.has_tunnel = kind == 2;
	nodes[0] = disk.node;
	nets[0] = &net.be;
	if (make(m, kind, &be) < 0)
		abort();
	e = container_of(m->vmstate.entries.next, struct vms_entry, link);
	section = expand(data + 1, len - 1);
	in = src_mem(section.data, section.len);
	if (vms_load(e->desc, e->dev, &in, e->desc->version, NULL) >= 0)
		use(m, e);
	buf_free(&section);
	guest_end_devices(m);
	disk_close(&disk);
	guest_free(m);
	return 0;
}
