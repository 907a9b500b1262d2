/* Power button, sleep and reset registers; isa-debug-exit. */
#include <check.h>

#include "devices/debug-exit.h"
#include "devices/device-table.h"
#include "devices/ged.h"
#include "tests/unit/bare-machine.h"
#include "tests/unit/check-main.h"
#include "vmm/base/error.h"

static const struct config cfg;
static struct machine *m;

static void setup(void)
{
	m = bare_machine_new(&cfg);
	ck_assert_int_eq(ged_create(m, NULL), 0);
}

static void teardown(void)
{
	bare_machine_free(m);
}

START_TEST(power_button)
{
	setup();
	ck_assert_uint_eq(bus_read(&m->mmio, BOARD_GED_EVENT, 4), 0);
	m->powerdown(m->powerdown_opaque);
	ck_assert_uint_eq(bus_read(&m->mmio, BOARD_GED_EVENT, 4), 2);
	ck_assert_uint_eq(bus_read(&m->mmio, BOARD_GED_EVENT, 4), 0);
	m->powerdown(m->powerdown_opaque);
	bus_write(&m->mmio, BOARD_GED_EVENT, 4, 0); /* read only */
	ck_assert_uint_eq(bus_read(&m->mmio, BOARD_GED_EVENT, 4), 2);
	teardown();
}
END_TEST

/* Several events wait together. */
START_TEST(generation)
{
	setup();
	ged_raise(m, GED_EVENT_GENERATION);
	ck_assert_uint_eq(bus_read(&m->mmio, BOARD_GED_EVENT, 4), 0x100);
	ged_raise(m, GED_EVENT_GENERATION);
	m->powerdown(m->powerdown_opaque);
	ck_assert_uint_eq(bus_read(&m->mmio, BOARD_GED_EVENT, 4), 0x102);
	ck_assert_uint_eq(bus_read(&m->mmio, BOARD_GED_EVENT, 4), 0);
	teardown();
}
END_TEST

START_TEST(sleep_register)
{
	setup();
	bus_write(&m->mmio, BOARD_GED_REGS, 1, 0x20 | 4 << 2); /* S4 is not there */
	bus_write(&m->mmio, BOARD_GED_REGS, 1, 5 << 2);        /* not enabled */
	bus_write(&m->mmio, BOARD_GED_REGS + 1, 1, 0x34);      /* status */
	ck_assert_int_eq(machine_requested(m, REQUEST_SHUTDOWN), false);
	bus_write(&m->mmio, BOARD_GED_REGS, 1, 0x34);
	ck_assert_int_eq(machine_requested(m, REQUEST_SHUTDOWN), true);
	ck_assert_int_eq(m->requests.shutdown_cause, CAUSE_GUEST_SHUTDOWN);
	ck_assert_int_eq(m->exit_forced, false);
	ck_assert_uint_eq(bus_read(&m->mmio, BOARD_GED_REGS, 1), 0);
	machine_request_delivered(m, REQUEST_SHUTDOWN);
	teardown();
}
END_TEST

START_TEST(reset_register)
{
	setup();
	bus_write(&m->mmio, BOARD_GED_REGS + 2, 1, 0x41);
	ck_assert_int_eq(machine_requested(m, REQUEST_RESET), false);
	bus_write(&m->mmio, BOARD_GED_REGS + 2, 1, 0x42);
	ck_assert_int_eq(machine_requested(m, REQUEST_RESET), true);
	ck_assert_int_eq(m->requests.reset_cause, CAUSE_GUEST_RESET);
	machine_request_delivered(m, REQUEST_RESET);
	teardown();
}
END_TEST

START_TEST(debug_exit)
{
	struct cfg_device d = {.row = &debug_exit_row, .driver = (char *)"isa-debug-exit"};

	setup();
	ck_assert_int_eq(device_create(m, &d, 0, NULL, NULL), 0);
	ck_assert_uint_eq(bus_read(&m->ports, 0x501, 1), 0);
	ck_assert_int_eq(machine_requested(m, REQUEST_SHUTDOWN), false);
	bus_write(&m->ports, 0x501, 1, 0x15);
	ck_assert_int_eq(machine_requested(m, REQUEST_SHUTDOWN), true);
	ck_assert_int_eq(m->exit_forced, true);
	ck_assert_int_eq(m->exit_status, 0x2b);
	machine_request_delivered(m, REQUEST_SHUTDOWN);
	teardown();
}
END_TEST

static int create_with(const char *key, const char *val, struct err *err)
{
	struct keyval kv = {.key = (char *)key, .val = (char *)val};
	struct cfg_device d = {
	    .row = &debug_exit_row,
	    .driver = (char *)"isa-debug-exit",
	    .props = {.v = &kv, .n = 1}
        };

	return device_create(m, &d, 0, NULL, err);
}

START_TEST(debug_exit_properties)
{
	struct err err = {0};

	setup();
	ck_assert_int_eq(create_with("iobase", "0xf4", NULL), 0);
	bus_write(&m->ports, 0xf4, 1, 0);
	ck_assert_int_eq(m->exit_status, 1);
	ck_assert_int_lt(create_with("iobase", "0x10000", &err), 0);
	ck_assert_int_lt(create_with("iobase", "0xffff", &err), 0); /* two ports */
	ck_assert_int_lt(create_with("iobase", "x", &err), 0);
	ck_assert_int_lt(create_with("iosize", "0", &err), 0);
	ck_assert_int_lt(create_with("iosize", "9", &err), 0);
	ck_assert_int_lt(create_with("zz", "1", &err), 0);
	ck_assert_str_eq(err.msg, "Property 'isa-debug-exit.zz' not found");
	machine_request_delivered(m, REQUEST_SHUTDOWN);
	teardown();
}
END_TEST

CHECK_MAIN("ged", power_button, generation, sleep_register, reset_register, debug_exit,
	   debug_exit_properties)
