/* The UART's registers against what the 16550A's data sheet and the board's specification say. */
#include <check.h>

#include "devices/chardev/chardev.h"
#include "devices/serial.h"
#include "tests/unit/bare-machine.h"
#include "tests/unit/check-main.h"
#include "vmm/base/buf.h"

/* A line that takes bytes while 'room' lasts. */
struct line {
	struct chardev chr;
	struct buf sent;
	size_t room;
};

static ssize_t line_write(struct chardev *c, const uint8_t *p, size_t n)
{
	struct line *l = c->state;

	if (!l->room)
		return 0;
	l->room--;
	buf_put(&l->sent, p, n);
	return (ssize_t)n;
}

static const struct chardev_ops line_ops = {.type = "line", .write = line_write};

static const struct config cfg;
static struct machine *m;
static struct line line;
static struct uart u;

static void setup(void)
{
	m = bare_machine_new(&cfg);
	line = (struct line){.room = SIZE_MAX};
	line.chr = (struct chardev){
	    .ops = &line_ops, .m = m, .log_fd = -1, .connected = true, .state = &line};
	u = (struct uart){.m = m, .chr = &line.chr};
	uart_reset(&u);
	uart_run(&u, true);
}

static void teardown(void)
{
	buf_free(&line.sent);
	bare_machine_free(m);
}

static void type_text(const char *s)
{
	ck_assert_uint_ge(uart_can_receive(&u), strlen(s));
	uart_receive(&u, (const uint8_t *)s, strlen(s));
}

START_TEST(reset_values)
{
	static const uint8_t values[8] = {0, 0, 0x01, 0, 0x08, 0x60, 0xb0, 0};

	setup();
	for (unsigned i = 0; i < 8; i++)
		ck_assert_uint_eq(uart_read(&u, i), values[i]);
	uart_write(&u, 3, 0x80);
	ck_assert_uint_eq(uart_read(&u, 0), 12);
	ck_assert_uint_eq(uart_read(&u, 1), 0);
	uart_write(&u, 0, 0x34);
	uart_write(&u, 1, 0x12);
	ck_assert_uint_eq(u.divider, 0x1234);
	teardown();
}
END_TEST

START_TEST(sends_at_once)
{
	setup();
	uart_write(&u, 1, 0x02);
	ck_assert_uint_eq(uart_read(&u, 2) & 0x0f, 0x02); /* empty already */
	ck_assert_uint_eq(uart_read(&u, 2) & 0x0f, 0x01); /* reading it took it back */
	uart_write(&u, 0, 'x');
	ck_assert_uint_eq(line.sent.len, 1);
	ck_assert_uint_eq(uart_read(&u, 5), 0x60);
	ck_assert_int_eq(u.irq_level, true);
	ck_assert_uint_eq(uart_read(&u, 2) & 0x0f, 0x02);
	ck_assert_int_eq(u.irq_level, false);
	teardown();
}
END_TEST

/* A line that takes nothing: the byte waits, LSR says so, later bytes fill the FIFO. */
START_TEST(waits_for_the_line)
{
	setup();
	line.room = 0;
	uart_write(&u, 2, 0x01);
	uart_write(&u, 0, 'a');
	ck_assert_uint_eq(uart_read(&u, 5), 0x20); /* room for more, not empty */
	ck_assert_uint_eq(u.tsr_retry, 1);
	for (int i = 0; i < 17; i++) /* one too many */
		uart_write(&u, 0, (uint8_t)('b' + i));
	ck_assert_uint_eq(uart_read(&u, 5), 0x00);
	ck_assert_uint_eq(u.xmit.num, 16);
	line.room = SIZE_MAX;
	uart_retry(&u);
	ck_assert_uint_eq(uart_read(&u, 5), 0x60);
	ck_assert_uint_eq(line.sent.len, 17);
	ck_assert_mem_eq(line.sent.data, "acdefghijklmnopqr", 17);
	teardown();
}
END_TEST

START_TEST(drops_when_nobody_is_there)
{
	setup();
	line.chr.connected = false;
	uart_write(&u, 0, 'a');
	ck_assert_uint_eq(line.sent.len, 0);
	ck_assert_uint_eq(uart_read(&u, 5), 0x60);
	teardown();
}
END_TEST

START_TEST(stopped_machine_keeps_still)
{
	setup();
	line.room = 0;
	uart_write(&u, 0, 'a');
	uart_run(&u, false);
	line.room = SIZE_MAX;
	uart_retry(&u);
	ck_assert_uint_eq(line.sent.len, 0);
	ck_assert_uint_eq(uart_can_receive(&u), 0);
	uart_run(&u, true);
	ck_assert_uint_eq(line.sent.len, 1);
	teardown();
}
END_TEST

START_TEST(receives_without_fifo)
{
	setup();
	uart_write(&u, 1, 0x05);
	ck_assert_uint_eq(uart_can_receive(&u), 1);
	type_text("a");
	ck_assert_uint_eq(uart_can_receive(&u), 0);
	ck_assert_int_eq(u.irq_level, true);
	ck_assert_uint_eq(uart_read(&u, 2), 0x04);
	uart_receive(&u, (const uint8_t *)"b", 1); /* without room: overrun */
	ck_assert_uint_eq(uart_read(&u, 2), 0x06);
	ck_assert_uint_eq(uart_read(&u, 5), 0x63);
	ck_assert_uint_eq(uart_read(&u, 5), 0x61); /* read once */
	ck_assert_uint_eq(uart_read(&u, 0), 'b');
	ck_assert_int_eq(u.irq_level, false);
	ck_assert_uint_eq(uart_read(&u, 5), 0x60);
	teardown();
}
END_TEST

/* A zero byte, and the line status says that it is a break; both go when it is read. */
START_TEST(sees_a_break)
{
	setup();
	uart_write(&u, 1, 0x04); /* line status interrupt */
	uart_break(&u);
	ck_assert_uint_eq(uart_read(&u, 2) & 0x0f, 0x06);
	ck_assert_uint_eq(uart_read(&u, 5) & 0x11, 0x11);
	ck_assert_uint_eq(uart_read(&u, 5) & 0x11, 0x01);
	ck_assert_uint_eq(uart_read(&u, 0), 0);
	ck_assert_uint_eq(uart_read(&u, 5) & 0x11, 0);
	uart_write(&u, 4, 0x10); /* in loopback there is no line */
	uart_break(&u);
	ck_assert_uint_eq(uart_read(&u, 5) & 0x11, 0);
	teardown();
}
END_TEST

START_TEST(receives_with_fifo)
{
	setup();
	uart_write(&u, 2, 0x81); /* on, trigger 8 */
	ck_assert_uint_eq(uart_read(&u, 2), 0xc1);
	uart_write(&u, 1, 0x01);
	ck_assert_uint_eq(uart_can_receive(&u), 8);
	type_text("1234567");
	ck_assert_int_eq(u.irq_level, false);
	ck_assert_int_ne(u.fifo_timeout, -1);
	ck_assert_uint_eq(uart_can_receive(&u), 1);
	type_text("8");
	ck_assert_uint_eq(uart_read(&u, 2), 0xc4);
	ck_assert_uint_eq(uart_read(&u, 0), '1');
	ck_assert_uint_eq(uart_read(&u, 2), 0xc1); /* below the trigger */
	for (char c = '2'; c <= '8'; c++)
		ck_assert_uint_eq(uart_read(&u, 0), (uint8_t)c);
	ck_assert_uint_eq(uart_read(&u, 5), 0x60);
	ck_assert_uint_eq(uart_read(&u, 0), 0); /* empty */
	teardown();
}
END_TEST

START_TEST(character_timeout)
{
	setup();
	uart_write(&u, 2, 0xc1); /* on, trigger 14 */
	uart_write(&u, 1, 0x01);
	type_text("ab");
	uart_poll(&u);
	ck_assert_int_eq(u.timeout_ipending, 0); /* too early */
	m->vclock.offset_ns = u.fifo_timeout;    /* the guest's clock stands there */
	uart_poll(&u);
	ck_assert_uint_eq(uart_read(&u, 2), 0xcc);
	ck_assert_int_eq(u.fifo_timeout, -1);
	ck_assert_uint_eq(uart_read(&u, 0), 'a');
	ck_assert_uint_eq(uart_read(&u, 2), 0xc1);
	ck_assert_int_ne(u.fifo_timeout, -1); /* one byte is still there */
	uart_write(&u, 2, 0xc3);              /* cleared */
	ck_assert_int_eq(u.fifo_timeout, -1);
	ck_assert_uint_eq(uart_read(&u, 5), 0x60);
	teardown();
}
END_TEST

START_TEST(fifo_full)
{
	setup();
	uart_write(&u, 2, 0x01);
	for (int i = 0; i < 16; i++) {
		ck_assert_uint_eq(uart_can_receive(&u), 1);
		type_text("x");
	}
	ck_assert_uint_eq(uart_can_receive(&u), 0);
	uart_receive(&u, (const uint8_t *)"y", 1);
	ck_assert_uint_eq(u.recv.num, 16);
	ck_assert_uint_eq(uart_read(&u, 5), 0x63);
	uart_write(&u, 2, 0x00); /* turning it off empties it */
	ck_assert_uint_eq(u.recv.num, 0);
	ck_assert_uint_eq(uart_read(&u, 5), 0x60);
	teardown();
}
END_TEST

START_TEST(loopback)
{
	setup();
	uart_write(&u, 4, 0x1f);
	ck_assert_uint_eq(uart_read(&u, 6), 0xf0);
	uart_write(&u, 4, 0x12); /* RTS only */
	ck_assert_uint_eq(uart_read(&u, 6), 0x10);
	ck_assert_uint_eq(uart_can_receive(&u), 0); /* the line is cut off */
	uart_write(&u, 0, 'q');
	ck_assert_uint_eq(line.sent.len, 0);
	ck_assert_uint_eq(uart_read(&u, 0), 'q');
	uart_write(&u, 4, 0x0b);
	ck_assert_uint_eq(uart_read(&u, 6), 0xb0);
	teardown();
}
END_TEST

START_TEST(interrupt_priority)
{
	setup();
	uart_write(&u, 1, 0x0f);
	type_text("a");
	uart_receive(&u, (const uint8_t *)"b", 1);
	u.msr |= 0x01;
	ck_assert_uint_eq(uart_read(&u, 2), 0x06); /* line status */
	(void)uart_read(&u, 5);
	ck_assert_uint_eq(uart_read(&u, 2), 0x04); /* data */
	(void)uart_read(&u, 0);
	ck_assert_uint_eq(uart_read(&u, 2), 0x02); /* holding register */
	ck_assert_uint_eq(uart_read(&u, 2), 0x00); /* modem status */
	(void)uart_read(&u, 6);
	ck_assert_uint_eq(uart_read(&u, 2), 0x01);
	ck_assert_int_eq(u.irq_level, false);
	teardown();
}
END_TEST

CHECK_MAIN("serial", reset_values, sends_at_once, waits_for_the_line, drops_when_nobody_is_there,
	   stopped_machine_keeps_still, receives_without_fifo, receives_with_fifo, sees_a_break,
	   character_timeout, fifo_full, loopback, interrupt_priority)
