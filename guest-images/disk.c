/*
 * disk.c - uses a disk and waits for nothing: w (write), f (flush), p (print how many are done), z
 * (reset the device), r (report), q (power off), x (reset the machine)
 */
#include "lib.h"
#include "virtio.h"

static struct disk disk;

/* Header and status of a request in flight must stay; there is room for four. */
static void submit(uint32_t type)
{
	static struct {
		uint32_t type, reserved;
		uint64_t sector;
	} header[4];
	static uint8_t data[SECTOR_BYTES];
	static volatile uint8_t status[4];
	static unsigned n;
	unsigned i = n++ % 4;
	struct piece pieces[3] = {
	    {&header[i], sizeof(header[i]), false}
        };
	unsigned used = 1;

	header[i].type = type;
	if (type == BLK_OUT)
		pieces[used++] = (struct piece){data, sizeof(data), false};
	pieces[used++] = (struct piece){(void *)&status[i], 1, true};
	virtio_submit(&disk.q, pieces, used, false);
	text("submitted\n");
}

static void obey(char c)
{
	switch (c) {
	case 'w':
		submit(BLK_OUT);
		break;
	case 'f':
		submit(BLK_FLUSH);
		break;
	case 'p':
		field("done ", disk.q.used->idx);
		text("\n");
		break;
	case 'z':
		text("resetting\n");
		mmio_write32(disk.dev.gpa + VIRTIO_STATUS, 0);
		text("reset\n");
		break;
	case 'r':
		field("R ticks=", ticks[0]);
		text("\nR end\n");
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
	text(disk_start(&disk, 0, VIRTIO_F_BLK_FLUSH) ? "disk\n" : "no disk\n");
	for (;;) {
		wait_for_interrupt();
		for (char c = command(); c; c = command())
			obey(c);
	}
}
