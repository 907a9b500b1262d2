/* objects.c - -object and object-add of what migration over TLS is set up with */
#include <errno.h>

#include "migration/internal.h"
#include "migration/migration.h"
#include "migration/tls/objects.h"
#include "vmm/base/error.h"
#include "vmm/options/config.h"

bool migration_object_type(const char *type)
{
	return tls_objects_has_type(type);
}

int migration_object_add(struct migration *mg, const struct cfg_object *o, struct err *err)
{
	if (o->passwordid)
		return err_set(err, ENOTSUP,
			       "'passwordid' is not supported: keep the key in a file that only "
			       "minivmm can read");
	return tls_objects_add(mg->set.tls_objects, o, NULL, err);
}

int migration_object_del(struct migration *mg, const char *id)
{
	return tls_objects_del(mg->set.tls_objects, id);
}
