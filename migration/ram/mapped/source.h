/*
 * source.h - a mapped-ram file as a source of pages (lazy/source.h), while the guest runs
 *
 * The file is the guest's memory as long as pages are still to come: it is locked as disk images
 * are (QEMU's byte locks: no program may write or resize it), and it has to keep its size and time
 * of change; one that has not is refused.  It is never mapped.
 */
#ifndef MINIVMM_MIGRATION_RAM_MAPPED_SOURCE_H
#define MINIVMM_MIGRATION_RAM_MAPPED_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "migration/ram/lazy/source.h"

struct channel;
struct err;

/*
 * The file of the channel (borrowed for the call).  'direct': past the page cache.  NULL with
 * *err set: it is none, or another program may write to it.
 */
struct page_source *mapped_source_new(const struct channel *ch, bool direct, struct err *err);
/* Before it is read: pages of the block 'index' begin there; 'comes': its bitmap. */
void mapped_source_add(struct page_source *s, size_t index, uint64_t pages_off,
		       const uint64_t *comes, uint64_t pages);

#endif
