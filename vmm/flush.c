/*
 * flush.c - one wait for the flushes of all disks
 *
 * struct flush counts two things: 'disks', the flushes that have not ended (the
 * last one makes 'done_fd' readable), and 'users', the references to the
 * struct.  machine_flush() holds one of each while it asks the devices, so that
 * a disk which answers at once does not end the wait.  A caller that is
 * cancelled drops its reference only: the disks end their flushes later, and
 * the last one frees the struct.
 */
#include "vmm/flush.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/base/wake.h"
#include "vmm/device.h"
#include "vmm/machine.h"

struct flush {
	enum flush_kind kind;  /* constant */
	int done_fd;           /* constant; readable once every disk has ended its flush */
	pthread_mutex_t mutex; /* a leaf (vmm/machine.h) */
	/* under mutex */
	unsigned disks; /* waited for, and one while machine_flush() has not asked all */
	unsigned users; /* disks, and machine_flush() itself */
	struct err err; /* the first failure */
};

static struct flush *flush_new(enum flush_kind kind, struct err *err)
{
	int fd = wake_open();
	struct flush *f;

	if (fd < 0) {
		(void)err_set(err, errno, "cannot flush disks: %s", err_text(errno));
		return NULL;
	}
	f = NEW(struct flush);
	f->kind = kind;
	f->done_fd = fd;
	f->disks = f->users = 1;
	pthread_mutex_init(&f->mutex, NULL);
	return f;
}

static void flush_put(struct flush *f)
{
	bool last;

	pthread_mutex_lock(&f->mutex);
	last = --f->users == 0;
	pthread_mutex_unlock(&f->mutex);
	if (!last)
		return;
	(void)close(f->done_fd);
	pthread_mutex_destroy(&f->mutex);
	free(f);
}

void flush_begin(struct flush *f)
{
	pthread_mutex_lock(&f->mutex);
	f->disks++;
	f->users++;
	pthread_mutex_unlock(&f->mutex);
}

static void one_less(struct flush *f)
{
	pthread_mutex_lock(&f->mutex);
	if (--f->disks == 0)
		wake_set(f->done_fd);
	pthread_mutex_unlock(&f->mutex);
}

void flush_end(struct flush *f, const struct err *failure)
{
	if (failure) {
		pthread_mutex_lock(&f->mutex);
		if (!f->err.errnum)
			f->err = *failure;
		pthread_mutex_unlock(&f->mutex);
	}
	one_less(f);
	flush_put(f);
}

enum flush_kind flush_kind(const struct flush *f)
{
	return f->kind;
}

/* Then the machine lock is not given up. */
static bool nothing_asked(struct flush *f)
{
	bool nothing;

	pthread_mutex_lock(&f->mutex);
	nothing = f->kind != FLUSH_ONLY && f->users == 1;
	pthread_mutex_unlock(&f->mutex);
	return nothing;
}

int machine_flush_for(struct machine *m, enum flush_kind kind, int cancel_fd, struct err *err)
{
	struct flush *f = flush_new(kind, err);
	struct err why = {0};
	int ret;

	if (!f)
		return -EMFILE;
	list_for_each (d, &m->devices, struct device, link)
		if (d->ops->flush)
			d->ops->flush(d, f);
	one_less(f);
	ret = nothing_asked(f) ? 0 : machine_wait(m, f->done_fd, cancel_fd);
	if (ret == 0) {
		pthread_mutex_lock(&f->mutex);
		why = f->err;
		pthread_mutex_unlock(&f->mutex);
	}
	flush_put(f);
	if (ret < 0)
		return err_set(err, ECANCELED, "flushing the disks was cancelled");
	return why.errnum ? err_set(err, why.errnum, "%s", why.msg) : 0;
}

int machine_flush(struct machine *m, int cancel_fd, struct err *err)
{
	return machine_flush_for(m, FLUSH_ONLY, cancel_fd, err);
}
