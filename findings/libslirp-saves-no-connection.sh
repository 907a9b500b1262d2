#!/bin/bash
# libslirp: slirp_state_save() saves no connection that has a socket of the host
#
# version    libslirp0, libslirp-dev 4.7.0-1 of Debian 12
# guess      QEMU has a section "slirp" in its streams, and libslirp describes whole sockets for it, with sequence
#            numbers and both buffers. So a guest's TCP connections are in there, and the destination knows them
# behaviour  sockets are saved for connections to guestfwd= only. With a connection to the host open the state is
#            as long as without one (131 bytes); where it has been loaded, the guest's next segment is answered
#            with a reset. Load and save report success
# seen       "idle 131 bytes, connected 131 bytes, loaded 0, then RST"
#
# Fails when a connection makes the state longer or goes on. Needs apt-get and dpkg (a Debian 12 host with a package
# list), and a C compiler.
set -eu
version=4.7.0-1
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
chmod 755 "$tmp"
cd "$tmp"
apt-get download "libslirp0=$version" "libslirp-dev=$version" libglib2.0-0 libpcre2-8-0 >/dev/null
for deb in ./*.deb; do dpkg -x "$deb" root; done
libs=$PWD/root/usr/lib/x86_64-linux-gnu
cat >try.c <<'C'
#include <libslirp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

struct net { Slirp *slirp; struct pollfd fds[16]; int n; unsigned char last[1600]; };
static unsigned char state[4096];
static size_t saved, loaded;
static const unsigned char mac[6] = {0x52, 0x54, 0, 0x12, 0x34, 0x56};

static void put16(unsigned char *p, unsigned v) { p[0] = (unsigned char)(v >> 8); p[1] = (unsigned char)v; }
static void put32(unsigned char *p, unsigned v) { put16(p, v >> 16); put16(p + 2, v & 0xffff); }
static unsigned get32(const unsigned char *p) { return (unsigned)p[0] << 24 | p[1] << 16 | p[2] << 8 | p[3]; }

/* The guest keeps what is TCP. */
static ssize_t to_guest(const void *p, size_t n, void *opaque)
{
	if (((const unsigned char *)p)[23] == 6 && n < 1600)
		memcpy(((struct net *)opaque)->last, p, n);
	return (ssize_t)n;
}
static void error(const char *msg, void *o) { (void)msg, (void)o; }
static int64_t now(void *o)
{
	struct timespec t;
	(void)o, clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}
static void *timer(SlirpTimerId id, void *a, void *o) { (void)id, (void)a; return o; }
static void timer_free(void *t, void *o) { (void)t, (void)o; }
static void timer_mod(void *t, int64_t ms, void *o) { (void)t, (void)ms, (void)o; }
static void fd_event(int fd, void *o) { (void)fd, (void)o; }
static void notify(void *o) { (void)o; }
static const SlirpCb cb = {.send_packet = to_guest, .guest_error = error, .clock_get_ns = now,
	.timer_new_opaque = timer, .timer_free = timer_free, .timer_mod = timer_mod,
	.register_poll_fd = fd_event, .unregister_poll_fd = fd_event, .notify = notify};

static int add(int fd, int ev, void *o)
{
	struct net *n = o;
	n->fds[n->n] = (struct pollfd){fd, (short)((ev & SLIRP_POLL_IN ? POLLIN : 0) | (ev & SLIRP_POLL_OUT ? POLLOUT : 0)), 0};
	return n->n++;
}
static int ready(int i, void *o)
{
	short r = ((struct net *)o)->fds[i].revents;
	return (r & POLLIN ? SLIRP_POLL_IN : 0) | (r & POLLOUT ? SLIRP_POLL_OUT : 0);
}
static void turn(struct net *n)
{
	unsigned wait = 20;
	n->n = 0;
	slirp_pollfds_fill(n->slirp, &wait, add, n);
	(void)poll(n->fds, (nfds_t)n->n, 20);
	slirp_pollfds_poll(n->slirp, 0, ready, n);
}
static void start(struct net *n)
{
	SlirpConfig c = {.version = 4, .in_enabled = true, .vnetwork.s_addr = htonl(0x0a000200),
		.vnetmask.s_addr = htonl(0xffffff00), .vhost.s_addr = htonl(0x0a000202),
		.vdhcp_start.s_addr = htonl(0x0a00020f), .vnameserver.s_addr = htonl(0x0a000203)};
	unsigned char arp[42] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
	memset(n, 0, sizeof(*n));
	n->slirp = slirp_new(&c, &cb, n);
	memcpy(arp + 6, mac, 6), memcpy(arp + 12, "\x08\x06\0\x01\x08\0\x06\x04\0\x01", 10);
	memcpy(arp + 22, mac, 6), memcpy(arp + 28, "\x0a\0\x02\x0f", 4), memcpy(arp + 38, "\x0a\0\x02\x02", 4);
	slirp_input(n->slirp, arp, sizeof(arp));
}
static unsigned sum(const unsigned char *p, int n)
{
	unsigned s = 0;
	for (int i = 0; i < n; i += 2)
		s += (unsigned)p[i] << 8 | p[i + 1];
	s = (s & 0xffff) + (s >> 16);
	return ~((s & 0xffff) + (s >> 16)) & 0xffff;
}
/* The guest sends a segment and waits for what comes: its flags. */
static int segment(struct net *n, unsigned port, unsigned seq, unsigned ack, int flags, int answer)
{
	unsigned char p[54] = {0x52, 0x55, 10, 0, 2, 2}, h[32] = {0}, *ip = p + 14, *tcp = p + 34;
	memcpy(p + 6, mac, 6), put16(p + 12, 0x0800);
	ip[0] = 0x45, ip[3] = 40, ip[8] = 64, ip[9] = 6, memcpy(ip + 12, "\x0a\0\x02\x0f\x0a\0\x02\x02", 8);
	put16(ip + 10, sum(ip, 20));
	put16(tcp, 4000), put16(tcp + 2, port), put32(tcp + 4, seq), put32(tcp + 8, ack);
	tcp[12] = 0x50, tcp[13] = (unsigned char)flags, put16(tcp + 14, 4096);
	memcpy(h, ip + 12, 8), h[9] = 6, h[11] = 20, memcpy(h + 12, tcp, 20), put16(tcp + 16, sum(h, 32));
	memset(n->last, 0, sizeof(n->last));
	slirp_input(n->slirp, p, sizeof(p));
	for (int i = 0; answer && i < 100 && !n->last[23]; i++)
		turn(n);
	return n->last[47];
}
static ssize_t save(const void *p, size_t n, void *o) { (void)o; memcpy(state + saved, p, n); saved += n; return (ssize_t)n; }
static ssize_t load(void *p, size_t n, void *o)
{
	(void)o;
	if (loaded + n > saved)
		return -1;
	memcpy(p, state + loaded, n), loaded += n;
	return (ssize_t)n;
}

int main(void)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(a);
	int listening = socket(AF_INET, SOCK_STREAM, 0), ret, flags;
	struct net from, to;
	size_t idle;
	unsigned port, ack;

	if (bind(listening, (struct sockaddr *)&a, sizeof(a)) || listen(listening, 1) ||
	    getsockname(listening, (struct sockaddr *)&a, &len))
		return 2;
	port = ntohs(a.sin_port);
	start(&from);
	slirp_state_save(from.slirp, save, NULL);
	idle = saved, saved = 0;
	if (segment(&from, port, 100, 0, 2, 1) != 0x12)
		return 3;
	ack = get32(from.last + 38) + 1;
	(void)segment(&from, port, 101, ack, 0x10, 0);
	if (accept(listening, NULL, NULL) < 0)
		return 4;
	slirp_state_save(from.slirp, save, NULL);
	start(&to);
	ret = slirp_state_load(to.slirp, slirp_state_version(), load, NULL);
	flags = segment(&to, port, 101, ack, 0x10, 1);
	printf("idle %zu bytes, connected %zu bytes, loaded %d, then %s\n", idle, saved, ret, flags & 4 ? "RST" : "no RST");
	return 0;
}
C
cc -w -I root/usr/include/slirp try.c "$libs/libslirp.so.0" -Wl,--allow-shlib-undefined -o try
seen=$(LD_LIBRARY_PATH=$libs ./try)
echo "$seen"
[ "$seen" = "idle 131 bytes, connected 131 bytes, loaded 0, then RST" ]
