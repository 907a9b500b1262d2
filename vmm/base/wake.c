#include "vmm/base/wake.h"

#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

int wake_open(void)
{
	return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
}

void wake_set(int fd)
{
	(void)eventfd_write(fd, 1);
}

void wake_clear(int fd)
{
	eventfd_t v;

	(void)eventfd_read(fd, &v); /* non-blocking: fails when it is clear already */
}

bool wake_is_set(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, 0) > 0;
}

static bool watch(int epoll_fd, int fd)
{
	struct epoll_event e = {.events = EPOLLIN};

	return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &e) == 0;
}

int wake_either(int a, int b)
{
	int fd = epoll_create1(EPOLL_CLOEXEC), e;

	if (fd < 0 || (watch(fd, a) && watch(fd, b)))
		return fd;
	e = errno;
	(void)close(fd);
	errno = e;
	return -1;
}
