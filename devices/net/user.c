/*
 * user.c - a network inside the program: libslirp ends the guest's connections and makes sockets of
 * the host from them
 *
 *     guest --send()--> slirp_input()          frame_from_slirp() --> frames --> guest
 *                            \                    /
 *                             slirp  <-- poll --  epoll of its sockets
 *
 * All of it runs on the I/O loop; the sockets and timers of libslirp are in
 * user-poll.c.
 *
 * A frame to the guest is never delivered from within slirp: the guest's frame
 * that caused it may still be in the device's hands.
 *
 * State (section "slirp", version 4, one instance a back end, as QEMU's): the
 * leases of DHCP, a counter, and connections to guestfwd=, which is not
 * offered here; a socket of the host cannot move, and libslirp leaves out what
 * has one.  After a move it resets such a connection when the guest next uses it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "devices/net/backends.h"
#include "devices/net/user-net.h"
#include "devices/net/user-poll.h"
#include "vmm/base/alloc.h"
#include "vmm/base/buf.h"
#include "vmm/base/error.h"
#include "vmm/base/iov.h"
#include "vmm/base/list.h"
#include "vmm/base/units.h"
#include "vmm/loop.h"
#include "vmm/machine.h"
#include "vmm/options/config.h"
#include "vmm/vmstate.h"

#define SECTION_VERSION 4
#define MAX_STATE_BYTES (4UL * MiB) /* of a section; a few hundred bytes without guestfwd= */
#define MAX_QUEUE_BYTES (4UL * MiB) /* to a guest that takes none */
#define MAX_NAME_BYTES  255

/* A frame that slirp has made. */
struct frame {
	struct list link;
	size_t n;
	uint8_t bytes[];
};

struct user {
	/* set at creation and then constant */
	struct net_backend *b;
	SlirpCb callbacks;
	/* I/O loop (the maker before attach) */
	struct user_poll poll; /* what libslirp's callbacks get */
	uv_prepare_t *prepare; /* frees itself */
	struct list frames;    /* struct frame, oldest first */
	size_t frame_bytes;
	bool blocked; /* the guest has no room for the first of frames */
};

/* ---- frames ---- */

static void frames_drop(struct user *u)
{
	list_for_each_safe (f, &u->frames, struct frame, link) {
		list_del(&f->link);
		free(f);
	}
	u->frame_bytes = 0;
}

static void frames_deliver(struct user *u)
{
	const struct net_backend *b = u->b;

	if (u->blocked)
		return;
	list_for_each_safe (f, &u->frames, struct frame, link) {
		u->blocked = b->client->receive(b->client_opaque, f->bytes, f->n) == -EAGAIN;
		if (u->blocked)
			return;
		list_del(&f->link);
		u->frame_bytes -= f->n;
		free(f);
	}
}

static ssize_t frame_from_slirp(const void *bytes, size_t n, void *opaque)
{
	struct user *u = container_of(opaque, struct user, poll);
	struct frame *f;

	/* As on a wire, what finds no room is lost; TCP sends it again. */
	if (n > NET_MAX_FRAME || u->frame_bytes + n > MAX_QUEUE_BYTES)
		return (ssize_t)n;
	f = xcalloc(1, sizeof(*f) + n);
	f->n = n;
	memcpy(f->bytes, bytes, n);
	list_add_tail(&u->frames, &f->link);
	u->frame_bytes += n;
	return (ssize_t)n;
}

static void before_wait(uv_prepare_t *p)
{
	struct user *u = p->data;

	user_poll_before_wait(&u->poll);
	frames_deliver(u);
}

static void guest_error(const char *msg, void *opaque)
{
	/* A guest may cause as many as it likes: none is logged. */
	(void)msg;
	(void)opaque;
}

/* ---- state: any thread; slirp itself only on the I/O loop ---- */

struct transfer {
	struct user *u;
	struct buf *out;
	struct src *in;
	size_t left; /* bytes that may still be read */
	bool cut;    /* fewer than it wanted: libslirp itself does not always mind */
	int ret;
};

static ssize_t put_bytes(const void *bytes, size_t n, void *opaque)
{
	const struct transfer *t = opaque;

	buf_put(t->out, bytes, n);
	return (ssize_t)n;
}

static ssize_t get_bytes(void *bytes, size_t n, void *opaque)
{
	struct transfer *t = opaque;

	if (n > t->left || src_get(t->in, bytes, n) < 0) {
		t->left = 0;
		t->cut = true;
		return -1;
	}
	t->left -= n;
	return (ssize_t)n;
}

static void save_on_io(void *opaque)
{
	struct transfer *t = opaque;

	slirp_state_save(t->u->poll.slirp, put_bytes, t);
}

static void load_on_io(void *opaque)
{
	struct transfer *t = opaque;

	t->ret = slirp_state_load(t->u->poll.slirp, SECTION_VERSION, get_bytes, t);
	t->u->poll.changed = true;
}

static int state_save(void *dev, void *field, struct buf *out, struct err *err)
{
	struct user *u = dev;
	struct transfer t = {.u = u, .out = out};

	(void)field;
	if (slirp_state_version() != SECTION_VERSION)
		return err_set(
		    err, ENOTSUP,
		    "netdev '%s': libslirp %s writes state of version %d, and %d is what "
		    "QEMU takes: use another libslirp, or -netdev passt",
		    u->b->id, slirp_version_string(), slirp_state_version(), SECTION_VERSION);
	loop_call(u->b->m->io, save_on_io, &t);
	return 0;
}

static int state_load(void *dev, void *field, struct src *in, struct err *err)
{
	struct user *u = dev;
	struct transfer t = {.u = u, .in = in, .left = MAX_STATE_BYTES};
	const uint8_t *first = src_peek(in, 1);

	(void)field;
	/* Not 0: a connection follows, with buffers and numbers of its own; there can be none here,
	 * and libslirp keeps half of one that it refuses. */
	if (first && *first)
		return err_set(err, ENOTSUP,
			       "netdev '%s': the source's -netdev user has a connection through "
			       "guestfwd=, which is not offered here: leave it out there",
			       u->b->id);
	loop_call(u->b->m->io, load_on_io, &t);
	if (t.cut)
		return err_set(
		    err, EIO,
		    "the state of netdev '%s' ends too early, or has more than %llu bytes",
		    u->b->id, MAX_STATE_BYTES);
	if (t.ret < 0)
		return err_set(err, EINVAL,
			       "libslirp refuses the state of netdev '%s' (%s): give it the "
			       "options that the source's -netdev user has",
			       u->b->id, err_text(-t.ret));
	return 0;
}

static const struct vms_codec state_codec = {"buffer", state_save, state_load};
static const struct vms_field section_fields[] = {
    VMS_CUSTOM(struct user, b, "data", &state_codec),
    VMS_LAST,
};
static const struct vms_desc section = {
    .name = "slirp",
    .version = SECTION_VERSION,
    .min_version = SECTION_VERSION,
    .fields = section_fields,
};

static void register_state(struct user *u)
{
	struct vms_registry *r = &u->b->m->vmstate;
	uint32_t instance = 0;

	while (vms_find(r, section.name, instance))
		instance++;
	vms_register(r, VMS_RANK_SLIRP, section.name, instance, -1, &section, u);
}

/* ---- opening ---- */

static int check_names(const struct keyvals *props, struct err *err)
{
	static const char *const names[] = {"hostname", "domainname", "tftp-server-name"};
	const char *domain = keyvals_get(props, "domainname");

	if (domain && !*domain)
		return err_set(err, EINVAL, "'domainname' parameter cannot be empty");
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		const char *val = keyvals_get(props, names[i]);

		if (val && strlen(val) > MAX_NAME_BYTES)
			return err_set(err, EINVAL, "'%s' parameter cannot exceed 255 bytes",
				       names[i]);
	}
	return 0;
}

static int forward(struct user *u, const char *rule, struct err *err)
{
	struct user_forward f;
	int ret = user_forward_parse(&f, rule, err);

	if (ret < 0)
		return ret;
	if (slirp_add_hostfwd(u->poll.slirp, f.udp, f.host, f.host_port, f.guest, f.guest_port) < 0)
		return err_set(err, errno, "Could not set up host forwarding rule '%.96s': %s",
			       rule, err_text(errno));
	return 0;
}

static Slirp *make_slirp(struct user *u, const struct user_net *net, const struct keyvals *props)
{
	CLEANUP(cleanup_free) const char **search = keyvals_all(props, "dnssearch");

	return slirp_new(
	    &(const SlirpConfig){.version = 4,
				 .restricted = net->restricted,
				 .in_enabled = net->ipv4,
				 .vnetwork = net->net,
				 .vnetmask = net->mask,
				 .vhost = net->host,
				 .in6_enabled = net->ipv6,
				 .vprefix_addr6 = net->prefix6,
				 .vprefix_len = net->prefix6_len,
				 .vhost6 = net->host6,
				 .vhostname = keyvals_get(props, "hostname"),
				 .tftp_server_name = keyvals_get(props, "tftp-server-name"),
				 .tftp_path = keyvals_get(props, "tftp"),
				 .bootfile = keyvals_get(props, "bootfile"),
				 .vdhcp_start = net->dhcp,
				 .vnameserver = net->dns,
				 .vnameserver6 = net->dns6,
				 .vdnssearch = *search ? search : NULL,
				 .vdomainname = keyvals_get(props, "domainname")},
	    &u->callbacks, &u->poll);
}

static void user_close(struct net_backend *b)
{
	struct user *u = b->state;

	if (u->poll.slirp)
		slirp_cleanup(u->poll.slirp);
	user_poll_fini(&u->poll);
	frames_drop(u);
	free(u);
	b->state = NULL;
}

static int set_up(struct user *u, const struct keyvals *props, struct err *err)
{
	CLEANUP(cleanup_free) const char **rules = keyvals_all(props, "hostfwd");
	struct user_net net;
	int ret = user_net_parse(&net, props, err);

	if (ret >= 0)
		ret = check_names(props, err);
	if (ret < 0)
		return ret;
	u->poll.slirp = make_slirp(u, &net, props);
	if (!u->poll.slirp)
		return err_set(err, EINVAL, "netdev '%s': libslirp %s refuses the options",
			       u->b->id, slirp_version_string());
	for (const char **rule = rules; *rule && ret >= 0; rule++)
		ret = forward(u, *rule, err);
	return ret;
}

static int user_open(struct net_backend *b, const struct cfg_netdev *cfg, struct err *err)
{
	struct user *u = NEW(struct user);
	int ret;

	u->b = b;
	list_init(&u->frames);
	u->callbacks = (SlirpCb){.send_packet = frame_from_slirp, .guest_error = guest_error};
	user_poll_callbacks(&u->callbacks);
	b->state = u;
	ret = user_poll_init(&u->poll, err);
	if (ret >= 0)
		ret = set_up(u, &cfg->props, err);
	if (ret < 0) {
		user_close(b);
		return ret;
	}
	register_state(u);
	return 0;
}

/* ---- the back end: I/O loop ---- */

static int user_attach(struct net_backend *b, struct err *err)
{
	struct user *u = b->state;

	(void)err;
	user_poll_attach(&u->poll, b->io);
	u->prepare = NEW(uv_prepare_t);
	(void)uv_prepare_init(loop_uv(b->io), u->prepare);
	u->prepare->data = u;
	(void)uv_prepare_start(u->prepare, before_wait);
	return 0;
}

static void prepare_closed(uv_handle_t *h)
{
	free(h);
}

static void user_detach(struct net_backend *b)
{
	struct user *u = b->state;

	(void)uv_prepare_stop(u->prepare);
	uv_close((uv_handle_t *)u->prepare, prepare_closed);
	user_poll_detach(&u->poll);
	u->prepare = NULL;
	u->blocked = false;
	frames_drop(u);
}

static ssize_t user_send(struct net_backend *b, const struct iovec *iov, int n_iov)
{
	struct user *u = b->state;
	uint64_t bytes = iov_bytes(iov, (size_t)n_iov);
	CLEANUP(cleanup_free) uint8_t *frame = NULL;

	if (!bytes || bytes > NET_MAX_FRAME)
		return -EMSGSIZE;
	frame = xcalloc(1, bytes);
	(void)iov_read(iov, (size_t)n_iov, 0, frame, bytes);
	slirp_input(u->poll.slirp, frame, (int)bytes);
	u->poll.changed = true;
	return (ssize_t)bytes;
}

static void user_can_receive(struct net_backend *b)
{
	struct user *u = b->state;

	/* Frames go before the loop waits: the client may be within its own receive queue now. */
	u->blocked = false;
}

const struct net_backend_ops net_user_ops = {
    .type = "user",
    .open = user_open,
    .attach = user_attach,
    .detach = user_detach,
    .send = user_send,
    .can_receive = user_can_receive,
    .close = user_close,
};
