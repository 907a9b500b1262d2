/* Each device's section of real streams loads, and saves again to the same bytes and description.
 */
#include <check.h>

#include "devices/fw-cfg.h"
#include "devices/ged.h"
#include "devices/rtc.h"
#include "devices/serial.h"
#include "tests/unit/bare-machine.h"
#include "tests/unit/check-main.h"
#include "tests/unit/stream-sections.h"
#include "vmm/base/bytes.h"
#include "vmm/base/units.h"

static const char *const streams[] = {"mod", "linux2", "irqk1", "busy"};

static int64_t clock_now;

static int64_t test_clock(void)
{
	return clock_now;
}

static void round_trip(const char *stream, const char *idstr, const struct vms_desc *d, void *dev)
{
	struct section s = section_open(stream, idstr, 0);

	section_load(&s, d, dev);
	section_compare(&s, d, dev, idstr, 0);
	section_close(&s);
}

START_TEST(fw_cfg_section)
{
	static const struct config cfg = {.ram_bytes = 128 * MiB, .cpus = 1};
	struct machine *m = bare_machine_new(&cfg);
	struct fw_cfg *fw = NEW(struct fw_cfg);

	for (size_t i = 0; i < ARRAY_LEN(streams); i++) {
		fw_cfg_init(fw, m);
		round_trip(streams[i], "fw_cfg", &fw_cfg_vmstate, fw);
		ck_assert_uint_eq(fw->linker_mr_size, 0x680);
		fw_cfg_fini(fw);
	}
	free(fw);
	bare_machine_free(m);
}
END_TEST

START_TEST(ged_section)
{
	for (size_t i = 0; i < ARRAY_LEN(streams); i++) {
		struct ged g = {0};

		round_trip(streams[i], "acpi-ged", &ged_vmstate, &g);
	}
}
END_TEST

/* The clock bytes of the stream are of the moment it was saved: put the clock there. */
START_TEST(rtc_section)
{
	static const struct config cfg = {0};
	struct machine *m = bare_machine_new(&cfg);

	for (size_t i = 0; i < ARRAY_LEN(streams); i++) {
		struct section s = section_open(streams[i], "mc146818rtc", 0);
		struct rtc r = {0};

		clock_now = 0;
		rtc_init(&r, m, test_clock);
		section_load(&s, &rtc_vmstate, &r);
		clock_now = (int64_t)r.last_update - r.offset +
			    (rtc_time_fetch(r.cmos) - (int64_t)r.base_rtc) * 1000000000;
		section_compare(&s, &rtc_vmstate, &r, "mc146818rtc", 0);
		section_close(&s);
	}
	bare_machine_free(m);
}
END_TEST

START_TEST(serial_section)
{
	for (size_t i = 0; i < ARRAY_LEN(streams); i++) {
		struct serial s = {0};

		round_trip(streams[i], "serial", &serial_vmstate, &s);
		ck_assert_int_eq(s.uart.poll_msl, -1);
	}
}
END_TEST

/* Every optional part present: saves, loads, and saves to the same bytes again. */
START_TEST(serial_with_everything)
{
	struct uart u = {
	    .divider = 1,
	    .ier = 0x0f,
	    .iir = 0xc4,
	    .lsr = 0x01,
	    .msr = 0xb0,
	    .fcr = 0x81,
	    .thr_ipending = 1,
	    .tsr_retry = 2,
	    .thr = 'a',
	    .tsr = 'b',
	    .recv = {.data = "hello", .head = 0,  .num = 5},
	    .xmit = {.data = "world", .head = 14, .num = 7},
	    .fifo_timeout = 123456789,
	    .timeout_ipending = 1,
	    .poll_msl = 1,
	    .modem_status_poll = 42,
	};
	struct serial a = {.uart = u}, b = {0};
	struct buf first = {0}, second = {0};
	struct src in;

	ck_assert_int_eq(vms_save(&serial_vmstate, &a, &first, NULL, NULL), 0);
	in = src_mem(first.data, first.len);
	ck_assert_int_eq(vms_load(&serial_vmstate, &b, &in, 3, NULL), 0);
	ck_assert_uint_eq(in.at, in.len);
	ck_assert_int_eq(vms_save(&serial_vmstate, &b, &second, NULL, NULL), 0);
	ck_assert_uint_eq(first.len, second.len);
	ck_assert_mem_eq(first.data, second.data, first.len);
	ck_assert_uint_eq(b.uart.recv.num, 5);
	ck_assert_int_eq(b.uart.fifo_timeout, 123456789);
	/* Each cut is refused, but for one that ends where a subsection may begin. */
	for (size_t cut = 0; cut < first.len; cut++) {
		struct serial c = {0};
		struct err err = {0};

		in = src_mem(first.data, cut);
		if (vms_load(&serial_vmstate, &c, &in, 3, &err) < 0)
			ck_assert_uint_gt(strlen(err.msg), 0);
	}
	buf_free(&first);
	buf_free(&second);
}
END_TEST

static void refuse_serial(struct uart u, const char *what)
{
	struct serial a = {.uart = u}, b = {0};
	struct buf out = {0};
	struct err err = {0};
	struct src in;

	ck_assert_int_eq(vms_save(&serial_vmstate, &a, &out, NULL, NULL), 0);
	in = src_mem(out.data, out.len);
	ck_assert_int_lt(vms_load(&serial_vmstate, &b, &in, 3, &err), 0);
	ck_assert_msg(strstr(err.msg, what) != NULL, "'%s' does not say '%s'", err.msg, what);
	buf_free(&out);
}

START_TEST(serial_refuses)
{
	struct uart ok = {.lsr = 0x60, .fifo_timeout = -1, .poll_msl = -1};
	struct uart bad = ok;

	bad.recv = (struct uart_fifo){.head = 16, .num = 1};
	refuse_serial(bad, "FIFO");
	bad.recv = (struct uart_fifo){.head = 0, .num = 17};
	refuse_serial(bad, "FIFO");
	bad = ok;
	bad.lsr = 0x20; /* busy, with nothing to send */
	refuse_serial(bad, "busy");
	bad = ok;
	bad.tsr_retry = 1; /* empty, with something to send */
	refuse_serial(bad, "empty");
}
END_TEST

START_TEST(rtc_refuses)
{
	struct section s = section_open("mod", "mc146818rtc", 0);
	static const struct config cfg = {0};
	struct err err = {0};
	struct machine *m = bare_machine_new(&cfg);
	struct rtc r = {0};
	struct src in;

	rtc_init(&r, m, test_clock);
	s.body.data[128] = 0x80; /* the index */
	in = src_mem(s.body.data, s.body.len);
	ck_assert_int_lt(vms_load(&rtc_vmstate, &r, &in, 3, &err), 0);
	ck_assert_str_eq(err.msg, "mc146818rtc: CMOS index 128, it has 128 bytes");
	section_close(&s);
	bare_machine_free(m);
}
END_TEST

/* A size that is not a whole page is sent, whole pages are not, and absence clears what was there.
 */
START_TEST(fw_cfg_acpi_sizes)
{
	static const struct config cfg = {.ram_bytes = 128 * MiB, .cpus = 1};
	struct buf without = {0}, with = {0};
	struct machine *m = bare_machine_new(&cfg);
	struct fw_cfg *fw = NEW(struct fw_cfg);
	struct src in;

	fw_cfg_init(fw, m);
	ck_assert_int_eq(vms_save(&fw_cfg_vmstate, fw, &without, NULL, NULL), 0);
	ck_assert_uint_eq(without.len, 30);
	ck_assert_int_eq(fw_cfg_add_file(fw, "etc/acpi/rsdp", "0123456789", 10, NULL), 0);
	ck_assert_int_eq(vms_save(&fw_cfg_vmstate, fw, &with, NULL, NULL), 0);
	ck_assert_uint_eq(with.len, 74);
	ck_assert_uint_eq(get_be64(with.data + with.len - 8), 10);
	in = src_mem(without.data, without.len);
	ck_assert_int_eq(vms_load(&fw_cfg_vmstate, fw, &in, 2, NULL), 0);
	ck_assert_uint_eq(fw->rsdp_mr_size, 0);
	buf_free(&without);
	buf_free(&with);
	fw_cfg_fini(fw);
	free(fw);
	bare_machine_free(m);
}
END_TEST

CHECK_MAIN("devices-state", fw_cfg_section, ged_section, rtc_section, serial_section,
	   serial_with_everything, serial_refuses, rtc_refuses, fw_cfg_acpi_sizes)
