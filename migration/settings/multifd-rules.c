#include "migration/settings/multifd-rules.h"

#include <errno.h>

#include "migration/settings/capabilities.h"
#include "migration/settings/params.h"
#include "vmm/base/error.h"

int multifd_check_rules(const bool *caps, const struct migration_params *p, struct err *err)
{
	bool coded = caps[CAP_COMPRESS] || caps[CAP_XBZRLE] ||
		     p->multifd_compression != MULTIFD_NONE || p->tls_creds[0];

	if (caps[CAP_ZERO_COPY_SEND] && (!caps[CAP_MULTIFD] || coded))
		return err_set(
		    err, EINVAL,
		    "Zero copy only available for non-compressed non-TLS multifd migration");
	if (caps[CAP_MULTIFD] && caps[CAP_COMPRESS])
		return err_set(err, EINVAL, "Multifd is not compatible with compress");
	return 0;
}

int multifd_check_start(const bool *caps, const struct migration_params *p, struct err *err)
{
	if (caps[CAP_MULTIFD] && caps[CAP_XBZRLE])
		return err_set(
		    err, EINVAL,
		    "Multifd sends whole pages, so xbzrle has nothing to do: switch one of "
		    "them off");
	return multifd_check_rules(caps, p, err);
}
