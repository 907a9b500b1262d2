/* status.c - MigrationStatus and its events; the threads of both ends */
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "migration/internal.h"
#include "vmm/base/thread-name.h"
#include "vmm/machine.h"

static const char *const names[MIG_STATUS_COUNT] = {
    [MIG_NONE] = "none",
    [MIG_SETUP] = "setup",
    [MIG_CANCELLING] = "cancelling",
    [MIG_CANCELLED] = "cancelled",
    [MIG_ACTIVE] = "active",
    [MIG_POSTCOPY_ACTIVE] = "postcopy-active",
    [MIG_POSTCOPY_PAUSED] = "postcopy-paused",
    [MIG_POSTCOPY_RECOVER] = "postcopy-recover",
    [MIG_COMPLETED] = "completed",
    [MIG_FAILED] = "failed",
    [MIG_COLO] = "colo",
    [MIG_PRE_SWITCHOVER] = "pre-switchover",
    [MIG_DEVICE] = "device",
    [MIG_WAIT_UNPLUG] = "wait-unplug",
};

const char *migration_status_name(enum migration_status s)
{
	return names[s];
}

static void publish(struct migration *mg, enum migration_status s)
{
	struct notification n = {.kind = NOTIFY_MIGRATION, .text = names[s]};

	notify_publish(&mg->m->notify, &n);
}

void publish_pass(struct migration *mg, uint64_t pass)
{
	struct notification n = {.kind = NOTIFY_MIGRATION_PASS, .number = (int64_t)pass};

	machine_lock(mg->m);
	notify_publish(&mg->m->notify, &n);
	machine_unlock(mg->m);
}

/* NOLINTNEXTLINE(readability-non-const-parameter): it is written, atomically */
bool status_move(struct migration *mg, int *status, enum migration_status from,
		 enum migration_status to)
{
	int expected = (int)from;

	if (!__atomic_compare_exchange_n(status, &expected, (int)to, false, __ATOMIC_SEQ_CST,
					 __ATOMIC_SEQ_CST))
		return false;
	publish(mg, to);
	return true;
}

/* NOLINTNEXTLINE(readability-non-const-parameter): as above */
void status_set(struct migration *mg, int *status, enum migration_status to)
{
	__atomic_store_n(status, (int)to, __ATOMIC_SEQ_CST);
	publish(mg, to);
}

enum migration_status status_get(const int *status)
{
	return (enum migration_status)__atomic_load_n(status, __ATOMIC_SEQ_CST);
}

bool status_busy(enum migration_status s)
{
	switch (s) {
	case MIG_NONE:
	case MIG_CANCELLED:
	case MIG_COMPLETED:
	case MIG_FAILED:
		return false;
	default:
		return true;
	}
}

/* ---- workers ---- */

int worker_start(struct worker *w, const char *name, void *(*fn)(void *), void *opaque,
		 struct err *err)
{
	sigset_t all, old;
	int ret;

	w->done = false;
	/* Signals are the main thread's business; SIGPIPE shall be an error code. */
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &old);
	ret = pthread_create(&w->thread, NULL, fn, opaque);
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (ret)
		return err_set(err, ret, "cannot start thread %s: %s", name, err_text(ret));
	thread_name(w->thread, name);
	w->live = true;
	return 0;
}

void worker_end(struct migration *mg, struct worker *w)
{
	__atomic_store_n(&w->done, true, __ATOMIC_SEQ_CST);
	eventfd_set(mg->wake_fd);
}

void worker_join(struct worker *w)
{
	if (w->live)
		(void)pthread_join(w->thread, NULL);
	w->live = false;
}

void eventfd_set(int fd)
{
	(void)eventfd_write(fd, 1);
}

static bool watch(int epoll_fd, int fd)
{
	struct epoll_event e = {.events = EPOLLIN};

	return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &e) == 0;
}

int watch_either(int a, int b)
{
	int fd = epoll_create1(EPOLL_CLOEXEC), e;

	if (fd < 0 || (watch(fd, a) && watch(fd, b)))
		return fd;
	e = errno;
	(void)close(fd);
	errno = e;
	return -1;
}

void eventfd_clear(int fd)
{
	eventfd_t v;

	(void)eventfd_read(fd, &v); /* non-blocking: fails when it is clear already */
}
