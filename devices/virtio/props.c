#include "devices/virtio/props.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "devices/virtio/virtio.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"
#include "vmm/options/config.h"

static const struct prop_feature common[] = {
    {"indirect_desc", VIRTIO_F_INDIRECT_DESC, true},
    {"event_idx",     VIRTIO_F_EVENT_IDX,     true},
    {"queue_reset",   VIRTIO_F_RING_RESET,    true},
};

/* Properties with only one value that can be had here. */
static const struct {
	const char *name;
	bool value;
} fixed[] = {
    {"packed",         false},
    {"iommu_platform", false},
    {"use-started",    true },
};

static bool in_features(const char *name, const struct prop_feature *table, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!strcmp(table[i].name, name))
			return true;
	return false;
}

static bool known(const char *name, const char *const *names, const struct prop_feature *table,
		  size_t n)
{
	for (size_t i = 0; names[i]; i++)
		if (!strcmp(names[i], name))
			return true;
	for (size_t i = 0; i < ARRAY_LEN(fixed); i++)
		if (!strcmp(fixed[i].name, name))
			return true;
	return in_features(name, table, n) || in_features(name, common, ARRAY_LEN(common));
}

int props_check(const struct cfg_device *cfg, const char *const *names,
		const struct prop_feature *table, size_t n, struct err *err)
{
	for (size_t i = 0; i < cfg->props.n; i++)
		if (!known(cfg->props.v[i].key, names, table, n))
			return err_set(err, EINVAL, "Property '%s.%s' not found", cfg->driver,
				       cfg->props.v[i].key);
	for (size_t i = 0; i < ARRAY_LEN(fixed); i++) {
		bool v = fixed[i].value;
		int ret = props_bool(cfg, fixed[i].name, &v, err);

		if (ret < 0)
			return ret;
		if (v != fixed[i].value)
			return err_set(err, ENOTSUP, "%s: %s=%s is not supported", cfg->driver,
				       fixed[i].name, v ? "on" : "off");
	}
	return 0;
}

static int gather(const struct cfg_device *cfg, const struct prop_feature *table, size_t n,
		  uint64_t *features, struct err *err)
{
	for (size_t i = 0; i < n; i++) {
		bool on = table[i].on;
		int ret = props_bool(cfg, table[i].name, &on, err);

		if (ret < 0)
			return ret;
		if (on)
			*features |= table[i].bits;
	}
	return 0;
}

int props_features(const struct cfg_device *cfg, const struct prop_feature *table, size_t n,
		   uint64_t *features, struct err *err)
{
	uint64_t f = VIRTIO_F_VERSION_1;
	int ret = gather(cfg, common, ARRAY_LEN(common), &f, err);

	if (ret >= 0)
		ret = gather(cfg, table, n, &f, err);
	if (ret >= 0)
		*features = f;
	return ret;
}

const char *props_feature_name(const struct prop_feature *table, size_t n, unsigned bit)
{
	for (size_t i = 0; i < n; i++)
		if (table[i].bits == VIRTIO_BIT(bit))
			return table[i].name;
	for (size_t i = 0; i < ARRAY_LEN(common); i++)
		if (common[i].bits == VIRTIO_BIT(bit))
			return common[i].name;
	return NULL;
}

int props_bool(const struct cfg_device *cfg, const char *name, bool *v, struct err *err)
{
	static const char *const yes[] = {"on", "yes", "true", "y"};
	static const char *const no[] = {"off", "no", "false", "n"};
	const char *val = keyvals_get(&cfg->props, name);

	if (!val)
		return 0;
	for (size_t i = 0; i < ARRAY_LEN(yes); i++) {
		if (!strcmp(val, yes[i]) || !strcmp(val, no[i])) {
			*v = !strcmp(val, yes[i]);
			return 0;
		}
	}
	return err_set(err, EINVAL, "%s: parameter '%s' expects 'on' or 'off', not '%s'",
		       cfg->driver, name, val);
}

int props_u64(const struct cfg_device *cfg, const char *name, uint64_t min, uint64_t max,
	      uint64_t *v, struct err *err)
{
	const char *val = keyvals_get(&cfg->props, name);
	unsigned long long n;
	char *end;

	if (!val)
		return 0;
	errno = 0;
	n = strtoull(val, &end, 0);
	if (!isdigit((unsigned char)*val) || *end || errno || n < min || n > max)
		return err_set(err, EINVAL,
			       "%s: parameter '%s' expects a number from %" PRIu64 " to %" PRIu64
			       ", not '%s'",
			       cfg->driver, name, min, max, val);
	*v = n;
	return 0;
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

int props_mac(const struct cfg_device *cfg, const char *name, uint8_t mac[6], struct err *err)
{
	const char *val = keyvals_get(&cfg->props, name);
	uint8_t got[6];

	if (!val)
		return 0;
	for (size_t i = 0; i < sizeof(got); i++) {
		const char *s = val + 3 * i;
		int byte = strlen(val) == 17 ? hex_byte(s) : -1;

		if (byte < 0 || (i < 5 && s[2] != ':' && s[2] != '-'))
			return err_set(err, EINVAL,
				       "%s: parameter '%s' expects an Ethernet address like "
				       "52:54:00:12:34:56, not '%s'",
				       cfg->driver, name, val);
		got[i] = (uint8_t)byte;
	}
	if (got[0] & 1)
		return err_set(err, EINVAL, "%s: %s=%s is a group address", cfg->driver, name, val);
	memcpy(mac, got, sizeof(got));
	return 0;
}
