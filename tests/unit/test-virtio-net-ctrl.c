/* virtio-net's control queue and the receive filter that it programs. */
#include <linux/if_tun.h>

#include "tests/unit/check-main.h"
#include "tests/unit/virtio-nic.h"

START_TEST(receive_modes)
{
	struct fix f;

	fix_init(&f, false, ALL);
	ck_assert(passes(&f, other)); /* promiscuous until told otherwise */
	ck_assert_uint_eq(mode(&f, 0, 0), 0);
	ck_assert(!passes(&f, other));
	ck_assert(passes(&f, own));
	ck_assert(passes(&f, broadcast));
	ck_assert(!passes(&f, multicast));
	ck_assert_uint_eq(mode(&f, 1, 1), 0); /* allmulti */
	ck_assert(passes(&f, multicast));
	ck_assert_uint_eq(mode(&f, 3, 1), 0); /* nomulti */
	ck_assert(!passes(&f, multicast));
	ck_assert_uint_eq(mode(&f, 2, 1), 0); /* alluni */
	ck_assert(passes(&f, other));
	ck_assert_uint_eq(mode(&f, 4, 1), 0); /* nouni */
	ck_assert(!passes(&f, own));
	ck_assert_uint_eq(mode(&f, 5, 1), 0); /* nobcast */
	ck_assert(!passes(&f, broadcast));
	ck_assert_uint_eq(mode(&f, 6, 1), 1);
	ck_assert_uint_eq(control(&f, 0, 0, "ab", 2), 1);
	ck_assert_uint_eq(control(&f, 0, 0, NULL, 0), 1);
	ck_assert_uint_eq(control(&f, 9, 0, NULL, 0), 1);
	ck_assert_uint_eq(control(&f, 4, 0, "\1\0", 2), 1); /* one pair of queues */
	fix_fini(&f);
}
END_TEST

/* le32 count, addresses; twice */
static size_t table(uint8_t *p, uint32_t n_uni, uint32_t n_multi)
{
	uint8_t *start = p;

	put_le32(p, n_uni);
	p += 4;
	for (uint32_t i = 0; i < n_uni; i++, p += 6)
		memcpy(p, other, 6);
	put_le32(p, n_multi);
	p += 4;
	for (uint32_t i = 0; i < n_multi; i++, p += 6)
		memcpy(p, multicast, 6);
	return (size_t)(p - start);
}

START_TEST(mac_table)
{
	static const uint8_t stranger[6] = {2, 2, 2, 2, 2, 2}, group[6] = {3, 2, 2, 2, 2, 2};
	uint8_t *t = xcalloc(1, 16384);
	struct fix f;

	fix_init(&f, false, ALL);
	ck_assert_uint_eq(mode(&f, 0, 0), 0);
	ck_assert_uint_eq(control(&f, 1, 0, t, table(t, 2, 1)), 0);
	ck_assert(passes(&f, other));
	ck_assert(passes(&f, multicast));
	ck_assert(!passes(&f, stranger));
	/* too many of one kind: all of that kind */
	ck_assert_uint_eq(control(&f, 1, 0, t, table(t, 65, 1)), 0);
	ck_assert(passes(&f, stranger));
	ck_assert(!passes(&f, group));
	ck_assert_uint_eq(control(&f, 1, 0, t, table(t, 1, 64)), 0);
	ck_assert(!passes(&f, stranger));
	ck_assert(passes(&f, group));
	/* more than is worth reading */
	ck_assert_uint_eq(control(&f, 1, 0, t, table(t, 1500, 1000)), 0);
	ck_assert(passes(&f, stranger) && passes(&f, group));
	/* lengths that lie change nothing */
	ck_assert_uint_eq(control(&f, 1, 0, t, table(t, 0, 0)), 0);
	ck_assert_uint_eq(control(&f, 1, 0, t, table(t, 2, 1) - 1), 1);
	put_le32(t, UINT32_MAX);
	ck_assert_uint_eq(control(&f, 1, 0, t, 22), 1);
	ck_assert_uint_eq(control(&f, 1, 0, t, 3), 1);
	ck_assert(!passes(&f, other));
	free(t);
	fix_fini(&f);
}
END_TEST

START_TEST(own_address)
{
	struct fix f;

	fix_init(&f, false, ALL);
	ck_assert_uint_eq(mode(&f, 0, 0), 0);
	ck_assert_uint_eq(control(&f, 1, 1, other, 6), 0);
	ck_assert(passes(&f, other));
	ck_assert(!passes(&f, own));
	ck_assert_uint_eq(reg_get(f.m, SLOT, 0x100), 0x00005452);
	ck_assert_uint_eq(control(&f, 1, 1, other, 5), 1);
	reg_set(f.m, SLOT, 0x70, 0); /* a reset brings the first one back */
	ck_assert_uint_eq(reg_get(f.m, SLOT, 0x100), 0x12005452);
	fix_fini(&f);
}
END_TEST

static bool vlan_passes(struct fix *f, uint16_t tag)
{
	uint8_t frame[64];
	uint16_t before = ring_used_idx(&f->r[0]);

	make_frame(frame, sizeof(frame), own);
	put_be16(frame + 12, 0x8100);
	put_be16(frame + 14, tag);
	ring_desc(&f->r[0], 0, RXBUF(0), 2048, WR, 0);
	if (f->r[0].avail_idx == before)
		ring_avail(&f->r[0], 0);
	ck_assert_int_eq(arrive(f, frame, sizeof(frame)), 0);
	return ring_used_idx(&f->r[0]) != before;
}

START_TEST(vlan_filter)
{
	struct fix f;

	fix_init(&f, false, ALL);
	ck_assert_uint_eq(mode(&f, 0, 0), 0);
	ck_assert(!vlan_passes(&f, 100));
	ck_assert_uint_eq(control(&f, 2, 0, "\x64\0", 2), 0);
	ck_assert(vlan_passes(&f, 100));
	ck_assert(vlan_passes(&f, 0xe000 | 100)); /* the priority does not matter */
	ck_assert_uint_eq(control(&f, 2, 1, "\x64\0", 2), 0);
	ck_assert(!vlan_passes(&f, 100));
	ck_assert_uint_eq(control(&f, 2, 0, "\0\x10", 2), 1);
	ck_assert_uint_eq(control(&f, 2, 2, "\0\0", 2), 1);
	ck_assert_uint_eq(control(&f, 2, 0, "\0", 1), 1);
	fix_fini(&f);
	fix_init(&f, false, ALL & ~NET_F_CTRL_VLAN); /* not negotiated: all pass */
	ck_assert_uint_eq(mode(&f, 0, 0), 0);
	ck_assert(vlan_passes(&f, 100));
	fix_fini(&f);
}
END_TEST

START_TEST(offloads_change_while_running)
{
	struct fix f;
	uint8_t want[8];

	fix_init(&f, true, ALL & ~NET_F_GUEST_UFO);
	put_le64(want, NET_F_GUEST_CSUM | NET_F_GUEST_TSO4);
	ck_assert_uint_eq(control(&f, 5, 0, want, 8), 0);
	ck_assert_uint_eq(f.net.offload, TUN_F_CSUM | TUN_F_TSO4);
	put_le64(want, NET_F_GUEST_UFO); /* was not negotiated */
	ck_assert_uint_eq(control(&f, 5, 0, want, 8), 1);
	ck_assert_uint_eq(f.net.offload, TUN_F_CSUM | TUN_F_TSO4);
	ck_assert_uint_eq(control(&f, 5, 0, want, 7), 1);
	fix_fini(&f);
}
END_TEST

START_TEST(control_without_answer_byte)
{
	struct fix f;

	fix_init(&f, false, ALL);
	ring_desc(&f.r[2], 0, BUF, 16, 0, 0);
	ring_avail(&f.r[2], 0);
	kick(f.m, SLOT, NIC_CTRL);
	guest_wait_idle(f.m);
	ck_assert_uint_eq(reg_get(f.m, SLOT, 0x70), 0x4f);
	fix_fini(&f);
}
END_TEST

CHECK_MAIN("virtio-net-ctrl", receive_modes, mac_table, own_address, vlan_filter,
	   offloads_change_while_running, control_without_answer_byte)
