/* pass-fds.c - descriptors of the command line become sets */
#include "vmm/base/error.h"
#include "vmm/base/fdset.h"
#include "vmm/host.h"
#include "vmm/options/config.h"

static int pass_one(struct host *h, const struct cfg_add_fd *a, struct err *err)
{
	int64_t set = (int64_t)a->set;
	int ret = host_claim_fd(h, a->fd, "a descriptor set", err);

	if (ret < 0)
		return err_prefix(err, ret, "fd is not valid or already in use");
	return fdset_add(&set, a->fd, a->opaque, err);
}

int host_pass_fds(struct host *h, const struct config *cfg, struct err *err)
{
	for (size_t i = 0; i < cfg->n_add_fds; i++) {
		int ret = pass_one(h, &cfg->add_fds[i], err);

		if (ret < 0)
			return config_where(cfg->add_fds[i].where, ret, err);
	}
	return 0;
}
