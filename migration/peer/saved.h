/*
 * saved.h - does a saved guest fit the machine that loads it?
 *
 * Two live minivmm compare their machines before a page is sent (compare.h); a
 * file cannot be asked.  So what is saved over a one-way channel carries the same
 * description, as a last member of the JSON text behind EOF,
 *
 *     {"page_size": 4096, "devices": [...], "x-minivmm": {"machine": "HEX"}}
 *
 * which QEMU reads and drops, and tools that print it show.  A file that can be read
 * from its end is compared before anything is loaded; what comes through a pipe is
 * compared when all has come, before the guest runs.  Without a description
 * (QEMU's, an older minivmm's, suppress-vmdesc=on) nothing is compared.
 */
#ifndef MINIVMM_MIGRATION_SAVED_H
#define MINIVMM_MIGRATION_SAVED_H

#include <stdbool.h>
#include <stddef.h>

struct buf;
struct channel;
struct err;
struct machine;

/* Put it into a complete JSON text.  Machine lock held. */
void saved_describe(struct machine *m, struct buf *json);
/*
 * Hold what the JSON text (n bytes, foreign) says against m.  0: it fits, or says
 * nothing.  -EINVAL: *err says why, and 'differs' has the whole sentence.
 * Takes the machine lock.
 */
int saved_compare(struct machine *m, const bool *caps, const void *json, size_t n,
		  struct buf *differs, struct err *err);
/* The same for the end of the channel's file; *checked: it could be read, so that is done. */
int saved_compare_file(struct machine *m, const bool *caps, const struct channel *ch, bool *checked,
		       struct buf *differs, struct err *err);

#endif
