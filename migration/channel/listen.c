/* listen.c - the listening sockets of an address, and the address that they really have */
#include "migration/channel/listen.h"

#include <errno.h>
#include <netdb.h>
#include <string.h>
#include <sys/socket.h>

#include "migration/channel/address.h"
#include "migration/channel/uri.h"
#include "vmm/base/error.h"
#include "vmm/base/listen.h"

static int say_where(const struct listen_set *set, const struct migration_uri *uri,
		     struct migration_address *addr, struct err *err)
{
	struct sockaddr_storage real = {0};
	socklen_t len = sizeof(real);

	if (getsockname(set->fd[0], (struct sockaddr *)&real, &len) < 0 ||
	    getnameinfo((const struct sockaddr *)&real, len, addr->host, sizeof(addr->host),
			addr->port, sizeof(addr->port), NI_NUMERICHOST | NI_NUMERICSERV) != 0)
		return err_set(err, EIO, "cannot learn the address of the socket on %s", uri->text);
	addr->type = ADDR_INET;
	addr->ipv4 = real.ss_family == AF_INET;
	addr->ipv6 = real.ss_family == AF_INET6;
	return 0;
}

int channel_listen(struct listen_set *set, const struct migration_uri *uri,
		   const struct sockaddr_list *list, struct migration_address *addr,
		   struct err *err)
{
	int ret;

	*addr = (struct migration_address){0};
	if (uri->kind == URI_UNIX) {
		ret = listen_unix(set, uri->path, err);
		if (ret < 0)
			return ret;
		addr->type = ADDR_UNIX;
		memcpy(addr->path, uri->path, strlen(uri->path) + 1);
		return 0;
	}
	ret = listen_inet(set, list, uri->family, uri->port_to, uri->text, err);
	return ret < 0 ? ret : say_where(set, uri, addr, err);
}
