#include "vmm/base/inet.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <string.h>

#include "vmm/base/error.h"

int ip_family(enum ip_choice ipv4, enum ip_choice ipv6)
{
	if (ipv4 == IP_OFF && ipv6 == IP_OFF)
		return -EINVAL;
	if (ipv4 == IP_OFF || (ipv6 == IP_ON && ipv4 == IP_UNSET))
		return AF_INET6;
	if (ipv6 == IP_OFF || (ipv4 == IP_ON && ipv6 == IP_UNSET))
		return AF_INET;
	return AF_UNSPEC;
}

void sockaddr_list_fill(struct sockaddr_list *list, const struct addrinfo *from)
{
	list->n = 0;
	for (; from && list->n < SOCKADDR_LIST_MAX; from = from->ai_next) {
		memcpy(&list->addr[list->n], from->ai_addr, from->ai_addrlen);
		list->len[list->n++] = from->ai_addrlen;
	}
}

int inet_lookup(struct sockaddr_list *list, const char *host, const char *port, int family,
		int flags, struct err *err)
{
	struct addrinfo hints = {
	    .ai_family = family, .ai_socktype = SOCK_STREAM, .ai_flags = flags};
	struct addrinfo *found = NULL;
	int ret = getaddrinfo(host && *host ? host : NULL, port, &hints, &found);

	if (ret)
		return err_set(err, ret == EAI_NONAME ? ENOENT : EHOSTUNREACH,
			       host && strchr(host, ':')
				   ? "address resolution failed for [%s]:%s: %s"
				   : "address resolution failed for %s:%s: %s",
			       host ? host : "", port, gai_strerror(ret));
	sockaddr_list_fill(list, found);
	freeaddrinfo(found);
	return 0;
}

uint16_t sockaddr_port(const struct sockaddr_storage *ss)
{
	return ntohs(ss->ss_family == AF_INET6 ? ((const struct sockaddr_in6 *)ss)->sin6_port
					       : ((const struct sockaddr_in *)ss)->sin_port);
}

void sockaddr_set_port(struct sockaddr_storage *ss, uint16_t port)
{
	if (ss->ss_family == AF_INET6)
		((struct sockaddr_in6 *)ss)->sin6_port = htons(port);
	else
		((struct sockaddr_in *)ss)->sin_port = htons(port);
}
