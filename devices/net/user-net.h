/*
 * user-net.h - the addresses and forwarding rules of -netdev user, from its options
 *
 * The defaults, the order of the checks and the words of QEMU's refusals are those of its
 * documentation of -netdev user and what it says.
 */
#ifndef MINIVMM_DEVICES_NET_USER_NET_H
#define MINIVMM_DEVICES_NET_USER_NET_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

struct err;
struct keyvals;

struct user_net {
	bool ipv4, ipv6, restricted;
	struct in_addr net, mask, host, dhcp, dns; /* network byte order */
	struct in6_addr prefix6, host6, dns6;
	uint8_t prefix6_len;
};

struct user_forward {
	bool udp;
	struct in_addr host, guest; /* 0: all of the host's; the first that DHCP gives out */
	uint16_t host_port, guest_port;
};

/* 'props' are those of the option, of the right type. */
int user_net_parse(struct user_net *out, const struct keyvals *props, struct err *err);
/* "[tcp|udp]:[ADDR]:PORT-[ADDR]:PORT" */
int user_forward_parse(struct user_forward *out, const char *rule, struct err *err);

#endif
