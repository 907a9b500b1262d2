/* types.h - QMP types that more than one table uses */
#ifndef MINIVMM_QMP_TYPES_H
#define MINIVMM_QMP_TYPES_H

#include <stdbool.h>

#include "qmp/schema.h"

/* SocketAddress; what of it is used depends on the type, in the order of enum migration_address's.
 */
enum qmp_socket_type {
	QMP_SOCKET_INET,
	QMP_SOCKET_UNIX,
	QMP_SOCKET_FD,
	QMP_SOCKET_VSOCK, /* of the interface: minivmm has none */
};

struct qmp_socket_address {
	int type; /* enum qmp_socket_type */
	const char *host, *port;
	bool has_ipv4, ipv4, has_ipv6, ipv6;
	bool has_to, has_keep_alive, keep_alive; /* of an address to listen at, to connect to */
	uint32_t to;
	const char *path; /* unix: path; fd: the number */
			  /* vsock: cid in 'host', port in 'port' */
};

extern const struct qmp_type qmp_socket_address_type;
/* Of its kinds, what is not the type: over the same struct. */
extern const struct qmp_type qmp_inet_address_type, qmp_unix_address_type, qmp_fd_address_type;
extern const struct qmp_type qmp_migration_status_type;              /* enum migration_status */
extern const struct qmp_type qmp_run_state_type;                     /* enum runstate */
extern const struct qmp_type qmp_job_status_type;                    /* enum job_status */
extern const struct qmp_type qmp_colo_mode_type, qmp_colo_exit_type; /* the first value: none */

#endif
