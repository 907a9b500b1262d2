/*
 * object.c - -object and object-add: what guest RAM is made of, where random bytes come from,
 * secrets
 *
 * One table of types and their properties for both.  What is made of a description, and when, is
 * the affair of vmm/objects.c.
 */
#include <errno.h>
#include <stdlib.h>

#include "vmm/base/error.h"
#include "vmm/base/units.h"
#include "vmm/options/internal.h"
#include "vmm/options/options.h"

#define AT(member) offsetof(struct cfg_object, member)

#define MEMORY_PROPS                                                                               \
	PROP_SEEN("qom-type", "memory-backend-...", "the kind of object"),                         \
	    PROP_NEEDED("id", OPT_ID, AT(id), NULL, "the name for -machine memory-backend="),      \
	    PROP_NEEDED("size", OPT_SIZE, AT(size), "SIZE", "bytes, with suffix"),                 \
	    PROP("share", OPT_BOOL, AT(share), "on|off", "map it shared"),                         \
	    PROP("prealloc", OPT_BOOL, AT(prealloc), "on|off",                                     \
		 "populate every page at start (default off)"),                                    \
	    PROP("prealloc-threads", OPT_U32, OPT_NOWHERE, "N",                                    \
		 "no effect: one call populates it all"),                                          \
	    PROP("reserve", OPT_BOOL, AT(reserve), "on|off",                                       \
		 "set huge pages aside at start (default on); no effect on others"),               \
	    PROP_ONLY("policy", OPT_ENUM, OPT_NOWHERE, "default|preferred|bind|interleave",        \
		      "default", "start minivmm under numactl instead", "NUMA policy"),            \
	    PROP_REFUSED("host-nodes", "start minivmm under numactl instead"),                     \
	    PROP_REFUSED("dump", "use -machine dump-guest-core="),                                 \
	    PROP_REFUSED("merge", "use -machine mem-merge="),                                      \
	    PROP_REFUSED("prealloc-context", "leave it out"),                                      \
	    PROP_ONLY("x-use-canonical-path-for-ramblock-id", OPT_BOOL, OPT_NOWHERE, "on|off",     \
		      "off", "the RAM block is called microvm.ram", "the RAM block's name")

static const struct opt_prop ram_props[] = {MEMORY_PROPS, PROP_END};

static const struct opt_prop memfd_props[] = {
    MEMORY_PROPS,
    PROP("hugetlb", OPT_BOOL, AT(hugetlb), "on|off", "use huge pages (default off)"),
    PROP("hugetlbsize", OPT_SIZE, AT(hugetlb_bytes), "SIZE",
	 "bytes of a huge page (default: the host's)"),
    PROP("seal", OPT_BOOL, OPT_NOWHERE, "on|off", "no effect: the descriptor stays within minivmm"),
    PROP_END,
};

static const struct opt_prop file_props[] = {
    MEMORY_PROPS,
    PROP_NEEDED("mem-path", OPT_STRING, AT(mem_path), "PATH",
		"the file, or a directory to make an unnamed file in"),
    PROP("readonly", OPT_BOOL, AT(readonly), "on|off",
	 "open the file for reading only (needs share=off)"),
    PROP_REFUSED("align", "the page size of the file decides"),
    PROP_ONLY("pmem", OPT_BOOL, OPT_NOWHERE, "on|off", "off", "persistent memory is not offered",
	      "persistent memory"),
    PROP_ONLY("discard-data", OPT_BOOL, OPT_NOWHERE, "on|off", "off", "the file is left as it is",
	      "throw the contents away at the end"),
    PROP_END,
};

const struct opt_list opt_memory_ram_list = {
    .title = "-object memory-backend-ram",
    .implied = "qom-type",
    .style = OPT_STYLE_OBJECT,
    .props = ram_props,
};
const struct opt_list opt_memory_memfd_list = {
    .title = "-object memory-backend-memfd",
    .implied = "qom-type",
    .style = OPT_STYLE_OBJECT,
    .props = memfd_props,
};
const struct opt_list opt_memory_file_list = {
    .title = "-object memory-backend-file",
    .implied = "qom-type",
    .style = OPT_STYLE_OBJECT,
    .props = file_props,
};

#define RNG_PROPS                                                                                  \
	PROP_SEEN("qom-type", "rng-...", "the kind of object"),                                    \
	    PROP_NEEDED("id", OPT_ID, AT(id), NULL, "the name for -device virtio-rng-device,rng=")

static const struct opt_prop rng_random_props[] = {
    RNG_PROPS,
    PROP(
	"filename", OPT_STRING, AT(filename), "PATH",
	"the file that bytes are read from (default /dev/urandom); one that has none at the moment "
	"makes the guest wait"),
    PROP_END,
};
static const struct opt_prop rng_builtin_props[] = {RNG_PROPS, PROP_END};

const struct opt_list opt_rng_random_list = {
    .title = "-object rng-random",
    .implied = "qom-type",
    .style = OPT_STYLE_OBJECT,
    .props = rng_random_props,
};
const struct opt_list opt_rng_builtin_list = {
    .title = "-object rng-builtin",
    .implied = "qom-type",
    .style = OPT_STYLE_OBJECT,
    .props = rng_builtin_props,
};

#define WHY_PLAIN                                                                                  \
	"encrypted secrets are not offered: give it in the clear, as file=, which only minivmm "   \
	"may "                                                                                     \
	"read"

static const struct opt_prop secret_props[] = {
    PROP_SEEN("qom-type", "secret", "the kind of object"),
    PROP_NEEDED("id", OPT_ID, AT(id), NULL, "the name that other objects know it by"),
    PROP("data", OPT_STRING, OPT_NOWHERE, "TEXT", "the secret itself, which other users can see"),
    PROP("file", OPT_STRING, OPT_NOWHERE, "PATH", "the file that has it"),
    PROP("format", OPT_ENUM, OPT_NOWHERE, "raw|base64", "how it is written (default raw)"),
    PROP_REFUSED("keyid", WHY_PLAIN),
    PROP_REFUSED("iv", WHY_PLAIN),
    PROP_END,
};
const struct opt_list opt_secret_list = {
    .title = "-object secret",
    .implied = "qom-type",
    .style = OPT_STYLE_OBJECT,
    .props = secret_props,
};

static const struct opt_type kinds[] = {
    {"memory-backend-ram",   &opt_memory_ram_list  },
    {"memory-backend-memfd", &opt_memory_memfd_list},
    {"memory-backend-file",  &opt_memory_file_list },
    {"rng-random",           &opt_rng_random_list  },
    {"rng-builtin",          &opt_rng_builtin_list },
    {"secret",	       &opt_secret_list      },
    {"tls-creds-x509",       &opt_tls_x509_list    },
    {"tls-creds-psk",        &opt_tls_psk_list     },
    {"tls-creds-anon",       &opt_tls_anon_list    },
    {"authz-simple",         &opt_authz_simple_list},
    {"authz-list",           &opt_authz_list_list  },
    {"authz-list-file",      &opt_authz_file_list  },
    {"authz-listfile",       &opt_authz_file_list  },
};

const struct opt_type *opt_object_types(size_t *n)
{
	*n = ARRAY_LEN(kinds);
	return kinds;
}

static const struct {
	const char *name, *use;
} others[] = {
    {"rng-egd",            "use rng-random, with a FIFO or a device as filename="},
    {"authz-pam",          "use authz-list-file"                                 },
    {"iothread",           "queues have an I/O thread; leave iothread= out"      },
    {"throttle-group",     "use the host's cgroups"                              },
    {"memory-backend-epc", "use memory-backend-memfd"                            },
    {"filter-dump",        "capture on the tap device"                           },
};

const char *options_object_refused(const char *type)
{
	for (size_t i = 0; i < ARRAY_LEN(others); i++)
		if (!strcmp(others[i].name, type))
			return others[i].use;
	return NULL;
}

static int object_kind(const char *type, const struct opt_list **out, struct err *err)
{
	struct opt_near n = {.word = type};
	char near[OPT_NEAR_BYTES];

	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		if (!strcmp(kinds[i].name, type)) {
			*out = kinds[i].list;
			return 0;
		}
	}
	if (options_object_refused(type))
		return err_set(err, ENOTSUP, "object type '%s' is not supported: %s", type,
			       options_object_refused(type));
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
		opt_near_try(&n, kinds[i].name);
	return err_set(err, EINVAL, "Parameter 'qom-type' does not accept value '" OPT_QUOTE "'%s",
		       type, opt_near_text(&n, "", near));
}

static bool is_memory(const struct cfg_object *o)
{
	return strncmp(o->type, "memory-backend-", strlen("memory-backend-")) == 0;
}

static int check_memory(const struct cfg_object *o, struct err *err)
{
	uint64_t page = o->hugetlb_bytes;

	if (o->size == 0)
		return err_set(err, EINVAL, "property 'size' of %s doesn't take value '0'",
			       o->type);
	if (page && !o->hugetlb)
		return err_set(err, EINVAL, "'hugetlbsize' needs hugetlb=on");
	if (page & (page - 1))
		return err_set(err, EINVAL, "'hugetlbsize' must be a power of two");
	if (o->readonly && o->share)
		return err_set(err, EINVAL,
			       "guest RAM cannot be a read-only file that is shared: "
			       "use share=off");
	return 0;
}

static int check_secret(const struct keyvals *kv, struct err *err)
{
	bool data = keyvals_get(kv, "data"), file = keyvals_get(kv, "file");

	if (data && file)
		return err_set(err, EINVAL, "'file' and 'data' are mutually exclusive");
	if (!data && !file)
		return err_set(err, EINVAL, "Either 'file' or 'data' must be provided");
	return 0;
}

static int check_object(struct cfg_object *o, const struct opt_list *list, struct err *err)
{
	if (list == &opt_secret_list)
		return check_secret(&o->props, err);
	if (list == &opt_rng_random_list && !o->filename)
		o->filename = xstrdup("/dev/urandom");
	return is_memory(o) ? check_memory(o, err) : 0;
}

/* From p->val; on failure nothing is owned. */
static int parse_object(struct opt_parse *p, struct cfg_object *o, struct err *err)
{
	const struct opt_list *list = NULL;
	const char *type;
	int ret = opt_split_any(&o->props, p->val, "qom-type", false, err);

	type = ret < 0 ? NULL : keyvals_get(&o->props, "qom-type");
	if (ret == 0)
		ret = type ? object_kind(type, &list, err) : opt_missing("qom-type", err);
	if (ret == 0) {
		o->type = xstrdup(type);
		o->share = list == &opt_memory_memfd_list;
		o->reserve = true;
		ret = list == &opt_authz_list_list ? opt_apply_authz(p, o, &o->props, err)
						   : opt_apply(p, list, o, &o->props, err);
	}
	if (ret == 0)
		ret = check_object(o, list, err);
	if (ret < 0)
		config_object_fini(o);
	return ret;
}

int opt_object(struct opt_parse *p, struct err *err)
{
	struct cfg_object o = {0};
	int ret;

	if (opt_type_help(p, "List of user creatable objects:", kinds, ARRAY_LEN(kinds)))
		return 0;
	ret = parse_object(p, &o, err);
	if (ret < 0)
		return ret;
	if (config_object(p->cfg, o.id)) {
		ret = opt_duplicate(o.id, "object", err);
		config_object_fini(&o);
		return ret;
	}
	o.where = opt_where(p);
	*OPT_ADD(p->cfg->objects, p->cfg->n_objects) = o;
	return 0;
}

int options_object(struct cfg_object *o, const char *json, struct err *err)
{
	struct opt_parse p = {.opt = "object-add", .val = json};

	*o = (struct cfg_object){0};
	return parse_object(&p, o, err);
}

int opt_check_memory(struct opt_parse *p, struct err *err)
{
	struct config *cfg = p->cfg;
	const struct cfg_object *o;

	if (!cfg->memory_backend)
		return 0;
	o = config_object(cfg, cfg->memory_backend);
	if (!o || !is_memory(o))
		return err_set(err, ENOENT, "Memory backend '" OPT_QUOTE "' not found",
			       cfg->memory_backend);
	if (p->ram_given && o->size != cfg->ram_bytes)
		return err_set(err, EINVAL,
			       "Machine memory size does not match the size of the "
			       "memory backend");
	cfg->ram_bytes = o->size;
	return 0;
}
