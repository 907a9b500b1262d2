/*
 * notes.h - the file beside an image that says what a guest touched first after a load
 *
 * IMAGE.ID.working-set, where ID is the beginning of the identity that the snapshot's stream has in
 * its index (ram/lazy/page-index.h); what is in it: ram/lazy/working-set.h.
 */
#ifndef MINIVMM_MIGRATION_SNAPSHOT_NOTES_H
#define MINIVMM_MIGRATION_SNAPSHOT_NOTES_H

#include <stdint.h>

struct block_node;

/* Returns owned; NULL: the image is a block device, beside which is no place for a file. */
char *snapshot_notes_path(const struct block_node *n, const uint8_t *identity);
/*
 * That of the snapshot with this id; owned; NULL: it has no VM state, or no index.  The snapshot
 * stays meanwhile; the thread may wait.
 */
char *snapshot_notes_of(const struct block_node *n, const char *id);

#endif
