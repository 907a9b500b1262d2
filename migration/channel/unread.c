/*
 * unread.c - little lies unread in a TCP socket
 *
 * A receiver's window grows with what the path was seen to carry, and where the reader is
 * what limits the rate it fills: megabytes that a page, which a guest waits for, comes behind.  So
 * it is bounded by what a fast path needs to stay busy, from the shortest round trip seen.  On a
 * long one that is more than TCP takes by itself, and nothing is changed.
 *
 * The buffer stays as large as it is and does not grow: a smaller one would make the kernel drop
 * what is on its way.
 */
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "migration/channel/channel.h"
#include "vmm/base/units.h"

#define BYTES_PER_US UINT64_C(2500) /* 20 Gbit/s */
#define LEAST_BYTES  (128 * KiB)
#define MOST_BYTES   (4 * MiB)
#define BUFFER_TIMES 4 /* the window: each packet takes more than its bytes */

void channel_keep_unread_little(const struct channel *c)
{
	struct tcp_info info = {0};
	socklen_t n = sizeof(info);
	int fd = channel_fd(c), buffer = 0, window;
	uint64_t bytes;

	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &n) < 0 || info.tcpi_min_rtt == UINT32_MAX)
		return;
	bytes = MAX(info.tcpi_min_rtt * BYTES_PER_US, LEAST_BYTES);
	n = sizeof(buffer);
	if (bytes > MOST_BYTES || getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &buffer, &n) < 0)
		return;
	window = (int)bytes;
	buffer = MAX(buffer / 2, BUFFER_TIMES * window); /* the kernel doubles what it is given */
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof(buffer));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_WINDOW_CLAMP, &window, sizeof(window));
}
