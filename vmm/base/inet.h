/* inet.h - socket addresses of a host and port */
#ifndef MINIVMM_BASE_INET_H
#define MINIVMM_BASE_INET_H

#include <stdint.h>
#include <sys/socket.h>

struct addrinfo;
struct err;

#define SOCKADDR_LIST_MAX 8
struct sockaddr_list {
	struct sockaddr_storage addr[SOCKADDR_LIST_MAX];
	socklen_t len[SOCKADDR_LIST_MAX];
	int n;
};

/* What ipv4= or ipv6= says. */
enum ip_choice { IP_UNSET, IP_ON, IP_OFF };

/*
 * AF_UNSPEC, AF_INET or AF_INET6; -EINVAL when both are off.  One that is on
 * alone leaves the other out, as in QEMU.
 */
int ip_family(enum ip_choice ipv4, enum ip_choice ipv6);

void sockaddr_list_fill(struct sockaddr_list *list, const struct addrinfo *from);
/*
 * What a host ("" or NULL: any, or this one) and a port stand for, at least one
 * address.  'family' is an AF_ constant, 'flags' are getaddrinfo()'s.  Without
 * AI_NUMERICHOST a name server may be asked, for minutes: the caller
 * may not hold a lock that the main loop takes.  Any thread.
 */
int inet_lookup(struct sockaddr_list *list, const char *host, const char *port, int family,
		int flags, struct err *err);
uint16_t sockaddr_port(const struct sockaddr_storage *ss);
void sockaddr_set_port(struct sockaddr_storage *ss, uint16_t port);

#endif
