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
struct qcow2;
struct snapshot_chain;

/*
 * A session over the VM state of that snapshot, and of those that it stands on, in the node's
 * image 'q'.  *index (borrowed, the session's): tells where
 * its pages are; NULL: the stream has none that fits, and the source takes notes.  While it lives
 * the image's node can be neither deleted nor resized.  Machine lock not held.  NULL: not here, and
 * the log says why.
 */
struct lazy *snapshot_session_new(struct qcow2 *q, const struct snapshot_chain *chain,
				  struct block_node *node, struct machine *m,
				  const struct page_index **index);

/*
 * Before anything is done with snapshots: all pages of the last one have come.  'j' (NULL: none)
 * may be cancelled meanwhile.  Machine lock held, and given up meanwhile.
 */
int snapshots_await_pages(struct snapshots *s, struct job *j, struct err *err);

#endif
