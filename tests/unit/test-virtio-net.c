/* virtio-net: offered features, frames both ways, announcements, options. */
#include <linux/if_tun.h>

#include "tests/unit/check-main.h"
#include "tests/unit/virtio-nic.h"

START_TEST(features_follow_the_back_end)
{
	struct fix f;

	fix_init(&f, true, ALL);
	ck_assert_uint_eq(features_get(f.m, SLOT), 0x10130bfffa7);
	ck_assert_uint_eq(f.net.offload,
			  TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN | TUN_F_UFO);
	fix_fini(&f);
	fix_init(&f, false, ALL);
	ck_assert_uint_eq(features_get(f.m, SLOT), 0x10130bf8024);
	ck_assert_uint_eq(reg_get(f.m, SLOT, 0x08), 1);
	ck_assert_uint_eq(reg_get(f.m, SLOT, 0x100), 0x12005452);
	ck_assert_uint_eq(reg_get(f.m, SLOT, 0x104), 0x00015634);
	ck_assert_uint_eq(reg_get(f.m, SLOT, 0x108), UINT32_MAX);
	fix_fini(&f);
}
END_TEST

START_TEST(transmit)
{
	struct fix f;
	uint8_t *p;

	for (int vnet = 0; vnet <= 1; vnet++) {
		fix_init(&f, vnet, ALL);
		p = at(&f, BUF);
		memset(p, 0, 12);
		p[0] = (uint8_t)vnet;
		make_frame(p + 12, 100, other);
		/* the header cut in two, and the frame */
		ring_desc(&f.r[1], 0, BUF, 5, NEXT, 1);
		ring_desc(&f.r[1], 1, BUF + 5, 107, 0, 0);
		ring_avail(&f.r[1], 0);
		kick(f.m, SLOT, NIC_TX);
		guest_wait_idle(f.m);
		(void)ring_take(&f.r[1], 0);
		ck_assert_uint_eq(f.net.n_sent, 1);
		ck_assert_uint_eq(f.net.sent_bytes, vnet ? 112 : 100);
		ck_assert_mem_eq(f.net.sent, vnet ? p : p + 12, f.net.sent_bytes);
		ck_assert_uint_eq(reg_get(f.m, SLOT, 0x60), 1);
		fix_fini(&f);
	}
}
END_TEST

START_TEST(transmit_waits_for_a_full_network)
{
	struct fix f;

	fix_init(&f, false, ALL);
	make_frame(at(&f, BUF) + 12, 60, other);
	ring_desc(&f.r[1], 0, BUF, 72, 0, 0);
	f.net.full = true;
	ring_avail(&f.r[1], 0);
	kick(f.m, SLOT, NIC_TX);
	guest_sync(f.m);
	ck_assert_uint_eq(ring_used_idx(&f.r[1]), 0);
	ring_avail(&f.r[1], 0);
	kick(f.m, SLOT, NIC_TX);
	guest_sync(f.m);
	/* a pause puts the frame back, and resuming tries again */
	guest_pause(f.m);
	ck_assert_uint_eq(ring_used_idx(&f.r[1]), 0);
	guest_resume(f.m);
	ck_assert_uint_eq(f.net.n_sent, 0);
	f.net.full = false;
	loop_call(f.m->io, writable_on_io, &f);
	ck_assert_uint_eq(f.net.n_sent, 2);
	ck_assert_uint_eq(ring_used_idx(&f.r[1]), 2);
	fix_fini(&f);
}
END_TEST

START_TEST(odd_frames_are_dropped)
{
	struct fix f;
	static const uint32_t sizes[] = {12, 12 + 13, 12 + 70 * 1024};

	fix_init(&f, false, ALL);
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		ring_desc(&f.r[1], 0, BUF, sizes[i], 0, 0);
		ring_avail(&f.r[1], 0);
	}
	kick(f.m, SLOT, NIC_TX);
	guest_wait_idle(f.m);
	ck_assert_uint_eq(f.net.n_sent, 0);
	ck_assert_uint_eq(ring_used_idx(&f.r[1]), 3);
	ring_desc(&f.r[1], 0, BUF, 11, 0, 0); /* no header: that is no driver */
	ring_avail(&f.r[1], 0);
	kick(f.m, SLOT, NIC_TX);
	guest_wait_idle(f.m);
	ck_assert_uint_eq(reg_get(f.m, SLOT, 0x70), 0x4f);
	fix_fini(&f);
}
END_TEST

START_TEST(receive_one_buffer)
{
	struct fix f;
	uint8_t frame[112] = {0};

	for (int vnet = 0; vnet <= 1; vnet++) {
		fix_init(&f, vnet, ALL);
		frame[0] = 1; /* of the header: NEEDS_CSUM */
		make_frame(frame + 12, 100, own);
		ck_assert_int_eq(arrive(&f, frame + (vnet ? 0 : 12), vnet ? 112 : 100), -EAGAIN);
		post_buffers(&f, 1, 2048);
		ck_assert_uint_ge(f.net.asked, 1);
		ck_assert_int_eq(arrive(&f, frame + (vnet ? 0 : 12), vnet ? 112 : 100), 0);
		ck_assert_uint_eq(ring_take(&f.r[0], 0), 112);
		ck_assert_int_eq(at(&f, RXBUF(0))[0], vnet);
		ck_assert_uint_eq(get_le16(at(&f, RXBUF(0)) + 10), 1);
		ck_assert_mem_eq(at(&f, RXBUF(0)) + 12, frame + 12, 100);
		ck_assert_uint_eq(reg_get(f.m, SLOT, 0x60), 1);
		fix_fini(&f);
	}
}
END_TEST

START_TEST(receive_spread_over_buffers)
{
	struct fix f;
	uint8_t frame[1000], got[1012];
	unsigned at_byte = 0, kicks;

	fix_init(&f, false, ALL);
	make_frame(frame, sizeof(frame), own);
	post_buffers(&f, 3, 256);
	/* too few: nothing is used, the frame stays where it was */
	ck_assert_int_eq(arrive(&f, frame, sizeof(frame)), -EAGAIN);
	ck_assert_uint_eq(ring_used_idx(&f.r[0]), 0);
	/* with event indices the guest is asked to kick behind the third */
	ck_assert_uint_eq(get16(&f.m->mem, f.r[0].used + 4 + 8 * 64), 3);
	kicks = f.net.asked;
	ring_desc(&f.r[0], 3, RXBUF(3), 256, WR, 0);
	ring_avail(&f.r[0], 3);
	kick(f.m, SLOT, NIC_RX);
	guest_sync(f.m);
	ck_assert_uint_gt(f.net.asked, kicks);
	ck_assert_int_eq(arrive(&f, frame, sizeof(frame)), 0);
	ck_assert_uint_eq(ring_used_idx(&f.r[0]), 4);
	for (uint16_t i = 0; i < 4; i++) {
		uint32_t n = ring_take(&f.r[0], i);

		memcpy(got + at_byte, at(&f, RXBUF(i)), n);
		at_byte += n;
	}
	ck_assert_uint_eq(at_byte, 1012);
	ck_assert_uint_eq(get_le16(got + 10), 4);
	ck_assert_mem_eq(got + 12, frame, 1000);
	fix_fini(&f);
}
END_TEST

START_TEST(receive_without_mergeable_buffers)
{
	struct fix f;
	uint8_t frame[1000];

	fix_init(&f, false, ALL & ~NET_F_MRG_RXBUF);
	make_frame(frame, sizeof(frame), own);
	post_buffers(&f, 4, 256);
	ck_assert_int_eq(arrive(&f, frame, sizeof(frame)), 0); /* dropped */
	ck_assert_uint_eq(ring_used_idx(&f.r[0]), 0);
	ck_assert_int_eq(arrive(&f, frame, 200), 0);
	ck_assert_uint_eq(ring_take(&f.r[0], 0), 212);
	fix_fini(&f);
}
END_TEST

START_TEST(receive_header_without_room)
{
	struct fix f;

	fix_init(&f, false, ALL);
	post_buffers(&f, 4, 8);
	ck_assert_int_eq(arrive_for(&f, own), -EIO);
	ck_assert_uint_eq(reg_get(f.m, SLOT, 0x70), 0x4f);
	ck_assert_int_eq(arrive_for(&f, own), -EAGAIN);
	fix_fini(&f);
}
END_TEST

START_TEST(receive_waits_while_paused)
{
	struct fix f;

	fix_init(&f, false, ALL);
	post_buffers(&f, 1, 2048);
	guest_pause(f.m);
	ck_assert_int_eq(arrive_for(&f, own), -EAGAIN);
	f.net.asked = 0;
	guest_resume(f.m);
	ck_assert_uint_ge(f.net.asked, 1);
	ck_assert_int_eq(arrive_for(&f, own), 0);
	fix_fini(&f);
}
END_TEST

static void cable(void *opaque, struct nic *nic)
{
	nic_set_link(nic, *(bool *)opaque);
}

/* Without its cable a card drops frames both ways, and says so; a reset does not put it back. */
START_TEST(without_cable)
{
	struct fix f;
	bool up = false;

	fix_init(&f, false, ALL);
	post_buffers(&f, 2, 2048);
	ring_desc(&f.r[1], 0, BUF, 12 + 60, 0, 0);
	nic_for_each(f.m, cable, &up);
	ck_assert_uint_eq(reg_get(f.m, SLOT, 0x60), 2);
	ck_assert_uint_eq(bus_read(&f.m->mmio, slot_base(SLOT) + 0x106, 2), 0);
	ck_assert_int_eq(arrive_for(&f, own), 0);
	ck_assert_uint_eq(ring_used_idx(&f.r[0]), 0);
	ring_avail(&f.r[1], 0);
	kick(f.m, SLOT, NIC_TX);
	guest_wait_idle(f.m);
	ck_assert_uint_eq(ring_used_idx(&f.r[1]), 1);
	ck_assert_uint_eq(f.net.n_sent, 0);
	up = true;
	nic_for_each(f.m, cable, &up);
	ck_assert_uint_eq(bus_read(&f.m->mmio, slot_base(SLOT) + 0x106, 2), 1);
	ck_assert_int_eq(arrive_for(&f, own), 0);
	ck_assert_uint_eq(ring_used_idx(&f.r[0]), 1);
	ring_avail(&f.r[1], 0);
	kick(f.m, SLOT, NIC_TX);
	guest_wait_idle(f.m);
	ck_assert_uint_eq(f.net.n_sent, 1);
	fix_fini(&f);
}
END_TEST

static void announce(void *opaque, struct nic *nic)
{
	unsigned *n = opaque;
	uint8_t mac[6], frame[60];

	ck_assert_str_eq(nic_id(nic), "nic0");
	nic_mac(nic, mac);
	ck_assert_mem_eq(mac, own, 6);
	make_frame(frame, sizeof(frame), broadcast);
	nic_send_raw(nic, frame, sizeof(frame));
	nic_announce_guest(nic);
	++*n;
}

START_TEST(announcements)
{
	struct fix f;
	unsigned n = 0;

	for (int vnet = 0; vnet <= 1; vnet++) {
		static const uint8_t zeroes[12];

		fix_init(&f, vnet, ALL);
		ck_assert_uint_eq(control(&f, 3, 0, NULL, 0), 1); /* nothing to acknowledge */
		reg_set(f.m, SLOT, 0x64, 3);
		n = 0;
		nic_for_each(f.m, announce, &n);
		ck_assert_uint_eq(n, 1);
		guest_sync(f.m);
		ck_assert_uint_eq(f.net.n_sent, 1);
		ck_assert_uint_eq(f.net.sent_bytes, vnet ? 72 : 60);
		if (vnet)
			ck_assert_mem_eq(f.net.sent, zeroes, 12);
		ck_assert_uint_eq(reg_get(f.m, SLOT, 0x60), 2);
		ck_assert_uint_eq(reg_get(f.m, SLOT, 0xfc), 1);
		ck_assert_uint_eq(bus_read(&f.m->mmio, slot_base(SLOT) + 0x106, 2), 3);
		ck_assert_uint_eq(control(&f, 3, 0, NULL, 0), 0);
		ck_assert_uint_eq(bus_read(&f.m->mmio, slot_base(SLOT) + 0x106, 2), 1);
		/* the move itself asks too */
		list_for_each (d, &f.m->devices, struct device, link)
			d->ops->arrived(d);
		ck_assert_uint_eq(bus_read(&f.m->mmio, slot_base(SLOT) + 0x106, 2), 3);
		fix_fini(&f);
	}
	fix_init(&f, false, ALL & ~NET_F_GUEST_ANNOUNCE);
	list_for_each (d, &f.m->devices, struct device, link)
		d->ops->arrived(d);
	ck_assert_uint_eq(reg_get(f.m, SLOT, 0x60), 0);
	fix_fini(&f);
}
END_TEST

static const struct {
	const char *props[3];
	const char *says;
} refused[] = {
    {{"netdev", "zz"},             "Property 'virtio-net-device.netdev' can't find value 'zz'"    },
    {{"zz", "1"},		  "Property 'virtio-net-device.zz' not found"                    },
    {{"mq", "on"},                 "mq=on is not supported: a network card has one pair of queues"},
    {{"mac", "zz"},
     "Parameter 'mac' expects an Ethernet address like "
     "52:54:00:12:34:56, not 'zz'"								},
    {{"mac", "52:54:00:12:34:5g"},
     "Parameter 'mac' expects an Ethernet address like 52:54:00:12:34:56, "
     "not '52:54:00:12:34:5g'"								    },
    {{"mac", "01:00:00:00:00:00"}, "mac=01:00:00:00:00:00 is a group address"                     },
};

START_TEST(properties)
{
	static const char *const some_off[] = {"csum",   "off", "ctrl_vq", "off",
					       "status", "off", NULL};
	struct fix f;
	struct err err = {0};

	fix_base(&f, true);
	for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
		ck_assert_int_lt(create(&f, SLOT, refused[i].props, &err), 0);
		ck_assert_str_eq(err.msg, refused[i].says);
	}
	ck_assert_int_eq(create(&f, SLOT, some_off, &err), 0);
	ck_assert_uint_eq(features_get(f.m, SLOT), 0x1013000ffa2);
	ck_assert_uint_eq(bus_read(&f.m->mmio, slot_base(SLOT) + 0x106, 2), 0xffff);
	ck_assert_int_lt(create(&f, SLOT - 1, NULL, &err), 0);
	ck_assert_str_eq(
	    err.msg, "Property 'virtio-net-device.netdev' can't take value 'net0', it's in use");
	fix_fini(&f);
}
END_TEST

START_TEST(default_addresses_differ)
{
	static const char *const second[] = {"netdev", "net1", NULL};
	struct fake_net more;
	struct net_backend *nets[2];
	struct fix f;

	fix_base(&f, false);
	fake_net_init(&more, f.m, false);
	more.be.id = (char *)(uintptr_t) "net1";
	nets[0] = &f.net.be;
	nets[1] = &more.be;
	f.be.nets.v = nets;
	f.be.nets.n = 2;
	ck_assert_int_eq(create(&f, SLOT, NULL, NULL), 0);
	ck_assert_int_eq(create(&f, SLOT - 1, second, NULL), 0);
	ck_assert_uint_eq(reg_get(f.m, SLOT, 0x104), 0x00015634);
	ck_assert_uint_eq(reg_get(f.m, SLOT - 1, 0x104), 0x00015734);
	fix_fini(&f);
}
END_TEST

/* A legacy driver that takes these features, with the rings where version 1 has them. */
static void legacy_init(struct fix *f, bool vnet_hdr, uint32_t features)
{
	struct err err = {0};

	fix_base_on(f, vnet_hdr, &guest_stock_config);
	ck_assert_msg(create(f, SLOT, NULL, &err) == 0, "%s", err.msg);
	guest_resume(f->m);
	reg_set(f->m, SLOT, 0x70, 3);
	reg_set(f->m, SLOT, 0x24, 0);
	reg_set(f->m, SLOT, 0x20, features);
	reg_set(f->m, SLOT, 0x28, 4096);
	for (unsigned i = 0; i < 2; i++) {
		struct ring *r = &f->r[i];

		r->avail = r->desc + 16ULL * r->num;
		r->used = ALIGN_UP(r->avail + 6 + 2ULL * r->num, 4096);
		reg_set(f->m, SLOT, 0x30, i);
		reg_set(f->m, SLOT, 0x38, r->num);
		reg_set(f->m, SLOT, 0x3c, 4096);
		reg_set(f->m, SLOT, 0x40, (uint32_t)(r->desc >> 12));
	}
	reg_set(f->m, SLOT, 0x70, 7);
	guest_sync(f->m);
}

/* Without mergeable buffers its header has no count: 10 bytes, whatever the back end's has. */
START_TEST(legacy_header)
{
	static const struct {
		bool vnet;
		uint32_t features;
		size_t header;
	} rows[] = {
	    {false, 0,			 10},
	    {true,  0,			 10},
	    {false, (uint32_t)NET_F_MRG_RXBUF, 12},
	    {true,  (uint32_t)NET_F_MRG_RXBUF, 12},
	};
	uint8_t frame[112];
	struct fix f;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		size_t hdr = rows[i].header, theirs = rows[i].vnet ? 12 : 0;

		legacy_init(&f, rows[i].vnet, rows[i].features);
		memset(at(&f, BUF), 0, 12);
		at(&f, BUF)[0] = rows[i].vnet;
		make_frame(at(&f, BUF) + hdr, 100, other);
		ring_desc(&f.r[1], 0, BUF, 4, NEXT, 1);
		ring_desc(&f.r[1], 1, BUF + 4, (uint32_t)(hdr - 4 + 100), 0, 0);
		ring_avail(&f.r[1], 0);
		kick(f.m, SLOT, NIC_TX);
		guest_wait_idle(f.m);
		(void)ring_take(&f.r[1], 0);
		ck_assert_uint_eq(f.net.sent_bytes, theirs + 100);
		ck_assert_mem_eq(f.net.sent + theirs, at(&f, BUF) + hdr, 100);
		if (rows[i].vnet)
			ck_assert_int_eq(f.net.sent[0], 1);

		memset(frame, 0, sizeof(frame));
		frame[0] = 1;
		make_frame(frame + 12, 100, own);
		ring_desc(&f.r[0], 0, RXBUF(0), 2048, WR, 0);
		ring_avail(&f.r[0], 0);
		kick(f.m, SLOT, NIC_RX);
		guest_wait_idle(f.m);
		ck_assert_int_eq(arrive(&f, frame + 12 - theirs, 100 + theirs), 0);
		ck_assert_uint_eq(ring_take(&f.r[0], 0), hdr + 100);
		ck_assert_int_eq(at(&f, RXBUF(0))[0], rows[i].vnet);
		ck_assert_mem_eq(at(&f, RXBUF(0)) + hdr, frame + 12, 100);
		fix_fini(&f);
	}
}
END_TEST

static void take_nic(void *opaque, struct nic *nic)
{
	*(struct nic **)opaque = nic;
}

static struct nic *first_nic(struct fix *f)
{
	struct nic *nic = NULL;

	nic_for_each(f->m, take_nic, &nic);
	return nic;
}

/* Its address is written to the config space, unless there is a command for that. */
START_TEST(legacy_address)
{
	for (int command = 0; command <= 1; command++) {
		struct fix f;
		uint8_t mac[6];

		legacy_init(&f, false,
			    command ? (uint32_t)(NET_F_CTRL_VQ | NET_F_CTRL_MAC_ADDR) : 0);
		for (unsigned i = 0; i < 6; i++) {
			machine_lock(f.m);
			bus_write(&f.m->mmio, slot_base(SLOT) + 0x100 + i, 1, other[i]);
			machine_unlock(f.m);
		}
		nic_mac(first_nic(&f), mac);
		ck_assert_mem_eq(mac, command ? own : other, 6);
		fix_fini(&f);
	}
}
END_TEST

START_TEST(legacy_features)
{
	struct fix f;

	fix_base_on(&f, false, &guest_stock_config);
	ck_assert_int_eq(create(&f, SLOT, NULL, NULL), 0);
	ck_assert_uint_eq(features_get(f.m, SLOT), 0x39bf8064);
	fix_fini(&f);
}
END_TEST

CHECK_MAIN("virtio-net", legacy_address, legacy_header, legacy_features,
	   features_follow_the_back_end, transmit, transmit_waits_for_a_full_network,
	   odd_frames_are_dropped, receive_one_buffer, receive_spread_over_buffers,
	   receive_without_mergeable_buffers, receive_header_without_room,
	   receive_waits_while_paused, without_cable, announcements, properties,
	   default_addresses_differ)
