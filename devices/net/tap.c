/*
 * tap.c - a TAP interface of the host
 *
 * With IFF_VNET_HDR each frame has the 12-byte virtio header in front and the
 * host's stack takes and makes large and unfinished frames for us.  A frame
 * that the client has no room for is kept here, and reading pauses.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "devices/net/backends.h"
#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/base/log.h"
#include "vmm/base/spawn.h"
#include "vmm/base/units.h"
#include "vmm/host.h"
#include "vmm/loop.h"
#include "vmm/machine.h"
#include "vmm/options/config.h"

#define TUN_DEVICE "/dev/net/tun"
#define VNET_HDR   12
#define USO        (unsigned)(TUN_F_USO4 | TUN_F_USO6)
#define READ_BURST 64 /* frames taken before others have their turn */

struct tap {
	/* set at creation and then constant */
	int fd;
	char ifname[IFNAMSIZ];
	char *downscript; /* owned; NULL: none */
	/* I/O loop */
	struct loop_fd *watch;
	bool blocked_in, blocked_out; /* the client, the host has no room */
	size_t kept;                  /* bytes of a frame that the client did not take */
	uint8_t frame[NET_MAX_FRAME];
};

/* ---- scripts ---- */

static bool is_script(const char *path)
{
	return path && *path && strcmp(path, "no") != 0;
}

/* 'host': a signal that ends the program ends the script too; NULL: the call waits for it. */
static int run_script(const char *path, const char *ifname, const struct host *host,
		      struct err *err)
{
	CLEANUP(cleanup_free) char *what = xasprintf("network script %s runs", path);
	const char *const argv[] = {path, ifname, NULL};
	struct spawn s = {.argv = argv, .in = -1, .out = -1};
	int status, ret;
	pid_t pid;

	ret = spawn_program(&pid, &s);
	if (ret)
		return err_set(err, ret, "cannot run network script %s: %s", path, err_text(ret));
	ret = host_wait_program(host, pid, what, &status, err);
	if (ret < 0)
		return ret;
	if (!WIFEXITED(status) || WEXITSTATUS(status))
		return err_set(err, EIO, "network script %s failed with status %d", path,
			       WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
	return 0;
}

/* ---- opening ---- */

static int claim_fd(const struct net_backend *b, int fd, struct err *err)
{
	CLEANUP(cleanup_free) char *what = xasprintf("netdev '%s'", b->id);

	return host_claim_fd(b->m->host, fd, what, err);
}

static int use_fd(struct net_backend *b, const struct cfg_netdev *cfg, bool *vnet_hdr,
		  struct err *err)
{
	struct tap *t = b->state;
	struct ifreq ifr = {0};
	int ret = claim_fd(b, cfg->fd, err);

	if (ret < 0)
		return ret;
	t->fd = fcntl(cfg->fd, F_DUPFD_CLOEXEC, 3);
	if (t->fd < 0)
		return err_set(err, errno, "%s: Can't use file descriptor %d: %s", cfg->id, cfg->fd,
			       err_text(errno));
	if (ioctl(t->fd, TUNGETIFF, &ifr) < 0 || !(ifr.ifr_flags & IFF_TAP))
		return err_set(err, EINVAL, "%s: file descriptor %d is not a TAP interface",
			       cfg->id, cfg->fd);
	(void)fcntl(t->fd, F_SETFL, fcntl(t->fd, F_GETFL) | O_NONBLOCK);
	*vnet_hdr = ifr.ifr_flags & IFF_VNET_HDR;
	memcpy(t->ifname, ifr.ifr_name, sizeof(t->ifname) - 1);
	return 0;
}

/* What the interface is, by its IFF_ flags; 0 when it is not known. */
static unsigned long interface_flags(const char *name)
{
	CLEANUP(cleanup_free) char *path = xasprintf("/sys/class/net/%s/tun_flags", name);
	FILE *f = fopen(path, "re");
	char text[32] = "";

	if (!f)
		return 0;
	(void)!fgets(text, sizeof(text), f);
	(void)fclose(f);
	return strtoul(text, NULL, 0);
}

static int say_not_taken(const struct ifreq *ifr, int errnum, struct err *err)
{
	unsigned long flags = interface_flags(ifr->ifr_name);
	const char *hint = "";

	if (errnum == EINVAL && flags & IFF_MULTI_QUEUE)
		hint = ": it was made with multi_queue, and minivmm uses one queue: make it "
		       "without";
	else if (errnum == EINVAL && flags & IFF_TUN)
		hint = ": it is a tun interface, make it with mode tap";
	return err_set(err, errnum, "could not configure %s (%s): %s%s", TUN_DEVICE, ifr->ifr_name,
		       err_text(errnum), hint);
}

static int open_interface(struct tap *t, const struct cfg_netdev *cfg, bool *vnet_hdr,
			  struct err *err)
{
	struct ifreq ifr = {.ifr_flags = IFF_TAP | IFF_NO_PI};
	unsigned can = 0;

	if (cfg->ifname && strlen(cfg->ifname) >= sizeof(ifr.ifr_name))
		return err_set(err, EINVAL, "%s: interface name '%s' is too long", cfg->id,
			       cfg->ifname);
	(void)snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s",
		       cfg->ifname ? cfg->ifname : "tap%d");
	t->fd = open(TUN_DEVICE, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (t->fd < 0)
		return err_set(err, errno, "could not open %s: %s", TUN_DEVICE, err_text(errno));
	*vnet_hdr = cfg->vnet_hdr && ioctl(t->fd, TUNGETFEATURES, &can) == 0 && can & IFF_VNET_HDR;
	if (*vnet_hdr)
		ifr.ifr_flags |= IFF_VNET_HDR;
	if (ioctl(t->fd, TUNSETIFF, &ifr) < 0)
		return say_not_taken(&ifr, errno, err);
	memcpy(t->ifname, ifr.ifr_name, sizeof(t->ifname) - 1);
	return 0;
}

static bool tap_takes(const struct tap *t, unsigned tun_f)
{
	return ioctl(t->fd, TUNSETOFFLOAD, (unsigned long)tun_f) == 0;
}

static int set_up_header(struct net_backend *b, struct err *err)
{
	struct tap *t = b->state;
	int bytes = VNET_HDR;

	if (ioctl(t->fd, TUNSETVNETHDRSZ, &bytes) < 0)
		return err_set(err, errno, "%s: interface %s has no %d-byte vnet header: %s", b->id,
			       t->ifname, bytes, err_text(errno));
	b->vnet_hdr = true;
	b->hdr_bytes = VNET_HDR;
	b->has_ufo = tap_takes(t, TUN_F_CSUM | TUN_F_UFO);
	b->has_uso = tap_takes(t, TUN_F_CSUM | USO);
	b->has_tunnel = tap_takes(t, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_UDP_TUNNEL_GSO);
	(void)tap_takes(t, 0);
	return 0;
}

static void tap_close(struct net_backend *b)
{
	struct tap *t = b->state;
	struct err err;

	if (t->downscript && run_script(t->downscript, t->ifname, NULL, &err) < 0)
		log_warn("%s", err.msg);
	if (t->fd >= 0)
		(void)close(t->fd);
	free(t->downscript);
	free(t);
	b->state = NULL;
}

static int tap_open(struct net_backend *b, const struct cfg_netdev *cfg, struct err *err)
{
	struct tap *t = NEW(struct tap);
	bool vnet_hdr = false;
	int ret;

	t->fd = -1;
	b->state = t;
	ret =
	    cfg->fd >= 0 ? use_fd(b, cfg, &vnet_hdr, err) : open_interface(t, cfg, &vnet_hdr, err);
	if (ret >= 0 && vnet_hdr)
		ret = set_up_header(b, err);
	if (ret >= 0 && cfg->fd < 0 && is_script(cfg->script))
		ret = run_script(cfg->script, t->ifname, b->m->host, err);
	if (ret < 0) {
		tap_close(b);
		return ret;
	}
	if (cfg->fd < 0 && is_script(cfg->downscript))
		t->downscript = xstrdup(cfg->downscript);
	return 0;
}

/* ---- frames: I/O loop ---- */

static void watch_events(struct tap *t)
{
	loop_fd_events(t->watch,
		       (t->blocked_in ? 0 : LOOP_READABLE) | (t->blocked_out ? LOOP_WRITABLE : 0));
}

/* Offer the frame in t->frame; false: the client keeps us waiting. */
static bool tap_deliver(struct net_backend *b, size_t n)
{
	struct tap *t = b->state;
	bool full = b->client->receive(b->client_opaque, t->frame, n) == -EAGAIN;

	t->kept = full ? n : 0;
	t->blocked_in = full;
	return !full;
}

static void read_frames(struct net_backend *b)
{
	struct tap *t = b->state;

	for (int i = 0; i < READ_BURST && !t->blocked_in; i++) {
		ssize_t n = read(t->fd, t->frame, sizeof(t->frame));

		if (n <= 0)
			break;
		(void)tap_deliver(b, (size_t)n);
	}
	watch_events(t);
}

static void tap_ready(void *opaque, int ready)
{
	struct net_backend *b = opaque;
	struct tap *t = b->state;

	if (ready & LOOP_WRITABLE && t->blocked_out) {
		t->blocked_out = false;
		watch_events(t);
		b->client->writable(b->client_opaque);
	}
	if (ready & LOOP_READABLE && !t->blocked_in)
		read_frames(b);
}

static int tap_attach(struct net_backend *b, struct err *err)
{
	struct tap *t = b->state;

	(void)err;
	t->blocked_in = t->blocked_out = false;
	t->watch = loop_fd_add(b->io, t->fd, LOOP_READABLE, tap_ready, b);
	return 0;
}

static void tap_detach(struct net_backend *b)
{
	struct tap *t = b->state;

	loop_fd_del(t->watch);
	t->watch = NULL;
	t->kept = 0;
}

static void tap_can_receive(struct net_backend *b)
{
	struct tap *t = b->state;

	if (!t->blocked_in)
		return;
	t->blocked_in = false;
	if (!t->kept || tap_deliver(b, t->kept))
		watch_events(t);
}

static ssize_t tap_send(struct net_backend *b, const struct iovec *iov, int n_iov)
{
	struct tap *t = b->state;
	ssize_t n;

	do
		n = writev(t->fd, iov, n_iov);
	while (n < 0 && errno == EINTR);
	if (n >= 0)
		return n;
	if (errno == EAGAIN) {
		t->blocked_out = true;
		watch_events(t);
	}
	return -errno;
}

static int tap_set_offload(struct net_backend *b, unsigned tun_f)
{
	const struct tap *t = b->state;

	/* Linux segments UDP for both IPs or for none: for a guest that takes one, the host does
	 * it. */
	if ((tun_f & USO) != USO)
		tun_f &= ~USO;
	return tap_takes(t, tun_f) ? 0 : -errno;
}

const struct net_backend_ops net_tap_ops = {
    .type = "tap",
    .open = tap_open,
    .attach = tap_attach,
    .detach = tap_detach,
    .send = tap_send,
    .can_receive = tap_can_receive,
    .set_offload = tap_set_offload,
    .close = tap_close,
};
