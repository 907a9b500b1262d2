/*
 * State tables of the board's devices: any bytes must load or be refused in a
 * sentence, and what has loaded must be safe to use and must save to what
 * loads again.
 *
 * Input: one byte that chooses the table, then the section's payload.
 */
#include <stdlib.h>
#include <string.h>

#include "devices/fw-cfg.h"
#include "devices/ged.h"
#include "devices/rtc.h"
#include "devices/serial.h"
#include "devices/vmgenid.h"
#include "tests/unit/bare-machine.h"
#include "vmm/base/buf.h"
#include "vmm/base/bytes.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static int64_t fixed_clock(void)
{
	return 1795401114123456789LL;
}

static void use_rtc(void *dev)
{
	struct rtc *r = dev;

	rtc_run(r, true);
	rtc_poll(r);
	for (unsigned i = 0; i < 256; i++) {
		rtc_write(r, 0, (uint8_t)i);
		rtc_write(r, 1, rtc_read(r, 1));
	}
	rtc_run(r, false);
}

static void use_serial(void *dev)
{
	struct uart *u = &((struct serial *)dev)->uart;

	uart_run(u, true);
	uart_poll(u);
	if (uart_can_receive(u))
		uart_receive(u, (const uint8_t *)"x", 1);
	for (unsigned i = 0; i < 8; i++)
		uart_write(u, i, uart_read(u, i));
	for (unsigned i = 0; i < 20; i++) {
		uart_write(u, 0, 'y');
		(void)uart_read(u, 0);
	}
	uart_run(u, false);
}

static void use_fw_cfg(void *dev)
{
	for (unsigned i = 0; i < 8; i++)
		(void)fw_cfg_read(dev, 1, 1);
	fw_cfg_write(dev, 8, 4, 0);
}

static void use_ged(void *dev)
{
	(void)ged_read_events(dev);
}

/* A place that was taken is RAM. */
static void use_vmgenid(void *dev)
{
	struct vmgenid *v = dev;
	uint64_t gpa = get_le64(v->address_le);

	if (gpa && memory_write(&v->dev.m->mem, gpa, v->guest_bytes, UUID_BYTES) < 0)
		abort();
}

static void load(const struct vms_desc *d, void *dev, void (*use)(void *dev), const uint8_t *data,
		 size_t len)
{
	struct buf once = {0}, twice = {0}, json = {0};
	struct src in = src_mem(data, len);
	struct err err = {0};

	if (vms_load(d, dev, &in, d->version, &err) < 0) {
		if (!*err.msg)
			abort();
		return;
	}
	if (vms_save(d, dev, &once, &json, NULL) < 0)
		abort();
	in = src_mem(once.data, once.len);
	if (vms_load(d, dev, &in, d->version, NULL) < 0 ||
	    vms_save(d, dev, &twice, NULL, NULL) < 0 || once.len != twice.len ||
	    memcmp(once.data, twice.data, once.len) != 0)
		abort();
	use(dev);
	buf_free(&once);
	buf_free(&twice);
	buf_free(&json);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static const struct config cfg = {.ram_bytes = 1 * MiB, .cpus = 1};
	struct machine *m;
	struct rtc rtc = {0};
	struct serial serial = {0};
	const struct ram_backend be = {.kind = RAM_ANONYMOUS, .fd = -1};
	struct vmgenid vmgenid = {0};
	struct ged ged = {0};
	struct ram_block *ram;
	struct fw_cfg *fw;

	if (!len)
		return 0;
	m = bare_machine_new(&cfg);
	fw = NEW(struct fw_cfg);
	serial.uart.m = ged.dev.m = vmgenid.dev.m = m;
	ram = memory_add_block(&m->mem, "microvm.ram", cfg.ram_bytes, &be, NULL);
	if (!ram || memory_map_block(&m->mem, ram, 0, 0, ram->bytes, NULL) < 0)
		abort();
	fw_cfg_init(fw, m);
	rtc_init(&rtc, m, fixed_clock);
	if (data[0] % 5 == 0)
		load(&rtc_vmstate, &rtc, use_rtc, data + 1, len - 1);
	else if (data[0] % 5 == 1)
		load(&serial_vmstate, &serial, use_serial, data + 1, len - 1);
	else if (data[0] % 5 == 2)
		load(&fw_cfg_vmstate, fw, use_fw_cfg, data + 1, len - 1);
	else if (data[0] % 5 == 3)
		load(&ged_vmstate, &ged, use_ged, data + 1, len - 1);
	else
		load(&vmgenid_vmstate, &vmgenid, use_vmgenid, data + 1, len - 1);
	fw_cfg_fini(fw);
	free(fw);
	bare_machine_free(m);
	return 0;
}
