/*
 * scan.h - a stream of minivmm's own, taken apart without a machine
 *
 * For minivmm-img, which makes one stream of several: header, blocks, pages, and where the devices
 * begin.  The bytes may be anything: what is not as a snapshot's save writes it is refused with a
 * sentence.
 */
#ifndef MINIVMM_MIGRATION_SNAPSHOT_SCAN_H
#define MINIVMM_MIGRATION_SNAPSHOT_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "migration/stream/parent-mark.h"
#include "vmm/base/buf.h"
#include "vmm/memory/memory.h"

struct err;

struct scan_block {
	char name[RAM_NAME_BYTES];
	uint64_t pages;
};

struct stream_scan {
	struct src *in;  /* borrowed; set before the first call */
	struct buf head; /* owned: header and configuration, as they are */
	struct buf list; /* owned: the START record of RAM, as it is */
	bool marked;     /* it stands on another one: */
	struct parent_mark parent;
	uint32_t ram_id;
	struct scan_block blocks[MEMORY_MAX_BLOCKS];
	size_t n;
};

/* 'content': NULL: a zero page; valid during the call.  0, or -errno with *err set ends it. */
typedef int scan_page_fn(void *opaque, size_t block, uint64_t page, const uint8_t *content,
			 struct err *err);

/* Up to the end of the START record.  -errno with *err set; stream_scan_fini() in any case. */
int stream_scan_begin(struct stream_scan *s, struct err *err);
/* Each page in the order of the stream; after it src_offset(s->in) is where the devices begin. */
int stream_scan_pages(struct stream_scan *s, scan_page_fn *fn, void *opaque, struct err *err);
void stream_scan_fini(struct stream_scan *s);

#endif
