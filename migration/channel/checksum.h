/*
 * checksum.h - a saved guest that carries the checksum of all its bytes
 *
 * Stacked on a one-way channel.  Written, it ends with one line of text,
 *
 *     x-minivmm-checksum: xxh64 0123456789abcdef
 *
 * with a newline in front, behind everything that QEMU reads; nothing in it is
 * zero, so that tools find the JSON text in front of it from the end.  RAM's
 * section id says at the beginning that it will come (RAM_ID_CHECKSUM), so that
 * a file without its end is no file without a checksum.
 */
#ifndef MINIVMM_MIGRATION_CHECKSUM_H
#define MINIVMM_MIGRATION_CHECKSUM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct channel;
struct err;

#define CHECKSUM_LINE_BYTES 44 /* with both newlines */

/* Both take 'below', which is one-way, and return owned.  The line is written by finish. */
struct channel *channel_checksum_write(struct channel *below);
struct channel *channel_checksum_read(struct channel *below);

/*
 * Pages that lie beside the stream in the same file have this sum (all of it, not
 * what is added): it is hashed behind the stream's last byte.  Both ways; nothing
 * on any other channel.
 */
void channel_checksum_pages(struct channel *c, uint64_t sum);

/* How many of the n bytes that end at end + n are the line: all of it, or 0. */
size_t checksum_line_at_end(const void *p, size_t n);

/* ---- reading; on any other channel these do nothing ---- */

/* Does a line come?  Not told, what is read is hashed in case it does. */
void channel_checksum_expect(struct channel *c, bool comes);
bool channel_checksum_expected(const struct channel *c);
/*
 * The line, if one is expected, has been read: is it there, and does it fit?
 * 0, or -EBADMSG with a sentence about 'where' in *err.
 */
int channel_checksum_verify(const struct channel *c, const char *where, struct err *err);
/*
 * Loading has failed with 'ret' and *err: if a file is damaged as its checksum
 * shows, that is the cause, and *err says so.  Reads the rest of the file.
 * Returns what 'ret' has become.
 */
int channel_checksum_explain(struct channel *c, const char *where, int ret, struct err *err);

#endif
