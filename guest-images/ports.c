/*
 * ports.c - a driver of virtio-serial: prints what the control queue says, opens port 1 and echoes
 * what comes in there; port=0: a driver without MULTIPORT, that echoes on port 0
 *
 * Commands: o open, c close, s send 64 KiB of counted words, h say hello on port 0, w write by the
 * configuration space, r report, z set the device up anew, q power off, x reset the machine.
 */
#include "lib.h"
#include "virtio.h"

#define MULTIPORT     (1ull << 1)
#define BUFFERS       4u
#define BUFFER_BYTES  512u
#define CONTROL_BYTES 64u
#define RINGS         (VIRTIO_F_INDIRECT | VIRTIO_F_EVENT_IDX)
#define FLOOD_BYTES   65536u

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

struct control {
	uint32_t port;
	uint16_t event, value;
};

static struct virtio dev;
static struct virtio_queue control_in, control_out, in, out, console_out;
static uint8_t buffer[BUFFERS][BUFFER_BYTES];
static uint8_t answer[BUFFERS][CONTROL_BYTES];
static uint32_t flood[FLOOD_BYTES / 4];
static unsigned next_in, next_out, next_control;
static uint64_t echoed;
static unsigned port;
static bool flooding;

static bool is_used(const struct virtio_queue *q)
{
	return q->desc && q->used->idx != q->used_seen;
}

static void say(uint32_t id, uint16_t event, uint16_t value)
{
	static struct control msg;
	const struct piece piece = {&msg, sizeof(msg), false};
	uint32_t len;

	msg = (struct control){id, event, value};
	if (!virtio_request(&control_out, &piece, 1, false, &len))
		text("no answer to a control message\n");
}

static void receive(unsigned i)
{
	virtio_submit(&in, &(struct piece){buffer[i], BUFFER_BYTES, true}, 1, false);
}

static void listen(unsigned i)
{
	memset(answer[i], 0, CONTROL_BYTES);
	virtio_submit(&control_in, &(struct piece){answer[i], CONTROL_BYTES, true}, 1, false);
}

static void obey_control(const uint8_t *bytes, uint32_t len)
{
	struct control c;

	memcpy(&c, bytes, sizeof(c));
	field("control event=", c.event);
	field(" port=", c.port);
	field(" value=", c.value);
	if (len > sizeof(c)) {
		text(" name=");
		text((const char *)bytes + sizeof(c));
	}
	text("\n");
	if (c.event == PORT_ADD)
		say(c.port, PORT_READY, 1);
}

static bool set_up_queues(void)
{
	unsigned first = port ? 2 * (port + 1) : 0;

	if (!virtio_queue_setup(&dev, &in, first) || !virtio_queue_setup(&dev, &out, first + 1))
		return false;
	if (!port)
		return true;
	return virtio_queue_setup(&dev, &console_out, 1) &&
	       virtio_queue_setup(&dev, &control_in, 2) &&
	       virtio_queue_setup(&dev, &control_out, 3);
}

static void begin(void)
{
	port = (unsigned)arg_number("port", 1);
	next_in = next_out = next_control = 0;
	flooding = false;
	if (!virtio_find(&dev, VIRTIO_ID_CONSOLE, 0) ||
	    !virtio_begin(&dev, RINGS | (port ? MULTIPORT : 0)) || !set_up_queues()) {
		text("no ports\n");
		return;
	}
	virtio_ready(&dev);
	for (unsigned i = 0; i < BUFFERS; i++)
		receive(i);
	for (unsigned i = 0; port && i < BUFFERS; i++)
		listen(i);
	field("offered=", dev.offered);
	field(" columns=", virtio_config32(&dev, 0));
	text("\n");
	field("ports ", virtio_config32(&dev, 4));
	text("\n");
	if (port)
		say(0, DEVICE_READY, 1);
}

static void serve(void)
{
	uint32_t len;

	while (is_used(&control_in)) {
		(void)virtio_wait(&control_in, &len);
		obey_control(answer[next_control], len);
		listen(next_control);
		next_control = (next_control + 1) % BUFFERS;
	}
	while (is_used(&in)) {
		(void)virtio_wait(&in, &len);
		echoed += len;
		virtio_submit(&out, &(struct piece){buffer[next_in], len, false}, 1, false);
		next_in = (next_in + 1) % BUFFERS;
	}
	while (is_used(&out)) {
		(void)virtio_wait(&out, &len);
		if (flooding) {
			text("flooded\n");
			flooding = false;
			continue;
		}
		receive(next_out);
		next_out = (next_out + 1) % BUFFERS;
	}
}

static void hello(void)
{
	static char words[] = "hello from the console\n";
	uint32_t len;

	text(virtio_request(&console_out, &(struct piece){words, sizeof(words) - 1, false}, 1,
			    false, &len)
		 ? "said\n"
		 : "not said\n");
}

static void send_flood(void)
{
	for (uint32_t i = 0; i < FLOOD_BYTES / 4; i++)
		flood[i] = i;
	flooding = true;
	virtio_submit(&out, &(struct piece){flood, FLOOD_BYTES, false}, 1, false);
	text("flood\n");
}

static void obey(char c)
{
	switch (c) {
	case 'o':
	case 'c':
		say(port, PORT_OPEN, c == 'o');
		text(c == 'o' ? "opened\n" : "closed\n");
		break;
	case 's':
		send_flood();
		break;
	case 'h':
		hello();
		break;
	case 'w':
		mmio_write32(dev.gpa + VIRTIO_CONFIG + 8, '!');
		text("written\n");
		break;
	case 'r':
		field("R ticks=", ticks[0]);
		field(" echoed=", echoed);
		field(" waiting=", (uint16_t)(out.avail->idx - out.used->idx));
		text("\nR end\n");
		break;
	case 'z':
		begin();
		break;
	case 'q':
		power_off();
	case 'x':
		request_reset();
	default:
		break;
	}
}

void guest_main(void)
{
	ticks_start();
	commands_start();
	begin();
	for (;;) {
		wait_for_interrupt();
		serve();
		for (char c = command(); c; c = command())
			obey(c);
	}
}
