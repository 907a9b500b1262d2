/* recover.c - pausing a postcopy and waiting for its source again (qmp-surface 2.1) */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "migration/migration.h"
#include "qmp/command.h"
#include "qmp/session.h"
#include "vmm/base/error.h"

static int migrate_pause(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	(void)arg;
	(void)ret;
	return migration_pause(call->mg, err);
}

struct recover {
	const char *uri;
};

static const struct qmp_member recover_members[] = {
    QMP_REQ(struct recover, uri, "uri"),
    {0},
};
static const struct qmp_type recover_type =
    QMP_OBJECT_TYPE(struct recover, "q_obj_migrate-recover-arg", recover_members);

static int migrate_recover(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	static const char prefix[] = "fd:";
	const struct migration_where where = {.uri = ((const struct recover *)arg)->uri};
	bool given = !strncmp(where.uri, prefix, strlen(prefix));
	int fd = -1;

	(void)ret;
	if (given && call->oob)
		return err_set(err, EINVAL,
			       "out of band the monitor's file descriptors cannot be had: execute "
			       "it in band, or give another kind of address than fd:");
	if (given)
		fd = qmp_session_fd(call->session, where.uri + strlen(prefix));
	if (fd >= 0)
		fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	return migration_recover(call->mg, &where, fd, call->oob, err);
}

const struct qmp_command qmp_recover_commands[] = {
    {"migrate-pause", NULL, NULL, migrate_pause, QMP_OOB},
    {"migrate-recover",           &recover_type, NULL, migrate_recover, QMP_OOB},
    {0       },
};
