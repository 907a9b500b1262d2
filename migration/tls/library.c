/*
 * library.c - GnuTLS, opened once and kept
 *
 * The first who asks opens it, under a lock; the table is not changed after that.
 */
#include "migration/tls/library.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#include "vmm/base/error.h"
#include "vmm/base/units.h"

#define LIBRARY "libgnutls.so.30"

static struct tls_library table;

static const struct {
	const char *name;
	size_t offset;
} functions[] = {
#define TLS_LIBRARY_ROW(name) {"gnutls_" #name, offsetof(struct tls_library, name)},
    TLS_LIBRARY_FUNCTIONS(TLS_LIBRARY_ROW)
#undef TLS_LIBRARY_ROW
};

static int fill(void *handle, struct err *err)
{
	for (size_t i = 0; i < ARRAY_LEN(functions); i++) {
		void *p = dlsym(handle, functions[i].name);

		if (!p)
			return err_set(err, ENOTSUP, "TLS is not available: " LIBRARY " has no %s",
				       functions[i].name);
		memcpy((char *)&table + functions[i].offset, &p, sizeof(p));
	}
	return 0;
}

static int library_open(struct err *err)
{
	void *handle = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
	int ret;

	if (!handle)
		return err_set(err, ENOTSUP,
			       "TLS is not available: %.300s (the package is libgnutls30)",
			       dlerror());
	ret = fill(handle, err);
	if (ret < 0)
		(void)dlclose(handle);
	return ret;
}

const struct tls_library *tls_library(struct err *err)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	static bool opened;
	bool ready;

	pthread_mutex_lock(&lock);
	if (!opened)
		opened = library_open(err) == 0;
	ready = opened;
	pthread_mutex_unlock(&lock);
	return ready ? &table : NULL;
}
