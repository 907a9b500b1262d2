/* address.h - where an incoming migration is awaited, as query-migrate tells it (qmp-surface 3.3)
 */
#ifndef MINIVMM_MIGRATION_ADDRESS_H
#define MINIVMM_MIGRATION_ADDRESS_H

#include <stdbool.h>

struct migration_address {
	enum { ADDR_INET, ADDR_UNIX, ADDR_FD } type;
	char host[256], port[8], path[108]; /* path: also the fd's number */
	bool ipv4, ipv6;
};

#endif
