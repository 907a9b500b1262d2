/*
 * backlog.c - the kernel's list of unix sockets (sock_diag(7))
 *
 * A listener's entry has the inodes of the connections that nobody has accepted.  The sockets that
 * it has accepted bear its name, and their entries the inode of the other end.
 */
#include "ctl/backlog.h"

#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm/base/alloc.h"
#include "vmm/base/listen.h"
#include "vmm/base/units.h"

#define REPLY_BYTES 32768
#define ESTABLISHED 1
#define LISTENING   10
#define NAME_BYTES  108

struct search {
	unsigned long own; /* inode of our end */
	bool waits;
	char name[NAME_BYTES]; /* of the listener, as it was bound; with its length: it may hold NUL
				*/
	size_t name_len;
	pid_t holder;
	bool second; /* the sockets that it has accepted */
};

static const struct rtattr *attribute(const struct unix_diag_msg *m, size_t n, int type)
{
	const struct rtattr *a = (const struct rtattr *)(m + 1);
	size_t left = n - sizeof(*m);

	while (left >= sizeof(*a) && a->rta_len >= sizeof(*a) && a->rta_len <= left) {
		size_t step = RTA_ALIGN(a->rta_len);

		if (a->rta_type == type)
			return a;
		if (step >= left)
			break;
		left -= step;
		a = (const struct rtattr *)((const char *)a + step);
	}
	return NULL;
}

static bool has_inode(const struct rtattr *a, unsigned long inode)
{
	const uint32_t *v = RTA_DATA(a);

	for (size_t i = 0; i < RTA_PAYLOAD(a) / sizeof(*v); i++)
		if (v[i] == inode)
			return true;
	return false;
}

static void take_socket(struct search *s, const struct unix_diag_msg *m, size_t n)
{
	const struct rtattr *name = attribute(m, n, UNIX_DIAG_NAME);
	const struct rtattr *icons = attribute(m, n, UNIX_DIAG_ICONS);
	const struct rtattr *peer = attribute(m, n, UNIX_DIAG_PEER);
	size_t len = name ? RTA_PAYLOAD(name) : 0;

	if (!s->second && icons && has_inode(icons, s->own)) {
		s->waits = true;
		s->name_len = MIN(len, sizeof(s->name));
		if (name)
			memcpy(s->name, RTA_DATA(name), s->name_len);
	}
	if (s->second && m->udiag_ino && peer && RTA_PAYLOAD(peer) >= sizeof(uint32_t) &&
	    len == s->name_len && !memcmp(RTA_DATA(name), s->name, len)) {
		uint32_t inode = *(const uint32_t *)RTA_DATA(peer);

		if (inode && inode != s->own && !s->holder)
			s->holder = unix_inode_owner(inode);
	}
}

/* All sockets of a state; false: the kernel does not tell. */
static bool dump(struct search *s, unsigned state)
{
	struct {
		struct nlmsghdr head;
		struct unix_diag_req req;
	} ask = {
	    .head = {.nlmsg_len = sizeof(ask),
		     .nlmsg_type = SOCK_DIAG_BY_FAMILY,
		     .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP                         },
	    .req = {.sdiag_family = AF_UNIX,
		     .udiag_states = 1u << state,
		     .udiag_show = UDIAG_SHOW_NAME | UDIAG_SHOW_ICONS | UDIAG_SHOW_PEER},
	};
	CLEANUP(cleanup_close)
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
	CLEANUP(cleanup_free) char *reply = xcalloc(1, REPLY_BYTES);

	if (fd < 0 || send(fd, &ask, sizeof(ask), 0) < 0)
		return false;
	for (;;) {
		ssize_t got = recv(fd, reply, REPLY_BYTES, 0);
		const struct nlmsghdr *h = (const struct nlmsghdr *)reply;
		size_t left = got > 0 ? (size_t)got : 0;

		if (got <= 0)
			return false;
		for (; NLMSG_OK(h, left); h = NLMSG_NEXT(h, left)) {
			if (h->nlmsg_type == NLMSG_DONE)
				return true;
			if (h->nlmsg_type == NLMSG_ERROR)
				return false;
			if (h->nlmsg_len >= NLMSG_LENGTH(sizeof(struct unix_diag_msg)))
				take_socket(s, NLMSG_DATA(h), h->nlmsg_len - NLMSG_HDRLEN);
		}
	}
}

bool backlog_waits(int fd, pid_t *holder)
{
	struct search s = {0};
	struct stat st;

	*holder = 0;
	if (fstat(fd, &st) < 0)
		return false;
	s.own = st.st_ino;
	if (!dump(&s, LISTENING) || !s.waits)
		return false;
	s.second = true;
	if (s.name_len && dump(&s, ESTABLISHED))
		*holder = s.holder;
	return true;
}
