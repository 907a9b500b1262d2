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

/* Bytes that the reader has not taken. */
static int held(const struct channel *c)
{
	int n = 0;

	(void)ioctl(c->fd, FIONREAD, &n);
	return n;
}

static int wait_read(const struct channel *c, struct patience *p)
{
	struct pollfd fds[] = {
	    {.fd = c->fd      }, /* POLLERR: it has no reader */
	    { .fd = c->cancel_fd, .events = POLLIN},
	};
	int before = held(c), left;

	while ((left = held(c)) > 0) {
		if (p && left != before) {
			patience_go_on(p);
			patience_wait(p);
		}
		before = left;
		(void)poll(fds, ARRAY_LEN(fds), AGAIN_MS);
		if (fds[0].revents & POLLERR)
			return held(c) ? -EPIPE : 0;
		if (fds[1].revents)
			return -ECANCELED;
		if (p && patience_ended(p))
			return -ETIME;
	}
	return 0;
}

int pipe_wait_read(struct channel *c, struct err *err)
{
	struct patience *p = c->patience;
	int ret;

	if (p)
		patience_wait(p);
	ret = wait_read(c, p);
	if (p)
		patience_go_on(p);
	return ret < 0 ? channel_say_failed(c, ret, "write to", err) : 0;
}
