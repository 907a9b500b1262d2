/* props.h - the properties of a -device option, as virtio devices read them */
#ifndef MINIVMM_DEVICES_VIRTIO_PROPS_H
#define MINIVMM_DEVICES_VIRTIO_PROPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cfg_device;
struct err;

/* An on/off property that offers a feature or not. */
struct prop_feature {
	const char *name;
	uint64_t bits;
	bool on; /* unless the user says otherwise */
};

/*
 * Refuse a property that is neither in names[] (NULL-terminated), nor in the
 * device's feature table, nor one of those common to all virtio devices:
 * "Property 'virtio-blk-device.zz' not found".
 */
int props_check(const struct cfg_device *cfg, const char *const *names,
		const struct prop_feature *table, size_t n, struct err *err);
/* The features that table and the common ones leave offered; packed=on and iommu_platform=on are
 * refused. */
int props_features(const struct cfg_device *cfg, const struct prop_feature *table, size_t n,
		   uint64_t *features, struct err *err);
/* The property that offers the feature of that bit, or NULL. */
const char *props_feature_name(const struct prop_feature *table, size_t n, unsigned bit);
/* The values of single properties; *v is the default on entry and untouched when it is not given.
 */
int props_bool(const struct cfg_device *cfg, const char *name, bool *v, struct err *err);
int props_u64(const struct cfg_device *cfg, const char *name, uint64_t min, uint64_t max,
	      uint64_t *v, struct err *err);
/* "52:54:00:12:34:56" or with '-'; a group address is refused. */
int props_mac(const struct cfg_device *cfg, const char *name, uint8_t mac[6], struct err *err);

#endif
