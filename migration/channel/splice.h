/* splice.h - for channels that can splice (see channel_use_splice in channel.h) */
#ifndef MINIVMM_MIGRATION_SPLICE_H
#define MINIVMM_MIGRATION_SPLICE_H

struct splicer;

/* For that socket, if it does not block.  Returns owned, or NULL. */
struct splicer *splicer_new(int fd);
void splicer_free(struct splicer *s); /* NULL is fine */

#endif
