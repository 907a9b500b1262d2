/* The user back end: addresses and rules, frames to and from sockets of the host, state. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "devices/net/user-net.h"
#include "tests/unit/check-main.h"
#include "tests/unit/virtio-backends.h"
#include "vmm/base/buf.h"
#include "vmm/vmstate.h"

#define ETH 14
#define IP  20
#define UDP 8
#define TCP 20
#define FIN 1
#define SYN 2
#define RST 4
#define ACK 16

static const uint8_t guest_mac[6] = {0x52, 0x54, 0, 0x12, 0x34, 0x56};

/* ---- addresses ---- */

static void add_pairs(struct keyvals *kv, const char *text)
{
	CLEANUP(cleanup_free) char *copy = xstrdup(text);

	for (char *save, *p = strtok_r(copy, ",", &save); p; p = strtok_r(NULL, ",", &save)) {
		char *eq = strchr(p, '=');

		*eq = '\0';
		keyvals_add(kv, p, eq + 1);
	}
}

static const char *addr_text(struct in_addr a)
{
	static char text[4][INET_ADDRSTRLEN];
	static unsigned n;

	return inet_ntop(AF_INET, &a, text[n++ % 4], INET_ADDRSTRLEN);
}

START_TEST(addresses)
{
	static const struct {
		const char *props, *net, *mask, *host, *dns, *dhcp;
	} rows[] = {
	    {"",									    "10.0.2.0",     "255.255.255.0",   "10.0.2.2",     "10.0.2.3",     "10.0.2.15"},
	    {"net=192.168.76.0/24",							 "192.168.76.0", "255.255.255.0",   "192.168.76.2", "192.168.76.3",
	     "192.168.76.15"																	      },
	    {"net=10.1.2.3",								"10.0.0.0",     "255.0.0.0",       "10.0.2.2",     "10.0.2.3",     "10.0.2.15"},
	    {"net=172.17.1.1",							      "172.16.0.0",   "255.240.0.0",     "172.16.2.2",   "172.16.2.3",
	     "172.16.2.15"																		},
	    {"net=192.168.5.0",							     "192.168.0.0",  "255.255.0.0",     "192.168.2.2",  "192.168.2.3",
	     "192.168.2.15"																	       },
	    {"net=10.0.5.0/255.255.255.128,host=10.0.5.1,dns=10.0.5.9,dhcpstart=10.0.5.77",
	     "10.0.5.0",										    "255.255.255.128", "10.0.5.1",     "10.0.5.9",     "10.0.5.77"},
	    {"dns=1.1.1.1",								 "10.0.2.0",     "255.255.255.0",   "10.0.2.2",     "1.1.1.1",      "10.0.2.15"},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct keyvals kv = {0};
		struct err err = {0};
		struct user_net u;

		add_pairs(&kv, rows[i].props);
		ck_assert_msg(user_net_parse(&u, &kv, &err) == 0, "%s", err.msg);
		ck_assert_str_eq(addr_text(u.net), rows[i].net);
		ck_assert_str_eq(addr_text(u.mask), rows[i].mask);
		ck_assert_str_eq(addr_text(u.host), rows[i].host);
		ck_assert_str_eq(addr_text(u.dns), rows[i].dns);
		ck_assert_str_eq(addr_text(u.dhcp), rows[i].dhcp);
		ck_assert(u.ipv4 && u.ipv6);
		keyvals_fini(&kv);
	}
}
END_TEST

START_TEST(addresses_refused)
{
	static const struct {
		const char *props, *says;
	} rows[] = {
	    {"net=zz",				     "Failed to parse netmask: net=zz"             },
	    {"net=10.0.0.0/zz",                            "Failed to parse netmask: 'zz'"               },
	    {"net=10.0.0.0/",			      "Failed to parse netmask: ''"                 },
	    {"net=10.0.0.0/3",                             "must be in range 4-32"                       },
	    {"host=zz",				    "Failed to parse host: host=zz"               },
	    {"host=1.2.3.4",			       "Host doesn't belong to network"              },
	    {"dns=zz",				     "Failed to parse DNS"                         },
	    {"restrict=on,dns=1.2.3.4",                    "DNS doesn't belong to network"               },
	    {"dns=10.0.2.2",			       "DNS must be different from host"             },
	    {"dhcpstart=zz",			       "Failed to parse DHCP start address"          },
	    {"dhcpstart=1.2.3.4",                          "DHCP doesn't belong to network"              },
	    {"dhcpstart=10.0.2.3",                         "DHCP must be different from host and DNS"    },
	    {"ipv4=off,net=10.0.0.0/8",                    "IPv4 disabled but netmask/host/dns provided" },
	    {"ipv6=off,ipv6-dns=::1",                      "IPv6 disabled but prefix/host6/dns6 provided"},
	    {"ipv4=off,ipv6=off",                          "IPv4 and IPv6 disabled"                      },
	    {"ipv6-prefix=zz",                             "Failed to parse IPv6 prefix"                 },
	    {"ipv6-host=zz",			       "Failed to parse IPv6 host"                   },
	    {"ipv6-host=fe80::1",                          "IPv6 Host doesn't belong to network"         },
	    {"ipv6-prefixlen=127",                         "must be between 0 and 126"                   },
	    {"ipv6-prefixlen=60,ipv6-host=fec0:0:0:10::1", "IPv6 Host doesn't belong to network"         },
	    {"restrict=on,ipv6-dns=2001::1",               "IPv6 DNS doesn't belong to network"          },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct keyvals kv = {0};
		struct err err = {0};
		struct user_net u;

		add_pairs(&kv, rows[i].props);
		ck_assert_int_lt(user_net_parse(&u, &kv, &err), 0);
		ck_assert_msg(strstr(err.msg, rows[i].says), "'%s' does not say '%s'", err.msg,
			      rows[i].says);
		keyvals_fini(&kv);
	}
}
END_TEST

START_TEST(one_ip_alone)
{
	struct keyvals kv = {0};
	struct user_net u;

	add_pairs(&kv, "ipv4=on");
	ck_assert_int_eq(user_net_parse(&u, &kv, NULL), 0);
	ck_assert(u.ipv4 && !u.ipv6);
	keyvals_fini(&kv);
	add_pairs(&kv, "ipv6=on");
	ck_assert_int_eq(user_net_parse(&u, &kv, NULL), 0);
	ck_assert(!u.ipv4 && u.ipv6);
	keyvals_fini(&kv);
	add_pairs(&kv, "ipv6-prefixlen=0"); /* as if it was not given, as in QEMU */
	ck_assert_int_eq(user_net_parse(&u, &kv, NULL), 0);
	ck_assert_uint_eq(u.prefix6_len, 64);
	keyvals_fini(&kv);
	add_pairs(&kv, "ipv6=off");
	ck_assert_int_eq(user_net_parse(&u, &kv, NULL), 0);
	ck_assert(u.ipv4 && !u.ipv6);
	keyvals_fini(&kv);
}
END_TEST

START_TEST(rules)
{
	static const struct {
		const char *rule, *wrong;
	} rows[] = {
	    {"zz",             "No : separators"        },
	    {"tcp:80",         "No : separators"        },
	    {"icmp::80-:80",   "Bad protocol name"      },
	    {"tcp:zz:80-:80",  "Bad host address"       },
	    {"tcp::zz-:80",    "Bad host port"          },
	    {"tcp::65536-:80", "Bad host port"          },
	    {"tcp::-1-:80",    "Bad host port"          },
	    {"tcp::80:80",     "Bad host port separator"},
	    {"tcp::80-80",     "Missing guest address"  },
	    {"tcp::80-zz:80",  "Bad guest address"      },
	    {"tcp::80-:",      "Bad guest port"         },
	    {"tcp::80-:0",     "Bad guest port"         },
	    {"tcp::80-:80zz",  "Bad guest port"         },
	};
	struct user_forward f;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct err err = {0};

		ck_assert_int_lt(user_forward_parse(&f, rows[i].rule, &err), 0);
		ck_assert_msg(strstr(err.msg, rows[i].wrong), "'%s' does not say '%s'", err.msg,
			      rows[i].wrong);
	}
	ck_assert_int_eq(user_forward_parse(&f, "udp:127.0.0.1:53-10.0.2.20:5353", NULL), 0);
	ck_assert(f.udp && f.host_port == 53 && f.guest_port == 5353);
	ck_assert_str_eq(addr_text(f.host), "127.0.0.1");
	ck_assert_str_eq(addr_text(f.guest), "10.0.2.20");
	ck_assert_int_eq(user_forward_parse(&f, "::0-:22", NULL), 0);
	ck_assert(!f.udp && f.host_port == 0 && f.guest_port == 22 && !f.guest.s_addr);
}
END_TEST

/* ---- a guest ---- */

struct fix {
	struct machine *m;
	struct net_backend *b;
	struct keyvals props;
	/* written on the I/O loop, read after wait_for() */
	uint8_t frame[2048];
	size_t bytes;
	bool full; /* atomic: one frame is here, others wait */
};

static int on_frame(void *opaque, const uint8_t *frame, size_t n)
{
	struct fix *f = opaque;

	if (__atomic_load_n(&f->full, __ATOMIC_SEQ_CST))
		return -EAGAIN;
	ck_assert_uint_le(n, sizeof(f->frame));
	/* The test looks at one frame at a time. */
	memcpy(f->frame, frame, n);
	__atomic_store_n(&f->bytes, n, __ATOMIC_SEQ_CST);
	__atomic_store_n(&f->full, true, __ATOMIC_SEQ_CST);
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
	net_backend_detach(((struct fix *)opaque)->b);
}

static int open_user(struct fix *f, const char *props, struct err *err)
{
	struct cfg_netdev cfg = {.type = (char *)"user", .id = (char *)"n", .fd = -1};

	add_pairs(&cfg.props, props);
	f->b = net_backend_new(f->m, &cfg, err);
	keyvals_fini(&cfg.props);
	return f->b ? 0 : -EINVAL;
}

static void begin(struct fix *f, const char *props)
{
	struct err err = {0};

	*f = (struct fix){.m = guest_machine(), .full = true};
	ck_assert_msg(open_user(f, props, &err) == 0, "%s", err.msg);
	loop_call(f->m->io, attach_on_io, f);
}

static void end(struct fix *f)
{
	loop_call(f->m->io, detach_on_io, f);
	net_backend_free(f->b);
	guest_free(f->m);
}

struct to_send {
	struct fix *f;
	const uint8_t *frame;
	size_t n;
};

static void send_on_io(void *opaque)
{
	struct to_send *s = opaque;
	struct iovec v = {.iov_base = (void *)(uintptr_t)s->frame, .iov_len = s->n};

	ck_assert_int_eq(net_backend_send(s->f->b, &v, 1), 0);
}

static void guest_sends(struct fix *f, const uint8_t *frame, size_t n)
{
	struct to_send s = {f, frame, n};

	loop_call(f->m->io, send_on_io, &s);
}

static void more_on_io(void *opaque)
{
	struct fix *f = opaque;

	net_backend_can_receive(f->b);
}

/* Let the next frame come. */
static void next(struct fix *f)
{
	__atomic_store_n(&f->bytes, 0, __ATOMIC_SEQ_CST);
	__atomic_store_n(&f->full, false, __ATOMIC_SEQ_CST);
	loop_call(f->m->io, more_on_io, f);
}

static uint16_t ethertype(const struct fix *f)
{
	return get_be16(f->frame + 12);
}

static void arp(struct fix *f, uint16_t op, const uint8_t to[6], const char *ip)
{
	uint8_t a[42] = {0};

	memcpy(a, to, 6);
	memcpy(a + 6, guest_mac, 6);
	put_be16(a + 12, 0x0806);
	memcpy(a + 14, (const uint8_t[]){0, 1, 8, 0, 6, 4}, 6);
	put_be16(a + 20, op);
	memcpy(a + 22, guest_mac, 6);
	memcpy(a + 28, (const uint8_t[]){10, 0, 2, 15}, 4);
	(void)inet_pton(AF_INET, ip, a + 38);
	guest_sends(f, a, sizeof(a));
}

/* The next frame that is no question of ARP (which is answered) and no IPv6. */
static void wait_for_ip(struct fix *f)
{
	for (;;) {
		next(f);
		while (!__atomic_load_n(&f->bytes, __ATOMIC_SEQ_CST))
			guest_sync(f->m);
		if (ethertype(f) == 0x0800)
			return;
		if (ethertype(f) == 0x0806 && get_be16(f->frame + 20) == 1)
			arp(f, 2, f->frame + 6, "10.0.2.2");
	}
}

static uint16_t checksum(const uint8_t *p, size_t n)
{
	uint32_t sum = 0;

	for (size_t i = 0; i < n; i += 2)
		sum += get_be16(p + i);
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

/* The headers before n bytes of 'protocol'. */
static void ip_header(uint8_t *p, uint8_t protocol, const char *from, const char *to, size_t n)
{
	uint8_t *ip = p + ETH;

	memcpy(p, (const uint8_t[]){0x52, 0x55, 10, 0, 2, 2}, 6);
	memcpy(p + 6, guest_mac, 6);
	put_be16(p + 12, 0x0800);
	ip[0] = 0x45;
	put_be16(ip + 2, (uint16_t)(IP + n));
	ip[8] = 64;
	ip[9] = protocol;
	(void)inet_pton(AF_INET, from, ip + 12);
	(void)inet_pton(AF_INET, to, ip + 16);
	put_be16(ip + 10, checksum(ip, IP));
}

static void guest_sends_udp(struct fix *f, const char *from, const char *to, uint16_t sport,
			    uint16_t dport, const void *data, size_t n)
{
	uint8_t p[600] = {0};
	uint8_t *udp = p + ETH + IP;

	ck_assert_uint_le(n, sizeof(p) - ETH - IP - UDP);
	ip_header(p, 17, from, to, UDP + n);
	put_be16(udp, sport);
	put_be16(udp + 2, dport);
	put_be16(udp + 4, (uint16_t)(UDP + n));
	memcpy(udp + UDP, data, n);
	guest_sends(f, p, ETH + IP + UDP + n);
}

static void guest_asks_dhcp(struct fix *f)
{
	uint8_t q[244] = {1, 1, 6, 0, 1, 2, 3, 4};

	memcpy(q + 28, guest_mac, 6);
	memcpy(q + 236, (const uint8_t[]){0x63, 0x82, 0x53, 0x63, 53, 1, 1, 255}, 8);
	guest_sends_udp(f, "0.0.0.0", "255.255.255.255", 68, 67, q, sizeof(q));
	wait_for_ip(f);
	ck_assert_uint_eq(get_be16(f->frame + ETH + IP + 2), 68);
	ck_assert_int_eq(memcmp(f->frame + ETH + IP + UDP + 16, "\x0a\x00\x02\x0f", 4), 0);
}

/* A segment without data. */
static void guest_answers_tcp(struct fix *f, uint16_t sport, uint16_t dport, uint32_t seq,
			      uint32_t ack, uint8_t flags)
{
	uint8_t p[ETH + IP + TCP] = {0}, pseudo[12 + TCP] = {0};
	uint8_t *tcp = p + ETH + IP;

	ip_header(p, 6, "10.0.2.15", "10.0.2.2", TCP);
	put_be16(tcp, sport);
	put_be16(tcp + 2, dport);
	put_be32(tcp + 4, seq);
	put_be32(tcp + 8, ack);
	tcp[12] = 0x50;
	tcp[13] = flags;
	put_be16(tcp + 14, 4096);
	memcpy(pseudo, p + ETH + 12, 8);
	pseudo[9] = 6;
	put_be16(pseudo + 10, TCP);
	memcpy(pseudo + 12, tcp, TCP);
	put_be16(tcp + 16, checksum(pseudo, sizeof(pseudo)));
	guest_sends(f, p, sizeof(p));
}

static void guest_sends_tcp(struct fix *f, uint16_t dport, uint32_t seq, uint32_t ack,
			    uint8_t flags)
{
	guest_answers_tcp(f, 4000, dport, seq, ack, flags);
}

static int host_socket(int type, uint16_t *port)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(a);
	int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&a, &len), 0);
	*port = ntohs(a.sin_port);
	return fd;
}

/* A datagram of the guest reaches a socket of the host, and the answer comes back. */
START_TEST(udp_there_and_back)
{
	struct sockaddr_in from;
	socklen_t len = sizeof(from);
	uint16_t port;
	int fd = host_socket(SOCK_DGRAM, &port);
	char text[8] = "";
	struct fix f;

	begin(&f, "");
	guest_asks_dhcp(&f);
	for (int i = 0; i < 3; i++) {
		guest_sends_udp(&f, "10.0.2.15", "10.0.2.2", 4000, port, "hello", 6);
		ck_assert_int_eq(
		    recvfrom(fd, text, sizeof(text), 0, (struct sockaddr *)&from, &len), 6);
		ck_assert_str_eq(text, "hello");
		ck_assert_int_eq(sendto(fd, "world", 6, 0, (struct sockaddr *)&from, len), 6);
		wait_for_ip(&f);
		ck_assert_str_eq((char *)f.frame + ETH + IP + UDP, "world");
		ck_assert_uint_eq(get_be16(f.frame + ETH + IP + 2), 4000);
	}
	end(&f);
	(void)close(fd);
}
END_TEST

/* This program's end of the connection to fd. */
static int other_end(int fd)
{
	struct sockaddr_in ours = {0}, theirs;
	socklen_t len = sizeof(ours);

	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&ours, &len), 0);
	for (int i = 0; i < 1024; i++) {
		len = sizeof(theirs);
		if (getpeername(i, (struct sockaddr *)&theirs, &len) == 0 &&
		    theirs.sin_family == AF_INET && theirs.sin_port == ours.sin_port)
			return i;
	}
	ck_abort_msg("no descriptor has port %u at the other end", ntohs(ours.sin_port));
}

/* A connection to the host's port arrives at the guest, although it has no room at first. */
START_TEST(forwarded_port)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	uint16_t port;
	int fd, taken = host_socket(SOCK_STREAM, &port);
	CLEANUP(cleanup_free) char *props = xasprintf("hostfwd=tcp:127.0.0.1:%u-:22", port);
	CLEANUP(cleanup_free)
	char *says =
	    xasprintf("Could not set up host forwarding rule 'tcp:127.0.0.1:%u-:22': Address "
		      "already in use",
		      port);
	struct err err = {0};
	struct fix f = {.m = guest_machine()};

	ck_assert_int_eq(listen(taken, 1), 0);
	ck_assert_int_lt(open_user(&f, props, &err), 0);
	ck_assert_str_eq(err.msg, says);
	guest_free(f.m);
	(void)close(taken);

	begin(&f, props);
	guest_asks_dhcp(&f);
	a.sin_port = htons(port);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	wait_for_ip(&f);
	ck_assert_uint_eq(f.frame[ETH + 9], 6); /* TCP */
	ck_assert_uint_eq(get_be16(f.frame + ETH + IP + 2), 22);
	ck_assert_uint_eq(f.frame[ETH + IP + 13], 2); /* SYN */
	guest_answers_tcp(&f, 22, get_be16(f.frame + ETH + IP), 1,
			  get_be32(f.frame + ETH + IP + 4) + 1, SYN | ACK);
	wait_for_ip(&f);
	guest_sync(f.m);
	/* A program that is started now does not hold it open. */
	ck_assert(fcntl(other_end(fd), F_GETFD) & FD_CLOEXEC);
	end(&f);
	(void)close(fd);
}
END_TEST

/* A connection to the host's port for which there is no descriptor waits until there is one. */
START_TEST(forwarded_port_without_a_descriptor)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	uint16_t port;
	int fd = host_socket(SOCK_STREAM, &port), first;
	CLEANUP(cleanup_free) char *props = xasprintf("hostfwd=tcp:127.0.0.1:%u-:22", port);
	struct rlimit limit, none;
	struct fix f;

	(void)close(fd);
	begin(&f, props);
	guest_asks_dhcp(&f);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	first = dup(fd);
	(void)close(first);
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	none = limit;
	none.rlim_cur = (rlim_t)first;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
	a.sin_port = htons(port);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	for (int i = 0; i < 100; i++)
		guest_sync(f.m);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	wait_for_ip(&f);
	ck_assert_uint_eq(get_be16(f.frame + ETH + IP + 2), 22);
	end(&f);
	(void)close(fd);
}
END_TEST

/* ---- state ---- */

static struct buf saved(struct fix *f, uint32_t instance)
{
	const struct vms_entry *e = vms_find(&f->m->vmstate, "slirp", instance);
	struct buf b = {0};

	ck_assert_ptr_nonnull(e);
	ck_assert_uint_eq(e->desc->version, 4);
	ck_assert_int_eq(vms_save(e->desc, e->dev, &b, NULL, NULL), 0);
	return b;
}

static int load(struct fix *f, const void *bytes, size_t n, struct err *err)
{
	const struct vms_entry *e = vms_find(&f->m->vmstate, "slirp", 0);
	struct src in = src_mem(bytes, n);

	return vms_load(e->desc, e->dev, &in, 4, err);
}

START_TEST(state_moves)
{
	struct buf fresh, from, to;
	struct fix a, b;

	begin(&a, "");
	begin(&b, "");
	fresh = saved(&a, 0);
	ck_assert_uint_eq(fresh.len, 131);
	guest_asks_dhcp(&a);
	from = saved(&a, 0);
	ck_assert(from.len == fresh.len && memcmp(from.data, fresh.data, fresh.len) != 0);
	ck_assert_int_eq(load(&b, from.data, from.len, NULL), 0);
	to = saved(&b, 0);
	ck_assert(to.len == from.len && memcmp(to.data, from.data, to.len) == 0);
	buf_free(&fresh);
	buf_free(&from);
	buf_free(&to);
	end(&a);
	end(&b);
}
END_TEST

/* libslirp saves no connection to a socket of the host: it is reset where the guest next uses it.
 */
START_TEST(connections_do_not_move)
{
	uint16_t port;
	int listening = host_socket(SOCK_STREAM, &port), fd;
	struct fix a, b;
	struct buf state;
	uint32_t theirs;
	char byte;

	ck_assert_int_eq(listen(listening, 1), 0);
	begin(&a, "");
	begin(&b, "");
	guest_asks_dhcp(&a);
	guest_sends_tcp(&a, port, 100, 0, SYN);
	wait_for_ip(&a);
	ck_assert_uint_eq(a.frame[ETH + IP + 13], SYN | ACK);
	theirs = get_be32(a.frame + ETH + IP + 4) + 1;
	guest_sends_tcp(&a, port, 101, theirs, ACK);
	fd = accept(listening, NULL, NULL);
	ck_assert_int_ge(fd, 0);
	state = saved(&a, 0);
	ck_assert_uint_eq(state.len, 131);
	ck_assert_int_eq(load(&b, state.data, state.len, NULL), 0);
	guest_sends_tcp(&b, port, 101, theirs, ACK);
	wait_for_ip(&b);
	ck_assert_uint_eq(b.frame[ETH + IP + 13] & (RST | SYN), RST);
	/* at the source it is as it was */
	guest_sends_tcp(&a, port, 101, theirs, FIN | ACK);
	ck_assert_int_eq(read(fd, &byte, 1), 0);
	buf_free(&state);
	end(&a);
	end(&b);
	(void)close(fd);
	(void)close(listening);
}
END_TEST

START_TEST(hostile_state)
{
	uint8_t *ones = malloc(8 * MiB);
	struct err err = {0};
	struct buf s;
	struct fix f;

	ck_assert_ptr_nonnull(ones);
	begin(&f, "");
	s = saved(&f, 0);
	for (size_t n = 0; n < s.len; n++)
		ck_assert_int_lt(load(&f, s.data, n, &err), 0);
	ck_assert_ptr_nonnull(strstr(err.msg, "the state of netdev 'n' ends too early"));
	/* A connection of guestfwd= is not libslirp's to parse, whose numbers it trusts. */
	memset(ones, 1, 100);
	ck_assert_int_eq(load(&f, ones, 100, &err), -ENOTSUP);
	ck_assert_ptr_nonnull(strstr(err.msg, "the source's -netdev user has a connection through "
					      "guestfwd="));
	/* ... without an end */
	for (int v = 0; v < 256; v += 6) {
		memset(ones, v, 8 * MiB);
		(void)load(&f, ones, 8 * MiB, &err);
		ones[0] = 42;
		ck_assert_int_lt(load(&f, ones, 8 * MiB, &err), 0);
	}
	ck_assert_int_eq(load(&f, s.data, s.len, &err), 0);
	buf_free(&s);
	free(ones);
	guest_asks_dhcp(&f);
	end(&f);
}
END_TEST

CHECK_MAIN("net-user", addresses, addresses_refused, one_ip_alone, rules, udp_there_and_back,
	   forwarded_port, forwarded_port_without_a_descriptor, state_moves,
	   connections_do_not_move, hostile_state)
