/*
 * section-skip.c - where does a section end whose fields are not read?
 *
 * No length is given (migration-stream 1), but every section ends with a footer that repeats its
 * id, and a record follows it.  Both together do not occur by chance: the footer's five bytes,
 * then EOF, or a tag, and with a tag that announces a section a printable name.
 */
#include "migration/incoming/section-skip.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>

#include "migration/stream/wire.h"
#include "vmm/base/buf.h"
#include "vmm/base/bytes.h"

#define FOOTER_BYTES 5U
#define NAME_AT      (FOOTER_BYTES + 6U) /* behind the next record's tag, id and name length */

/* Does a record follow the footer? */
static bool record_follows(struct src *in)
{
	const uint8_t *p = src_peek(in, FOOTER_BYTES + 1);
	uint8_t tag = p ? p[FOOTER_BYTES] : TAG_FOOTER, n;

	if (tag == TAG_EOF || tag == TAG_PART || tag == TAG_END || tag == TAG_COMMAND)
		return true;
	if (tag != TAG_FULL && tag != TAG_START)
		return false;
	p = src_peek(in, NAME_AT);
	n = p ? p[NAME_AT - 1] : 0;
	p = n ? src_peek(in, NAME_AT + n) : NULL;
	for (unsigned i = 0; p && i < n; i++)
		if (p[NAME_AT + i] < ' ' || p[NAME_AT + i] > '~')
			return false;
	return p;
}

int section_skip(struct src *in, uint32_t id)
{
	const uint8_t *p;

	while ((p = src_peek(in, FOOTER_BYTES))) {
		if (*p == TAG_FOOTER && get_be32(p + 1) == id && record_follows(in))
			return 0;
		(void)src_skip(in, 1);
	}
	return -EIO;
}
