/* session.h - a guest that runs while its pages still come from its snapshot */
#ifndef MINIVMM_MIGRATION_SNAPSHOT_SESSION_H
#define MINIVMM_MIGRATION_SNAPSHOT_SESSION_H

struct block_node;
struct err;
struct job;
struct lazy;
struct machine;
struct page_index;
struct snapshots;
struct vmstate_source;

/*
 * A session over that VM state in the node's image.  *index (borrowed, the session's): tells where
 * its pages are; NULL: the stream has none that fits, and the source takes notes.  While it lives
 * the image's node can be neither deleted nor resized.  Machine lock not held.  NULL: not here, and
 * the log says why.
 */
struct lazy *snapshot_session_new(const struct vmstate_source *from, struct block_node *node,
				  struct machine *m, const struct page_index **index);

/*
 * Before anything is done with snapshots: all pages of the last one have come.  'j' (NULL: none)
 * may be cancelled meanwhile.  Machine lock held, and given up meanwhile.
 */
int snapshots_await_pages(struct snapshots *s, struct job *j, struct err *err);

#endif
