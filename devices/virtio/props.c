/*
 * props.c - the properties that all virtio devices share: feature bits, MAC address
 *
 * A property of a device's table may name the feature bits that it switches;
 * the bits that the device offers are those of all its properties that are on.
 */
#include "devices/virtio/props.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/error.h"
#include "vmm/options/config.h"

uint64_t props_features(const struct cfg_device *cfg)
{
	uint64_t f = VIRTIO_F_VERSION_1;

	for (const struct opt_prop *pr = cfg->row->props; pr->key; pr++)
		if (pr->bits && device_bool(cfg, pr->key))
			f |= pr->bits;
	return f;
}

uint64_t props_features_64(const struct cfg_device *cfg)
{
	uint64_t f = 0;

	for (const struct opt_prop *pr = cfg->row->props; pr->key; pr++)
		if (pr->bits_64 && device_bool(cfg, pr->key))
			f |= pr->bits_64;
	return f;
}

const char *props_feature_name(const struct device_row *row, unsigned bit)
{
	for (const struct opt_prop *pr = row->props; pr->key; pr++)
		if (bit < 64 ? pr->bits == VIRTIO_BIT(bit) : pr->bits_64 == VIRTIO_BIT(bit - 64))
			return pr->key;
	return NULL;
}

/* The value of the two hexadecimal digits at s, or -1. */
static int hex_byte(const char *s)
{
	char digits[3] = {s[0], '\0', '\0'};

	if (s[0])
		digits[1] = s[1];
	if (!isxdigit((unsigned char)digits[0]) || !isxdigit((unsigned char)digits[1]))
		return -1;
	return (int)strtol(digits, NULL, 16);
}

void props_mac(const char *val, uint8_t mac[6])
{
	for (size_t i = 0; i < 6; i++)
		mac[i] = (uint8_t)hex_byte(val + 3 * i);
}

int props_check_mac(struct opt_parse *p, void *base, const char *val, struct err *err)
{
	(void)p;
	(void)base;
	for (size_t i = 0; i < 6; i++) {
		const char *s = val + 3 * i;

		if (strlen(val) != 17 || hex_byte(s) < 0 || (i < 5 && s[2] != ':' && s[2] != '-'))
			return err_set(err, EINVAL,
				       "Parameter 'mac' expects an Ethernet address like "
				       "52:54:00:12:34:56, not '" OPT_QUOTE "'",
				       val);
	}
	if (hex_byte(val) & 1)
		return err_set(err, EINVAL, "mac=%s is a group address", val);
	return 0;
}
