/*
 * net-create.c - virtio-net's options
 */
#include <errno.h>
#include <inttypes.h>
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

#define ONE_PAIR "a network card has one pair of queues"
#define TUNNEL                                                                                     \
	"no effect on the guest, for no virtio-mmio driver sees it; streams have "                 \
	"virtio/128bit_features, as QEMU 11.1's"

static const struct opt_prop props[] = {
    DEVICE_TEXT("netdev", "ID", "the -netdev that frames come from and go to; needed"),
    DEVICE_CALL("mac", "MAC", props_check_mac,
		"the Ethernet address (default 52:54:00:12:34:56, or the next that is free)"),
    DEVICE_NUMBER("bootindex", 0, INT32_MAX, NULL, "no effect: there is no boot order"),
    DEVICE_FEATURE("csum", NET_F_CSUM, "frames from the guest may come without a checksum"),
    DEVICE_FEATURE("guest_csum", NET_F_GUEST_CSUM,
		   "frames to the guest may come without a checksum"),
    DEVICE_NUMBER("rx_queue_size", NIC_QUEUE_SIZE, VIRTQ_MAX_NUM, "256",
		  "descriptors of the receive queue; a power of two"),
    {.key = "tx_queue_size",
       .kind = OPT_U64,
       .off = OPT_NOWHERE,
       .min = NIC_QUEUE_SIZE,
       .max = VIRTQ_MAX_NUM,
       .only = "256",
       .why = "only back ends of vhost-user have larger ones; use 256",
       .otherwise = "256",
       .help = "descriptors of the transmit queue"},
    DEVICE_BOOL("gso", "on", "no effect: a feature of legacy devices"),
    DEVICE_FEATURE("guest_tso4", NET_F_GUEST_TSO4, "large TCP segments to the guest, IPv4"),
    DEVICE_FEATURE("guest_tso6", NET_F_GUEST_TSO6, "large TCP segments to the guest, IPv6"),
    DEVICE_FEATURE("guest_ecn", NET_F_GUEST_ECN, "large TCP segments to the guest, with ECN"),
    DEVICE_FEATURE("guest_ufo", NET_F_GUEST_UFO, "UDP datagrams in fragments to the guest"),
    DEVICE_FEATURE("guest_uso4", NET_F_GUEST_USO4, "large UDP segments to the guest, IPv4"),
    DEVICE_FEATURE("guest_uso6", NET_F_GUEST_USO6, "large UDP segments to the guest, IPv6"),
    DEVICE_FEATURE_64("guest_tunnel", NET_F64_GUEST_TUNNEL, TUNNEL),
    DEVICE_FEATURE_64("guest_tunnel_csum", NET_F64_GUEST_TUNNEL_CSUM, TUNNEL),
    DEVICE_FEATURE("guest_announce", NET_F_GUEST_ANNOUNCE,
		   "the guest announces itself after a move"),
    DEVICE_FEATURE("host_tso4", NET_F_HOST_TSO4, "large TCP segments from the guest, IPv4"),
    DEVICE_FEATURE("host_tso6", NET_F_HOST_TSO6, "large TCP segments from the guest, IPv6"),
    DEVICE_FEATURE("host_ecn", NET_F_HOST_ECN, "large TCP segments from the guest, with ECN"),
    DEVICE_FEATURE("host_ufo", NET_F_HOST_UFO, "UDP datagrams in fragments from the guest"),
    DEVICE_FEATURE("host_uso", NET_F_HOST_USO, "large UDP segments from the guest"),
    DEVICE_FEATURE_64("host_tunnel", NET_F64_HOST_TUNNEL, TUNNEL),
    DEVICE_FEATURE_64("host_tunnel_csum", NET_F64_HOST_TUNNEL_CSUM, TUNNEL),
    DEVICE_FEATURE("mrg_rxbuf", NET_F_MRG_RXBUF, "a frame may fill several buffers"),
    DEVICE_FEATURE("status", NET_F_STATUS, "the guest can read the state of the link"),
    DEVICE_FEATURE("ctrl_vq", NET_F_CTRL_VQ, "a control queue, for all that begins with ctrl_"),
    DEVICE_FEATURE("ctrl_rx", NET_F_CTRL_RX, "the guest chooses which frames it takes"),
    DEVICE_FEATURE("ctrl_vlan", NET_F_CTRL_VLAN, "the guest chooses which frames it gets by VLAN"),
    DEVICE_FEATURE("ctrl_rx_extra", NET_F_CTRL_RX_EXTRA,
		   "the guest has more modes to choose which frames it gets"),
    DEVICE_FEATURE("ctrl_mac_addr", NET_F_CTRL_MAC_ADDR, "the guest may change its address"),
    DEVICE_FEATURE("ctrl_guest_offloads", NET_F_CTRL_OFFLOADS,
		   "the guest may switch the guest_ offloads"),
    DEVICE_FIXED("mq", "off", ONE_PAIR, "several pairs of queues"),
    DEVICE_FIXED("rss", "off", ONE_PAIR, "spread frames over queues"),
    DEVICE_FIXED("hash", "off", ONE_PAIR, "tell the hash of a frame"),
    VIRTIO_PROPS,
};

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
	const char *netdev = device_text(cfg, "netdev");

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
	const char *mac = device_text(cfg, "mac");
	uint64_t rx = device_number(cfg, "rx_queue_size");

	if (rx & (rx - 1))
		return err_set(err, EINVAL,
			       "Parameter 'rx_queue_size' expects a power of two, not %" PRIu64,
			       rx);
	nic->rx_size = (uint16_t)rx;
	nic->v.host_features = props_features(cfg);
	nic->v.host_features_64 = props_features_64(cfg);
	nic->own_mac = default_mac(m);
	if (mac)
		props_mac(mac, nic->own_mac.b);
	return find_backend(nic, cfg, be, err);
}

/* What the back end can do decides what is offered. */
static uint64_t offered(const struct nic *nic)
{
	uint64_t f = nic->v.host_features | NET_F_MAC;

	if (!nic->be->vnet_hdr)
		f &= ~NET_OFFLOADS;
	if (!nic->be->has_ufo)
		f &= ~(NET_F_GUEST_UFO | NET_F_HOST_UFO);
	if (!nic->be->has_uso)
		f &= ~NET_USO;
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

static void nic_attach(void *opaque)
{
	struct attach *a = opaque;

	a->ret = net_backend_attach(a->nic->be, a->io, &nic_client, a->nic, a->err);
}

const char *nic_feature_name(unsigned bit)
{
	return props_feature_name(&virtio_net_row, bit);
}

static void nic_describe(struct nic *nic)
{
	struct board_device *d = virtio_board_add(&nic->v);
	const uint8_t *mac = nic->own_mac.b;

	if (!d)
		return;
	board_prop(d, "mac", "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3],
		   mac[4], mac[5]);
}

static void nic_detach(void *opaque)
{
	net_backend_detach(opaque);
}

static int nic_set_up(struct nic *nic, struct machine *m, const struct cfg_device *cfg,
		      unsigned slot, struct err *err)
{
	const uint16_t sizes[VIRTIO_MAX_QUEUES] = {
	    [NIC_RX] = nic->rx_size, [NIC_TX] = NIC_QUEUE_SIZE, [NIC_CTRL] = NIC_CTRL_SIZE};
	struct attach a = {.nic = nic, .io = m->io, .err = err};
	int ret;

	nic->v.host_features = offered(nic);
	nic->v.rare_features = NET_USO;
	if (!nic->be->has_tunnel)
		nic->v.host_features_64 = 0;
	nic->v.config_bytes = nic->v.host_features & NET_F_STATUS ? 8 : 6;
	/* Frames that come before the device is served stay with the back end. */
	loop_call(m->io, nic_attach, &a);
	if (a.ret < 0)
		return a.ret;
	ret = virtio_init(&nic->v, m, &nic_ops, cfg, slot, sizes, err);
	if (ret < 0) {
		loop_call(m->io, nic_detach, nic->be);
		virtio_fini(&nic->v);
		return ret;
	}
	nic_ops.reset(&nic->v);
	nic_describe(nic);
	return 0;
}

static int nic_create(struct machine *m, const struct cfg_device *cfg, unsigned slot,
		      struct backends *be, struct err *err)
{
	struct nic *nic = NEW(struct nic);
	int ret = read_props(nic, m, cfg, be, err);

	if (ret >= 0)
		ret = nic_set_up(nic, m, cfg, slot, err);
	if (ret < 0)
		free(nic);
	return ret;
}

const struct device_row virtio_net_row = {
    .name = "virtio-net-device",
    .kind = DEVICE_VIRTIO,
    .help = "a network card: netdev=ID[,mac=MAC]...",
    .props = props,
    .create = nic_create,
};
