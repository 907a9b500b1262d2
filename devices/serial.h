/*
 * serial.h - 16550A UART, ports 0x3f8 to 0x3ff, GSI 4, over a chardev
 *
 * Bytes go out as the guest writes them; the line's speed only sets the
 * character timeout of the receive FIFO.  Output that the chardev does not
 * take waits in the transmitter (LSR.TEMT clear) until it does; without a
 * connection it is dropped.  The modem lines are always up; a break comes
 * only from a monitor (chardev-send-break), and parity means nothing here.
 */
#ifndef MINIVMM_DEVICES_SERIAL_H
#define MINIVMM_DEVICES_SERIAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/device.h"

struct chardev;
struct device_row;
struct err;
struct loop_timer;
struct machine;
struct vms_desc;

#define UART_FIFO_BYTES 16

struct uart_fifo {
	uint8_t data[UART_FIFO_BYTES];
	uint32_t head, num;
};

struct uart {
	/* set at creation and then constant */
	struct machine *m;
	struct chardev *chr;      /* borrowed; NULL: nowhere */
	struct loop_timer *timer; /* of fifo_timeout */
	/* under the machine lock */
	bool running;   /* between resume and pause: input is taken, timers fire */
	bool irq_level; /* of the interrupt line */
	/* under the machine lock, in the stream */
	uint16_t divider;
	uint8_t rbr, ier, iir, lcr, mcr, lsr, msr, scr, fcr;
	int32_t thr_ipending; /* the "holding register empty" interrupt is pending */
	uint32_t tsr_retry;   /* the byte in tsr has been refused so often; 0: tsr is free */
	uint8_t thr, tsr;
	struct uart_fifo recv, xmit;
	int64_t fifo_timeout;     /* virtual ns, -1: off */
	int32_t timeout_ipending; /* the character timeout interrupt is pending */
	int32_t poll_msl; /* carried for the stream only: -1, a host's modem is not polled */
	int64_t modem_status_poll;
};

struct serial {
	struct device dev;
	struct uart uart;
};

/* Make the UART of the board; it becomes the front end of 'chr'. */
int serial_create(struct machine *m, struct chardev *chr, struct err *err);

/* Power-on values; m, chr and timer are set by the caller (timer and chr may be NULL). */
void uart_reset(struct uart *u);
/* Registers 0 to 7. */
uint8_t uart_read(struct uart *u, unsigned reg);
void uart_write(struct uart *u, unsigned reg, uint8_t val);
/* How many bytes from the line the UART takes now; take them. */
size_t uart_can_receive(const struct uart *u);
void uart_receive(struct uart *u, const uint8_t *p, size_t n);
/* The line is held low for longer than a byte: the guest sees a break, and a zero byte. */
void uart_break(struct uart *u);
/* Try again to send what waits. */
void uart_retry(struct uart *u);
/* Switch timers and input on or off. */
void uart_run(struct uart *u, bool running);
/* What the timer does: the character timeout may have passed. */
void uart_poll(struct uart *u);

extern const struct vms_desc serial_vmstate; /* over struct serial */

extern const struct device_row serial_row;

#endif
