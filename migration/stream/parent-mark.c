/* parent-mark.c - the mark of a stream that stands on another one */
#include "migration/stream/parent-mark.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "migration/stream/wire.h"
#include "vmm/base/buf.h"
#include "vmm/base/error.h"

#define MAX_NAME_BYTES 255U /* of the machine */

void parent_mark_put(const struct parent_mark *p, struct buf *out)
{
	buf_u8(out, TAG_FULL);
	buf_be32(out, PARENT_SECTION_ID);
	buf_str8(out, PARENT_SECTION);
	buf_be32(out, 0); /* instance */
	buf_be32(out, PARENT_SECTION_VERSION);
	buf_str8(out, p->tag);
	buf_be32(out, p->date_s);
	buf_be32(out, p->date_ns);
	buf_be64(out, p->vm_clock_ns);
	buf_u8(out, TAG_FOOTER);
	buf_be32(out, PARENT_SECTION_ID);
}

int parent_mark_load(struct parent_mark *p, struct src *in, struct err *err)
{
	int ret = src_str8(in, p->tag);

	if (ret == -EINVAL || (ret == 0 && !*p->tag))
		return err_set(err, EINVAL,
			       "the name of the snapshot that it stands on is damaged");
	if (ret == 0)
		ret = src_be32(in, &p->date_s);
	if (ret == 0)
		ret = src_be32(in, &p->date_ns);
	if (ret == 0)
		ret = src_be64(in, &p->vm_clock_ns);
	return ret;
}

/* In front of the first section; false: it is no stream, or one that has more there. */
static bool pass_header(struct src *in)
{
	uint32_t magic, version, n;
	uint8_t tag;

	if (src_be32(in, &magic) < 0 || src_be32(in, &version) < 0 || src_u8(in, &tag) < 0 ||
	    src_be32(in, &n) < 0)
		return false;
	return magic == STREAM_MAGIC && version == STREAM_VERSION && tag == TAG_CONFIGURATION &&
	       n <= MAX_NAME_BYTES && src_skip(in, n) == 0;
}

/* Is the first section the mark? */
static bool is_announced(struct src *in, uint32_t *version)
{
	uint32_t id, instance;
	char name[256];
	uint8_t tag;

	return src_u8(in, &tag) == 0 && tag == TAG_FULL && src_be32(in, &id) == 0 &&
	       src_str8(in, name) == 0 && strcmp(name, PARENT_SECTION) == 0 &&
	       src_be32(in, &instance) == 0 && src_be32(in, version) == 0;
}

int parent_mark_find(struct parent_mark *p, const uint8_t *head, size_t n, struct err *err)
{
	struct src in = src_mem(head, n);
	uint32_t version = 0;
	int ret;

	if (!pass_header(&in) || !is_announced(&in, &version))
		return 0;
	if (version != PARENT_SECTION_VERSION)
		return err_set(err, EINVAL, "section '%s' has version %u, only %u is understood",
			       PARENT_SECTION, version, PARENT_SECTION_VERSION);
	ret = parent_mark_load(p, &in, err);
	if (ret == -EIO)
		return err_set(err, EINVAL, "section '%s' is cut short", PARENT_SECTION);
	return ret < 0 ? ret : 1;
}
