/* The tap back end against the host's own stack, in a network namespace of the test's own. */
#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "tests/unit/check-main.h"
#include "tests/unit/virtio-backends.h"

#define OUR_TYPE 0x88b5 /* for local experiments: no other program sends it */

struct fix {
	struct machine *m;
	struct net_backend *b;
	int peer;      /* a packet socket on the interface */
	uint16_t type; /* of frames that count */
	/* I/O loop, read after wait */
	uint8_t frame[256];
	size_t bytes;
	bool full; /* atomic */
};

static void stop(void *opaque)
{
	loop_stop(opaque);
}

static int on_frame(void *opaque, const uint8_t *frame, size_t n)
{
	struct fix *f = opaque;
	size_t hdr = f->b->hdr_bytes;

	if (n < hdr + 14 || get_be16(frame + hdr + 12) != f->type)
		return 0; /* the host's stack says hello to its neighbours */
	loop_post(f->m->loop, stop, f->m->loop);
	if (__atomic_load_n(&f->full, __ATOMIC_SEQ_CST))
		return -EAGAIN;
	memcpy(f->frame, frame, MIN(n, sizeof(f->frame)));
	f->bytes = n;
	return 0;
}

static void on_writable(void *opaque)
{
	(void)opaque;
}

static const struct net_client client = {.receive = on_frame, .writable = on_writable};

static void attach_on_io(void *opaque)
{
	struct fix *f = opaque;

	ck_assert_int_eq(net_backend_attach(f->b, f->m->io, &client, f, NULL), 0);
}

static void detach_on_io(void *opaque)
{
	net_backend_detach(opaque);
}

static void can_receive_on_io(void *opaque)
{
	net_backend_can_receive(opaque);
}

static int packet_socket(const char *ifname, uint16_t type)
{
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(type));
	struct ifreq ifr = {0};
	struct sockaddr_ll ll = {.sll_family = AF_PACKET, .sll_protocol = htons(type)};

	(void)snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", ifname);
	ck_assert_int_eq(ioctl(fd, SIOCGIFFLAGS, &ifr), 0);
	ifr.ifr_flags |= IFF_UP;
	ck_assert_int_eq(ioctl(fd, SIOCSIFFLAGS, &ifr), 0);
	ll.sll_ifindex = (int)if_nametoindex(ifname);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&ll, sizeof(ll)), 0);
	return fd;
}

/* false: this host gives us no namespace or no taps. */
static bool fix_init(struct fix *f, bool vnet_hdr)
{
	struct cfg_netdev cfg = {.type = (char *)(uintptr_t) "tap",
				 .id = (char *)(uintptr_t) "t0",
				 .ifname = (char *)(uintptr_t) "mvtap0",
				 .fd = -1,
				 .vnet_hdr = vnet_hdr};
	struct err err = {0};

	if (unshare(CLONE_NEWNET) < 0 || access("/dev/net/tun", R_OK | W_OK) < 0) {
		skip_test("taps need root and /dev/net/tun (%s)", err_text(errno));
		return false;
	}
	*f = (struct fix){.m = guest_machine(), .type = OUR_TYPE};
	f->b = net_backend_new(f->m, &cfg, &err);
	if (!f->b) {
		skip_test("%s", err.msg);
		guest_free(f->m);
		return false;
	}
	f->peer = packet_socket("mvtap0", OUR_TYPE);
	loop_call(f->m->io, attach_on_io, f);
	return true;
}

static void fix_fini(struct fix *f)
{
	loop_call(f->m->io, detach_on_io, f->b);
	net_backend_free(f->b);
	(void)close(f->peer);
	guest_free(f->m);
}

static void make(uint8_t *p, size_t n, uint8_t fill)
{
	memset(p, fill, n);
	memset(p, 0xff, 6);
	memcpy(p + 6, "\x52\x54\x00\x00\x00\x01", 6);
	put_be16(p + 12, OUR_TYPE);
}

struct sending {
	struct fix *f;
	uint8_t bytes[12 + 60];
	int ret;
};

static void send_on_io(void *opaque)
{
	struct sending *s = opaque;
	size_t hdr = s->f->b->hdr_bytes;
	struct iovec v = {.iov_base = s->bytes + 12 - hdr, .iov_len = hdr + 60};

	s->ret = net_backend_send(s->f->b, &v, 1);
}

static void both_ways(bool vnet_hdr)
{
	struct fix f;
	uint8_t frame[60], got[128];
	struct sending s = {0};

	if (!fix_init(&f, vnet_hdr))
		return;
	ck_assert_int_eq(f.b->vnet_hdr, vnet_hdr);
	ck_assert_uint_eq(f.b->hdr_bytes, vnet_hdr ? 12 : 0);
	/* to the guest */
	make(frame, sizeof(frame), 1);
	ck_assert_int_eq(send(f.peer, frame, sizeof(frame), 0), 60);
	loop_run(f.m->loop);
	ck_assert_uint_eq(f.bytes, f.b->hdr_bytes + 60);
	ck_assert_mem_eq(f.frame + f.b->hdr_bytes, frame, 60);
	/* from the guest */
	s.f = &f;
	make(s.bytes + 12, 60, 2);
	loop_call(f.m->io, send_on_io, &s);
	ck_assert_int_eq(s.ret, 0);
	ck_assert_int_eq(recv(f.peer, got, sizeof(got), 0), 60);
	ck_assert_mem_eq(got, s.bytes + 12, 60);
	fix_fini(&f);
}

START_TEST(frames_with_vnet_header)
{
	both_ways(true);
}
END_TEST

START_TEST(bare_frames)
{
	both_ways(false);
}
END_TEST

START_TEST(a_frame_waits_for_the_guest)
{
	struct fix f;
	uint8_t frame[60];

	if (!fix_init(&f, true))
		return;
	__atomic_store_n(&f.full, true, __ATOMIC_SEQ_CST);
	make(frame, sizeof(frame), 3);
	ck_assert_int_eq(send(f.peer, frame, sizeof(frame), 0), 60);
	loop_run(f.m->loop);
	guest_sync(f.m);
	ck_assert_uint_eq(f.bytes, 0);
	__atomic_store_n(&f.full, false, __ATOMIC_SEQ_CST);
	loop_call(f.m->io, can_receive_on_io, f.b);
	loop_run(f.m->loop);
	ck_assert_uint_eq(f.bytes, 72);
	ck_assert_mem_eq(f.frame + 12, frame, 60);
	ck_assert_int_eq(f.b->ops->set_offload(f.b, TUN_F_CSUM | TUN_F_TSO4), 0);
	fix_fini(&f);
}
END_TEST

/* ---- UDP segments ---- */

#define SEGMENT    1400
#define PAYLOAD    (2 * SEGMENT)
#define UDP_FRAME  (14 + 20 + 8 + PAYLOAD)
#define VNET_BYTES 10

/*
 * Two datagrams as one frame, from the host's stack to the guest: a virtio header that asks
 * for segments of UDP, Ethernet, IPv4, UDP.
 */
static void make_udp(uint8_t *p)
{
	uint8_t *ip = p + VNET_BYTES + 14, *udp = ip + 20;

	memset(p, 0, VNET_BYTES + UDP_FRAME);
	p[0] = 1; /* NEEDS_CSUM */
	p[1] = 5; /* GSO_UDP_L4 */
	put_le16(p + 2, 42);
	put_le16(p + 4, SEGMENT);
	put_le16(p + 6, 34); /* the checksum begins, and is */
	put_le16(p + 8, 6);
	memset(p + VNET_BYTES, 0xff, 6);
	put_be16(ip - 2, ETH_P_IP);
	ip[0] = 0x45;
	put_be16(ip + 2, 28 + PAYLOAD);
	ip[8] = 64;
	ip[9] = IPPROTO_UDP;
	memcpy(ip + 12, "\x0a\x00\x00\x01\x0a\x00\x00\x02", 8);
	put_be16(udp, 7);
	put_be16(udp + 2, 7);
	put_be16(udp + 4, 8 + PAYLOAD);
}

/* The size of the first frame that the guest gets of it. */
static size_t udp_arrives(struct fix *f, unsigned tun_f)
{
	static uint8_t msg[VNET_BYTES + UDP_FRAME];

	make_udp(msg);
	ck_assert_int_eq(f->b->ops->set_offload(f->b, tun_f), 0);
	ck_assert_int_eq(send(f->peer, msg, sizeof(msg), 0), sizeof(msg));
	loop_run(f->m->loop);
	guest_sync(f->m);
	return f->bytes - f->b->hdr_bytes;
}

START_TEST(udp_segments)
{
	const unsigned both = TUN_F_USO4 | TUN_F_USO6;
	int on = 1;
	struct fix f;

	if (!fix_init(&f, true))
		return;
	f.type = ETH_P_IP;
	(void)close(f.peer);
	f.peer = packet_socket("mvtap0", ETH_P_IP);
	if (f.b->has_uso && setsockopt(f.peer, SOL_PACKET, PACKET_VNET_HDR, &on, sizeof(on)) == 0) {
		ck_assert_uint_eq(udp_arrives(&f, TUN_F_CSUM | both), UDP_FRAME);
		/* one alone is none */
		ck_assert_uint_eq(udp_arrives(&f, TUN_F_CSUM | TUN_F_USO4), UDP_FRAME - SEGMENT);
	} else {
		skip_test("this host's taps have no UDP segmentation");
	}
	fix_fini(&f);
}
END_TEST

START_TEST(scripts_run)
{
	struct cfg_netdev cfg = {.type = (char *)(uintptr_t) "tap",
				 .id = (char *)(uintptr_t) "t0",
				 .fd = -1,
				 .script = (char *)(uintptr_t) "/bin/true",
				 .downscript = (char *)(uintptr_t) "/bin/true"};
	struct err err = {0};
	struct net_backend *b;
	struct fix f;

	if (!fix_init(&f, true))
		return;
	b = net_backend_new(f.m, &cfg, &err);
	ck_assert_msg(b != NULL, "%s", err.msg);
	net_backend_free(b);
	cfg.script = (char *)(uintptr_t) "/bin/false";
	ck_assert_ptr_null(net_backend_new(f.m, &cfg, &err));
	ck_assert_str_eq(err.msg, "network script /bin/false failed with status 1");
	cfg.script = (char *)(uintptr_t) "/nope";
	ck_assert_ptr_null(net_backend_new(f.m, &cfg, &err));
	ck_assert_str_eq(err.msg, "cannot run network script /nope: No such file or directory");
	cfg.ifname = (char *)(uintptr_t) "a-name-that-is-too-long";
	ck_assert_ptr_null(net_backend_new(f.m, &cfg, &err));
	ck_assert_msg(strstr(err.msg, "too long") != NULL, "%s", err.msg);
	fix_fini(&f);
}
END_TEST

CHECK_MAIN("net-tap", frames_with_vnet_header, bare_frames, a_frame_waits_for_the_guest,
	   udp_segments, scripts_run)
