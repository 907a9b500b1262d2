/*
 * parent-mark.h - what a stream says that has only the pages written since another one was saved
 *
 * A section in front of RAM, by whose name QEMU, which does not know it, refuses the stream; so
 * does a minivmm that gets it from anywhere but a snapshot (docs/snapshots.md).  It names the
 * snapshot in the same image whose memory this one stands on, the parent, and tells that from
 * another one of that name.
 */
#ifndef MINIVMM_MIGRATION_PARENT_MARK_H
#define MINIVMM_MIGRATION_PARENT_MARK_H

#include <stddef.h>
#include <stdint.h>

struct buf;
struct err;
struct src;

#define PARENT_SECTION         "x-minivmm-parent"
#define PARENT_SECTION_VERSION 1U
#define PARENT_SECTION_ID      0x4d564d70U
#define PARENT_HEAD_BYTES      1024U /* of a stream: the mark is in them, if there is one */

struct parent_mark {
	char tag[256];
	uint32_t date_s, date_ns;
	uint64_t vm_clock_ns;
};

/* The section, from its tag to its footer, is appended. */
void parent_mark_put(const struct parent_mark *p, struct buf *out);
/* Its body, without the footer. 0, -EIO: the stream ends, -EINVAL with *err set. */
int parent_mark_load(struct parent_mark *p, struct src *in, struct err *err);
/*
 * Look for it in the first bytes of a stream, PARENT_HEAD_BYTES or all there are. 1: *p is it;
 * 0: there is none; -EINVAL with *err set: it is damaged.
 */
int parent_mark_find(struct parent_mark *p, const uint8_t *head, size_t n, struct err *err);

#endif
