/* add-fd.c - -add-fd: descriptors that paths name as /dev/fdset/N (qmp-surface 1.7) */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "vmm/base/error.h"
#include "vmm/base/fdset.h"
#include "vmm/base/units.h"
#include "vmm/options/internal.h"

#define AT(member) offsetof(struct cfg_add_fd, member)

static const struct opt_prop props[] = {
    PROP("fd", OPT_FD, AT(fd), "N", "the descriptor's number, from 3 on"),
    {
								       .key = "set",
								       .kind = OPT_U64,
								       .off = AT(set),
								       .values = "N",
								       .help = "the set",
								       .max = INT64_MAX,
								       },
    PROP("opaque", OPT_STRING, AT(opaque), "TEXT", "what query-fdsets says of it"),
    PROP_END,
};
const struct opt_list opt_add_fd_list = {.title = "-add-fd", .props = props};

static int check(const struct config *cfg, const struct cfg_add_fd *a, const struct keyvals *kv,
		 struct err *err)
{
	if (a->fd < 0)
		return err_set(err, EINVAL, "fd option is required and must be non-negative");
	if (a->fd <= STDERR_FILENO)
		return err_set(err, EINVAL, "fd cannot be a standard I/O stream");
	if (!keyvals_get(kv, "set"))
		return err_set(err, EINVAL, "set option is required and must be non-negative");
	for (size_t i = 0; i < cfg->n_add_fds; i++)
		if (cfg->add_fds[i].fd == a->fd)
			return err_set(err, EBUSY, "fd is not valid or already in use");
	if (cfg->n_add_fds >= FDSET_MAX_MEMBERS)
		return err_set(err, E2BIG, "there are %d descriptors already", FDSET_MAX_MEMBERS);
	return 0;
}

int opt_add_fd(struct opt_parse *p, struct err *err)
{
	CLEANUP(keyvals_fini) struct keyvals kv = {0};
	struct cfg_add_fd a = {.fd = -1};
	int ret = opt_split(&kv, p->val, NULL, false, err);

	if (ret == 0)
		ret = opt_apply(p, &opt_add_fd_list, &a, &kv, err);
	if (ret == 0)
		ret = check(p->cfg, &a, &kv, err);
	if (ret < 0) {
		free(a.opaque);
		return ret;
	}
	a.where = opt_where(p);
	*OPT_ADD(p->cfg->add_fds, p->cfg->n_add_fds) = a;
	return 0;
}
