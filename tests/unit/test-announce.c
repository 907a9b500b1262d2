/* Announcements: the frame, rounds, choice of interfaces, replacement by id. */
#include "devices/virtio/virtio-devices.h"
#include "tests/unit/check-main.h"
#include "tests/unit/migration-rig.h"

/* ---- two network cards in the place of the real ones ---- */

struct nic {
	const char *id;
	uint8_t mac[6];
	unsigned frames, guest; /* atomic */
	uint8_t frame[64];
	size_t n;
};

static struct nic nics[] = {
    {.id = "n0", .mac = {0x52, 0x54, 0, 0x12, 0x34, 0x56}},
    {.id = "n1", .mac = {2, 0, 0, 0, 0, 9}               },
};

void nic_for_each(struct machine *m, void (*fn)(void *opaque, struct nic *nic), void *opaque)
{
	(void)m;
	for (size_t i = 0; i < ARRAY_LEN(nics); i++)
		fn(opaque, &nics[i]);
}

const char *nic_id(const struct nic *nic)
{
	return nic->id;
}

void nic_mac(struct nic *nic, uint8_t mac[6])
{
	memcpy(mac, nic->mac, 6);
}

void nic_send_raw(struct nic *nic, const uint8_t *frame, size_t n)
{
	ck_assert_uint_le(n, sizeof(nic->frame));
	memcpy(nic->frame, frame, n);
	nic->n = n;
	(void)__atomic_fetch_add(&nic->frames, 1, __ATOMIC_SEQ_CST);
}

void nic_announce_guest(struct nic *nic)
{
	(void)__atomic_fetch_add(&nic->guest, 1, __ATOMIC_SEQ_CST);
}

static unsigned frames(size_t i)
{
	return __atomic_load_n(&nics[i].frames, __ATOMIC_SEQ_CST);
}

/* ---- */

struct call {
	struct rig *r;
	struct announce_args args;
	struct err err;
	int ret;
};

static void do_announce(void *opaque)
{
	struct call *c = opaque;

	c->ret = migration_announce(c->r->mg, &c->args, &c->err);
}

static int announce(struct call *c)
{
	loop_call(c->r->m.loop, do_announce, c);
	return c->ret;
}

START_TEST(test_rounds)
{
	static const uint8_t rarp[] = {
	    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x52, 0x54, 0, 0x12, 0x34, 0x56, 0x80,
	    0x35, 0,    1,    8,    0,    6,    4,    0,    3, 0x52, 0x54, 0,    0x12,
	    0x34, 0x56, 0,    0,    0,    0,    0x52, 0x54, 0, 0x12, 0x34, 0x56,
	};
	struct call c = {
	    .r = rig_new(RS_PRELAUNCH), .args = {1, 2, 3, 1, NULL, 0, NULL}
        };

	ck_assert_int_eq(announce(&c), 0);
	while (frames(0) < 3 || frames(1) < 3)
		(void)sched_yield();
	rig_free(c.r); /* no further round comes */
	ck_assert_uint_eq(frames(0), 3);
	ck_assert_uint_eq(nics[0].guest, 3);
	ck_assert_uint_eq(nics[0].n, 60);
	ck_assert_mem_eq(nics[0].frame, rarp, sizeof(rarp));
	for (size_t i = sizeof(rarp); i < 60; i++)
		ck_assert_uint_eq(nics[0].frame[i], 0);
}
END_TEST

START_TEST(test_interfaces)
{
	const char *only[] = {"n1", "nowhere"};
	struct call c = {
	    .r = rig_new(RS_PRELAUNCH), .args = {0, 0, 1, 1, only, 2, "a"}
        };

	ck_assert_int_eq(announce(&c), 0);
	ck_assert_uint_eq(frames(0), 0);
	ck_assert_uint_eq(frames(1), 1);
	rig_free(c.r);
}
END_TEST

START_TEST(test_replaced_by_id)
{
	struct call c = {
	    .r = rig_new(RS_PRELAUNCH), .args = {100000, 100000, 1000, 1, NULL, 0, "a"}
        };

	ck_assert_int_eq(announce(&c), 0);
	ck_assert_int_eq(announce(&c), 0);
	c.args.id = NULL;
	ck_assert_int_eq(announce(&c), 0);
	ck_assert_uint_eq(frames(0), 3); /* the first round of each, at once */
	c.args.rounds = 0;               /* ends the nameless one */
	ck_assert_int_eq(announce(&c), 0);
	ck_assert_uint_eq(frames(0), 3);
	rig_free(c.r);
}
END_TEST

START_TEST(test_ranges)
{
	struct call c = {
	    .r = rig_new(RS_PRELAUNCH), .args = {100001, 1, 1, 1, NULL, 0, NULL}
        };

	ck_assert_int_lt(announce(&c), 0);
	ck_assert_str_eq(c.err.msg, "Parameter 'initial' expects a value between 0 and 100000");
	rig_free(c.r);
}
END_TEST

CHECK_MAIN("announce", test_rounds, test_interfaces, test_replaced_by_id, test_ranges)
