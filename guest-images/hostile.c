/*
 * hostile.c - breaks the rules of its virtio devices, then waits to be moved
 *
 * Command line: deed=driver-ok (DRIVER_OK without FEATURES_OK), deed=jump (an available index that
 * jumps without a notification), deed=ff (the rings of a served queue overwritten with 0xff), or
 * deed=random with seed=N: registers and rings at random, with config=0 not the configuration
 * space.  Commands: r report, q power off.
 */
#include "virtio.h"

#define RANDOM_STEPS 300u
#define RANDOM_AREA  0x10000u

static struct virtio devices[4];
static struct virtio_queue queues[4];
static unsigned n_devices;
static uint64_t chance_state;

static uint32_t chance(uint32_t n)
{
	chance_state = chance_state * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)(chance_state >> 33) % n;
}

static uint32_t any_value(void)
{
	static const uint32_t values[] = {0, 1, 2, 3, 4, 16, 1000, 0xffff, 0xffffffff, 0x1000};

	return chance(4) ? values[chance(10)] : chance(0xffffffff);
}

static void set(const struct virtio *v, unsigned reg, uint32_t value)
{
	mmio_write32(v->gpa + reg, value);
}

static void driver_ok(struct virtio *v)
{
	set(v, VIRTIO_STATUS, 0);
	set(v, VIRTIO_STATUS, VIRTIO_S_ACKNOWLEDGE | VIRTIO_S_DRIVER);
	set(v, VIRTIO_STATUS, VIRTIO_S_ACKNOWLEDGE | VIRTIO_S_DRIVER | VIRTIO_S_DRIVER_OK);
}

static bool sends_on_queue_1(const struct virtio *v)
{
	uint32_t id = mmio_read32(v->gpa + VIRTIO_DEVICE_ID);

	return id == VIRTIO_ID_NET || id == VIRTIO_ID_CONSOLE;
}

/* One request of a kind that each device answers, so that its rings have been used. */
static void use_once(struct virtio *v, struct virtio_queue *q)
{
	static uint8_t header[16], bytes[32], frame[64];
	struct piece pieces[2] = {
	    {header, sizeof(header), false},
            {bytes,  sizeof(bytes),  true }
        };
	uint32_t len;

	if (!virtio_begin(v, VIRTIO_F_EVENT_IDX) || !virtio_queue_setup(v, q, sends_on_queue_1(v)))
		return;
	virtio_ready(v);
	switch (mmio_read32(v->gpa + VIRTIO_DEVICE_ID)) {
	case VIRTIO_ID_BLK:
		header[0] = BLK_GET_ID;
		(void)virtio_request(q, pieces, 2, false, &len);
		break;
	case VIRTIO_ID_NET:
	case VIRTIO_ID_CONSOLE:
		pieces[0] = (struct piece){frame, sizeof(frame), false};
		(void)virtio_request(q, pieces, 1, false, &len);
		break;
	default:
		(void)virtio_request(q, pieces + 1, 1, false, &len);
		break;
	}
}

static void overwrite(struct virtio_queue *q)
{
	memset((void *)q->desc, 0xff, sizeof(struct vring_desc) * q->num);
	memset((void *)q->avail, 0xff, vring_avail_bytes(q->num));
	memset((void *)q->used, 0xff, vring_used_bytes(q->num));
}

static void any_register(const struct virtio *v)
{
	static const uint16_t regs[] = {0x14, 0x20, 0x24, 0x30, 0x30, 0x38, 0x44, 0x44, 0x50,
					0x64, 0x80, 0x84, 0x90, 0x94, 0xa0, 0xa4, 0xc0, 0x28};
	static const uint8_t statuses[] = {0, 1, 3, 4, 7, 0xb, 0xf, 0x44, 0x8f, 0xff};

	if (chance(8))
		set(v, regs[chance(18)], any_value());
	else if (chance(2))
		set(v, VIRTIO_STATUS, statuses[chance(10)]);
	else if (arg_number("config", 1))
		set(v, VIRTIO_CONFIG + 4 * chance(16), any_value());
}

static void random_deeds(void)
{
	chance_state = arg_number("seed", 1);
	for (unsigned i = 0; i < RANDOM_STEPS; i++) {
		unsigned d = chance(n_devices);

		switch (chance(6)) {
		case 0:
			if (chance(2))
				overwrite(&queues[d]);
			queues[d].avail->idx = (uint16_t)any_value();
			break;
		case 1:
			queues[d].used->idx = (uint16_t)any_value();
			break;
		case 2:
			/* A new driver, now and then one that does it well. */
			if (virtio_begin(&devices[d], VIRTIO_F_EVENT_IDX) && chance(4) &&
			    virtio_queue_setup(&devices[d], &queues[d], 0))
				virtio_ready(&devices[d]);
			break;
		default:
			any_register(&devices[d]);
			break;
		}
	}
}

static void misbehave(void)
{
	for (unsigned i = 0; i < n_devices; i++) {
		use_once(&devices[i], &queues[i]);
		if (arg_is("deed", "driver-ok"))
			driver_ok(&devices[i]);
		else if (arg_is("deed", "jump"))
			queues[i].avail->idx = (uint16_t)(queues[i].avail->idx + 1000);
		else if (arg_is("deed", "ff"))
			overwrite(&queues[i]);
	}
	if (arg_is("deed", "random"))
		random_deeds();
}

static void report(void)
{
	text("R");
	for (unsigned i = 0; i < n_devices; i++)
		field(" status=", virtio_status(&devices[i]));
	text("\nR end\n");
}

void guest_main(void)
{
	static const unsigned ids[] = {VIRTIO_ID_BLK, VIRTIO_ID_NET, VIRTIO_ID_RNG,
				       VIRTIO_ID_CONSOLE};

	ticks_start();
	commands_start();
	for (unsigned i = 0; i < 4; i++)
		n_devices += virtio_find(&devices[n_devices], ids[i], 0);
	misbehave();
	text("hostile\n");
	for (;;) {
		wait_for_interrupt();
		switch (command()) {
		case 'r':
			report();
			break;
		case 'q':
			power_off();
		default:
			break;
		}
	}
}
