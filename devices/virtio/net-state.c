/*
 * net-state.c - virtio-net's own part of its section (machine-microvm 3.7)
 */
#include <errno.h>

#include "devices/virtio/nic.h"
#include "vmm/base/error.h"
#include "vmm/board.h"
#include "vmm/vmstate.h"

static const struct vms_field mac_fields[] = {
    VMS_BUFFER(struct nic_mac, b, "mac"),
    VMS_LAST,
};
static const struct vms_desc mac_desc = {
    .name = "mac", .version = 1, .min_version = 1, .fields = mac_fields};

static bool has_offloads(const void *dev, uint32_t version)
{
	const struct nic *nic = dev;

	(void)version;
	return virtio_has(&nic->v, NET_F_CTRL_OFFLOADS);
}

static int body_saving(void *dev, struct err *err)
{
	struct nic *nic = dev;

	(void)err;
	nic->wire_tx_waiting = 0; /* resuming looks at the ring anyway */
	nic->wire_mergeable = virtio_has(&nic->v, NET_F_MRG_RXBUF);
	nic->wire_vnet_hdr = nic->be->vnet_hdr;
	nic->wire_ufo = nic->be->vnet_hdr && nic->be->has_ufo;
	return 0;
}

static int body_loaded(void *dev, uint32_t version, struct err *err)
{
	struct nic *nic = dev;
	struct nic_filter *f = &nic->filter;
	uint8_t *const flags[] = {&f->promisc, &f->allmulti, &f->alluni,         &f->nomulti,
				  &f->nouni,   &f->nobcast,  &f->multi_overflow, &f->uni_overflow};

	(void)version;
	if (nic->wire_vnet_hdr && !nic->be->vnet_hdr)
		return err_set(err, EINVAL,
			       "virtio-net: the source's back end has offloads (vnet_hdr=on), "
			       "netdev '%s' has none",
			       nic->be->id);
	if (nic->wire_ufo && !nic->be->has_ufo)
		return err_set(err, EINVAL,
			       "virtio-net: the source's back end has UDP fragmentation offload, "
			       "netdev '%s' has not",
			       nic->be->id);
	for (size_t i = 0; i < ARRAY_LEN(flags); i++)
		*flags[i] = *flags[i] != 0;
	nic_filter_loaded(f);
	return 0;
}

/* The upper half of the features comes behind the body. */
int nic_loaded(struct virtio_device *v, struct err *err)
{
	struct nic *nic = to_nic(v);
	uint64_t allowed = v->features & NET_GUEST_OFFLOADS;
	char list[256] = "";

	__atomic_store_n(&nic->link_down, !(nic->status & NET_S_LINK_UP), __ATOMIC_RELAXED);
	if (!virtio_has(v, NET_F_CTRL_OFFLOADS))
		nic->guest_offloads = nic->be->vnet_hdr ? allowed : 0;
	board_feature_list(list, sizeof(list), nic_feature_name, nic->guest_offloads & ~allowed, 0);
	if (*list)
		return err_set(err, EINVAL,
			       "virtio-net: offloads are on which the guest has not negotiated: %s",
			       list);
	return 0;
}

static const struct vms_field body_fields[] = {
    VMS_BUFFER(struct nic, mac.b, "mac"),
    VMS_U32(struct nic, wire_tx_waiting, "tx_waiting"),
    VMS_U32(struct nic, wire_mergeable, "mergeable_rx_bufs"),
    VMS_U16(struct nic, status, "status"),
    VMS_U8(struct nic, filter.promisc, "promisc"),
    VMS_U8(struct nic, filter.allmulti, "allmulti"),
    VMS_U32(struct nic, filter.n_macs, "mac_table.in_use"),
    VMS_STRUCTS(struct nic, filter.macs, "mac_table.macs", &mac_desc, .counted = true,
		.count_at = offsetof(struct nic, filter.n_macs)),
    VMS_BUFFER(struct nic, filter.vlans, "vlans"),
    VMS_U32(struct nic, wire_vnet_hdr, "has_vnet_hdr"),
    VMS_U8(struct nic, filter.multi_overflow, "mac_table.multi_overflow"),
    VMS_U8(struct nic, filter.uni_overflow, "mac_table.uni_overflow"),
    VMS_U8(struct nic, filter.alluni, "alluni"),
    VMS_U8(struct nic, filter.nomulti, "nomulti"),
    VMS_U8(struct nic, filter.nouni, "nouni"),
    VMS_U8(struct nic, filter.nobcast, "nobcast"),
    VMS_U8(struct nic, wire_ufo, "has_ufo"),
    VMS_U64(struct nic, guest_offloads, "curr_guest_offloads", .exists = has_offloads),
    VMS_LAST,
};

const struct vms_desc nic_body = {
    .name = "virtio-net-device",
    .version = 11,
    .min_version = 11,
    .fields = body_fields,
    .pre_save = body_saving,
    .post_load = body_loaded,
};

static const struct vms_field section_fields[] = {
    VMS_CUSTOM(struct virtio_device, dev, "virtio", &virtio_codec),
    VMS_LAST,
};
const struct vms_desc nic_section = {
    .name = "virtio-net", .version = 11, .min_version = 11, .fields = section_fields};
