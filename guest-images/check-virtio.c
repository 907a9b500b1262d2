/* check-virtio.c - the slots, entropy, disk, network, and a ring that breaks the rules */
#include "check.h"
#include "virtio.h"

#define RINGS      (VIRTIO_F_INDIRECT | VIRTIO_F_EVENT_IDX)
#define NET_HEADER 12u
#define FRAME      1000u

const char *check_mmio(void)
{
	for (unsigned i = 0; i < virtio_slots(); i++) {
		uintptr_t gpa = VIRTIO_SLOT(i);

		if (mmio_read32(gpa + VIRTIO_MAGIC) != 0x74726976)
			return "a slot has no magic";
		if (mmio_read32(gpa + VIRTIO_VERSION) !=
		    mmio_read32(VIRTIO_SLOT(0) + VIRTIO_VERSION))
			return "a slot is of another version than the first";
		if (mmio_read32(gpa + VIRTIO_VENDOR_ID) != 0x554d4551)
			return "a slot has another vendor";
		if (mmio_read32(gpa + VIRTIO_DEVICE_ID) == 0) {
			mmio_write32(gpa + VIRTIO_STATUS, 1);
			if (mmio_read32(gpa + VIRTIO_STATUS) ||
			    mmio_read32(gpa + VIRTIO_QUEUE_NUM_MAX))
				return "an empty slot has registers";
		} else {
			text("slot ");
			dec(i);
			field(" device ", mmio_read32(gpa + VIRTIO_DEVICE_ID));
			text("\n");
		}
	}
	return NULL;
}

static const char *rng_read(struct virtio_queue *q, bool indirect)
{
	static uint8_t bytes[64];
	const struct piece pieces[2] = {
	    {bytes,      16,                 true},
	    {bytes + 16, sizeof(bytes) - 16, true},
	};
	uint32_t len;
	uint8_t any = 0;

	memset(bytes, 0, sizeof(bytes));
	if (!virtio_request(q, pieces, 2, indirect, &len))
		return "no answer";
	if (len == 0 || len > sizeof(bytes))
		return "the length of the answer is out of range";
	for (uint32_t i = 0; i < len; i++)
		any |= bytes[i];
	for (uint32_t i = len; i < sizeof(bytes); i++) {
		if (bytes[i])
			return "bytes behind the answer were written";
	}
	return any ? NULL : "nothing but zeros";
}

const char *check_rng(void)
{
	static struct virtio dev;
	static struct virtio_queue q;
	const char *why;

	if (!virtio_find(&dev, VIRTIO_ID_RNG, 0))
		return SKIP "no entropy device";
	if (!virtio_begin(&dev, RINGS) || !virtio_queue_setup(&dev, &q, 0))
		return "set-up refused";
	virtio_ready(&dev);
	why = rng_read(&q, false);
	return why ? why : rng_read(&q, dev.features & VIRTIO_F_INDIRECT);
}

static void pattern(uint8_t *at, size_t n, uint64_t seed)
{
	for (size_t i = 0; i < n; i += 8) {
		uint64_t v = (seed + i) * 0x9e3779b97f4a7c15ull;

		memcpy(at + i, &v, 8);
	}
}

static const char *blk_round(struct disk *d, uint64_t sector, uint32_t len, uint32_t cut)
{
	static uint8_t out[8 * SECTOR_BYTES], in[8 * SECTOR_BYTES];

	pattern(out, len, sector);
	memset(in, 0, len);
	if (disk_request(d, BLK_OUT, sector, out, len, cut) != BLK_OK)
		return "a write fails";
	if (disk_request(d, BLK_IN, sector, in, len, cut / 2 ? SECTOR_BYTES : 0) != BLK_OK)
		return "a read fails";
	return memcmp(in, out, len) == 0 ? NULL : "what is read is not what was written";
}

static const char *blk_all(struct disk *d)
{
	static char id[20];
	const char *why;

	if (d->sectors < 16)
		return "the disk is smaller than 16 sectors";
	why = blk_round(d, 0, SECTOR_BYTES, 0);
	if (!why)
		why = blk_round(d, 3, 8 * SECTOR_BYTES, 1000);
	if (!why)
		why = blk_round(d, d->sectors - 1, SECTOR_BYTES, 0);
	if (why)
		return why;
	if (d->dev.features & VIRTIO_F_BLK_FLUSH &&
	    disk_request(d, BLK_FLUSH, 0, NULL, 0, 0) != BLK_OK)
		return "a flush fails";
	if (disk_request(d, BLK_GET_ID, 0, id, sizeof(id), 0) != BLK_OK)
		return "reading the serial number fails";
	if (arg("disk-id") && !arg_is("disk-id", id))
		return "another serial number";
	return NULL;
}

/* Four reads in flight at once: every one is answered, and tells once that it may not need a kick.
 */
static const char *blk_burst(struct disk *d)
{
	static struct {
		uint32_t type, reserved;
		uint64_t sector;
	} header[4];
	static uint8_t in[4][SECTOR_BYTES], want[SECTOR_BYTES];
	static volatile uint8_t status[4];
	uint32_t len;

	for (unsigned i = 0; i < 4; i++) {
		const struct piece pieces[] = {
		    {&header[i],         sizeof(header[i]), false},
		    {in[i],              SECTOR_BYTES,      true },
		    {(void *)&status[i], 1,                 true }
                };

		header[i].type = BLK_IN;
		header[i].sector = 0;
		status[i] = BLK_NOANSWER;
		virtio_submit(&d->q, pieces, 3, false);
	}
	for (unsigned i = 0; i < 4; i++) {
		if (!virtio_wait(&d->q, &len))
			return "a burst of four reads is not answered";
	}
	pattern(want, SECTOR_BYTES, 0);
	for (unsigned i = 0; i < 4; i++) {
		if (status[i] != BLK_OK || memcmp(in[i], want, SECTOR_BYTES) != 0)
			return "a read of a burst has another content";
	}
	return NULL;
}

/* With plain rings, with indirect descriptors, with event index, with both. */
const char *check_blk(void)
{
	static const uint64_t modes[] = {0, VIRTIO_F_INDIRECT, VIRTIO_F_EVENT_IDX, RINGS};
	static struct disk d;

	for (unsigned i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		const char *why;

		if (!virtio_find(&d.dev, VIRTIO_ID_BLK, 0))
			return SKIP "no disk";
		if (!disk_start(&d, 0, modes[i] | VIRTIO_F_BLK_FLUSH))
			return "set-up refused";
		if ((d.dev.features & RINGS) != modes[i])
			return "a ring feature is not offered";
		why = blk_all(&d);
		if (!why)
			why = blk_burst(&d);
		if (why)
			return why;
	}
	return NULL;
}

const char *check_blk_errors(void)
{
	static struct disk d;
	static uint8_t data[SECTOR_BYTES];

	if (!virtio_find(&d.dev, VIRTIO_ID_BLK, 0))
		return SKIP "no disk";
	if (!disk_start(&d, 0, 0))
		return "set-up refused";
	if (disk_request(&d, 0x7777, 0, data, SECTOR_BYTES, 0) != BLK_UNSUPP)
		return "an unknown request is not answered as unsupported";
	if (disk_request(&d, BLK_IN, d.sectors, data, SECTOR_BYTES, 0) != BLK_IOERR)
		return "a read behind the end is not an error";
	if (disk_request(&d, BLK_OUT, ~0ull, data, SECTOR_BYTES, 0) != BLK_IOERR)
		return "a write at the last sector number is not an error";
	return disk_request(&d, BLK_IN, 0, data, SECTOR_BYTES, 0) == BLK_OK
		   ? NULL
		   : "the disk does not work after errors";
}

static const char *net_echo(struct virtio_queue *rx, struct virtio_queue *tx, uint8_t number)
{
	static uint8_t in[NET_HEADER + FRAME + 500], out[NET_HEADER + FRAME];
	const struct piece receive = {in, sizeof(in), true};
	const struct piece transmit = {out, sizeof(out), false};
	uint32_t len;

	memset(out, 0, NET_HEADER);
	pattern(out + 16, sizeof(out) - 16, number);
	memset(out + NET_HEADER, 0xff, 6); /* to all */
	for (unsigned i = 0; i < 6; i++)
		out[NET_HEADER + 6 + i] = virtio_config8(tx->dev, i);
	out[NET_HEADER + 12] = 0x88; /* an experimental Ethernet type */
	out[NET_HEADER + 13] = 0xb5;

	virtio_submit(rx, &receive, 1, false);
	if (!virtio_request(tx, &transmit, 1, false, &len))
		return "a frame is not transmitted";
	if (!virtio_wait(rx, &len))
		return "no echo is received";
	if (len != NET_HEADER + FRAME)
		return "the echo has another length";
	if (memcmp(in + NET_HEADER, out + NET_HEADER + 6, 6) != 0)
		return "the echo is not addressed to us";
	return memcmp(in + NET_HEADER + 12, out + NET_HEADER + 12, FRAME - 12) == 0
		   ? NULL
		   : "the echo has another content";
}

const char *check_net(void)
{
	static struct virtio dev;
	static struct virtio_queue rx, tx;
	const char *why = NULL;

	if (!virtio_find(&dev, VIRTIO_ID_NET, 0))
		return SKIP "no network device";
	if (!virtio_begin(&dev, RINGS | VIRTIO_F_NET_MAC) || !virtio_queue_setup(&dev, &rx, 0) ||
	    !virtio_queue_setup(&dev, &tx, 1))
		return "set-up refused";
	virtio_ready(&dev);
	for (uint8_t i = 0; i < 3 && !why; i++)
		why = net_echo(&rx, &tx, i);
	return why;
}

/*
 * The ring of the entropy device names a descriptor that does not exist: that
 * device asks to be reset, nothing else happens, and a reset brings it back.
 */
const char *check_malformed(void)
{
	static struct virtio dev;
	static struct virtio_queue q;
	static struct disk d;
	static uint8_t data[SECTOR_BYTES];
	uint64_t guard = ticks[0] + 5 * TICKS_PER_SECOND;

	if (!virtio_find(&dev, VIRTIO_ID_RNG, 0))
		return SKIP "no entropy device";
	if (dev.legacy)
		return SKIP "a legacy device has no such status";
	if (!virtio_begin(&dev, RINGS) || !virtio_queue_setup(&dev, &q, 0))
		return "set-up refused";
	virtio_ready(&dev);
	q.avail->ring[0] = 0x7777;
	barrier();
	q.avail->idx = 1;
	mmio_write32(dev.gpa + VIRTIO_QUEUE_NOTIFY, 0);
	while (!(virtio_status(&dev) & VIRTIO_S_NEEDS_RESET) && ticks[0] < guard)
		wait_for_interrupt();
	if (!(virtio_status(&dev) & VIRTIO_S_NEEDS_RESET))
		return "the device does not ask to be reset";
	if (virtio_find(&d.dev, VIRTIO_ID_BLK, 0) &&
	    (!disk_start(&d, 0, 0) || disk_request(&d, BLK_IN, 0, data, SECTOR_BYTES, 0) != BLK_OK))
		return "the disk has stopped working";
	return check_rng();
}
