/* fdset.c - descriptor sets: what paths name as /dev/fdset/N (qmp-surface 1.7) */
#include <errno.h>
#include <unistd.h>

#include "qmp/command.h"
#include "vmm/base/error.h"
#include "vmm/base/fdset.h"

/* ---- add-fd ---- */

struct add_args {
	bool has_set;
	int64_t set;
	const char *opaque;
};

struct add_info {
	int64_t fd, set;
};

static const struct qmp_member add_members[] = {
    QMP_OPT(struct add_args, set, "fdset-id"),
    QMP_SET(struct add_args, opaque, "opaque"),
    {0},
};
static const struct qmp_type add_type =
    QMP_OBJECT_TYPE(struct add_args, "q_obj_add-fd-arg", add_members);
static const struct qmp_member added_members[] = {
    QMP_REQ(struct add_info, fd, "fd"),
    QMP_REQ(struct add_info, set, "fdset-id"),
    {0},
};
static const struct qmp_type added_type =
    QMP_OBJECT_TYPE(struct add_info, "AddfdInfo", added_members);

static int add_fd(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	const struct add_args *a = arg;
	int64_t set = a->has_set ? a->set : -1;
	int fd = *call->fd, r;

	if (fd >= 0 && a->has_set && a->set < 0)
		return err_set(err, EINVAL, "Parameter 'fdset-id' expects a non-negative value");
	*call->fd = -1;
	r = fdset_add(&set, fd, a->opaque, err);
	if (r == 0)
		*(struct add_info *)ret = (struct add_info){.fd = fd, .set = set};
	return r;
}

/* ---- remove-fd ---- */

struct remove_args {
	int64_t set;
	bool has_fd;
	int64_t fd;
};

static const struct qmp_member remove_members[] = {
    QMP_REQ(struct remove_args, set, "fdset-id"),
    QMP_OPT(struct remove_args, fd, "fd"),
    {0},
};
static const struct qmp_type remove_type =
    QMP_OBJECT_TYPE(struct remove_args, "q_obj_remove-fd-arg", remove_members);

static int remove_fd(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	const struct remove_args *a = arg;

	(void)call;
	(void)ret;
	if (a->has_fd && (a->fd < 0 || a->fd > INT32_MAX))
		return err_set(err, ENOENT,
			       "File descriptor named 'fdset-id:%lld, fd:%lld' not found",
			       (long long)a->set, (long long)a->fd);
	return fdset_remove(a->set, a->has_fd ? (int)a->fd : -1, err);
}

/* ---- query-fdsets ---- */

struct fd_info {
	int64_t fd;
	const char *opaque;
};

struct set_info {
	int64_t set;
	struct qmp_array fds; /* struct fd_info */
};

static const struct qmp_member fd_members[] = {
    QMP_REQ(struct fd_info, fd, "fd"),
    QMP_SET(struct fd_info, opaque, "opaque"),
    {0},
};
static const struct qmp_type fd_type = QMP_OBJECT_TYPE(struct fd_info, "FdsetFdInfo", fd_members);
static const struct qmp_type fd_list = QMP_ARRAY_TYPE(&fd_type);
static const struct qmp_member set_members[] = {
    QMP_REQ(struct set_info, set, "fdset-id"),
    QMP_REQ_T(struct set_info, fds, "fds", &fd_list),
    {0},
};
static const struct qmp_type set_type = QMP_OBJECT_TYPE(struct set_info, "FdsetInfo", set_members);
static const struct qmp_type set_list = QMP_ARRAY_TYPE(&set_type);

/* The entries of a set follow one another. */
static int query_fdsets(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	struct fdset_entry *entries;
	size_t n = fdset_list(&entries), n_sets = 0;
	struct fd_info *fds = qmp_alloc(call->pool, n, sizeof(*fds));
	struct set_info *sets = qmp_alloc(call->pool, n, sizeof(*sets));

	(void)arg;
	(void)err;
	for (size_t i = 0; i < n; i++) {
		const struct fdset_entry *e = &entries[i];

		if (!i || e->set != entries[i - 1].set)
			sets[n_sets++] = (struct set_info){.set = e->set, .fds = {.v = &fds[i]}};
		fds[i].fd = e->fd;
		if (e->opaque)
			fds[i].opaque = qmp_printf(call->pool, "%s", e->opaque);
		sets[n_sets - 1].fds.n += e->fd >= 0;
	}
	fdset_list_free(entries, n);
	*(struct qmp_array *)ret = (struct qmp_array){sets, n_sets};
	return 0;
}

const struct qmp_command qmp_fdset_commands[] = {
    {"add-fd",      &add_type, &added_type, add_fd, QMP_TAKES_FD},
    {"remove-fd",  &remove_type, NULL, remove_fd, 0},
    {"query-fdsets", NULL, &set_list, query_fdsets, 0},
    {0  },
};
