/* net-user.c - -netdev user and passt: networks without rights on the host */
#include "vmm/options/internal.h"

#define AT(member) offsetof(struct cfg_netdev, member)
#define ON_OFF     "on|off"

/* What has no place in cfg_netdev is read by the back end (devices/net/user-net.c, passt.c). */
#define TEXT(k, v, h) PROP(k, OPT_STRING, OPT_NOWHERE, v, h)
#define SWITCH(k, h)  PROP(k, OPT_BOOL, OPT_NOWHERE, ON_OFF, h)

#define WHY_SMB "run a file server on the host, or a virtual disk"

static const struct opt_prop user_props[] = {
    PROP_SEEN("type", "user", "a network inside minivmm, without any right on the host"),
    PROP_NEEDED("id", OPT_ID, AT(id), NULL, "the name for -device netdev="),
    SWITCH("ipv4", "IPv4 (default on)"),
    SWITCH("ipv6", "IPv6 (default on)"),
    TEXT("net", "ADDR[/MASK]", "the guest's network (default 10.0.2.0/24)"),
    TEXT("host", "ADDR", "the host in it (default the network's .2)"),
    TEXT("dns", "ADDR", "the name server in it (default the network's .3)"),
    TEXT("dhcpstart", "ADDR",
	 "the first of 16 addresses that DHCP gives out (default the network's .15)"),
    SWITCH("restrict", "the guest reaches nothing outside but by hostfwd= (default off)"),
    TEXT("hostname", "NAME", "the guest's name, by DHCP"),
    TEXT("domainname", "NAME", "the guest's domain, by DHCP"),
    TEXT("dnssearch", "DOMAIN", "a domain to look names up in; may come several times"),
    TEXT("hostfwd", "[tcp|udp]:[ADDR]:PORT-[ADDR]:PORT",
	 "a port of the host that leads to one of the guest; may come several times"),
    TEXT("tftp", "FOLDER", "files that the guest may read by TFTP"),
    TEXT("tftp-server-name", "NAME", "the TFTP server's name, by DHCP"),
    TEXT("bootfile", "FILE", "the file to boot, by DHCP"),
    TEXT("ipv6-prefix", "ADDR", "the guest's IPv6 network (default fec0::)"),
    {.key = "ipv6-prefixlen",
									  .kind = OPT_U64,
									  .off = OPT_NOWHERE,
									  .max = 126,
									  .otherwise = "64",
									  .help = "bits of it"},
    TEXT("ipv6-host", "ADDR", "the host in it (default the prefix with 2)"),
    TEXT("ipv6-dns", "ADDR", "the name server in it (default the prefix with 3)"),
    PROP_REFUSED("ip", "use net="),
    PROP_REFUSED("ipv6-net", "use ipv6-prefix= and ipv6-prefixlen="),
    PROP_REFUSED("guestfwd", "let the guest connect to host= and a port of the host"),
    PROP_REFUSED("smb", WHY_SMB),
    PROP_REFUSED("smbserver", WHY_SMB),
    PROP_END,
};

const struct opt_list opt_user_list = {
    .title = "-netdev user",
    .implied = "type",
    .style = OPT_STYLE_OPTS,
    .props = user_props,
};

static const struct opt_prop passt_props[] = {
    PROP_SEEN("type", "passt", "a network made by the program passt, without rights on the host"),
    PROP_NEEDED("id", OPT_ID, AT(id), NULL, "the name for -device netdev="),
    TEXT("path", "PATH", "the program (default passt, looked up in PATH)"),
    SWITCH("quiet", "passt says nothing but errors (default on)"),
    PROP_ONLY("vhost-user", OPT_BOOL, OPT_NOWHERE, ON_OFF, "off",
	      "frames pass through minivmm's own I/O thread", "passt serves the queues itself"),
    {.key = "mtu",
					 .kind = OPT_U64,
					 .off = OPT_NOWHERE,
					 .max = 65535,
					 .help = "the MTU that the guest is told; 0: none"},
    TEXT("address", "ADDR", "the guest's address (default the host's)"),
    TEXT("netmask", "MASK", "its IPv4 network mask (default the host's)"),
    TEXT("mac", "MAC", "the Ethernet address of the gateway"),
    TEXT("gateway", "ADDR", "the gateway (default the host's)"),
    TEXT("interface", "NAME", "the host's interface that these are from"),
    TEXT("outbound", "ADDR", "the host's address that connections come from"),
    TEXT("outbound-if4", "NAME", "the host's interface for IPv4"),
    TEXT("outbound-if6", "NAME", "the host's interface for IPv6"),
    TEXT("dns", "ADDR", "the name server (default the host's)"),
    TEXT("search", "DOMAIN", "a domain to look names up in; may come several times"),
    TEXT("fqdn", "NAME", "the guest's name, by DHCP"),
    SWITCH("dhcp-dns", "DHCP tells name servers (default on)"),
    SWITCH("dhcp-search", "DHCP tells domains (default on)"),
    TEXT("map-host-loopback", "ADDR", "an address that leads to the host"),
    TEXT("map-guest-addr", "ADDR", "an address that leads to the guest's at the host"),
    TEXT("dns-forward", "ADDR", "an address whose name server is the host's"),
    TEXT("dns-host", "ADDR", "the name server that dns-forward= leads to"),
    SWITCH("tcp", "TCP (default on)"),
    SWITCH("udp", "UDP (default on)"),
    SWITCH("icmp", "ICMP (default on)"),
    SWITCH("dhcp", "a DHCP server (default on)"),
    SWITCH("ndp", "IPv6 neighbour discovery (default on)"),
    SWITCH("dhcpv6", "a DHCPv6 server (default on)"),
    SWITCH("ra", "IPv6 router advertisements (default on)"),
    SWITCH("freebind", "listen on addresses that the host does not have (default off)"),
    SWITCH("ipv4", "IPv4 (default on)"),
    SWITCH("ipv6", "IPv6 (default on)"),
    TEXT("tcp-ports", "SPEC", "TCP ports that lead to the guest; may come several times"),
    TEXT("udp-ports", "SPEC", "UDP ports that lead to the guest; may come several times"),
    TEXT("param", "WORD", "more for passt's command line; may come several times"),
    PROP_END,
};

const struct opt_list opt_passt_list = {
    .title = "-netdev passt",
    .implied = "type",
    .style = OPT_STYLE_OPTS,
    .props = passt_props,
};
