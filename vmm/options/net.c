/* net.c - -netdev: where a network card's frames go */
#include <errno.h>
#include <stdlib.h>

#include "vmm/base/error.h"
#include "vmm/base/inet.h"
#include "vmm/base/log.h"
#include "vmm/base/units.h"
#include "vmm/options/internal.h"

#define AT(member)    offsetof(struct cfg_netdev, member)
#define ON_OFF        "on|off"
#define WHY_ONE_QUEUE "a network card has one pair of queues"
#define WHY_VHOST     "frames pass through minivmm's own I/O thread"

/* "no" is no script. */
static void set_script(char **dst, const char *val)
{
	if (!strcmp(val, "no") || !*val) {
		free(*dst);
		*dst = NULL;
	} else {
		opt_set_str(dst, val);
	}
}

static int set_up_script(struct opt_parse *p, void *base, const char *val, struct err *err)
{
	(void)p;
	(void)err;
	set_script(&((struct cfg_netdev *)base)->script, val);
	return 0;
}

static int set_down_script(struct opt_parse *p, void *base, const char *val, struct err *err)
{
	(void)p;
	(void)err;
	set_script(&((struct cfg_netdev *)base)->downscript, val);
	return 0;
}

static int set_queues(struct opt_parse *p, void *base, const char *val, struct err *err)
{
	uint64_t v;

	(void)p;
	(void)base;
	if (opt_parse_u64(val, &v) < 0)
		return err_set(err, EINVAL, "Parameter 'queues' expects a uint64 value");
	if (v > 1)
		return err_set(err, ENOTSUP, "queues=%llu is not supported: " WHY_ONE_QUEUE,
			       (unsigned long long)v);
	return 0;
}

static const struct opt_prop tap_props[] = {
    PROP_SEEN("type", "tap", "a tap device of the host"),
    PROP_NEEDED("id", OPT_ID, AT(id), NULL, "the name for -device netdev="),
    PROP("ifname", OPT_STRING, AT(ifname), "NAME",
	 "the interface (default: the host makes up a name)"),
    PROP_CALL("script", "PATH|no", set_up_script,
	      "run this with the interface's name when it is there (default no)"),
    PROP_CALL("downscript", "PATH|no", set_down_script, "run this before it goes (default no)"),
    PROP("fd", OPT_FD, AT(fd), "N", "an open tap descriptor instead"),
    PROP("vnet_hdr", OPT_BOOL, AT(vnet_hdr), ON_OFF,
	 "offer checksum and segmentation offloads to the guest (default on)"),
    PROP_ONLY("vhost", OPT_BOOL, OPT_NOWHERE, ON_OFF, "off", WHY_VHOST,
	      "serve queues in the host's kernel"),
    PROP_ONLY("vhostforce", OPT_BOOL, OPT_NOWHERE, ON_OFF, "off", WHY_VHOST,
	      "serve queues in the host's kernel, always"),
    PROP_CALL("queues", "1", set_queues, "pairs of queues"),
    PROP_REFUSED("fds", WHY_ONE_QUEUE "; use fd="),
    PROP_REFUSED("vhostfd", WHY_VHOST),
    PROP_REFUSED("vhostfds", WHY_VHOST),
    PROP_REFUSED("helper", "use fd= or a tap device that exists"),
    PROP_REFUSED("br", "put the tap device into the bridge with script="),
    PROP_REFUSED("sndbuf", "a slow tap device holds the guest back by itself"),
    PROP_REFUSED("poll-us", WHY_VHOST),
    PROP_END,
};

static const struct opt_prop stream_props[] = {
    PROP_SEEN("type", "stream", "frames over a stream socket"),
    PROP_NEEDED("id", OPT_ID, AT(id), NULL, "the name for -device netdev="),
    PROP("server", OPT_BOOL, AT(server), ON_OFF, "listen (default off: connect)"),
    PROP("addr.type", OPT_STRING, AT(addr_type), "inet|unix|fd", "kind of address"),
    PROP("addr.host", OPT_STRING, AT(host), "HOST", "inet: name or address"),
    PROP("addr.port", OPT_STRING, AT(port), "PORT", "inet: number or service"),
    PROP("addr.path", OPT_STRING, AT(path), "PATH", "unix: the socket"),
    PROP("addr.str", OPT_FD, AT(fd), "N", "fd: an open socket"),
    PROP("reconnect", OPT_U32, OPT_NOWHERE, "S",
	 "client: try again after so many seconds (default 0: never)"),
    PROP("reconnect-ms", OPT_U32, OPT_NOWHERE, "MS", "the same in milliseconds"),
    PROP_REFUSED("addr.to", "give the port itself"),
    PROP("addr.ipv4", OPT_CHOICE, AT(ipv4), ON_OFF,
	 "inet: use IPv4 (default: what the host stands for)"),
    PROP("addr.ipv6", OPT_CHOICE, AT(ipv6), ON_OFF,
	 "inet: use IPv6; [::] takes IPv4 too unless addr.ipv4=off"),
    PROP_REFUSED("addr.keep-alive", "leave it out"),
    PROP_REFUSED("addr.numeric", "leave it out"),
    PROP_ONLY("addr.abstract", OPT_BOOL, OPT_NOWHERE, ON_OFF, "off",
	      "use a socket in the file system", "abstract socket name"),
    PROP_END,
};

const struct opt_list opt_tap_list = {
    .title = "-netdev tap",
    .implied = "type",
    .style = OPT_STYLE_OPTS,
    .props = tap_props,
};
const struct opt_list opt_stream_list = {
    .title = "-netdev stream",
    .implied = "type",
    .style = OPT_STYLE_KEYVAL,
    .props = stream_props,
};

static const struct opt_type types[] = {
    {"tap",    &opt_tap_list   },
    {"stream", &opt_stream_list},
#ifndef MINIVMM_WITHOUT_SLIRP
    {"user",   &opt_user_list  },
#endif
    {"passt",  &opt_passt_list },
};

static const struct {
	const char *name, *use;
} others[] = {
#ifdef MINIVMM_WITHOUT_SLIRP
    {"user",       "this minivmm was built without libslirp; use passt or tap"},
#endif
    {"socket",     "use stream"					       },
    {"dgram",      "use stream"					       },
    {"bridge",     "use tap"						  },
    {"hubport",    "use the host's bridge with tap"                           },
    {"l2tpv3",     "use tap"						  },
    {"vde",        "use tap"						  },
    {"netmap",     "use tap"						  },
    {"vhost-user", "use tap"						  },
    {"vhost-vdpa", "use tap"						  },
};

static int check_tap(const struct cfg_netdev *n, const struct keyvals *kv, struct err *err)
{
	if (n->fd >= 0 &&
	    (n->ifname || keyvals_get(kv, "script") || keyvals_get(kv, "downscript") ||
	     keyvals_get(kv, "vnet_hdr") || keyvals_get(kv, "queues")))
		return err_set(err, EINVAL,
			       "ifname=, script=, downscript=, vnet_hdr=, helper=, queues=, fds=, "
			       "and vhostfds= are invalid with fd=");
	return 0;
}

static int check_stream(struct cfg_netdev *n, const struct keyvals *kv, struct err *err)
{
	const char *type = n->addr_type;

	if (!type)
		return opt_missing("addr", err);
	if (!strcmp(type, "inet")) {
		if (!n->host)
			return opt_missing("addr.host", err);
		if (!n->port)
			return opt_missing("addr.port", err);
		if (ip_family(n->ipv4, n->ipv6) < 0)
			return err_set(err, EINVAL,
				       "addr.ipv4=off and addr.ipv6=off leave nothing");
	} else if (!strcmp(type, "unix")) {
		if (!n->path)
			return opt_missing("addr.path", err);
	} else if (!strcmp(type, "fd")) {
		if (n->fd < 0)
			return opt_missing("addr.str", err);
	} else {
		return err_set(err, EINVAL,
			       "Parameter 'addr.type' does not accept value '" OPT_QUOTE "'", type);
	}
	return opt_reconnect(kv, n->server, &n->reconnect_ms, err);
}

/* Members of lists, which JSON has as "hostfwd.0.str", are the same key several times. */
static void add_flat(struct keyvals *to, const struct keyvals *from)
{
	for (size_t i = 0; i < from->n; i++) {
		CLEANUP(cleanup_free) char *key = xstrdup(from->v[i].key);
		char *dot = strchr(key, '.');
		size_t digits = dot ? strspn(dot + 1, "0123456789") : 0;

		if (digits && strcmp(dot + 1 + digits, ".str") == 0)
			*dot = '\0';
		keyvals_add(to, key, from->v[i].val);
	}
}

static const struct opt_type *netdev_type(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(types); i++)
		if (strcmp(types[i].name, name) == 0)
			return &types[i];
	return NULL;
}

static int check_netdev(struct cfg_netdev *n, const struct keyvals *kv, const struct opt_list *list,
			struct err *err)
{
	if (list == &opt_tap_list)
		return check_tap(n, kv, err);
	if (list == &opt_stream_list)
		return check_stream(n, kv, err);
	return 0;
}

static int fill_netdev(struct opt_parse *p, struct cfg_netdev *n, const struct keyvals *kv,
		       const char *id, struct err *err)
{
	const char *type = keyvals_get(kv, "type");
	const struct opt_type *known = type ? netdev_type(type) : NULL;
	int ret;

	for (size_t i = 0; type && i < ARRAY_LEN(others); i++) {
		if (!strcmp(others[i].name, type))
			return err_set(err, ENOTSUP, "netdev type '%s' is not supported: %s", type,
				       others[i].use);
	}
	if (type && !known)
		return err_set(err, EINVAL,
			       "Parameter 'type' does not accept value '" OPT_QUOTE
			       "': use tap, stream, user or passt",
			       type);
	if (!keyvals_get(kv, "id"))
		return opt_missing("id", err);
	if (!known)
		return opt_missing("type", err);
	n->type = xstrdup(type);
	add_flat(&n->props, kv);
	ret = opt_apply(p, known->list, n, &n->props, err);
	if (ret < 0)
		return ret;
	if (id)
		opt_set_str(&n->id, id);
	if (config_netdev(p->cfg, n->id))
		return opt_duplicate(n->id, "netdev", err);
	return check_netdev(n, kv, known->list, err);
}

int opt_add_netdev(struct opt_parse *p, const struct keyvals *kv, const char *id, struct err *err)
{
	struct cfg_netdev n = {.fd = -1, .vnet_hdr = true};
	int ret = fill_netdev(p, &n, kv, id, err);

	n.where = opt_where(p);
	/* Either the config has it now, or the strings go. */
	*OPT_ADD(p->cfg->netdevs, p->cfg->n_netdevs) = n;
	return ret;
}

bool opt_netdev_help(struct opt_parse *p)
{
	return opt_type_help(p, "Available netdev backend types:", types, ARRAY_LEN(types));
}

int opt_netdev(struct opt_parse *p, struct err *err)
{
	CLEANUP(keyvals_fini) struct keyvals kv = {0};
	int ret;

	if (opt_netdev_help(p))
		return 0;
	ret = opt_split_any(&kv, p->val, "type", false, err);
	return ret < 0 ? ret : opt_add_netdev(p, &kv, NULL, err);
}

void opt_check_peers(const struct opt_parse *p)
{
	const struct config *cfg = p->cfg;

	for (size_t i = 0; i < cfg->n_netdevs; i++) {
		bool used = false;

		for (size_t d = 0; d < cfg->n_devices && !used; d++) {
			const char *id = keyvals_get(&cfg->devices[d].props, "netdev");

			used = id && !strcmp(id, cfg->netdevs[i].id);
		}
		if (!used)
			log_warn("netdev %s has no peer", cfg->netdevs[i].id);
	}
}
