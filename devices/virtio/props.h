/* props.h - the properties of a -device option that virtio devices have in common */
#ifndef MINIVMM_DEVICES_VIRTIO_PROPS_H
#define MINIVMM_DEVICES_VIRTIO_PROPS_H

#include <stdint.h>

#include "devices/virtio/virtio.h"
#include "vmm/options/device-row.h"

/* At the end of every virtio device's rows. */
#define VIRTIO_PROPS                                                                               \
	DEVICE_FEATURE("indirect_desc", VIRTIO_F_INDIRECT_DESC,                                    \
		       "descriptors may lie in a table of their own"),                             \
	    DEVICE_FEATURE("event_idx", VIRTIO_F_EVENT_IDX,                                        \
			   "kicks and interrupts only where the other side asks for them"),        \
	    DEVICE_FEATURE("queue_reset", VIRTIO_F_RING_RESET, "a queue can be reset by itself"),  \
	    DEVICE_FIXED("packed", "off", "queues are split rings", "packed rings"),               \
	    DEVICE_FIXED("iommu_platform", "off", "the board has no IOMMU", "behind an IOMMU"),    \
	    DEVICE_FIXED("use-started", "on", "the stream says whether the device was started",    \
			 "send whether the device was started"),                                   \
	{                                                                                          \
		.key = NULL                                                                        \
	}

/* The features that the device's properties leave offered, and VERSION_1; those from bit 64 on. */
uint64_t props_features(const struct cfg_device *cfg);
uint64_t props_features_64(const struct cfg_device *cfg);
/* The property that offers the feature of that bit, or NULL. */
const char *props_feature_name(const struct device_row *row, unsigned bit);
/* For DEVICE_CALL: "52:54:00:12:34:56" or with '-'; a group address is refused. */
int props_check_mac(struct opt_parse *p, void *base, const char *val, struct err *err);
/* Such an address, checked before. */
void props_mac(const char *val, uint8_t mac[6]);

#endif
