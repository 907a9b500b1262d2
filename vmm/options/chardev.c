/*
 * chardev.c - -chardev, and what each use of a chardev refers to
 *
 * Uses (-mon, -serial chardev:ID) may stand before the chardev they name, so
 * they are collected and looked up at the end of the command line.  A chardev
 * has one user.
 */
#include <errno.h>
#include <stdlib.h>

#include "vmm/base/error.h"
#include "vmm/base/inet.h"
#include "vmm/base/log.h"
#include "vmm/base/units.h"
#include "vmm/options/internal.h"

#define AT(member) offsetof(struct cfg_chardev, member)
#define ON_OFF     "on|off"
#define WHY_PLAIN  "the bytes are sent as they are"

#define CHARDEV_PROPS                                                                              \
	PROP_SEEN("backend", "null|stdio|file|socket|pty", "the kind of chardev"),                 \
	    PROP_SEEN("id", "ID", "the name for -mon chardev= and -serial chardev:"),              \
	    PROP("logfile", OPT_STRING, AT(logfile), "PATH",                                       \
		 "a copy of all output goes to this file"),                                        \
	    PROP("logappend", OPT_BOOL, AT(logappend), ON_OFF,                                     \
		 "keep what the log file holds (default off)"),                                    \
	    PROP_ONLY("mux", OPT_BOOL, OPT_NOWHERE, ON_OFF, "off",                                 \
		      "a chardev has one user; use one for each", "several users")

static const struct opt_prop null_props[] = {CHARDEV_PROPS, PROP_END};

static const struct opt_prop stdio_props[] = {
    CHARDEV_PROPS,
    PROP("signal", OPT_BOOL, AT(signal), ON_OFF, "^C ends minivmm (default on)"),
    PROP_END,
};

static const struct opt_prop file_props[] = {
    CHARDEV_PROPS,
    PROP("path", OPT_STRING, AT(path), "PATH", "the file to write"),
    PROP("append", OPT_BOOL, AT(append), ON_OFF, "keep what the file holds (default off)"),
    PROP_REFUSED("input-path", "a file chardev has no input"),
    PROP_END,
};

static const struct opt_prop socket_props[] = {
    CHARDEV_PROPS,
    PROP("path", OPT_STRING, AT(path), "PATH", "a unix socket"),
    PROP("host", OPT_STRING, AT(host), "HOST", "tcp: name or address"),
    PROP("port", OPT_STRING, AT(port), "PORT", "tcp: number or service"),
    PROP("fd", OPT_FD, AT(fd), "N", "an open socket, listening if server=on"),
    PROP("server", OPT_BOOL, AT(server), ON_OFF, "listen (default off: connect)"),
    PROP("wait", OPT_BOOL, AT(wait), ON_OFF,
	 "server: start the guest when a client has come (default on)"),
    PROP("reconnect", OPT_U32, OPT_NOWHERE, "S",
	 "client: try again after so many seconds (default 0: never)"),
    PROP("reconnect-ms", OPT_U32, OPT_NOWHERE, "MS", "the same in milliseconds"),
    PROP_ONLY("nodelay", OPT_BOOL, OPT_NOWHERE, ON_OFF, "on", "small writes are sent at once",
	      "send small writes at once"),
    PROP_ONLY("delay", OPT_BOOL, OPT_NOWHERE, ON_OFF, "off", "small writes are sent at once",
	      "gather small writes"),
    PROP_ONLY("telnet", OPT_BOOL, OPT_NOWHERE, ON_OFF, "off", WHY_PLAIN, "the telnet protocol"),
    PROP_ONLY("tn3270", OPT_BOOL, OPT_NOWHERE, ON_OFF, "off", WHY_PLAIN, "the tn3270 protocol"),
    PROP_ONLY("websocket", OPT_BOOL, OPT_NOWHERE, ON_OFF, "off", WHY_PLAIN,
	      "the websocket protocol"),
    PROP_ONLY("abstract", OPT_BOOL, OPT_NOWHERE, ON_OFF, "off", "use a socket in the file system",
	      "abstract socket name"),
    PROP_REFUSED("tight", "use a socket in the file system"),
    PROP_REFUSED("tls-creds", "TLS is not offered"),
    PROP_REFUSED("tls-authz", "TLS is not offered"),
    PROP_REFUSED("to", "give the port itself"),
    PROP("ipv4", OPT_CHOICE, AT(ipv4), ON_OFF, "tcp: use IPv4 (default: what the host stands for)"),
    PROP("ipv6", OPT_CHOICE, AT(ipv6), ON_OFF,
	 "tcp: use IPv6; [::] takes IPv4 too unless ipv4=off"),
    PROP_END,
};

static const struct opt_prop pty_props[] = {
    CHARDEV_PROPS,
    PROP_REFUSED("path", "query-chardev tells the path of the terminal"),
    PROP_END,
};

const struct opt_list opt_pty_list = {"-chardev pty", "backend", .props = pty_props};
const struct opt_list opt_null_list = {"-chardev null", "backend", .props = null_props};
const struct opt_list opt_stdio_list = {"-chardev stdio", "backend", .props = stdio_props};
const struct opt_list opt_file_list = {"-chardev file", "backend", .props = file_props};
const struct opt_list opt_socket_list = {"-chardev socket", "backend", .props = socket_props};

static const struct opt_type backends[] = {
    {"null",   &opt_null_list  },
    {"stdio",  &opt_stdio_list },
    {"file",   &opt_file_list  },
    {"socket", &opt_socket_list},
    {"pty",    &opt_pty_list   },
};

const struct opt_type *opt_chardev_types(size_t *n)
{
	*n = ARRAY_LEN(backends);
	return backends;
}

#define OTHER_BACKENDS                                                                             \
	"pipe|ringbuf|memory|udp|vc|serial|tty|parallel|parport|msmouse|wctablet|braille|"         \
	"testdev|mux|spicevmc|spiceport|qemu-vdagent|dbus|console"

static int backend_list(const char *type, const struct opt_list **list, struct err *err)
{
	char near[OPT_NEAR_BYTES];

	for (size_t i = 0; i < ARRAY_LEN(backends); i++) {
		if (!strcmp(backends[i].name, type)) {
			*list = backends[i].list;
			return 0;
		}
	}
	if (opt_word_index(OTHER_BACKENDS, type, strlen(type)) >= 0)
		return err_set(
		    err, ENOTSUP,
		    "chardev '%s' is not supported: use socket, file, pty, stdio or null", type);
	return err_set(err, EINVAL, "'" OPT_QUOTE "' is not a valid char driver name%s", type,
		       opt_near_words(type, "null|stdio|file|socket|pty", near));
}

int opt_reconnect(const struct keyvals *kv, bool server, uint64_t *ms, struct err *err)
{
	const char *seconds = keyvals_get(kv, "reconnect"),
		   *given = keyvals_get(kv, "reconnect-ms");

	if (seconds && given)
		return err_set(err, EINVAL,
			       "'reconnect' and 'reconnect-ms' are mutually exclusive");
	*ms = 0;
	if (seconds || given) /* the table has checked the number */
		(void)opt_parse_u64(seconds ? seconds : given, ms);
	if (seconds)
		*ms *= 1000;
	if (server && *ms)
		return err_set(err, EINVAL,
			       "'%s' option is incompatible with socket in server listen mode",
			       seconds ? "reconnect" : "reconnect-ms");
	return 0;
}

static int check_socket(struct cfg_chardev *c, const struct keyvals *kv, struct err *err)
{
	bool waits = keyvals_get(kv, "wait");
	uint64_t port;

	if ((c->path != NULL) + (c->host != NULL) + (c->fd >= 0) > 1)
		return err_set(err, EINVAL,
			       "None or one of 'path', 'fd' or 'host' option required.");
	if (!c->path && !c->host && c->fd < 0)
		return err_set(err, EINVAL, "chardev: socket: no path, host or fd given");
	if (c->path && !*c->path)
		return err_set(err, EINVAL, "chardev: socket: the path is empty");
	if (c->host && (!c->port || !*c->port))
		return err_set(err, EINVAL, "chardev: socket: no port given");
	if (c->port && opt_parse_u64(c->port, &port) == 0 && port > 65535)
		return err_set(err, ERANGE, "chardev: socket: port %llu is above 65535",
			       (unsigned long long)port);
	if (ip_family(c->ipv4, c->ipv6) < 0)
		return err_set(err, EINVAL, "chardev: socket: ipv4=off and ipv6=off leave nothing");
	if (!c->server && waits)
		return err_set(err, EINVAL,
			       "'wait' option is incompatible with socket in "
			       "client connect mode");
	if (c->server && !waits)
		c->wait = true;
	return opt_reconnect(kv, c->server, &c->reconnect_ms, err);
}

static int check_chardev(struct opt_parse *p, struct cfg_chardev *c, const struct keyvals *kv,
			 struct err *err)
{
	if (config_chardev(p->cfg, c->id))
		return opt_duplicate(c->id, "chardev", err);
	if (!strcmp(c->type, "file") && (!c->path || !*c->path))
		return err_set(err, EINVAL, "chardev: file: no filename given");
	if (!strcmp(c->type, "socket"))
		return check_socket(c, kv, err);
	if (!strcmp(c->type, "stdio")) {
		if (p->stdio_where)
			return err_set(err, EBUSY,
				       "cannot use stdio by multiple character devices");
		p->stdio_where = opt_where(p);
	}
	return 0;
}

int opt_add_chardev(struct opt_parse *p, const char *type, const char *id, const struct keyvals *kv,
		    struct err *err)
{
	struct cfg_chardev c = {.fd = -1, .signal = true};
	const struct opt_list *list = NULL;
	int ret = backend_list(type, &list, err);

	if (ret < 0)
		return ret;
	c.type = xstrdup(type);
	c.id = xstrdup(id);
	c.where = opt_where(p);
	ret = opt_apply(p, list, &c, kv, err);
	if (ret == 0)
		ret = check_chardev(p, &c, kv, err);
	/* Either the config has it now, or config_fini() frees the strings. */
	*OPT_ADD(p->cfg->chardevs, p->cfg->n_chardevs) = c;
	return ret;
}

int opt_chardev(struct opt_parse *p, struct err *err)
{
	CLEANUP(keyvals_fini) struct keyvals kv = {0};
	const char *type, *id;
	int ret;

	if (opt_type_help(p, "Available chardev backend types:", backends, ARRAY_LEN(backends)))
		return 0;
	ret = opt_split(&kv, p->val, "backend", false, err);
	if (ret < 0)
		return ret;
	type = keyvals_get(&kv, "backend");
	id = keyvals_get(&kv, "id");
	if (!id)
		return err_set(err, EINVAL, "chardev: no id specified");
	ret = opt_need_id("id", id, err);
	if (ret < 0)
		return ret;
	if (!type)
		return err_set(err, EINVAL, "chardev: \"" OPT_QUOTE "\" missing backend", id);
	return opt_add_chardev(p, type, id, &kv, err);
}

void opt_add_ref(struct opt_parse *p, int kind, const char *chardev)
{
	struct opt_ref *r = OPT_ADD(p->refs, p->n_refs);

	r->kind = kind == REF_SERIAL ? REF_SERIAL : REF_MONITOR;
	r->chardev = xstrdup(chardev);
	r->where = opt_where(p);
}

static int check_ref(const struct opt_parse *p, size_t i, struct err *err)
{
	const struct opt_ref *r = &p->refs[i];

	if (!config_chardev(p->cfg, r->chardev)) {
		if (r->kind == REF_SERIAL)
			return err_set(err, ENOENT,
				       "%s: could not connect serial device to character backend "
				       "'chardev:" OPT_QUOTE "'",
				       r->where, r->chardev);
		return err_set(err, ENOENT, "%s: chardev \"" OPT_QUOTE "\" not found", r->where,
			       r->chardev);
	}
	for (size_t other = 0; other < i; other++) {
		if (!strcmp(p->refs[other].chardev, r->chardev))
			return err_set(err, EBUSY, "%s: Device '" OPT_QUOTE "' is in use", r->where,
				       r->chardev);
	}
	return 0;
}

int opt_check_chardevs(struct opt_parse *p, struct err *err)
{
	for (size_t i = 0; i < p->n_refs; i++) {
		int ret = check_ref(p, i, err);

		if (ret < 0)
			return ret;
	}
	if (p->cfg->daemonize && p->stdio_where)
		return err_set(err, EINVAL, "%s: cannot use stdio with -daemonize", p->stdio_where);
	return 0;
}
