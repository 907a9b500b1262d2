/* serial-device.c - the UART as a device of the board: ports, state table, its chardev */
#include "devices/serial.h"

#include <errno.h>
#include <stdlib.h>

#include "devices/chardev/chardev.h"
#include "vmm/base/alloc.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"
#include "vmm/loop.h"
#include "vmm/machine.h"
#include "vmm/options/device-row.h"

#define SERIAL_PORTS 8

#define IER_THRI  0x02
#define IIR_ID    0x0f
#define IIR_THRI  0x02
#define IIR_NONE  0x01
#define LSR_TEMT  0x40
#define MAX_RETRY 4 /* larger counts in a stream mean the same */

/* ---- state ---- */

static bool iir_says_thri(const struct uart *u)
{
	return (u->iir & IIR_ID) == IIR_THRI;
}

/* While the interrupt is off, enabling it looks at LSR.THRE again. */
static bool thr_ipending_needed(void *dev)
{
	const struct uart *u = dev;

	return u->ier & IER_THRI && u->thr_ipending != iir_says_thri(u);
}

static bool tsr_needed(void *dev)
{
	const struct uart *u = dev;

	return u->tsr_retry != 0;
}

static bool recv_needed(void *dev)
{
	const struct uart *u = dev;

	return u->recv.num != 0;
}

static bool xmit_needed(void *dev)
{
	const struct uart *u = dev;

	return u->xmit.num != 0;
}

static bool timeout_timer_needed(void *dev)
{
	const struct uart *u = dev;

	return u->fifo_timeout != -1;
}

static bool timeout_ipending_needed(void *dev)
{
	const struct uart *u = dev;

	return u->timeout_ipending != 0;
}

static bool poll_needed(void *dev)
{
	const struct uart *u = dev;

	return u->poll_msl >= 0;
}

static const struct vms_field fifo_fields[] = {
    VMS_BUFFER(struct uart_fifo, data, "data"),
    VMS_U32(struct uart_fifo, head, "head"),
    VMS_U32(struct uart_fifo, num, "num"),
    VMS_LAST,
};

static int fifo_post_load(void *dev, uint32_t version, struct err *err)
{
	const struct uart_fifo *f = dev;

	(void)version;
	if (f->head >= UART_FIFO_BYTES || f->num > UART_FIFO_BYTES)
		return err_set(err, EINVAL, "serial: a FIFO of %d bytes with %u bytes at %u",
			       UART_FIFO_BYTES, f->num, f->head);
	return 0;
}

static const struct vms_desc fifo_vmstate = {
    .name = "Fifo8",
    .version = 1,
    .min_version = 1,
    .fields = fifo_fields,
    .post_load = fifo_post_load,
};

#define SUBSECTION(id, wire_name, needed_fn, ...)                                                  \
	static const struct vms_field id##_fields[] = {__VA_ARGS__, VMS_LAST};                     \
	static const struct vms_desc id##_vmstate = {                                              \
	    .name = (wire_name),                                                                   \
	    .version = 1,                                                                          \
	    .min_version = 1,                                                                      \
	    .fields = id##_fields,                                                                 \
	    .needed = (needed_fn),                                                                 \
	}

SUBSECTION(thr_ipending, "serial/thr_ipending", thr_ipending_needed,
	   VMS_S32(struct uart, thr_ipending, "thr_ipending"));
SUBSECTION(tsr, "serial/tsr", tsr_needed, VMS_U32(struct uart, tsr_retry, "tsr_retry"),
	   VMS_U8(struct uart, thr, "thr"), VMS_U8(struct uart, tsr, "tsr"));
SUBSECTION(recv, "serial/recv_fifo", recv_needed,
	   VMS_STRUCT(struct uart, recv, "recv_fifo", &fifo_vmstate));
SUBSECTION(xmit, "serial/xmit_fifo", xmit_needed,
	   VMS_STRUCT(struct uart, xmit, "xmit_fifo", &fifo_vmstate));
SUBSECTION(timeout_timer, "serial/fifo_timeout_timer", timeout_timer_needed,
	   VMS_TIMER(struct uart, fifo_timeout, "fifo_timeout_timer"));
SUBSECTION(timeout_ipending, "serial/timeout_ipending", timeout_ipending_needed,
	   VMS_S32(struct uart, timeout_ipending, "timeout_ipending"));
SUBSECTION(poll, "serial/poll", poll_needed, VMS_S32(struct uart, poll_msl, "poll_msl"),
	   VMS_TIMER(struct uart, modem_status_poll, "modem_status_poll"));

static int uart_pre_load(void *dev, struct err *err)
{
	struct uart *u = dev;

	(void)err;
	u->fcr = 0;
	u->thr_ipending = -1;
	u->tsr_retry = 0;
	u->recv = u->xmit = (struct uart_fifo){0};
	u->fifo_timeout = u->modem_status_poll = -1;
	u->timeout_ipending = 0;
	u->poll_msl = -1;
	return 0;
}

static int uart_post_load(void *dev, uint32_t version, struct err *err)
{
	struct uart *u = dev;

	(void)version;
	if (u->thr_ipending == -1)
		u->thr_ipending = iir_says_thri(u);
	if (!u->tsr_retry != !!(u->lsr & LSR_TEMT))
		return err_set(err, EINVAL,
			       "serial: the line status 0x%02x says that the transmitter is %s, "
			       "but it has tried to send %u times",
			       u->lsr, u->lsr & LSR_TEMT ? "empty" : "busy", u->tsr_retry);
	u->tsr_retry = MIN(u->tsr_retry, MAX_RETRY);
	u->irq_level = (u->iir & IIR_ID) != IIR_NONE;
	return 0;
}

static const struct vms_field uart_fields[] = {
    VMS_U16(struct uart, divider, "divider", .since = 2),
    VMS_U8(struct uart, rbr, "rbr"),
    VMS_U8(struct uart, ier, "ier"),
    VMS_U8(struct uart, iir, "iir"),
    VMS_U8(struct uart, lcr, "lcr"),
    VMS_U8(struct uart, mcr, "mcr"),
    VMS_U8(struct uart, lsr, "lsr"),
    VMS_U8(struct uart, msr, "msr"),
    VMS_U8(struct uart, scr, "scr"),
    VMS_U8(struct uart, fcr, "fcr_vmstate", .since = 3),
    VMS_LAST,
};

static const struct vms_desc uart_vmstate = {
    .name = "serial",
    .version = 3,
    .min_version = 2,
    .fields = uart_fields,
    .subs = (const struct vms_desc *const[]){&thr_ipending_vmstate, &tsr_vmstate, &recv_vmstate,
					     &xmit_vmstate, &timeout_timer_vmstate,
					     &timeout_ipending_vmstate, &poll_vmstate, NULL},
    .pre_load = uart_pre_load,
    .post_load = uart_post_load,
};

static const struct vms_field serial_fields[] = {
    VMS_STRUCT(struct serial, uart, "state", &uart_vmstate),
    VMS_LAST,
};

const struct vms_desc serial_vmstate = {
    .name = "serial",
    .version = 3,
    .min_version = 2,
    .fields = serial_fields,
};

/* ---- ports ---- */

static uint64_t port_read(void *dev, uint64_t off, unsigned len)
{
	struct serial *s = dev;
	uint64_t val = 0;

	for (unsigned i = 0; i < len; i++)
		val |= (uint64_t)uart_read(&s->uart, (unsigned)off + i) << 8 * i;
	return val;
}

static void port_write(void *dev, uint64_t off, unsigned len, uint64_t val)
{
	struct serial *s = dev;

	for (unsigned i = 0; i < len; i++)
		uart_write(&s->uart, (unsigned)off + i, (uint8_t)(val >> 8 * i));
}

static const struct bus_ops port_ops = {.read = port_read, .write = port_write};

/* ---- the chardev ---- */

static size_t chr_can_read(void *opaque)
{
	return uart_can_receive(opaque);
}

static void chr_read(void *opaque, const uint8_t *p, size_t n)
{
	uart_receive(opaque, p, n);
}

/* Whether the line can take bytes or has gone away: what waits can leave, or be dropped. */
static void chr_writable(void *opaque)
{
	uart_retry(opaque);
}

static void chr_moved(void *opaque, struct chardev *to)
{
	((struct uart *)opaque)->chr = to;
}

static int chr_break(void *opaque, struct err *err)
{
	struct uart *u = opaque;

	if (!u->running)
		return err_set(err, EBUSY, "the guest does not run, and would not see a break");
	uart_break(u);
	return 0;
}

static const struct chardev_client chr_client = {
    .moved = chr_moved,
    .take_break = chr_break,
    .closed = chr_writable,
    .can_read = chr_can_read,
    .read = chr_read,
    .writable = chr_writable,
    .line = true,
};

/* ---- the device ---- */

static void serial_reset(struct device *d)
{
	uart_reset(&container_of(d, struct serial, dev)->uart);
}

static void serial_pause(struct device *d)
{
	uart_run(&container_of(d, struct serial, dev)->uart, false);
}

static void serial_resume(struct device *d)
{
	uart_run(&container_of(d, struct serial, dev)->uart, true);
}

static void serial_destroy(struct device *d)
{
	struct serial *s = container_of(d, struct serial, dev);

	if (s->uart.chr)
		chardev_detach(s->uart.chr);
	loop_timer_free(s->uart.timer);
	free(s);
}

static const struct device_ops serial_ops = {
    .name = "serial",
    .reset = serial_reset,
    .pause = serial_pause,
    .resume = serial_resume,
    .destroy = serial_destroy,
};

static void timer_fired(void *opaque)
{
	uart_poll(opaque);
}

int serial_create(struct machine *m, struct chardev *chr, struct err *err)
{
	struct serial *s = NEW(struct serial);
	struct board_device *b;
	int ret;

	s->dev.ops = &serial_ops;
	s->uart.m = m;
	uart_reset(&s->uart);
	ret = bus_add(&m->ports, BOARD_PORT_SERIAL, SERIAL_PORTS, &port_ops, s, err);
	if (ret >= 0)
		ret = chardev_attach(chr, &chr_client, &s->uart, err);
	if (ret < 0) {
		free(s);
		return ret;
	}
	s->uart.chr = chr;
	s->uart.timer = loop_timer_new(m->loop, timer_fired, &s->uart);
	vms_register(&m->vmstate, VMS_RANK_SERIAL, "serial", 0, BOARD_PORT_SERIAL, &serial_vmstate,
		     s);
	b = board_add(&m->board, BOARD_SERIAL, "serial");
	if (b) {
		b->base = BOARD_PORT_SERIAL;
		b->bytes = SERIAL_PORTS;
		b->gsi = BOARD_GSI_SERIAL;
	}
	machine_add_device(m, &s->dev);
	return 0;
}

#define ONE_PLACE "the UART is at index=0,iobase=0x3f8,irq=4 and nowhere else"
#define FIXED(k, max_, o, d, h)                                                                    \
	{                                                                                          \
		.key = (k), .kind = OPT_U64, .off = OPT_NOWHERE, .max = (max_), .only = (o),       \
		.why = ONE_PLACE, .otherwise = (d), .help = (h)                                    \
	}

static const struct opt_prop props[] = {
    {.key = "chardev",
     .kind = OPT_STRING,
     .off = OPT_NOWHERE,
     .needed = true,
     .values = "ID",
     .help = "the -chardev at the other end"},
    FIXED("index", UINT32_MAX, "0", "0", "which of the serial ports"),
    FIXED("iobase", UINT32_MAX, "0x3f8|1016", "0x3f8", "the first port"),
    FIXED("irq", UINT32_MAX, "4", "4", "the interrupt"),
    {.key = NULL},
};

const struct device_row serial_row = {
    .name = "isa-serial",
    .kind = DEVICE_UART,
    .help = "the UART: chardev=ID (the same as -serial chardev:ID)",
    .props = props,
};
