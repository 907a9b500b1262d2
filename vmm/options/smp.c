/*
 * smp.c - -smp and -m
 *
 * Of a topology that is given in part, the rest is worked out: cores before
 * sockets before threads, each one being what is missing for the product to
 * be maxcpus.  The product must then be maxcpus exactly.
 */
#include <errno.h>

#include "vmm/base/error.h"
#include "vmm/base/units.h"
#include "vmm/options/internal.h"

#define SMP(member) offsetof(struct opt_smp, member)

static const struct opt_prop smp_props[] = {
    PROP("cpus", OPT_U32, SMP(cpus), "N", "vCPUs at start (default 1)"),
    PROP("maxcpus", OPT_U32, SMP(maxcpus), "N", "vCPUs the topology has room for (default: cpus)"),
    PROP("sockets", OPT_U32, SMP(sockets), "N", "packages"),
    PROP("dies", OPT_U32, SMP(dies), "1", "dies in a package"),
    PROP("clusters", OPT_U32, SMP(clusters), "1", "clusters in a die"),
    PROP("modules", OPT_U32, SMP(modules), "1", "modules in a cluster"),
    PROP("cores", OPT_U32, SMP(cores), "N", "cores in a package"),
    PROP("threads", OPT_U32, SMP(threads), "N", "threads in a core"),
    PROP_END,
};

const struct opt_list opt_smp_list = {
    .title = "-smp",
    .implied = "cpus",
    .style = OPT_STYLE_KEYVAL,
    .owner = "smp.",
    .props = smp_props,
};

static unsigned *smp_field(struct opt_smp *s, const char *key)
{
	for (const struct opt_prop *pr = smp_props; pr->key; pr++) {
		if (!strcmp(pr->key, key))
			return (unsigned *)(void *)((char *)s + pr->off);
	}
	return NULL;
}

static int smp_unexpected(const char *key, struct err *err)
{
	struct opt_near n = {.word = key};
	char near[OPT_NEAR_BYTES];

	for (const struct opt_prop *pr = smp_props; pr->key; pr++)
		opt_near_try(&n, pr->key);
	return err_set(err, EINVAL, "Parameter 'smp." OPT_QUOTE "' is unexpected%s", key,
		       opt_near_text(&n, "", near));
}

/* The error messages of this list carry the path of the machine's property, so it is read here. */
static int smp_set(struct opt_smp *s, const struct keyval *kv, struct err *err)
{
	unsigned *field = smp_field(s, kv->key);
	const char *digits = kv->val + (*kv->val == '-');
	uint64_t v = 0;
	int ret;

	if (!field)
		return smp_unexpected(kv->key, err);
	ret = opt_parse_u64(digits, &v);
	if (ret == -EINVAL)
		return err_set(err, EINVAL, "Parameter 'smp.%s' expects integer", kv->key);
	if (ret < 0 || v > 65535 || (digits != kv->val && v))
		return err_set(err, EINVAL,
			       "Invalid SMP CPUs " OPT_QUOTE
			       ". The max CPUs supported by machine 'microvm' is %u",
			       kv->val, OPT_MAX_CPUS);
	if (v == 0)
		return err_set(err, EINVAL,
			       "Invalid CPU topology: "
			       "CPU topology parameters must be greater than zero");
	*field = (unsigned)v;
	return 0;
}

/* Fill in what was not given. */
static struct opt_smp smp_complete(struct opt_smp s)
{
	unsigned want = s.maxcpus ? s.maxcpus : s.cpus;

	if (want && !s.cores) {
		s.sockets = MAX(s.sockets, 1U);
		s.threads = MAX(s.threads, 1U);
		s.cores = want / (s.sockets * s.threads);
	} else if (want && !s.sockets) {
		s.threads = MAX(s.threads, 1U);
		s.sockets = want / (s.cores * s.threads);
	} else if (want && !s.threads) {
		s.threads = want / (s.sockets * s.cores);
	} else if (!want) {
		s.sockets = MAX(s.sockets, 1U);
		s.cores = MAX(s.cores, 1U);
		s.threads = MAX(s.threads, 1U);
	}
	return s;
}

static int smp_check(struct config *cfg, const struct opt_smp *given, struct err *err)
{
	struct opt_smp s = smp_complete(*given);
	uint64_t total = (uint64_t)s.sockets * s.cores * s.threads;
	uint64_t max = s.maxcpus ? s.maxcpus : s.cpus ? s.cpus : total;
	uint64_t cpus = s.cpus ? s.cpus : max;

	if (given->dies > 1 || given->clusters > 1)
		return err_set(err, EINVAL, "%s not supported by this machine's CPU topology",
			       given->dies > 1 ? "dies" : "clusters");
	if (given->modules > 1)
		return err_set(err, EINVAL,
			       "modules > 1 not supported by this machine's CPU topology");
	if (total != max)
		return err_set(err, EINVAL,
			       "Invalid CPU topology: product of the hierarchy must match maxcpus: "
			       "sockets (%u) * cores (%u) * threads (%u) != maxcpus (%llu)",
			       s.sockets, s.cores, s.threads, (unsigned long long)max);
	if (max < cpus)
		return err_set(err, EINVAL,
			       "Invalid CPU topology: maxcpus must be equal to or greater than "
			       "smp: sockets (%u) * cores (%u) * threads (%u) == maxcpus (%llu) < "
			       "smp_cpus (%llu)",
			       s.sockets, s.cores, s.threads, (unsigned long long)max,
			       (unsigned long long)cpus);
	if (max > OPT_MAX_CPUS)
		return err_set(err, EINVAL,
			       "Invalid SMP CPUs %llu. The max CPUs supported by machine 'microvm' "
			       "is %u",
			       (unsigned long long)max, OPT_MAX_CPUS);
	cfg->cpus = (unsigned)cpus;
	cfg->maxcpus = (unsigned)max;
	cfg->sockets = s.sockets;
	cfg->dies = 1;
	cfg->cores = s.cores;
	cfg->threads = s.threads;
	return 0;
}

int opt_smp(struct opt_parse *p, struct err *err)
{
	CLEANUP(keyvals_fini) struct keyvals kv = {0};
	int ret = opt_split(&kv, p->val, "cpus", true, err);

	for (size_t i = 0; ret == 0 && i < kv.n; i++)
		ret = smp_set(&p->smp, &kv.v[i], err);
	return ret < 0 ? ret : smp_check(p->cfg, &p->smp, err);
}

/* ---- -m ---- */

struct memory_args {
	uint64_t bytes, maxmem;
	uint32_t slots;
};

#define RAM_ROUND (8 * KiB)
#define RAM_MAX   (1ULL << 52) /* more than any processor addresses */

static int set_ram_size(struct opt_parse *p, void *base, const char *val, struct err *err)
{
	struct memory_args *m = base;
	size_t n = strlen(val);
	bool bare = n && val[n - 1] >= '0' && val[n - 1] <= '9';
	uint64_t bytes;
	int ret = opt_parse_size(val, &bytes);

	(void)p;
	if (ret == -EINVAL)
		return err_set(
		    err, EINVAL,
		    "Parameter 'size' expects a non-negative number below 2^64\n"
		    "Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-\n"
		    "and exabytes, respectively.");
	if (ret < 0)
		return err_set(err, ERANGE,
			       "Value '" OPT_QUOTE "' is out of range for parameter 'size'", val);
	if (bare && __builtin_mul_overflow(bytes, MiB, &bytes))
		bytes = UINT64_MAX;
	if (bytes > RAM_MAX)
		return err_set(err, ERANGE, "ram size too large");
	m->bytes = bytes ? ALIGN_UP(bytes, RAM_ROUND) : OPT_DEFAULT_RAM_MIB * MiB;
	return 0;
}

static const struct opt_prop m_props[] = {
    PROP_CALL("size", "SIZE", set_ram_size,
	      "bytes of RAM, in MiB without a suffix (default 128), rounded up to 8 KiB"),
    PROP("slots", OPT_U32, offsetof(struct memory_args, slots), "0",
	 "slots for memory hotplug: none here"),
    PROP("maxmem", OPT_SIZE, offsetof(struct memory_args, maxmem), "SIZE",
	 "must equal the size: there is no memory hotplug"),
    PROP_END,
};

const struct opt_list opt_m_list = {
    .title = "-m",
    .implied = "size",
    .style = OPT_STYLE_OPTS,
    .props = m_props,
};

int opt_m(struct opt_parse *p, struct err *err)
{
	struct memory_args m = {.bytes = p->cfg->ram_bytes};
	int ret = opt_apply_list(p, &opt_m_list, &m, err);

	if (ret < 0)
		return ret;
	if (m.maxmem && m.maxmem < m.bytes)
		return err_set(err, EINVAL,
			       "invalid value of maxmem: maximum memory size (0x%llx) must be at "
			       "least the initial memory size (0x%llx)",
			       (unsigned long long)m.maxmem, (unsigned long long)m.bytes);
	if (m.slots && !m.maxmem)
		return err_set(err, EINVAL, "slots specified but no max-size");
	if (m.slots || m.maxmem > m.bytes)
		return err_set(err, ENOTSUP,
			       "memory hotplug is not supported: "
			       "leave out slots= and maxmem=");
	p->cfg->ram_bytes = m.bytes;
	p->ram_given = true;
	return 0;
}
