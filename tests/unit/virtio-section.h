/*
 * virtio-section.h - a disk, a network card or an entropy device, and a section of a real stream
 * to load into it, for unit tests
 */
#ifndef MINIVMM_TESTS_VIRTIO_SECTION_H
#define MINIVMM_TESTS_VIRTIO_SECTION_H

#include "tests/unit/stream-sections.h"
#include "tests/unit/virtio-backends.h"

#define STREAM_RAM (96 * MiB) /* of the guest in linux2 */
#define SLOT       7

struct fix {
	struct machine *m;
	struct disk disk;
	struct fake_net net;
	struct backends be;
	struct block_node *nodes[1];
	struct net_backend *nets[1];
};

static inline void fix_init_on(struct fix *f, bool vnet_hdr, const struct config *cfg)
{
	struct ram_backend backend = {.kind = RAM_ANONYMOUS, .fd = -1};
	struct ram_block *b;

	f->m = guest_machine_of(cfg);
	b = memory_add_block(&f->m->mem, "high", STREAM_RAM - GUEST_RAM, &backend, NULL);
	ck_assert_int_eq(memory_map_block(&f->m->mem, b, 0, GUEST_RAM, b->bytes, NULL), 0);
	disk_open(&f->disk, 4 * MiB, true, false, true);
	fake_net_init(&f->net, f->m, vnet_hdr);
	f->nodes[0] = f->disk.node;
	f->nets[0] = &f->net.be;
	f->be = (struct backends){
	    .blocks = {.v = f->nodes, .n = 1},
              .nets = {.v = f->nets,  .n = 1}
        };
}

static inline void fix_init(struct fix *f, bool vnet_hdr)
{
	fix_init_on(f, vnet_hdr, &guest_no_config);
}

static inline void fix_fini(struct fix *f)
{
	guest_end_devices(f->m);
	disk_close(&f->disk);
	guest_free(f->m);
}

/* Make the device, with one property if key is not NULL, and return its entry in the registry. */
static inline struct vms_entry *make_with(struct fix *f, const char *kind, const char *key,
					  const char *val)
{
	char driver[32];
	struct cfg_device cfg;
	struct err err = {0};
	int ret;

	(void)snprintf(driver, sizeof(driver), "%s-device", kind);
	cfg = test_device(driver, NULL);
	if (!strcmp(kind, "virtio-blk"))
		keyvals_add(&cfg.props, "drive", "disk0");
	else if (!strcmp(kind, "virtio-net"))
		keyvals_add(&cfg.props, "netdev", "net0");
	if (key)
		keyvals_add(&cfg.props, key, val);
	ret = device_create(f->m, &cfg, SLOT, &f->be, &err);
	ck_assert_msg(ret == 0, "%s", err.msg);
	device_free(&cfg);
	return container_of(f->m->vmstate.entries.next, struct vms_entry, link);
}

static inline struct vms_entry *make(struct fix *f, const char *kind)
{
	return make_with(f, kind, NULL, NULL);
}

#endif
