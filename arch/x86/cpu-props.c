/*
 * cpu-props.c - what a -cpu option says beyond the model's name: features and numbers
 *
 * "+f" and "-f" act after all "f=on|off", wherever they stand, as QEMU has it.
 */
#include "arch/x86/cpu-props.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "arch/x86/cpuid.h"
#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"

static int parse_bool(const char *name, const char *val, bool *out, struct err *err)
{
	static const char *const yes[] = {"on", "true", "yes", "y"};
	static const char *const no[] = {"off", "false", "no", "n"};

	for (size_t i = 0; i < ARRAY_LEN(yes); i++) {
		if (strcmp(val, yes[i]) == 0)
			return *out = true, 0;
		if (strcmp(val, no[i]) == 0)
			return *out = false, 0;
	}
	return err_set(err, EINVAL, "Parameter '%s' expects 'on' or 'off'", name);
}

static int parse_hz(const char *val, uint64_t *out, struct err *err)
{
	char *end;
	double v;

	if (!strcmp(val, "0")) { /* the host's */
		*out = 0;
		return 0;
	}
	errno = 0;
	v = strtod(val, &end);
	if (*end == 'k' || *end == 'K')
		v *= 1e3, end++;
	else if (*end == 'M')
		v *= 1e6, end++;
	else if (*end == 'G')
		v *= 1e9, end++;
	if (errno || end == val || *end || !(v >= 1000) || v > 1e12)
		return err_set(err, EINVAL, "Parameter 'tsc-frequency' expects a frequency in Hz");
	*out = (uint64_t)v;
	return 0;
}

static int not_found(const struct cpu_model *m, const char *name, struct err *err)
{
	if (strncmp(name, "hv-", 3) == 0 || strncmp(name, "hv_", 3) == 0)
		return err_set(err, ENOTSUP, "Hyper-V enlightenments are not supported: '%s'",
			       name);
	return err_set(err, EINVAL, "Property '%s-x86_64-cpu.%s' not found", m->name, name);
}

static int set_feature(struct cpu_model *m, const char *name, bool on, struct err *err)
{
	enum feature_word w;
	unsigned bit;

	if (!feature_find(name, &w, &bit))
		return not_found(m, name, err);
	if (on && ((w == FEAT_1_ECX && 1U << bit == F1_ECX_VMX) ||
		   (w == FEAT_8000_0001_ECX && 1U << bit == F81_ECX_SVM)))
		return err_set(err, ENOTSUP,
			       "feature '%s' is not supported: the state of nested "
			       "guests cannot be moved",
			       name);
	for (unsigned b = 0; b < 32; b++) {
		const char *other = feature_info(w)->names[b];

		/* one name may stand for two bits */
		if (!other || strcmp(other, feature_info(w)->names[bit]) != 0)
			continue;
		m->features[w] = on ? m->features[w] | 1U << b : m->features[w] & ~(1U << b);
	}
	return 0;
}

static int set_vendor(struct cpu_model *m, const char *val, struct err *err)
{
	if (strlen(val) != sizeof(m->vendor) - 1)
		return err_set(err, EINVAL, "Property '.vendor' doesn't take value '%s'", val);
	memcpy(m->vendor, val, sizeof(m->vendor));
	return 0;
}

/* The numbers of a model that a static one is made with. */
static bool set_number(struct cpu_model *m, const char *name, const char *val, int *ret,
		       struct err *err)
{
	static const struct {
		const char *name;
		uint64_t max;
	} numbers[] = {
	    {"family",     0xff + 0xf},
            {"model",      0xff      },
	    {"stepping",   0xf       },
            {"min-level",  UINT32_MAX},
	    {"min-xlevel", UINT32_MAX},
	};
	char *end;
	uint64_t v;
	size_t i;

	for (i = 0; i < ARRAY_LEN(numbers) && strcmp(name, numbers[i].name) != 0; i++)
		;
	if (i == ARRAY_LEN(numbers))
		return false;
	errno = 0;
	v = strtoull(val, &end, 0);
	*ret = 0;
	if (errno || end == val || *end || *val == '-' || v > numbers[i].max)
		*ret = err_set(err, EINVAL, "Property '%s-x86_64-cpu.%s' doesn't take value '%s'",
			       m->name, name, val);
	else if (i == 0)
		m->signature = (m->signature & 0xf00ff0ffU) |
			       (uint32_t)(v > 0xf ? 0xf00 | (v - 0xf) << 20 : v << 8);
	else if (i == 1)
		m->signature =
		    (m->signature & 0xfff0ff0fU) | (uint32_t)((v & 0xf) << 4 | (v >> 4) << 16);
	else if (i == 2)
		m->signature = (m->signature & ~0xfU) | (uint32_t)v;
	else if (i == 3)
		m->level = MAX(m->level, (uint32_t)v);
	else
		m->xlevel = MAX(m->xlevel, (uint32_t)v);
	return true;
}

int cpu_props_set(struct cpu_model *m, const char *name, const char *val, struct err *err)
{
	struct {
		const char *name;
		bool *at;
	} const bools[] = {
	    {"check",   &m->check     },
	    {"enforce", &m->enforce   },
	    {"kvm",     &m->expose_kvm},
	    {"pmu",     &m->pmu       },
	};
	bool on;
	int ret;

	if (strcmp(name, "vendor") == 0)
		return set_vendor(m, val, err);
	if (strcmp(name, "model-id") == 0) {
		(void)snprintf(m->brand, sizeof(m->brand), "%s", val);
		return 0;
	}
	if (set_number(m, name, val, &ret, err))
		return ret;
	if (strcmp(name, "tsc-frequency") == 0)
		return parse_hz(val, &m->tsc_hz, err);
	for (size_t i = 0; i < ARRAY_LEN(bools); i++)
		if (strcmp(name, bools[i].name) == 0)
			return parse_bool(name, val, bools[i].at, err);
	ret = parse_bool(name, val, &on, err);
	if (strcmp(name, "migratable") == 0) /* has been seen: it decides what the others change */
		return ret;
	if (strcmp(name, "host-phys-bits") == 0) {
		if (ret == 0 && !on)
			ret = err_set(err, ENOTSUP, "'%s=off' is not supported", name);
		return ret;
	}
	if (ret < 0) {
		enum feature_word w;
		unsigned bit;

		return feature_find(name, &w, &bit) ? ret : not_found(m, name, err);
	}
	return set_feature(m, name, on, err);
}

/* One word of the option: "+f" and "-f" act after all others, as QEMU has it. */
static int apply_word(struct cpu_model *m, char *word, int pass, struct err *err)
{
	char *val = strchr(word, '=');

	if (word[0] == '+' || word[0] == '-') {
		if (pass != (word[0] == '+' ? 1 : 2))
			return 0;
		return set_feature(m, word + 1, word[0] == '+', err);
	}
	if (pass != 0)
		return 0;
	if (val)
		*val++ = '\0';
	return cpu_props_set(m, word, val ? val : "on", err);
}

int cpu_props_apply(struct cpu_model *m, const char *features, struct err *err)
{
	for (int pass = 0; pass < 3; pass++) {
		CLEANUP(cleanup_free) char *copy = xstrdup(features);
		char *rest = copy, *word;

		while ((word = strsep(&rest, ",")) != NULL) {
			int ret = word[0] ? apply_word(m, word, pass, err) : 0;

			if (ret < 0)
				return ret;
		}
	}
	return 0;
}

bool cpu_props_migratable(const char *features)
{
	CLEANUP(cleanup_free) char *copy = xstrdup(features ? features : "");
	char *rest = copy, *word;
	bool on = true;

	while ((word = strsep(&rest, ",")) != NULL)
		if (strncmp(word, "migratable=", 11) == 0)
			(void)parse_bool("migratable", word + 11, &on, NULL);
	return on;
}
