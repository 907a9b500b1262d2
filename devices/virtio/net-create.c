/*
 * net-create.c - virtio-net's options
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "devices/microvm.h"
#include "devices/virtio/nic.h"
#include "devices/virtio/props.h"
#include "devices/virtio/virtio-devices.h"
#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/board.h"
#include "vmm/loop.h"
#include "vmm/machine.h"
#include "vmm/options/config.h"

static const struct prop_feature features[] = {
    {"csum",		NET_F_CSUM,           true},
    {"guest_csum",          NET_F_GUEST_CSUM,     true},
    {"gso",		 0,		    true}, /* a legacy feature: no modern device has it */
    {"guest_tso4",          NET_F_GUEST_TSO4,     true},
    {"guest_tso6",          NET_F_GUEST_TSO6,     true},
    {"guest_ecn",           NET_F_GUEST_ECN,      true},
    {"guest_ufo",           NET_F_GUEST_UFO,      true},
    {"guest_announce",      NET_F_GUEST_ANNOUNCE, true},
    {"host_tso4",           NET_F_HOST_TSO4,      true},
    {"host_tso6",           NET_F_HOST_TSO6,      true},
    {"host_ecn",            NET_F_HOST_ECN,       true},
    {"host_ufo",            NET_F_HOST_UFO,       true},
    {"mrg_rxbuf",           NET_F_MRG_RXBUF,      true},
    {"status",              NET_F_STATUS,         true},
    {"ctrl_vq",             NET_F_CTRL_VQ,        true},
    {"ctrl_rx",             NET_F_CTRL_RX,        true},
    {"ctrl_vlan",           NET_F_CTRL_VLAN,      true},
    {"ctrl_rx_extra",       NET_F_CTRL_RX_EXTRA,  true},
    {"ctrl_mac_addr",       NET_F_CTRL_MAC_ADDR,  true},
    {"ctrl_guest_offloads", NET_F_CTRL_OFFLOADS,  true},
};

/* Features with only one value that can be had here. */
static const char *const off_only[] = {"mq", "rss", "hash"};
static const char *const names[] = {"netdev", "mac", "bootindex", "mq", "rss", "hash", NULL};

/* ---- the address ---- */

struct mac_search {
	const struct nic_mac *mac;
	bool taken;
};

static void compare_mac(void *opaque, struct nic *nic)
{
	struct mac_search *s = opaque;

	s->taken |= !memcmp(nic->own_mac.b, s->mac->b, sizeof(s->mac->b));
}

/* 52:54:00:12:34:56, or the next that no other card here has. */
static struct nic_mac default_mac(struct machine *m)
{
	struct nic_mac mac = {
	    {0x52, 0x54, 0x00, 0x12, 0x34, 0x56}
        };
	struct mac_search s = {.mac = &mac};

	for (;;) {
		s.taken = false;
		nic_for_each(m, compare_mac, &s);
		if (!s.taken)
			return mac;
		mac.b[5]++;
	}
}

/* ---- the rest ---- */

static int find_backend(struct nic *nic, const struct cfg_device *cfg, struct backends *be,
			struct err *err)
{
	const char *netdev = keyvals_get(&cfg->props, "netdev");

	if (!netdev)
		return err_set(err, EINVAL, "%s: netdev property not set", cfg->driver);
	nic->be = net_backends_find(&be->nets, netdev);
	if (!nic->be)
		return err_set(err, ENOENT, "Property '%s.netdev' can't find value '%s'",
			       cfg->driver, netdev);
	if (nic->be->client)
		return err_set(err, EBUSY,
			       "Property '%s.netdev' can't take value '%s', it's in use",
			       cfg->driver, netdev);
	return 0;
}

static int read_props(struct nic *nic, struct machine *m, const struct cfg_device *cfg,
		      struct backends *be, struct err *err)
{
	uint64_t bootindex = 0;
	int ret = props_check(cfg, names, features, ARRAY_LEN(features), err);

	for (size_t i = 0; ret >= 0 && i < ARRAY_LEN(off_only); i++) {
		bool on = false;

		ret = props_bool(cfg, off_only[i], &on, err);
		if (ret >= 0 && on)
			ret = err_set(err, ENOTSUP, "%s: %s=on is not supported", cfg->driver,
				      off_only[i]);
	}
	if (ret >= 0)
		ret =
		    props_features(cfg, features, ARRAY_LEN(features), &nic->v.host_features, err);
	if (ret >= 0)
		ret = props_u64(cfg, "bootindex", 0, INT32_MAX, &bootindex, err);
	if (ret >= 0)
		ret = find_backend(nic, cfg, be, err);
	nic->own_mac = default_mac(m);
	if (ret >= 0)
		ret = props_mac(cfg, "mac", nic->own_mac.b, err);
	return ret;
}

/* What the back end can do decides what is offered. */
static uint64_t offered(const struct nic *nic)
{
	uint64_t f = nic->v.host_features | NET_F_MAC;

	if (!nic->be->vnet_hdr)
		f &= ~NET_OFFLOADS;
	else if (!nic->be->has_ufo)
		f &= ~(NET_F_GUEST_UFO | NET_F_HOST_UFO);
	if (!(f & NET_F_CTRL_VQ))
		f &= ~(NET_F_CTRL_RX | NET_F_CTRL_VLAN | NET_F_CTRL_RX_EXTRA |
		       NET_F_GUEST_ANNOUNCE | NET_F_CTRL_MAC_ADDR | NET_F_CTRL_OFFLOADS);
	return f;
}

struct attach {
	struct nic *nic;
	struct loop *io;
	struct err *err;
	int ret;
};

static void attach(void *opaque)
{
	struct attach *a = opaque;

	a->ret = net_backend_attach(a->nic->be, a->io, &nic_client, a->nic, a->err);
}

static const char *feature_name(unsigned bit)
{
	return props_feature_name(features, ARRAY_LEN(features), bit);
}

static void describe(struct nic *nic)
{
	struct board_device *d = virtio_board_add(&nic->v);
	const uint8_t *mac = nic->own_mac.b;

	if (!d)
		return;
	d->feature_name = feature_name;
	board_prop(d, "mac", "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3],
		   mac[4], mac[5]);
}

static void detach(void *opaque)
{
	net_backend_detach(opaque);
}

static int set_up(struct nic *nic, struct machine *m, const struct cfg_device *cfg, unsigned slot,
		  struct err *err)
{
	static const uint16_t sizes[VIRTIO_MAX_QUEUES] = {
	    [NIC_RX] = 256, [NIC_TX] = 256, [NIC_CTRL] = 64};
	struct attach a = {.nic = nic, .io = m->io, .err = err};
	int ret;

	nic->v.host_features = offered(nic);
	nic->v.config_bytes = nic->v.host_features & NET_F_STATUS ? 8 : 6;
	/* Frames that come before the device is served stay with the back end. */
	loop_call(m->io, attach, &a);
	if (a.ret < 0)
		return a.ret;
	ret = virtio_init(&nic->v, m, &nic_ops, cfg, slot, sizes, err);
	if (ret < 0) {
		loop_call(m->io, detach, nic->be);
		virtio_fini(&nic->v);
		return ret;
	}
	nic_ops.reset(&nic->v);
	describe(nic);
	return 0;
}

int virtio_net_create(struct machine *m, const struct cfg_device *cfg, unsigned slot,
		      struct backends *be, struct err *err)
{
	struct nic *nic = NEW(struct nic);
	int ret = read_props(nic, m, cfg, be, err);

	if (ret >= 0)
		ret = set_up(nic, m, cfg, slot, err);
	if (ret < 0)
		free(nic);
	return ret;
}
