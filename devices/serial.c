/*
 * serial.c - the registers of a 16550A
 *
 * Transmitter: a byte goes from the guest into THR or the FIFO (clears
 * LSR.THRE), from there into the shift register tsr (sets THRE, and TEMT once
 * nothing is left), and from tsr to the chardev.  The chardev takes a byte at
 * once or refuses it; a refused byte stays in tsr, tsr_retry is not 0, TEMT is
 * clear, and the chardev calls when it can go on.  So "TEMT is clear" and
 * "tsr_retry is not 0" always mean the same, which the stream relies on.
 *
 * Interrupts: update_irq() is the one place that derives IIR and the line
 * from what is pending; everything else only sets and clears causes.
 */
#include "devices/serial.h"

#include <string.h>

#include "devices/chardev/chardev.h"
#include "vmm/loop.h"
#include "vmm/machine.h"

enum reg { REG_DATA, REG_IER, REG_IIR_FCR, REG_LCR, REG_MCR, REG_LSR, REG_MSR, REG_SCR };

#define IER_RDI  0x01
#define IER_THRI 0x02
#define IER_RLSI 0x04
#define IER_MSI  0x08

#define IIR_NONE    0x01
#define IIR_ID      0x0f
#define IIR_MSI     0x00
#define IIR_THRI    0x02
#define IIR_RDI     0x04
#define IIR_RLSI    0x06
#define IIR_TIMEOUT 0x0c
#define IIR_FIFOS   0xc0

#define FCR_ENABLE     0x01
#define FCR_CLEAR_RECV 0x02
#define FCR_CLEAR_XMIT 0x04
#define FCR_KEPT       0xc9 /* what the register remembers */

#define LCR_DLAB 0x80

#define MCR_DTR  0x01
#define MCR_RTS  0x02
#define MCR_OUT  0x0c
#define MCR_LOOP 0x10
#define MCR_BITS 0x1f

#define LSR_DR      0x01
#define LSR_OE      0x02
#define LSR_BI      0x10
#define LSR_ANY_INT 0x1e /* overrun, parity, framing, break */
#define LSR_THRE    0x20
#define LSR_TEMT    0x40

#define MSR_DELTAS 0x0f
#define MSR_UP     0xb0 /* DCD, DSR, CTS */

#define RESET_DIVIDER 12 /* 9600 */
#define BASE_BAUD     115200

/* ---- FIFOs ---- */

static void fifo_push(struct uart_fifo *f, uint8_t byte)
{
	f->data[(f->head + f->num) % UART_FIFO_BYTES] = byte;
	f->num++;
}

static uint8_t fifo_pop(struct uart_fifo *f)
{
	uint8_t byte = f->data[f->head];

	f->head = (f->head + 1) % UART_FIFO_BYTES;
	f->num--;
	return byte;
}

static void fifo_reset(struct uart_fifo *f)
{
	f->head = f->num = 0;
}

static bool fifos_on(const struct uart *u)
{
	return u->fcr & FCR_ENABLE;
}

/* Bytes in the receive FIFO that raise an interrupt. */
static uint32_t trigger_level(const struct uart *u)
{
	static const uint8_t levels[] = {1, 4, 8, 14};

	return levels[u->fcr >> 6];
}

/* ---- interrupts and the character timeout ---- */

static uint8_t pending_causes(const struct uart *u)
{
	if (u->ier & IER_RLSI && u->lsr & LSR_ANY_INT)
		return IIR_RLSI;
	if (u->ier & IER_RDI && u->timeout_ipending)
		return IIR_TIMEOUT;
	if (u->ier & IER_RDI && u->lsr & LSR_DR &&
	    (!fifos_on(u) || u->recv.num >= trigger_level(u)))
		return IIR_RDI;
	if (u->ier & IER_THRI && u->thr_ipending)
		return IIR_THRI;
	if (u->ier & IER_MSI && u->msr & MSR_DELTAS)
		return IIR_MSI;
	return IIR_NONE;
}

static void set_irq(struct uart *u, bool level)
{
	if (u->irq_level == level)
		return;
	u->irq_level = level;
	machine_irq(u->m, BOARD_GSI_SERIAL, level);
}

static void update_irq(struct uart *u)
{
	uint8_t id = pending_causes(u);

	u->iir = id | (u->iir & (uint8_t)~IIR_ID);
	set_irq(u, id != IIR_NONE);
}

/* Four characters on the line. */
static int64_t timeout_ns(const struct uart *u)
{
	int64_t bits = 1 + 5 + (u->lcr & 3) + (u->lcr & 4 ? 2 : 1) + (u->lcr & 8 ? 1 : 0);
	int64_t divider = u->divider ? u->divider : RESET_DIVIDER;

	return 4 * bits * divider * 1000000000 / BASE_BAUD;
}

static void arm_timer(struct uart *u)
{
	int64_t ns;

	if (!u->timer)
		return;
	if (u->fifo_timeout < 0 || !u->running) {
		loop_timer_cancel(u->timer);
		return;
	}
	ns = (int64_t)((uint64_t)u->fifo_timeout - (uint64_t)vclock_now_ns(&u->m->vclock));
	loop_timer_arm_ms(u->timer, ns < 0 ? 0 : (uint64_t)ns / 1000000 + 1);
}

static void restart_timeout(struct uart *u)
{
	u->fifo_timeout = vclock_now_ns(&u->m->vclock) + timeout_ns(u);
	arm_timer(u);
}

static void stop_timeout(struct uart *u)
{
	u->fifo_timeout = -1;
	u->timeout_ipending = 0;
	arm_timer(u);
}

void uart_poll(struct uart *u)
{
	if (u->fifo_timeout < 0)
		return;
	if (vclock_now_ns(&u->m->vclock) < u->fifo_timeout) {
		arm_timer(u);
		return;
	}
	u->fifo_timeout = -1;
	if (u->recv.num) {
		u->timeout_ipending = 1;
		update_irq(u);
	}
}

/* ---- receiver ---- */

size_t uart_can_receive(const struct uart *u)
{
	uint32_t level = trigger_level(u);

	if (!u->running || u->mcr & MCR_LOOP)
		return 0;
	if (!fifos_on(u))
		return !(u->lsr & LSR_DR);
	if (u->recv.num >= UART_FIFO_BYTES)
		return 0;
	/* Up to the trigger in one go, then one by one: a slow guest gets no overrun. */
	return u->recv.num < level ? level - u->recv.num : 1;
}

static void receive_byte(struct uart *u, uint8_t byte)
{
	if (fifos_on(u)) {
		if (u->recv.num < UART_FIFO_BYTES)
			fifo_push(&u->recv, byte);
		else
			u->lsr |= LSR_OE;
		restart_timeout(u);
	} else {
		if (u->lsr & LSR_DR)
			u->lsr |= LSR_OE;
		u->rbr = byte;
	}
	u->lsr |= LSR_DR;
}

void uart_receive(struct uart *u, const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		receive_byte(u, p[i]);
	update_irq(u);
}

void uart_break(struct uart *u)
{
	if (u->mcr & MCR_LOOP)
		return;
	receive_byte(u, 0);
	u->lsr |= LSR_BI;
	update_irq(u);
}

static void accept_input(struct uart *u)
{
	if (u->chr && uart_can_receive(u))
		chardev_accept_input(u->chr);
}

static uint8_t read_data(struct uart *u)
{
	uint8_t val;

	if (fifos_on(u)) {
		val = u->recv.num ? fifo_pop(&u->recv) : 0;
		if (u->recv.num)
			restart_timeout(u);
		else
			u->lsr &= (uint8_t) ~(LSR_DR | LSR_BI);
		u->timeout_ipending = 0;
	} else {
		val = u->rbr;
		u->lsr &= (uint8_t) ~(LSR_DR | LSR_BI);
	}
	update_irq(u);
	accept_input(u);
	return val;
}

/* ---- transmitter ---- */

static void load_tsr(struct uart *u)
{
	u->tsr = fifos_on(u) && u->xmit.num ? fifo_pop(&u->xmit) : u->thr;
	if (fifos_on(u) && u->xmit.num)
		return;
	u->lsr |= LSR_THRE;
	u->thr_ipending = 1;
	update_irq(u);
}

/* Is the byte in tsr gone? */
static bool send_tsr(struct uart *u)
{
	if (u->mcr & MCR_LOOP)
		uart_receive(u, &u->tsr, 1);
	else if (u->chr)
		return chardev_write(u->chr, &u->tsr, 1) != 0;
	return true;
}

static void uart_transmit(struct uart *u)
{
	while (u->tsr_retry || !(u->lsr & LSR_THRE)) {
		if (!u->tsr_retry)
			load_tsr(u);
		if (!send_tsr(u)) {
			u->tsr_retry = 1;
			return;
		}
		u->tsr_retry = 0;
	}
	u->lsr |= LSR_TEMT;
}

void uart_retry(struct uart *u)
{
	if (u->running && u->tsr_retry)
		uart_transmit(u);
}

static void write_data(struct uart *u, uint8_t val)
{
	u->thr = val;
	if (fifos_on(u)) {
		if (u->xmit.num >= UART_FIFO_BYTES)
			(void)fifo_pop(&u->xmit); /* an overrun loses the oldest */
		fifo_push(&u->xmit, val);
	}
	u->thr_ipending = 0;
	u->lsr &= (uint8_t) ~(LSR_THRE | LSR_TEMT);
	update_irq(u);
	if (!u->tsr_retry)
		uart_transmit(u);
}

/* ---- the other registers ---- */

static void write_ier(struct uart *u, uint8_t val)
{
	uint8_t changed = (u->ier ^ val) & 0x0f;

	u->ier = val & 0x0f;
	/* Enabling it finds an empty holding register, though IIR may have been read before. */
	if (changed & IER_THRI)
		u->thr_ipending = (u->ier & IER_THRI) && (u->lsr & LSR_THRE);
	if (changed)
		update_irq(u);
}

static void set_fcr(struct uart *u, uint8_t val)
{
	u->fcr = val;
	u->iir = (u->iir & IIR_ID) | (fifos_on(u) ? IIR_FIFOS : 0);
}

static void write_fcr(struct uart *u, uint8_t val)
{
	if ((val ^ u->fcr) & FCR_ENABLE)
		val |= FCR_CLEAR_RECV | FCR_CLEAR_XMIT;
	if (val & FCR_CLEAR_RECV) {
		u->lsr &= (uint8_t) ~(LSR_DR | LSR_BI);
		stop_timeout(u);
		fifo_reset(&u->recv);
	}
	if (val & FCR_CLEAR_XMIT) {
		u->lsr |= LSR_THRE;
		u->thr_ipending = 1;
		fifo_reset(&u->xmit);
	}
	set_fcr(u, val & FCR_KEPT);
	update_irq(u);
	accept_input(u);
}

static void write_mcr(struct uart *u, uint8_t val)
{
	uint8_t old = u->mcr;

	u->mcr = val & MCR_BITS;
	if (old & MCR_LOOP && !(val & MCR_LOOP))
		accept_input(u);
}

static uint8_t read_iir(struct uart *u)
{
	uint8_t val = u->iir;

	if ((val & IIR_ID) == IIR_THRI) {
		u->thr_ipending = 0;
		update_irq(u);
	}
	return val;
}

static uint8_t read_lsr(struct uart *u)
{
	uint8_t val = u->lsr;

	if (val & (LSR_BI | LSR_OE)) {
		u->lsr &= (uint8_t) ~(LSR_BI | LSR_OE);
		update_irq(u);
	}
	return val;
}

static uint8_t read_msr(struct uart *u)
{
	uint8_t val = u->msr;

	/* In loopback the outputs are wired to the inputs: OUT to DCD and RI, RTS to CTS, DTR to
	 * DSR. */
	if (u->mcr & MCR_LOOP)
		return (uint8_t)((u->mcr & MCR_OUT) << 4 | (u->mcr & MCR_RTS) << 3 |
				 (u->mcr & MCR_DTR) << 5);
	if (val & MSR_DELTAS) {
		u->msr &= (uint8_t)~MSR_DELTAS;
		update_irq(u);
	}
	return val;
}

uint8_t uart_read(struct uart *u, unsigned reg)
{
	bool dlab = u->lcr & LCR_DLAB;

	switch ((enum reg)(reg & 7)) {
	case REG_DATA:
		return dlab ? (uint8_t)u->divider : read_data(u);
	case REG_IER:
		return dlab ? (uint8_t)(u->divider >> 8) : u->ier;
	case REG_IIR_FCR:
		return read_iir(u);
	case REG_LCR:
		return u->lcr;
	case REG_MCR:
		return u->mcr;
	case REG_LSR:
		return read_lsr(u);
	case REG_MSR:
		return read_msr(u);
	case REG_SCR:
		break;
	}
	return u->scr;
}

void uart_write(struct uart *u, unsigned reg, uint8_t val)
{
	bool dlab = u->lcr & LCR_DLAB;

	switch ((enum reg)(reg & 7)) {
	case REG_DATA:
		if (dlab)
			u->divider = (uint16_t)((u->divider & 0xff00) | val);
		else
			write_data(u, val);
		break;
	case REG_IER:
		if (dlab)
			u->divider = (uint16_t)((u->divider & 0x00ff) | val << 8);
		else
			write_ier(u, val);
		break;
	case REG_IIR_FCR:
		write_fcr(u, val);
		break;
	case REG_LCR:
		u->lcr = val;
		break;
	case REG_MCR:
		write_mcr(u, val);
		break;
	case REG_LSR:
	case REG_MSR:
		break; /* read only */
	case REG_SCR:
		u->scr = val;
		break;
	}
}

/* ---- power-on, stop ---- */

void uart_reset(struct uart *u)
{
	u->divider = RESET_DIVIDER;
	u->rbr = u->ier = u->lcr = u->scr = u->fcr = u->thr = u->tsr = 0;
	u->iir = IIR_NONE;
	u->mcr = 0x08;
	u->lsr = LSR_TEMT | LSR_THRE;
	u->msr = MSR_UP;
	u->tsr_retry = 0;
	u->thr_ipending = 0;
	u->poll_msl = -1;
	u->modem_status_poll = -1;
	memset(&u->recv, 0, sizeof(u->recv));
	memset(&u->xmit, 0, sizeof(u->xmit));
	stop_timeout(u);
	set_irq(u, false);
	accept_input(u);
}

void uart_run(struct uart *u, bool running)
{
	u->running = running;
	arm_timer(u);
	uart_retry(u);
	accept_input(u);
}
