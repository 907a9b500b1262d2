/*
 * nic.h - virtio-net, between its files: data path (net.c), control queue and
 * receive filter (net-ctrl.c), state (net-state.c), options (net-create.c)
 */
#ifndef MINIVMM_DEVICES_VIRTIO_NIC_H
#define MINIVMM_DEVICES_VIRTIO_NIC_H

#include "devices/net/net.h"
#include "devices/virtio/virtio.h"
#include "vmm/base/units.h"

#define NIC_RX   0 /* queues */
#define NIC_TX   1
#define NIC_CTRL 2

#define NIC_QUEUE_SIZE 256 /* descriptors, if not given */
#define NIC_CTRL_SIZE  64

#define NIC_HDR_BYTES 12UL /* struct virtio_net_hdr of a modern device */
#define NIC_MACS      64   /* entries of the filter table */
#define NIC_VLANS     4096

#define NET_F_CSUM           VIRTIO_BIT(0)
#define NET_F_GUEST_CSUM     VIRTIO_BIT(1)
#define NET_F_CTRL_OFFLOADS  VIRTIO_BIT(2)
#define NET_F_GSO            VIRTIO_BIT(6) /* legacy: csum and all host_ offloads */
#define NET_F_MAC            VIRTIO_BIT(5)
#define NET_F_GUEST_TSO4     VIRTIO_BIT(7)
#define NET_F_GUEST_TSO6     VIRTIO_BIT(8)
#define NET_F_GUEST_ECN      VIRTIO_BIT(9)
#define NET_F_GUEST_UFO      VIRTIO_BIT(10)
#define NET_F_HOST_TSO4      VIRTIO_BIT(11)
#define NET_F_HOST_TSO6      VIRTIO_BIT(12)
#define NET_F_HOST_ECN       VIRTIO_BIT(13)
#define NET_F_HOST_UFO       VIRTIO_BIT(14)
#define NET_F_MRG_RXBUF      VIRTIO_BIT(15)
#define NET_F_STATUS         VIRTIO_BIT(16)
#define NET_F_CTRL_VQ        VIRTIO_BIT(17)
#define NET_F_CTRL_RX        VIRTIO_BIT(18)
#define NET_F_CTRL_VLAN      VIRTIO_BIT(19)
#define NET_F_CTRL_RX_EXTRA  VIRTIO_BIT(20)
#define NET_F_GUEST_ANNOUNCE VIRTIO_BIT(21)
#define NET_F_CTRL_MAC_ADDR  VIRTIO_BIT(23)
#define NET_F_GUEST_USO4     VIRTIO_BIT(54)
#define NET_F_GUEST_USO6     VIRTIO_BIT(55)
#define NET_F_HOST_USO       VIRTIO_BIT(56)
/* From bit 64 on */
#define NET_F64_GUEST_TUNNEL      VIRTIO_BIT(1)
#define NET_F64_GUEST_TUNNEL_CSUM VIRTIO_BIT(2)
#define NET_F64_HOST_TUNNEL       VIRTIO_BIT(3)
#define NET_F64_HOST_TUNNEL_CSUM  VIRTIO_BIT(4)

#define NET_USO (NET_F_GUEST_USO4 | NET_F_GUEST_USO6 | NET_F_HOST_USO)
/* What the driver may turn on and off while it runs. */
#define NET_GUEST_OFFLOADS                                                                         \
	(NET_F_GUEST_CSUM | NET_F_GUEST_TSO4 | NET_F_GUEST_TSO6 | NET_F_GUEST_ECN |                \
	 NET_F_GUEST_UFO | NET_F_GUEST_USO4 | NET_F_GUEST_USO6)
/* What only a back end with a vnet header can do. */
#define NET_OFFLOADS                                                                               \
	(NET_GUEST_OFFLOADS | NET_F_CSUM | NET_F_HOST_TSO4 | NET_F_HOST_TSO6 | NET_F_HOST_ECN |    \
	 NET_F_HOST_UFO | NET_F_HOST_USO)

#define NET_S_LINK_UP  1 /* status in the configuration space */
#define NET_S_ANNOUNCE 2

struct nic_mac {
	uint8_t b[6];
};

/* Which frames the guest wants. */
struct nic_filter {
	uint8_t promisc, allmulti, alluni, nomulti, nouni, nobcast; /* 0 or 1 */
	uint8_t multi_overflow, uni_overflow; /* the table was too small for these */
	uint32_t n_macs, first_multi;         /* unicast entries come first */
	struct nic_mac macs[NIC_MACS];
	uint8_t vlans[NIC_VLANS / 8];
};

struct nic {
	struct virtio_device v; /* first */
	/* set at creation and then constant */
	struct net_backend *be; /* borrowed */
	struct nic_mac own_mac; /* after a reset */
	uint16_t rx_size;       /* descriptors of the receive queue */
	/* irq_lock; written on the I/O loop, or under the machine lock while stopped */
	struct nic_mac mac;
	uint16_t status;
	bool link_down; /* atomic; frames are dropped */
	/* I/O loop while started, else machine lock */
	struct nic_filter filter;
	uint64_t guest_offloads;
	bool tx_blocked; /* the back end is full: waiting for writable() */
	/* the stream's image, valid during save and load */
	uint32_t wire_tx_waiting, wire_mergeable, wire_vnet_hdr;
	uint8_t wire_ufo;
};

extern const struct virtio_ops nic_ops;
extern const struct net_client nic_client;
extern const struct vms_desc nic_section, nic_body;

static inline struct nic *to_nic(struct virtio_device *v)
{
	return container_of(v, struct nic, v);
}

/* Does the guest want this frame (bare Ethernet, n >= 14)? */
bool nic_wants(const struct nic *nic, const uint8_t *frame, size_t n);
/* virtio_ops */
const char *nic_feature_name(unsigned bit);
int nic_loaded(struct virtio_device *v, struct err *err);
/* Nothing filtered, as after a reset. */
void nic_filter_reset(struct nic *nic);
/* Recompute what follows from the table. */
void nic_filter_loaded(struct nic_filter *f);
/* I/O loop: one command of the control queue, in v->elem. */
bool nic_ctrl_one(struct virtio_device *v);
/* I/O loop: tell the back end which offloads the guest takes. */
void nic_push_offloads(struct nic *nic);

#endif
