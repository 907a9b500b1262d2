#include "migration/channel/pipe.h"

#include <errno.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "migration/channel/channel.h"
#include "migration/channel/patience.h"
#include "vmm/base/units.h"

#define AGAIN_MS 10 /* between two looks: a pipe cannot be watched for becoming empty */

bool fd_is_pipe(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISFIFO(st.st_mode);
}

int pipe_unread(int fd)
{
	int n = 0;

	return fd >= 0 && ioctl(fd, FIONREAD, &n) == 0 ? n : 0;
}

static int wait_read(const struct channel *c)
{
	struct patience *p = c->patience;
	struct pollfd fds[] = {
	    {.fd = c->fd      }, /* POLLERR: it has no reader */
	    { .fd = c->cancel_fd, .events = POLLIN},
	};
	int before = pipe_unread(c->fd), left;

	while ((left = pipe_unread(c->fd)) > 0) {
		if (left != before) {
			patience_go_on(p);
			patience_wait(p);
		}
		before = left;
		(void)poll(fds, ARRAY_LEN(fds), AGAIN_MS);
		if (fds[0].revents & POLLERR)
			return pipe_unread(c->fd) ? -EPIPE : 0;
		if (fds[1].revents)
			return -ECANCELED;
		if (patience_ended(p))
			return -ETIME;
	}
	return 0;
}

int pipe_wait_read(struct channel *c, struct err *err)
{
	int ret;

	patience_wait(c->patience);
	ret = wait_read(c);
	patience_go_on(c->patience);
	return ret < 0 ? channel_say_failed(c, ret, "write to", err) : 0;
}
