/*
 * Registers of the board's devices, driven with arbitrary accesses.
 *
 * Input: records of 12 bytes {op, port or offset, len, x, le64 value}.
 */
#include <string.h>

#include "devices/chardev/chardev.h"
#include "devices/debug-exit.h"
#include "devices/device-table.h"
#include "devices/fw-cfg.h"
#include "devices/ged.h"
#include "devices/rtc.h"
#include "devices/serial.h"
#include "tests/unit/bare-machine.h"
#include "vmm/base/bytes.h"
#include "vmm/base/units.h"

#define RECORD 12
#define RAM    (64 * KiB)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* A line that takes every other byte. */
static ssize_t line_write(struct chardev *c, const uint8_t *p, size_t n)
{
	(void)p;
	c->log_fd = -1;
	c->state = c->state ? NULL : c;
	return c->state ? (ssize_t)n : 0;
}

static const struct chardev_ops line_ops = {.type = "line", .write = line_write};

static void touch(struct machine *m, const uint8_t *r)
{
	static const uint64_t bases[] = {0x3f8,           0x70,          0x510, 0x501,
					 BOARD_GED_EVENT, BOARD_GED_REGS};
	struct bus *bus = r[0] % ARRAY_LEN(bases) < 4 ? &m->ports : &m->mmio;
	uint64_t addr = bases[r[0] % ARRAY_LEN(bases)] + r[1] % 16;
	unsigned len = 1U << r[2] % 4;

	if (r[0] & 0x80)
		bus_write(bus, addr, len, get_le64(r + 4));
	else
		(void)bus_read(bus, addr, len);
}

/* What happens from outside: bytes on the line, room on it, time, the power button. */
static void happen(struct machine *m, struct serial *s, const uint8_t *r)
{
	size_t n = uart_can_receive(&s->uart);

	switch (r[1] % 5) {
	case 0:
		uart_receive(&s->uart, r + 4, MIN(n, 8));
		break;
	case 1:
		uart_retry(&s->uart);
		break;
	case 2:
		m->vclock.offset_ns += get_le32(r + 4);
		uart_poll(&s->uart);
		break;
	case 3:
		m->powerdown(m->powerdown_opaque);
		break;
	default:
		bare_machine_run(m, r[4] & 1);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static const struct config cfg = {.ram_bytes = RAM, .cpus = 1};
	const struct ram_backend be = {.kind = RAM_ANONYMOUS, .fd = -1};
	const struct cfg_device exit_cfg = {.row = &debug_exit_row,
					    .driver = (char *)"isa-debug-exit"};
	struct machine *m = bare_machine_new(&cfg);
	struct chardev chr = {
	    .ops = &line_ops, .m = m, .log_fd = -1, .connected = true, .id = (char *)"l"};
	struct serial *s;
	struct ram_block *b = memory_add_block(&m->mem, "ram", RAM, &be, NULL);

	machine_lock(m);
	(void)memory_map_block(&m->mem, b, 0, 0, RAM, NULL);
	(void)serial_create(m, &chr, NULL);
	s = container_of(m->devices.prev, struct serial, dev.link);
	(void)rtc_create(m, NULL);
	(void)fw_cfg_create(m, NULL);
	(void)ged_create(m, NULL);
	(void)device_create(m, &exit_cfg, 0, NULL, NULL);
	memcpy(b->hva, data, MIN(len, RAM)); /* DMA requests come from here */
	bare_machine_run(m, true);
	for (; len >= RECORD; data += RECORD, len -= RECORD) {
		if (data[3] & 1)
			happen(m, s, data);
		else
			touch(m, data);
		if (!s->uart.tsr_retry != !!(s->uart.lsr & 0x40))
			abort(); /* the stream relies on it */
	}
	m->requests = (struct requests){.asked_fd = -1};
	list_init(&m->requests.waiters);
	machine_unlock(m);
	bare_machine_free(m);
	return 0;
}
