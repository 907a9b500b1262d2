/* merge-watch.h - looks now and then whether the host merges equal pages (vmm/memory/merge.h) */
#ifndef MINIVMM_MERGE_WATCH_H
#define MINIVMM_MERGE_WATCH_H

struct machine;
struct merge_watch;

/* Returns owned, or NULL: nothing of this machine may be merged.  Machine lock held. */
struct merge_watch *merge_watch_new(struct machine *m);
void merge_watch_free(struct merge_watch *w); /* NULL is fine */

#endif
