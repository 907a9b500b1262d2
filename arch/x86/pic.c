/*
 * pic.c - the pair of 8259A, the slave on line 2 of the master
 *
 * A request (irr) is served when it is not masked (imr) and of higher priority
 * than what is in service (isr).  priority_add is the line of the highest
 * priority: it moves when priorities rotate.  The chip is set up by ICW1
 * to ICW4, told apart by init_state, and run by OCW1 (the mask), OCW2 (EOI,
 * rotation) and OCW3 (which register is read, poll, special mask).
 */
#include "arch/x86/pic.h"

#define CASCADE       2
#define NO_PRIORITY   8
#define SPURIOUS_LINE 7
#define POLL_PENDING  0x80

#define ICW1        0x10
#define ICW1_ICW4   0x01
#define ICW1_SINGLE 0x02
#define ICW4_AUTO   0x02
#define ICW4_NESTED 0x10
#define VECTOR_MASK 0xf8

#define OCW3              0x08
#define OCW3_READ         0x02
#define OCW3_ISR          0x01
#define OCW3_POLL         0x04
#define OCW3_MASK_COMMAND 0x40
#define OCW3_MASK         0x20

enum ocw2 {
	OCW2_NO_ROTATE_AUTO,
	OCW2_EOI,
	OCW2_NOTHING,
	OCW2_EOI_LINE,
	OCW2_ROTATE_AUTO,
	OCW2_ROTATE_EOI,
	OCW2_SET_PRIORITY,
	OCW2_ROTATE_EOI_LINE
};

enum init_state { INIT_DONE, INIT_ICW2, INIT_ICW3, INIT_ICW4 };

/* How urgent the most urgent of the lines is: 0 the most, NO_PRIORITY: there is none. */
static unsigned priority(const struct pic_state *p, uint8_t lines)
{
	unsigned n = 0;

	while (n < NO_PRIORITY && !(lines >> ((n + p->priority_add) & 7) & 1))
		n++;
	return n;
}

/* The line that the chip asks to be served, or -1. */
static int requested(const struct pic_state *p, bool master)
{
	unsigned wanted = priority(p, p->irr & (uint8_t)~p->imr);
	uint8_t busy = p->isr;

	if (wanted == NO_PRIORITY)
		return -1;
	if (p->special_mask)
		busy &= (uint8_t)~p->imr;
	if (p->special_fully_nested_mode && master)
		busy &= (uint8_t) ~(1U << CASCADE);
	if (wanted >= priority(p, busy))
		return -1;
	return (int)((wanted + p->priority_add) & 7);
}

static void set_input(struct pic_state *p, unsigned line, bool level)
{
	uint8_t bit = (uint8_t)(1U << line);

	if (level && ((p->elcr & bit) || !(p->last_irr & bit)))
		p->irr |= bit;
	if (!level && (p->elcr & bit))
		p->irr &= (uint8_t)~bit;
	p->last_irr = level ? p->last_irr | bit : p->last_irr & (uint8_t)~bit;
}

/* The slave asks the master anew whenever it has changed and wants to be served. */
static void cascade(struct pic_state pics[2])
{
	set_input(&pics[0], CASCADE, false);
	if (requested(&pics[1], false) >= 0)
		set_input(&pics[0], CASCADE, true);
}

void pic_set_line(struct pic_state pics[2], unsigned line, bool level)
{
	set_input(&pics[line / 8], line % 8, level);
	if (line >= 8)
		cascade(pics);
}

bool pic_intr(const struct pic_state pics[2])
{
	return requested(&pics[0], true) >= 0;
}

static void begin_service(struct pic_state *p, unsigned line)
{
	uint8_t bit = (uint8_t)(1U << line);

	if (!p->auto_eoi)
		p->isr |= bit;
	else if (p->rotate_on_auto_eoi)
		p->priority_add = (line + 1) & 7;
	if (!(p->elcr & bit))
		p->irr &= (uint8_t)~bit;
}

uint8_t pic_acknowledge(struct pic_state pics[2])
{
	int line = requested(&pics[0], true);

	if (line < 0)
		return pics[0].irq_base + SPURIOUS_LINE;
	begin_service(&pics[0], (unsigned)line);
	if (line != CASCADE)
		return (uint8_t)(pics[0].irq_base + line);
	line = requested(&pics[1], false);
	if (line < 0)
		return pics[1].irq_base + SPURIOUS_LINE;
	begin_service(&pics[1], (unsigned)line);
	cascade(pics);
	return (uint8_t)(pics[1].irq_base + line);
}

/* ---- registers ---- */

static uint8_t poll(struct pic_state pics[2], unsigned chip)
{
	int line = requested(&pics[chip], chip == 0);

	pics[chip].poll = 0;
	if (line < 0)
		return 0;
	begin_service(&pics[chip], (unsigned)line);
	if (chip == 1)
		cascade(pics);
	return (uint8_t)(POLL_PENDING | line);
}

uint8_t pic_read(struct pic_state pics[2], unsigned chip, unsigned port)
{
	const struct pic_state *p = &pics[chip];

	if (p->poll)
		return poll(pics, chip);
	if (port == 1)
		return p->imr;
	return p->read_reg_select ? p->isr : p->irr;
}

/* ICW1: all is as at power-on but for lines that are level-triggered and high. */
static void begin_init(struct pic_state *p, uint8_t icw1)
{
	*p = (struct pic_state){
	    .elcr = p->elcr,
	    .irr = p->irr & p->elcr,
	    .init_state = INIT_ICW2,
	    .init4 = icw1 & ICW1_ICW4,
	    .single_mode = (icw1 & ICW1_SINGLE) != 0,
	};
}

static void operate(struct pic_state *p, uint8_t ocw2)
{
	enum ocw2 command = ocw2 >> 5;
	unsigned line = ocw2 & 7, highest;

	switch (command) {
	case OCW2_NO_ROTATE_AUTO:
	case OCW2_ROTATE_AUTO:
		p->rotate_on_auto_eoi = command == OCW2_ROTATE_AUTO;
		return;
	case OCW2_SET_PRIORITY:
		p->priority_add = (line + 1) & 7;
		return;
	case OCW2_EOI:
	case OCW2_ROTATE_EOI:
		highest = priority(p, p->isr);
		if (highest == NO_PRIORITY)
			return;
		line = (highest + p->priority_add) & 7;
		break;
	case OCW2_EOI_LINE:
	case OCW2_ROTATE_EOI_LINE:
		break;
	case OCW2_NOTHING:
		return;
	}
	p->isr &= (uint8_t) ~(1U << line);
	if (command == OCW2_ROTATE_EOI || command == OCW2_ROTATE_EOI_LINE)
		p->priority_add = (line + 1) & 7;
}

static void select_read(struct pic_state *p, uint8_t ocw3)
{
	if (ocw3 & OCW3_POLL)
		p->poll = 1;
	if (ocw3 & OCW3_READ)
		p->read_reg_select = ocw3 & OCW3_ISR;
	if (ocw3 & OCW3_MASK_COMMAND)
		p->special_mask = (ocw3 & OCW3_MASK) != 0;
}

/* Port 1: the mask, or the next word of the set-up. */
static void write_data(struct pic_state *p, uint8_t val)
{
	switch (p->init_state) {
	case INIT_ICW2:
		p->irq_base = val & VECTOR_MASK;
		if (!p->single_mode)
			p->init_state = INIT_ICW3;
		else
			p->init_state = p->init4 ? INIT_ICW4 : INIT_DONE;
		break;
	case INIT_ICW3: /* how the two are wired; they are wired in one way */
		p->init_state = p->init4 ? INIT_ICW4 : INIT_DONE;
		break;
	case INIT_ICW4:
		p->special_fully_nested_mode = (val & ICW4_NESTED) != 0;
		p->auto_eoi = (val & ICW4_AUTO) != 0;
		p->init_state = INIT_DONE;
		break;
	default:
		p->imr = val;
		break;
	}
}

void pic_write(struct pic_state pics[2], unsigned chip, unsigned port, uint8_t val)
{
	struct pic_state *p = &pics[chip];

	if (port == 1)
		write_data(p, val);
	else if (val & ICW1)
		begin_init(p, val);
	else if (val & OCW3)
		select_read(p, val);
	else
		operate(p, val);
	if (chip == 1)
		cascade(pics);
}

void pic_write_elcr(struct pic_state pics[2], unsigned chip, uint8_t val)
{
	pics[chip].elcr = val & (chip == 0 ? PIC_ELCR_MASTER : PIC_ELCR_SLAVE);
}
