/*
 * send.h - pages of a postcopy, out of a guest that stands still here
 *
 * What has to come is the page-set of struct ram_save, from which two threads may take: the one
 * that sweeps, over the main channel, and one that sends what was asked for.
 */
#ifndef MINIVMM_MIGRATION_RAM_POSTCOPY_SEND_H
#define MINIVMM_MIGRATION_RAM_POSTCOPY_SEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct page_run;
struct ram_save;
struct ram_stream;
struct writer;
struct err;

/*
 * The guest has stopped and the last sync is done: what is left comes in postcopy, in whole pages
 * of the host.  The migration thread.
 */
void postcopy_send_begin(struct ram_save *s);
/* RAM_DISCARD commands for all of it (migration-stream 5.3).  0, or -errno with the writer's words.
 */
int postcopy_send_discards(const struct ram_save *s, struct writer *w);
/*
 * A new connection: of the block only these pages have come, all others have to go; what had been
 * asked for is forgotten.  'received': a bit a page; changed.  No other thread is at it.
 */
void postcopy_send_again(struct ram_save *s, size_t block, uint64_t *received);
/*
 * The destination asks for bytes of a block (NULL: unknown name), which are queued unless they have
 * gone; *n: pages that still have to go.  -EPROTO: there are none such, or more are asked for than
 * a machine could wait for.  Any thread.
 */
int postcopy_send_request(struct ram_save *s, const char *block, uint64_t off, uint64_t bytes,
			  uint64_t *n, struct err *err);
/*
 * Up to 'max' pages that have been asked for into 'rs', which the caller flushes.  1, 0: none is
 * asked for, or -errno with the writer's words.  One thread a stream.
 */
int postcopy_send_urgent(struct ram_save *s, struct ram_stream *rs, uint64_t max);
/* The same for the sweep's next. */
int postcopy_send_sweep(struct ram_save *s, struct ram_stream *rs, uint64_t max);

#endif
