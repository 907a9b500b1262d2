/*
 * uri.c - migration addresses: a table of schemes, a parser each
 *
 * Parsing is pure: it opens and looks up nothing.  Numbers are decimal and bounded,
 * and a message about an unknown scheme lists all forms (FORMS).
 */
#include "migration/channel/uri.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"
#include "vmm/host.h"
#include "vmm/options/numbers.h"

#define FORMS "tcp:HOST:PORT, unix:PATH, fd:NAME, exec:COMMAND or file:PATH"

/* Decimal digits only, up to 'max'; *end is the first byte behind them. */
static int parse_number(const char *s, const char **end, uint64_t max, uint64_t *out)
{
	uint64_t v = 0;

	if (*s < '0' || *s > '9')
		return -EINVAL;
	for (; *s >= '0' && *s <= '9'; s++)
		if (__builtin_mul_overflow(v, 10, &v) ||
		    __builtin_add_overflow(v, (uint64_t)(*s - '0'), &v) || v > max)
			return -ERANGE;
	*end = s;
	*out = v;
	return 0;
}

static int parse_switch(const char *opt, const char *name, bool *out)
{
	size_t n = strlen(name);

	if (strncmp(opt, name, n) != 0 || (opt[n] != '=' && opt[n] != 0))
		return 0;
	if (!opt[n] || !strcmp(opt + n, "=on"))
		*out = true;
	else if (!strcmp(opt + n, "=off"))
		*out = false;
	else
		return -EINVAL;
	return 1;
}

static int parse_choice(const char *opt, const char *name, enum ip_choice *out)
{
	bool on = false;
	int ret = parse_switch(opt, name, &on);

	if (ret > 0)
		*out = on ? IP_ON : IP_OFF;
	return ret;
}

static int parse_tcp_option(struct migration_uri *u, const char *opt, enum ip_choice ip[2])
{
	uint64_t to;
	const char *end;
	int ret;

	if (!strncmp(opt, "to=", 3)) {
		ret = parse_number(opt + 3, &end, UINT16_MAX, &to);
		if (ret < 0 || *end)
			return -EINVAL;
		u->port_to = (uint16_t)to;
		return 0;
	}
	ret = parse_choice(opt, "ipv4", &ip[0]);
	if (!ret)
		ret = parse_choice(opt, "ipv6", &ip[1]);
	if (!ret)
		ret = parse_switch(opt, "keep-alive", &u->keep_alive);
	return ret > 0 ? 0 : -EINVAL;
}

static int parse_tcp_options(struct migration_uri *u, const char *s, struct err *err)
{
	CLEANUP(cleanup_free) char *copy = xstrdup(s);
	enum ip_choice ip[2] = {IP_UNSET, IP_UNSET};
	char *save = NULL;

	for (char *opt = strtok_r(copy, ",", &save); opt; opt = strtok_r(NULL, ",", &save))
		if (parse_tcp_option(u, opt, ip) < 0)
			return err_set(err, EINVAL,
				       "error parsing address '%s': '%s' is none of to=PORT, "
				       "ipv4=on|off, ipv6=on|off, keep-alive=on|off",
				       u->text, opt);
	u->family = ip_family(ip[0], ip[1]);
	if (u->family < 0)
		return err_set(err, EINVAL, "error parsing address '%s': neither ipv4 nor ipv6",
			       u->text);
	return 0;
}

/* "HOST:PORT", "[V6]:PORT", ":PORT"; options after a comma */
static int parse_tcp(struct migration_uri *u, const char *s, struct err *err)
{
	const char *comma, *host = s, *host_end, *end = NULL;
	uint64_t port = 0;
	int ret = -EINVAL;

	host_end = *s == '[' ? strchr(s, ']') : strchr(s, ':');
	if (host_end && *s == '[' && host_end[1] == ':') {
		host = s + 1;
		ret = parse_number(host_end + 2, &end, UINT16_MAX, &port);
	} else if (host_end && *s != '[') {
		ret = parse_number(host_end + 1, &end, UINT16_MAX, &port);
	}
	if (ret == -ERANGE)
		return err_set(err, EINVAL, "error parsing address '%s': no port is above 65535",
			       s);
	if (ret < 0 || (*end && *end != ','))
		return err_set(err, EINVAL,
			       "error parsing address '%s': tcp: wants HOST:PORT, [IPV6]:PORT or "
			       ":PORT",
			       s);
	u->host = xstrndup(host, (size_t)(host_end - host));
	u->port = u->port_to = (uint16_t)port;
	comma = *end ? end + 1 : end;
	u->text = xstrndup(s, (size_t)(end - s));
	return parse_tcp_options(u, comma, err);
}

static int parse_unix(struct migration_uri *u, const char *s, struct err *err)
{
	if (!*s)
		return err_set(err, EINVAL, "invalid Unix socket address: unix: wants a path");
	u->path = xstrdup(s);
	return 0;
}

static int parse_plain(struct migration_uri *u, const char *s, struct err *err)
{
	(void)err;
	u->path = xstrdup(s);
	return 0;
}

/* "PATH[,offset=N]" */
static int parse_file(struct migration_uri *u, const char *s, struct err *err)
{
	static const char key[] = ",offset=";
	const char *opt = strstr(s, key);

	if (opt && (opt_parse_size(opt + strlen(key), &u->offset) < 0 || u->offset > INT64_MAX))
		return err_set(err, EINVAL,
			       "error parsing address '%s': offset=N wants bytes: 4096, 0x1000, 4k",
			       s);
	u->path = opt ? xstrndup(s, (size_t)(opt - s)) : xstrdup(s);
	if (!*u->path)
		return err_set(err, EINVAL, "error parsing address '%s': the file has no name", s);
	return 0;
}

static const struct {
	const char *prefix;
	enum uri_kind kind;
	int (*parse)(struct migration_uri *u, const char *rest, struct err *err);
} schemes[] = {
    {"tcp:",  URI_TCP,  parse_tcp  },
    {"unix:", URI_UNIX, parse_unix },
    {"fd:",   URI_FD,   parse_plain},
    {"exec:", URI_EXEC, parse_plain},
    {"file:", URI_FILE, parse_file },
};

int uri_parse(struct migration_uri *u, const char *uri, bool incoming, struct err *err)
{
	*u = (struct migration_uri){0};
	for (size_t i = 0; i < ARRAY_LEN(schemes); i++) {
		size_t n = strlen(schemes[i].prefix);
		int ret;

		if (strncmp(uri, schemes[i].prefix, n) != 0)
			continue;
		u->kind = schemes[i].kind;
		ret = schemes[i].parse(u, uri + n, err);
		if (ret < 0)
			uri_fini(u);
		else if (!u->text)
			u->text = xstrdup(uri);
		return ret;
	}
	if (!strncmp(uri, "rdma:", 5))
		return err_set(err, ENOTSUP,
			       "RDMA is not supported by minivmm: use tcp:, unix:, fd:, exec: or "
			       "file:");
	if (incoming)
		return err_set(err, EINVAL, "unknown migration protocol: %s (" FORMS ")", uri);
	return err_set(err, EINVAL,
		       "Parameter 'uri' expects a valid migration protocol (" FORMS "), not '%s'",
		       uri);
}

void uri_anchor(struct migration_uri *u, const struct host *h)
{
	char *path;

	if (!h || !h->folder)
		return;
	if (u->kind == URI_EXEC) {
		free(u->folder);
		u->folder = xstrdup(h->folder);
	} else if (u->kind == URI_UNIX || u->kind == URI_FILE) {
		path = host_path(h, u->path);
		free(u->path);
		u->path = path;
	}
}

static void strings_free(char **v)
{
	for (char **s = v; s && *s; s++)
		free(*s);
	free(v);
}

/* Ends with NULL; NULL is fine. */
static char **strings_copy(char *const *v)
{
	size_t n = 0;
	char **copy;

	if (!v)
		return NULL;
	while (v[n])
		n++;
	copy = xcalloc(n + 1, sizeof(*copy));
	for (size_t i = 0; i < n; i++)
		copy[i] = xstrdup(v[i]);
	return copy;
}

static char *string_copy(const char *s)
{
	return s ? xstrdup(s) : NULL;
}

int uri_take(struct migration_uri *u, const struct migration_where *w, bool incoming,
	     struct err *err)
{
	const struct migration_uri *from = w->members;

	if (!from)
		return uri_parse(u, w->uri, incoming, err);
	*u = *from;
	u->text = string_copy(from->text);
	u->path = string_copy(from->path);
	u->host = string_copy(from->host);
	u->folder = string_copy(from->folder);
	u->argv = strings_copy(from->argv);
	return 0;
}

char *uri_spell(const struct migration_where *w)
{
	if (!w->members)
		return xstrdup(w->uri);
	return xasprintf("%s%s", w->members->kind == URI_TCP ? "tcp:" : "", w->members->text);
}

void uri_fini(struct migration_uri *u)
{
	strings_free(u->argv);
	free(u->folder);
	free(u->text);
	free(u->path);
	free(u->host);
	*u = (struct migration_uri){0};
}
