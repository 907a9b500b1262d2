/* virtio-serial: what drivers are told, bytes in both directions, pressure back, hostile drivers.
 */
#include <sys/resource.h>
#include <unistd.h>

#include "tests/unit/check-main.h"
#include "tests/unit/virtio-ports.h"
#include "vmm/notify.h"

enum {
	DEVICE_READY,
	PORT_ADD,
	PORT_REMOVE,
	PORT_READY,
	CONSOLE_PORT,
	RESIZE,
	PORT_OPEN,
	PORT_NAME
};

#define HEARD 0x1000 /* where the control messages come in, 64 bytes each */

static void offer_control(struct ports *p, unsigned n)
{
	for (uint16_t i = 0; i < n; i++)
		ports_offer(p, CONTROL_IN, i, HEARD + 64ULL * i, 64);
}

/* The next message is this one, in buffer i. */
static void hears(struct ports *p, uint16_t i, uint32_t id, uint16_t event, uint16_t value,
		  const char *text)
{
	const uint8_t *at = ports_at(p, HEARD + 64ULL * i);
	uint32_t n = ring_take(&p->ring[CONTROL_IN], i);

	ck_assert_uint_eq(get_le32(at), id);
	ck_assert_uint_eq(get_le16(at + 4), event);
	ck_assert_uint_eq(get_le16(at + 6), value);
	ck_assert_uint_eq(n, 8 + (text ? strlen(text) + 1 : 0));
	if (text)
		ck_assert_str_eq((const char *)at + 8, text);
}

static void hears_no_more(struct ports *p)
{
	ck_assert_uint_eq(ring_used_idx(&p->ring[CONTROL_IN]), p->ring[CONTROL_IN].seen);
}

static bool is_used(struct ports *p, unsigned q)
{
	return ring_used_idx(&p->ring[q]) != p->ring[q].seen;
}

/* A port that the guest has opened, and a peer is at. */
static struct ports *open_port(void)
{
	struct ports *p = ports_new();

	ports_start(p, PORTS_FEATURES);
	ports_connect(p, true);
	ports_say(p, 1, PORT_OPEN, 1);
	return p;
}

START_TEST(device_is_as_in_qemu)
{
	struct ports *p = ports_new();

	ck_assert_uint_eq(reg_get(p->m, PORTS_SLOT, 8), 3);
	ck_assert_uint_eq(features_get(p->m, PORTS_SLOT), 0x10130000006ULL);
	for (unsigned q = 0; q < 65; q++) {
		reg_set(p->m, PORTS_SLOT, 0x30, q);
		ck_assert_uint_eq(reg_get(p->m, PORTS_SLOT, 0x34), q == 64      ? 0
								   : q / 2 == 1 ? 32
										: 128);
	}
	ck_assert_uint_eq(reg_get(p->m, PORTS_SLOT, 0x100), 0);
	ck_assert_uint_eq(reg_get(p->m, PORTS_SLOT, 0x104), 31);
	ck_assert_uint_eq(reg_get(p->m, PORTS_SLOT, 0x108), 0);
	ck_assert_uint_eq(reg_get(p->m, PORTS_SLOT, 0x10c), UINT32_MAX);
	ports_free(p);
}
END_TEST

START_TEST(driver_is_told_of_ports)
{
	struct ports *p = ports_new();

	ports_start(p, PORTS_FEATURES);
	offer_control(p, 8);
	hears_no_more(p);
	ports_say(p, 0, DEVICE_READY, 1);
	hears(p, 0, 0, PORT_ADD, 1, NULL);
	hears(p, 1, 1, PORT_ADD, 1, NULL);
	hears_no_more(p);
	ports_say(p, 0, PORT_READY, 1);
	hears(p, 2, 0, CONSOLE_PORT, 1, NULL);
	hears(p, 3, 0, PORT_OPEN, 1, NULL);
	ports_say(p, 1, PORT_READY, 1);
	hears_no_more(p); /* neither a name nor a peer */
	ports_connect(p, true);
	hears(p, 4, 1, PORT_OPEN, 1, NULL);
	ports_connect(p, false);
	hears(p, 5, 1, PORT_OPEN, 0, NULL);
	ports_free(p);
}
END_TEST

START_TEST(messages_wait_for_buffers)
{
	struct ports *p = ports_new();

	ports_start(p, PORTS_FEATURES);
	ports_say(p, 0, DEVICE_READY, 1);
	ports_say(p, 1, PORT_READY, 1);
	ports_connect(p, true);
	ports_connect(p, false);
	ports_connect(p, true);
	offer_control(p, 4);
	hears(p, 0, 0, PORT_ADD, 1, NULL);
	hears(p, 1, 1, PORT_ADD, 1, NULL);
	hears(p, 2, 1, PORT_OPEN, 1, NULL);
	hears_no_more(p);
	/* Gone and here again between two buffers: both are said. */
	machine_lock(p->m);
	chardev_set_connected(&p->chr[1].c, false);
	chardev_set_connected(&p->chr[1].c, true);
	machine_unlock(p->m);
	ports_settle(p);
	hears(p, 3, 1, PORT_OPEN, 0, NULL);
	ports_offer(p, CONTROL_IN, 0, HEARD, 64);
	hears(p, 0, 1, PORT_OPEN, 1, NULL);
	ports_free(p);
}
END_TEST

START_TEST(hostile_control_messages)
{
	struct ports *p = open_port();

	offer_control(p, 4);
	for (uint16_t event = 0; event < 20; event++) {
		ports_say(p, 77, event, event != DEVICE_READY);
		ports_say(p, UINT32_MAX, event, 0);
	}
	ports_say(p, 1, 0xffff, 0xffff);
	ports_say(p, 1, PORT_READY, 0);
	hears_no_more(p);
	for (uint32_t n = 1; n < 8; n++) { /* too short */
		ports_offer(p, CONTROL_OUT, 0, 0, n);
		(void)ring_take(&p->ring[CONTROL_OUT], 0);
	}
	/* A buffer with room for a part. */
	ports_offer(p, CONTROL_IN, 4, HEARD, 64);
	ports_say(p, 0, DEVICE_READY, 1);
	hears(p, 0, 0, PORT_ADD, 1, NULL);
	ck_assert_uint_eq(reg_get(p->m, PORTS_SLOT, 0x70), 0xf);
	ports_free(p);
}
END_TEST

START_TEST(output_reaches_the_peer)
{
	struct ports *p = open_port();

	memcpy(ports_at(p, 0), "to the agent", 12);
	ports_offer(p, PORT_OUT, 3, 0, 12);
	ck_assert_uint_eq(ring_take(&p->ring[PORT_OUT], 3), 0);
	ck_assert_uint_eq(p->chr[1].n_got, 12);
	ck_assert_mem_eq(p->chr[1].got, "to the agent", 12);
	ports_free(p);
}
END_TEST

/* Of 20000 bytes the peer takes some, then some more, then all. */
START_TEST(output_waits_for_the_peer)
{
	struct ports *p = open_port();
	size_t taken[] = {0, 1, 4095, 1, 9000};
	size_t sum = 0;

	for (size_t i = 0; i < 20000; i++)
		*ports_at(p, i) = (uint8_t)(i * 7 / 3);
	p->chr[1].room = 0;
	ports_offer(p, PORT_OUT, 0, 0, 20000);
	for (size_t i = 0; i < ARRAY_LEN(taken); i++) {
		sum += taken[i];
		ports_writable(p, taken[i]);
		ck_assert(!is_used(p, PORT_OUT));
		ck_assert_uint_eq(p->chr[1].n_got, sum);
	}
	ports_writable(p, SIZE_MAX);
	(void)ring_take(&p->ring[PORT_OUT], 0);
	ck_assert_uint_eq(p->chr[1].n_got, 20000);
	ck_assert_mem_eq(p->chr[1].got, ports_at(p, 0), 20000);
	ports_free(p);
}
END_TEST

START_TEST(console_never_waits)
{
	struct ports *p = ports_new();

	machine_lock(p->m);
	chardev_set_connected(&p->chr[0].c, true);
	machine_unlock(p->m);
	ports_start(p, PORTS_FEATURES);
	p->chr[0].room = 5;
	ports_offer(p, 1, 0, 0, 20000);
	(void)ring_take(&p->ring[1], 0);
	ck_assert_uint_eq(p->chr[0].n_got, 5);
	/* A byte by the configuration space. */
	p->chr[0].room = SIZE_MAX;
	reg_set(p->m, PORTS_SLOT, 0x108, '!');
	ck_assert_uint_eq(p->chr[0].got[5], '!');
	ck_assert_uint_eq(reg_get(p->m, PORTS_SLOT, 0x108), 0);
	ports_free(p);
}
END_TEST

START_TEST(output_without_a_peer_is_dropped)
{
	struct ports *p = open_port();

	p->chr[1].room = 3;
	ports_offer(p, PORT_OUT, 0, 0, 9000);
	ports_offer(p, PORT_OUT, 1, 0, 9000);
	ck_assert(!is_used(p, PORT_OUT));
	ports_connect(p, false);
	(void)ring_take(&p->ring[PORT_OUT], 0);
	(void)ring_take(&p->ring[PORT_OUT], 1);
	ports_offer(p, PORT_OUT, 2, 0, 9000);
	(void)ring_take(&p->ring[PORT_OUT], 2);
	/* The next one gets its own bytes. */
	p->chr[1].room = SIZE_MAX;
	ports_connect(p, true);
	ports_offer(p, PORT_OUT, 3, 0, 10);
	(void)ring_take(&p->ring[PORT_OUT], 3);
	ck_assert_uint_eq(p->chr[1].n_got, 13);
	/* One that cannot be written to does not stop the guest. */
	p->chr[1].error = -EIO;
	ports_offer(p, PORT_OUT, 4, 0, 10);
	(void)ring_take(&p->ring[PORT_OUT], 4);
	ports_free(p);
}
END_TEST

START_TEST(input_is_what_the_guest_has_room_for)
{
	struct ports *p = ports_new();
	uint8_t bytes[5000];

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 5 / 3);
	ports_start(p, PORTS_FEATURES);
	ports_connect(p, true);
	ports_offer(p, PORT_IN, 0, 0, 100);
	ck_assert_uint_eq(ports_from_peer(p, bytes, 100), 0); /* the guest has not opened it */
	ports_say(p, 1, PORT_OPEN, 1);
	ports_offer(p, PORT_IN, 1, 100, 50);
	ck_assert_uint_eq(ports_from_peer(p, bytes, 100), 100);
	ck_assert_uint_eq(ring_take(&p->ring[PORT_IN], 0), 100);
	ck_assert_uint_eq(ports_from_peer(p, bytes + 100, 20), 20);
	ck_assert_uint_eq(ring_take(&p->ring[PORT_IN], 1), 20);
	ck_assert_uint_eq(ports_from_peer(p, bytes + 120, 20), 0);
	ports_offer(p, PORT_IN, 2, 200, 5000);
	ck_assert_uint_eq(ports_from_peer(p, bytes, sizeof(bytes)), 4096);
	ck_assert_uint_eq(ring_take(&p->ring[PORT_IN], 2), 4096);
	ck_assert_mem_eq(ports_at(p, 200), bytes, 4096);
	ck_assert_mem_eq(ports_at(p, 0), bytes, 120);
	/* While the machine is paused nothing is taken. */
	ports_offer(p, PORT_IN, 3, 0, 100);
	guest_pause(p->m);
	ck_assert_uint_eq(ports_from_peer(p, bytes, 100), 0);
	guest_resume(p->m);
	ports_settle(p);
	ck_assert_uint_eq(ports_from_peer(p, bytes, 100), 100);
	ports_free(p);
}
END_TEST

/* Buffers with room for nothing, chains that lead outside, a ring that jumps. */
START_TEST(hostile_rings)
{
	struct ports *p = open_port();

	ring_desc(&p->ring[PORT_IN], 0, PORTS_DATA, 100, 0, 0); /* a readable one */
	ring_avail(&p->ring[PORT_IN], 0);
	kick(p->m, PORTS_SLOT, PORT_IN);
	ports_settle(p);
	ck_assert_uint_eq(ports_from_peer(p, "abc", 3), 0);
	ports_offer(p, PORT_IN, 1, 0, 100);
	for (int i = 0; i < 2; i++) /* the second time its descriptor is another */
		ring_desc(&p->ring[PORT_IN], 1, PORTS_DATA, 1, VIRTQ_DESC_WRITE, 0);
	(void)ports_from_peer(p, "abc", 3);
	ck_assert_uint_eq(reg_get(p->m, PORTS_SLOT, 0x70), 0xf);
	ring_desc(&p->ring[PORT_OUT], 0, GUEST_RAM - 1, 100, 0, 0);
	ring_avail(&p->ring[PORT_OUT], 0);
	kick(p->m, PORTS_SLOT, PORT_OUT);
	ports_settle(p);
	ck_assert_uint_eq(reg_get(p->m, PORTS_SLOT, 0x70), 0x4f);
	(void)ports_from_peer(p, "abc", 3);
	ports_connect(p, false);
	/* A reset brings it back. */
	ports_start(p, PORTS_FEATURES);
	ports_connect(p, true);
	ports_say(p, 1, PORT_OPEN, 1);
	p->ring[PORT_OUT].avail_idx = 0;
	ports_free(p);
}
END_TEST

/* Of the stopped device's queue nothing is in flight after it was set up anew. */
START_TEST(reset_forgets_the_chain)
{
	struct ports *p = open_port();

	p->chr[1].room = 7;
	ports_offer(p, PORT_OUT, 0, 0, 9000);
	for (unsigned q = 0; q < PORTS_RINGS; q++)
		memset(memory_ptr(&p->m->mem, PORTS_RING(q), 0x10000), 0, 0x10000);
	ports_start(p, PORTS_FEATURES);
	ports_writable(p, SIZE_MAX);
	ck_assert_uint_eq(p->chr[1].n_got, 7);
	ports_offer(p, PORT_OUT, 1, 0, 9);
	(void)ring_take(&p->ring[PORT_OUT], 1);
	ck_assert_uint_eq(p->chr[1].n_got, 16);
	ports_free(p);
}
END_TEST

struct heard {
	struct notify_listener l;
	unsigned n;
	int64_t open;
	char id[16];
};

static void on_change(void *opaque, const struct notification *n)
{
	struct heard *h = opaque;

	if (n->kind != NOTIFY_VSERPORT_CHANGE)
		return;
	h->n++;
	h->open = n->number;
	(void)snprintf(h->id, sizeof(h->id), "%s", n->text);
}

/* A guest that opens and closes all the time is told of at most once a second. */
START_TEST(changes_are_told)
{
	struct ports *p = ports_new();
	struct heard h = {
	    .l = {.fn = on_change, .opaque = &h}
        };

	machine_lock(p->m);
	notify_subscribe(&p->m->notify, &h.l);
	machine_unlock(p->m);
	ports_start(p, PORTS_FEATURES);
	ports_say(p, 1, PORT_OPEN, 1);
	ck_assert_uint_eq(h.n, 1);
	ck_assert_int_eq(h.open, 1);
	ck_assert_str_eq(h.id, "agent");
	for (int i = 0; i < 21; i++)
		ports_say(p, 1, PORT_OPEN, i & 1);
	ck_assert_uint_le(h.n, 3);
	while (h.open)
		ports_settle(p);
	machine_lock(p->m);
	notify_unsubscribe(&h.l);
	machine_unlock(p->m);
	ports_free(p);
}
END_TEST

START_TEST(driver_without_multiport)
{
	struct ports *p = ports_new();

	ports_start(p, VIRTIO_F_VERSION_1);
	machine_lock(p->m);
	chardev_set_connected(&p->chr[0].c, true);
	machine_unlock(p->m);
	ports_offer(p, 1, 0, 0, 6);
	(void)ring_take(&p->ring[1], 0);
	ck_assert_uint_eq(p->chr[0].n_got, 6);
	ports_offer(p, 0, 0, 0, 100);
	machine_lock(p->m);
	ck_assert_uint_eq(chardev_room(&p->chr[0].c), 100);
	machine_unlock(p->m);
	ports_free(p);
}
END_TEST

/* ---- the command line ---- */

static const struct {
	const char *driver, *key, *val, *says;
} refused[] = {
    {"virtserialport", "nr",      "0",       "already exists at id 0"    },
    {"virtserialport", "nr",      "31",      "max. allowed: 30"          },
    {"virtserialport", "nr",      "1",       "already exists at id 1"    },
    {"virtconsole",    "nr",      "0",       "already exists at id 0"    },
    {"virtserialport", "bus",     "x.0",     "Bus 'x.0' not found"       },
    {"virtserialport", "chardev", "nothing", "can't find value 'nothing'"},
    {"virtserialport", "chardev", "port",    "in use"                    },
};

START_TEST(refused_on_the_command_line)
{
	struct ports *p = ports_new();

	for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
		struct cfg_device cfg = test_device(refused[i].driver, NULL);
		struct err err = {0};

		keyvals_add(&cfg.props, refused[i].key, refused[i].val);
		machine_lock(p->m);
		ck_assert_int_lt(device_create(p->m, &cfg, 0, &p->be, &err), 0);
		machine_unlock(p->m);
		ck_assert_msg(strstr(err.msg, refused[i].says) != NULL, "%s", err.msg);
		device_free(&cfg);
	}
	ports_free(p);
}
END_TEST

/* Of the two that it needs itself it gets none, or one. */
START_TEST(no_descriptors_left)
{
	struct ports *p = ports_new();
	struct cfg_device cfg = test_device("virtio-serial-device", NULL);
	int free_fd = dup(STDERR_FILENO);
	struct rlimit limit;

	ck_assert_int_ge(free_fd, 0);
	(void)close(free_fd);
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	for (rlim_t n = 0; n < 2; n++) {
		struct err err = {0};

		limit.rlim_cur = (rlim_t)free_fd + n;
		ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
		machine_lock(p->m);
		ck_assert_int_lt(device_create(p->m, &cfg, 0, &p->be, &err), 0);
		machine_unlock(p->m);
		ck_assert_ptr_nonnull(strstr(err.msg, "virtio-console: cannot make an eventfd"));
	}
	device_free(&cfg);
	ports_free(p);
}
END_TEST

CHECK_MAIN("virtio-serial", device_is_as_in_qemu, driver_is_told_of_ports,
	   messages_wait_for_buffers, hostile_control_messages, output_reaches_the_peer,
	   output_waits_for_the_peer, console_never_waits, output_without_a_peer_is_dropped,
	   input_is_what_the_guest_has_room_for, hostile_rings, reset_forgets_the_chain,
	   changes_are_told, driver_without_multiport, refused_on_the_command_line,
	   no_descriptors_left)
