#include "devices/net/user-net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"
#include "vmm/options/config.h"

#define MAX_PREFIX6     126
#define DEFAULT_PREFIX6 64

/* What the option says of this key, if it says something. */
static int parse_ipv4(const struct keyvals *props, const char *key, const char *what,
		      struct in_addr *out, struct err *err)
{
	const char *val = keyvals_get(props, key);

	if (val && !inet_aton(val, out))
		return err_set(err, EINVAL, "Failed to parse %s: %s=%.64s is not an IPv4 address",
			       what, key, val);
	return 0;
}

static int parse_ipv6(const struct keyvals *props, const char *key, const char *what,
		      struct in6_addr *out, struct err *err)
{
	const char *val = keyvals_get(props, key);

	if (val && inet_pton(AF_INET6, val, out) != 1)
		return err_set(err, EINVAL,
			       "Failed to parse IPv6 %s: %s=%.64s is not an IPv6 address", what,
			       key, val);
	return 0;
}

/* The mask of a network that is given without one. */
static uint32_t class_mask(uint32_t addr)
{
	static const struct {
		uint32_t mask, value, net;
	} classes[] = {
	    {0x80000000, 0,          0xff000000}, /* A */
	    {0xfff00000, 0xac100000, 0xfff00000}, /* 172.16/12 */
	    {0xc0000000, 0x80000000, 0xffff0000}, /* B */
	    {0xffff0000, 0xc0a80000, 0xffff0000}, /* 192.168/16 */
	    {0xffff0000, 0xc6120000, 0xfffe0000}, /* 198.18/15 */
	    {0xe0000000, 0xe0000000, 0xffffff00}, /* multicast and reserved */
	};

	for (size_t i = 0; i < ARRAY_LEN(classes); i++)
		if ((addr & classes[i].mask) == classes[i].value)
			return classes[i].net;
	return 0xfffffff0;
}

static int parse_mask(const char *text, struct in_addr *mask, struct err *err)
{
	char *end;
	long bits = strtol(text, &end, 10);

	if (*end || end == text) {
		if (!inet_aton(text, mask))
			return err_set(err, EINVAL,
				       "Failed to parse netmask: '%.64s' is neither a number of "
				       "bits nor a mask",
				       text);
		return 0;
	}
	if (bits < 4 || bits > 32)
		return err_set(err, EINVAL, "Invalid netmask provided (must be in range 4-32)");
	mask->s_addr = htonl((uint32_t)(0xffffffffULL << (32 - bits)));
	return 0;
}

/* net=ADDR[/MASK], and the addresses in it that other options may change. */
static int parse_net(struct user_net *u, const char *text, struct err *err)
{
	CLEANUP(cleanup_free) char *addr = xstrdup(text);
	char *slash = strchr(addr, '/');
	int ret = 0;

	if (slash)
		*slash = '\0';
	if (!inet_aton(addr, &u->net))
		return err_set(err, EINVAL,
			       "Failed to parse netmask: net=%.64s is not ADDRESS[/MASK]", text);
	if (slash)
		ret = parse_mask(slash + 1, &u->mask, err);
	else
		u->mask.s_addr = htonl(class_mask(ntohl(u->net.s_addr)));
	u->net.s_addr &= u->mask.s_addr;
	u->host.s_addr = u->net.s_addr | (htonl(0x0202) & ~u->mask.s_addr);
	u->dhcp.s_addr = u->net.s_addr | (htonl(0x020f) & ~u->mask.s_addr);
	u->dns.s_addr = u->net.s_addr | (htonl(0x0203) & ~u->mask.s_addr);
	return ret;
}

static bool outside(const struct user_net *u, struct in_addr a)
{
	return (a.s_addr & u->mask.s_addr) != u->net.s_addr;
}

static int ipv4_addresses(struct user_net *u, const struct keyvals *props, struct err *err)
{
	const char *net = keyvals_get(props, "net");
	int ret = parse_net(u, net ? net : "10.0.2.0/24", err);

	if (ret >= 0)
		ret = parse_ipv4(props, "host", "host", &u->host, err);
	if (ret >= 0)
		ret = parse_ipv4(props, "dns", "DNS", &u->dns, err);
	if (ret >= 0)
		ret = parse_ipv4(props, "dhcpstart", "DHCP start address", &u->dhcp, err);
	if (ret < 0)
		return ret;
	if (outside(u, u->host))
		return err_set(err, EINVAL, "Host doesn't belong to network: change host= or net=");
	if (u->restricted && outside(u, u->dns))
		return err_set(err, EINVAL,
			       "DNS doesn't belong to network, as restrict=on wants it: change "
			       "dns= or net=");
	if (u->dns.s_addr == u->host.s_addr)
		return err_set(err, EINVAL,
			       "DNS must be different from host: change dns= or host=");
	if (outside(u, u->dhcp))
		return err_set(err, EINVAL,
			       "DHCP doesn't belong to network: change dhcpstart= or net=");
	if (u->dhcp.s_addr == u->host.s_addr || u->dhcp.s_addr == u->dns.s_addr)
		return err_set(err, EINVAL,
			       "DHCP must be different from host and DNS: change dhcpstart=");
	return 0;
}

static bool same_net6(const struct user_net *u, const struct in6_addr *a)
{
	unsigned bytes = u->prefix6_len / 8, bits = u->prefix6_len % 8;

	if (memcmp(a->s6_addr, u->prefix6.s6_addr, bytes) != 0)
		return false;
	return !bits || !((a->s6_addr[bytes] ^ u->prefix6.s6_addr[bytes]) >> (8 - bits));
}

static int ipv6_addresses(struct user_net *u, const struct keyvals *props, struct err *err)
{
	const char *len = keyvals_get(props, "ipv6-prefixlen");
	unsigned long bits = len ? strtoul(len, NULL, 0) : 0;
	int ret;

	(void)inet_pton(AF_INET6, "fec0::", &u->prefix6);
	ret = parse_ipv6(props, "ipv6-prefix", "prefix", &u->prefix6, err);
	if (ret < 0)
		return ret;
	if (bits > MAX_PREFIX6)
		return err_set(err, EINVAL,
			       "Invalid IPv6 prefix provided (IPv6 prefix length must be between 0 "
			       "and 126)");
	u->prefix6_len = bits ? (uint8_t)bits : DEFAULT_PREFIX6; /* QEMU's 0 is none given, too */
	u->host6 = u->dns6 = u->prefix6;
	u->host6.s6_addr[15] |= 2;
	u->dns6.s6_addr[15] |= 3;
	ret = parse_ipv6(props, "ipv6-host", "host", &u->host6, err);
	if (ret >= 0)
		ret = parse_ipv6(props, "ipv6-dns", "DNS", &u->dns6, err);
	if (ret < 0)
		return ret;
	if (!same_net6(u, &u->host6))
		return err_set(
		    err, EINVAL,
		    "IPv6 Host doesn't belong to network: change ipv6-host= or ipv6-prefix=");
	if (u->restricted && !same_net6(u, &u->dns6))
		return err_set(err, EINVAL,
			       "IPv6 DNS doesn't belong to network, as restrict=on wants it: "
			       "change ipv6-dns= or ipv6-prefix=");
	return 0;
}

/* One IP only, when the other is given alone or turned off; both without a word. */
static int choose_ip(struct user_net *u, const struct keyvals *props, struct err *err)
{
	const char *v4 = keyvals_get(props, "ipv4"), *v6 = keyvals_get(props, "ipv6");

	u->ipv4 = keyvals_bool(props, "ipv4", !(v6 && keyvals_bool(props, "ipv6", false)));
	u->ipv6 = keyvals_bool(props, "ipv6", !(v4 && keyvals_bool(props, "ipv4", false)));
	if (!u->ipv4 && (keyvals_get(props, "net") || keyvals_get(props, "host") ||
			 keyvals_get(props, "dns") || keyvals_get(props, "dhcpstart")))
		return err_set(err, EINVAL,
			       "IPv4 disabled but netmask/host/dns provided: leave net=, host=, "
			       "dns= and dhcpstart= out, or give ipv4=on");
	if (!u->ipv6 && (keyvals_get(props, "ipv6-prefix") || keyvals_get(props, "ipv6-host") ||
			 keyvals_get(props, "ipv6-dns")))
		return err_set(err, EINVAL,
			       "IPv6 disabled but prefix/host6/dns6 provided: leave ipv6-prefix=, "
			       "ipv6-host= and ipv6-dns= out, or give ipv6=on");
	if (!u->ipv4 && !u->ipv6)
		return err_set(err, EINVAL, "IPv4 and IPv6 disabled: turn one on");
	return 0;
}

int user_net_parse(struct user_net *out, const struct keyvals *props, struct err *err)
{
	struct user_net u = {.restricted = keyvals_bool(props, "restrict", false)};
	int ret = choose_ip(&u, props, err);

	if (ret >= 0)
		ret = ipv4_addresses(&u, props, err);
	if (ret >= 0)
		ret = ipv6_addresses(&u, props, err);
	if (ret >= 0)
		*out = u;
	return ret;
}

/* ---- forwarding rules ---- */

/* Cut the text at 'c'; returns what is behind it, NULL: there is no 'c'. */
static char *cut(char *text, char c)
{
	char *at = strchr(text, c);

	if (at)
		*at++ = '\0';
	return at;
}

static bool parse_port(const char *text, unsigned long min, uint16_t *port)
{
	char *end;
	unsigned long v = strtoul(text, &end, 10);

	if (*text < '0' || *text > '9' || *end || v < min || v > UINT16_MAX)
		return false;
	*port = (uint16_t)v;
	return true;
}

/* NULL, or what is wrong with it. */
static const char *parse_rule(struct user_forward *f, char *proto)
{
	char *addr = cut(proto, ':'), *port = addr ? cut(addr, ':') : NULL, *guest, *guest_port;

	if (!port)
		return "No : separators";
	f->udp = strcmp(proto, "udp") == 0;
	if (!f->udp && *proto && strcmp(proto, "tcp") != 0)
		return "Bad protocol name";
	guest = cut(port, '-');
	guest_port = guest ? cut(guest, ':') : NULL;
	if (!guest)
		return "Bad host port separator";
	if (!guest_port)
		return "Missing guest address";
	if (*addr && !inet_aton(addr, &f->host))
		return "Bad host address";
	if (!parse_port(port, 0, &f->host_port))
		return "Bad host port";
	if (*guest && !inet_aton(guest, &f->guest))
		return "Bad guest address";
	if (!parse_port(guest_port, 1, &f->guest_port))
		return "Bad guest port";
	return NULL;
}

int user_forward_parse(struct user_forward *out, const char *rule, struct err *err)
{
	CLEANUP(cleanup_free) char *text = xstrdup(rule);
	struct user_forward f = {0};
	const char *wrong = parse_rule(&f, text);

	if (wrong)
		return err_set(err, EINVAL,
			       "Invalid host forwarding rule '%.96s' (%s): write "
			       "[tcp|udp]:[HOST-ADDRESS]:PORT-[GUEST-ADDRESS]:PORT",
			       rule, wrong);
	*out = f;
	return 0;
}
