/* virtio-net's younger features: UDP segmentation, and those from bit 64 on, which no driver sees
 * here. */
#include <linux/if_tun.h>

#include "devices/virtio/nic.h"
#include "migration/peer/compare.h"
#include "tests/unit/check-main.h"
#include "tests/unit/virtio-section.h"

#define TAP_IDSTR "virtio-mmio@00000000feb00e00/virtio-net"
#define OLD       0x10130bfffa7ULL /* offered on a tap of an older host */
#define ALL       (OLD | NET_USO)
#define WIDE      "virtio/128bit_features"

/* A card on a tap whose host has all there is. */
static struct vms_entry *make_nic(struct fix *f, const char *key, const char *val)
{
	fix_init(f, true);
	f->net.be.has_uso = f->net.be.has_tunnel = true;
	return make_with(f, "virtio-net", key, val);
}

/* Where the value of a subsection with one u64 stands. */
static uint8_t *value_of(struct buf *b, const char *name)
{
	uint8_t *at = memmem(b->data, b->len, name, strlen(name));

	ck_assert_ptr_nonnull(at);
	return at + strlen(name) + 4;
}

static int load(const struct vms_entry *e, const struct section *s, struct err *err)
{
	struct src in = src_mem(s->body.data, s->body.len);

	return vms_load(e->desc, e->dev, &in, s->version, err);
}

START_TEST(offered_with_switches)
{
	static const struct {
		const char *key;
		uint64_t offered;
	} rows[] = {
	    {NULL,         ALL                    },
	    {"host_uso",   ALL & ~NET_F_HOST_USO  },
	    {"guest_uso4", ALL & ~NET_F_GUEST_USO4},
	    {"guest_uso6", ALL & ~NET_F_GUEST_USO6},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct fix f;

		(void)make_nic(&f, rows[i].key, "off");
		ck_assert_uint_eq(features_get(f.m, SLOT), rows[i].offered);
		fix_fini(&f);
	}
}
END_TEST

START_TEST(what_the_host_lacks_is_not_offered)
{
	struct fix f;

	fix_init(&f, true);
	(void)make(&f, "virtio-net");
	ck_assert_uint_eq(features_get(f.m, SLOT), OLD);
	fix_fini(&f);
}
END_TEST

/* As in QEMU 11.1 a selector above 1 is 1: a driver neither reads nor takes more than 64. */
START_TEST(no_driver_sees_bit_64)
{
	struct fix f;

	(void)make_nic(&f, "host_tunnel", "on");
	for (uint32_t sel = 1; sel < 5; sel++) {
		reg_set(f.m, SLOT, 0x14, sel);
		ck_assert_uint_eq(reg_get(f.m, SLOT, 0x10), ALL >> 32);
	}
	fix_fini(&f);
}
END_TEST

/* Of the two the guest may take one. */
START_TEST(host_is_told_what_the_guest_takes)
{
	struct fix f;

	(void)make_nic(&f, NULL, NULL);
	guest_resume(f.m);
	(void)driver_start(f.m, SLOT, ALL & ~NET_F_GUEST_USO6, NULL, 0);
	ck_assert_uint_eq(f.net.offload & (TUN_F_USO4 | TUN_F_USO6), TUN_F_USO4);
	(void)driver_start(f.m, SLOT, OLD, NULL, 0);
	ck_assert_uint_eq(f.net.offload & (TUN_F_USO4 | TUN_F_USO6), 0);
	fix_fini(&f);
}
END_TEST

/* ---- streams ---- */

/* With the tunnels of QEMU 11.1 its section is saved again to the same bytes. */
START_TEST(section_of_11_1_survives)
{
	static const char *const keys[] = {"guest_tunnel", "guest_tunnel_csum", "host_tunnel",
					   "host_tunnel_csum"};

	for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
		struct section s = section_open("q11-tap", TAP_IDSTR, 0);
		struct vms_entry *e;
		struct fix f;

		e = make_nic(&f, keys[i], "on");
		section_load(&s, e->desc, e->dev);
		section_compare(&s, e->desc, e->dev, TAP_IDSTR, 0);
		guest_resume(f.m);
		ck_assert_uint_eq(reg_get(f.m, SLOT, 0x70), 0xf);
		ck_assert_uint_eq(f.net.offload, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 |
						     TUN_F_TSO_ECN | TUN_F_UFO | TUN_F_USO4 |
						     TUN_F_USO6);
		guest_pause(f.m);
		section_compare(&s, e->desc, e->dev, TAP_IDSTR, 0);
		section_close(&s);
		fix_fini(&f);
	}
}
END_TEST

/* By default it is saved without what QEMU 7.2 and 10.0 do not know; nothing is lost. */
START_TEST(by_default_older_peers_can_read_it)
{
	struct section s = section_open("q11-tap", TAP_IDSTR, 0);
	size_t wide = 2 + strlen(WIDE) + 4 + 8;
	struct buf out = {0};
	struct err err = {0};
	struct vms_entry *e;
	struct fix f;

	e = make_nic(&f, NULL, NULL);
	section_load(&s, e->desc, e->dev);
	ck_assert_int_eq(vms_save(e->desc, e->dev, &out, NULL, &err), 0);
	ck_assert_ptr_null(memmem(out.data, out.len, WIDE, strlen(WIDE)));
	ck_assert_uint_eq(out.len, s.body.len - wide);
	buf_free(&out);
	section_close(&s);
	fix_fini(&f);
}
END_TEST

START_TEST(tunnels_that_the_host_lacks)
{
	struct buf out = {0};
	struct err err = {0};
	struct vms_entry *e;
	struct fix f;

	fix_init(&f, true);
	e = make_with(&f, "virtio-net", "host_tunnel", "on");
	ck_assert_int_eq(vms_save(e->desc, e->dev, &out, NULL, &err), 0);
	ck_assert_ptr_null(memmem(out.data, out.len, WIDE, strlen(WIDE)));
	buf_free(&out);
	fix_fini(&f);
}
END_TEST

/* ---- refusals, by the names of the properties ---- */

#define NOT_HERE "virtio-net: the guest uses features that are not offered here: "
#define ADVICE                                                                                     \
	"; give both ends the same back ends, or turn these off for the guest at the source "      \
	"before it starts"

static void expect(struct fix *f, const struct vms_entry *e, struct section *s, const char *says)
{
	struct err err = {0};

	ck_assert_int_lt(load(e, s, &err), 0);
	ck_assert_str_eq(err.msg, says);
	ck_assert_uint_eq(reg_get(f->m, SLOT, 0x70), 0); /* reset, not half loaded */
	section_close(s);
	fix_fini(f);
}

START_TEST(features_of_another_host)
{
	struct section s = section_open("q11-tap", TAP_IDSTR, 0);
	struct vms_entry *e;
	struct fix f;

	fix_init(&f, true);
	e = make(&f, "virtio-net");
	expect(&f, e, &s, NOT_HERE "guest_uso4, guest_uso6, host_uso" ADVICE);
	s = section_open("q11-tap", TAP_IDSTR, 0);
	e = make_nic(&f, "guest_uso6", "off");
	expect(&f, e, &s, NOT_HERE "guest_uso6" ADVICE);
}
END_TEST

/* Not even where the host has tunnels: frames would have a header that nothing here makes. */
START_TEST(features_from_64_on)
{
	static const struct {
		uint64_t bits;
		const char *names;
	} rows[] = {
	    {0x2,               "guest_tunnel"						  },
	    {0x1e,              "guest_tunnel, guest_tunnel_csum, host_tunnel, host_tunnel_csum"},
	    {1,		 "bit 64"							},
	    {1ULL << 63 | 0x10, "host_tunnel_csum, bit 127"                                     },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct section s = section_open("q11-tap", TAP_IDSTR, 0);
		struct vms_entry *e;
		struct fix f;
		char says[400];

		e = make_nic(&f, "host_tunnel", "on");
		put_be64(value_of(&s.body, WIDE), rows[i].bits);
		(void)snprintf(says, sizeof(says), NOT_HERE "%s" ADVICE, rows[i].names);
		expect(&f, e, &s, says);
	}
}
END_TEST

/* All of them: the list ends where there is no more room, and nothing else does. */
START_TEST(every_bit_at_once)
{
	struct section s = section_open("q11-tap", TAP_IDSTR, 0);
	struct err err = {0};
	struct vms_entry *e;
	struct fix f;

	e = make_nic(&f, NULL, NULL);
	put_be64(value_of(&s.body, WIDE), UINT64_MAX);
	put_be64(value_of(&s.body, "virtio/64bit_features"), UINT64_MAX);
	ck_assert_int_lt(load(e, &s, &err), 0);
	ck_assert_msg(!strncmp(err.msg, NOT_HERE, strlen(NOT_HERE)), "%s", err.msg);
	ck_assert_ptr_nonnull(strstr(err.msg, ADVICE));
	section_close(&s);
	fix_fini(&f);
}
END_TEST

START_TEST(offloads_that_were_not_negotiated)
{
	struct section s = section_open("q11-tap", TAP_IDSTR, 0);
	uint8_t *taken = value_of(&s.body, "virtio/64bit_features");
	struct vms_entry *e;
	struct fix f;

	e = make_nic(&f, NULL, NULL);
	put_be64(taken, get_be64(taken) & ~(NET_F_GUEST_USO4 | NET_F_GUEST_TSO6));
	expect(&f, e, &s,
	       "virtio-net: offloads are on which the guest has not negotiated: guest_tso6, "
	       "guest_uso4");
}
END_TEST

/* ---- what two minivmm compare ---- */

static bool describes(struct fix *f, uint64_t features)
{
	struct buf b = {0};
	char text[32];
	bool found;

	(void)snprintf(text, sizeof(text), "0x%" PRIx64, features);
	machine_lock(f->m);
	machine_describe(f->m, &b);
	machine_unlock(f->m);
	found = memmem(b.data, b.len, text, strlen(text)) != NULL;
	buf_free(&b);
	return found;
}

/* Another release, or another host, takes a guest that does without. */
START_TEST(described_only_if_taken)
{
	struct fix f;

	(void)make_nic(&f, NULL, NULL);
	guest_resume(f.m);
	ck_assert(describes(&f, OLD));
	(void)driver_start(f.m, SLOT, OLD, NULL, 0);
	ck_assert(describes(&f, OLD));
	(void)driver_start(f.m, SLOT, OLD | NET_F_HOST_USO, NULL, 0);
	ck_assert(describes(&f, OLD | NET_F_HOST_USO));
	fix_fini(&f);
}
END_TEST

CHECK_MAIN("virtio-features", offered_with_switches, what_the_host_lacks_is_not_offered,
	   no_driver_sees_bit_64, host_is_told_what_the_guest_takes, section_of_11_1_survives,
	   by_default_older_peers_can_read_it, tunnels_that_the_host_lacks,
	   features_of_another_host, features_from_64_on, every_bit_at_once,
	   offloads_that_were_not_negotiated, described_only_if_taken)
