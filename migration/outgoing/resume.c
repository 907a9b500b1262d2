#include "migration/outgoing/resume.h"

#include <errno.h>
#include <unistd.h>

#include "vmm/base/wake.h"

void resume_address_fini(struct resume_address *a)
{
	uri_fini(&a->uri);
	tls_layer_fini(&a->tls);
	if (a->fd >= 0)
		(void)close(a->fd);
	*a = (struct resume_address){.fd = -1};
}

int resume_init(struct resume *r)
{
	*r = (struct resume){.wake_fd = wake_open(), .address.fd = -1};
	pthread_mutex_init(&r->mutex, NULL);
	return r->wake_fd < 0 ? -errno : 0;
}

void resume_fini(struct resume *r)
{
	resume_address_fini(&r->address);
	if (r->wake_fd >= 0)
		(void)close(r->wake_fd);
	pthread_mutex_destroy(&r->mutex);
}

void resume_put(struct resume *r, struct resume_address *a)
{
	pthread_mutex_lock(&r->mutex);
	resume_address_fini(&r->address);
	r->address = *a;
	r->given = true;
	wake_set(r->wake_fd);
	pthread_mutex_unlock(&r->mutex);
	*a = (struct resume_address){.fd = -1};
}

void resume_clear(struct resume *r)
{
	pthread_mutex_lock(&r->mutex);
	resume_address_fini(&r->address);
	r->given = false;
	wake_clear(r->wake_fd);
	pthread_mutex_unlock(&r->mutex);
}

bool resume_take(struct resume *r, struct resume_address *a)
{
	bool given;

	pthread_mutex_lock(&r->mutex);
	given = r->given;
	if (given) {
		*a = r->address;
		r->address = (struct resume_address){.fd = -1};
		r->given = false;
	}
	wake_clear(r->wake_fd);
	pthread_mutex_unlock(&r->mutex);
	return given;
}
