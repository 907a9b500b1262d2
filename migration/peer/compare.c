/*
 * compare.c - the destination's side of compare.h: what does not fit
 *
 * One row per kind of record.  Each is held against what is here by itself; what
 * is here and was not named is told at the end.  The list goes from cause to
 * effect: the CPU model, the features and numbers that mostly follow from it,
 * then the board.  So a description is read three times, whatever its order.
 *
 * The description is foreign: every value is read through struct src and used
 * in comparisons only.
 */
#include "migration/peer/compare.h"

#include <errno.h>

#include "migration/peer/comparison.h"
#include "vmm/base/error.h"
#include "vmm/base/log.h"
#include "vmm/base/units.h"
#include "vmm/describe.h"
#include "vmm/machine.h"

static const struct {
	unsigned kind;
	int (*compare)(struct comparison *c, struct src *in);
	void (*left)(struct comparison *c); /* NULL: every machine has it */
} rows[] = {
    {DESC_OPTION,  compare_option,  NULL                 },
    {DESC_CPUS,    compare_cpus,    NULL                 },
    {DESC_BLOCK,   compare_block,   compare_blocks_left  },
    {DESC_DEVICE,  compare_device,  compare_devices_left },
    {DESC_SECTION, compare_section, compare_sections_left},
};

enum turn { TURN_MODEL, TURN_CPU, TURN_BOARD, TURNS };

static enum turn turn_of(unsigned kind)
{
	if (kind == DESC_CPU_MODEL)
		return TURN_MODEL;
	return kind >= DESC_ARCH ? TURN_CPU : TURN_BOARD;
}

static int compare_record(struct comparison *c, unsigned kind, struct src *in)
{
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		if (rows[i].kind == kind)
			return rows[i].compare(c, in);
	if (kind >= DESC_ARCH && c->m->arch && c->m->arch->compare)
		return c->m->arch->compare(c->m, kind, in, c->diff);
	return 0; /* from a time to come */
}

/* The records of one turn; the others are passed over. */
static int compare_turn(struct comparison *c, enum turn turn, struct src in, struct err *err)
{
	while (in.at < in.len) {
		size_t at = in.at;
		uint16_t kind, length;
		const uint8_t *body;
		struct src record;

		if (src_be16(&in, &kind) < 0 || src_be16(&in, &length) < 0)
			return err_set(err, EINVAL, "the description ends at byte %zu in a record",
				       at);
		body = src_take(&in, length);
		if (!body)
			return err_set(err, EINVAL,
				       "the description ends within record 0x%x at byte %zu", kind,
				       at);
		record = src_mem(body, length);
		if (turn_of(kind) == turn && compare_record(c, kind, &record) < 0)
			return err_set(err, EINVAL,
				       "record 0x%x at byte %zu of the description is broken", kind,
				       at);
	}
	return 0;
}

int machine_compare(struct machine *m, const bool *caps, const uint8_t *p, size_t n,
		    struct buf *diff, struct err *err)
{
	struct comparison c = {.m = m, .caps = caps, .diff = diff};
	struct src in = src_mem(p, n);
	uint16_t format;
	int ret = 0;

	if (src_be16(&in, &format) < 0)
		return err_set(err, EINVAL, "the description is empty");
	if (format != DESC_FORMAT) {
		log_warn("the source describes its machine in format %u, only %u is understood: "
			 "not compared",
			 format, DESC_FORMAT);
		return 0;
	}
	for (int turn = 0; ret == 0 && turn < TURNS; turn++)
		ret = compare_turn(&c, (enum turn)turn, in, err);
	for (size_t i = 0; ret == 0 && i < ARRAY_LEN(rows); i++)
		if (rows[i].left)
			rows[i].left(&c);
	return ret;
}
