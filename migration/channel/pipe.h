/* pipe.h - what a pipe's writer has to know of its reader */
#ifndef MINIVMM_MIGRATION_CHANNEL_PIPE_H
#define MINIVMM_MIGRATION_CHANNEL_PIPE_H

#include <stdbool.h>

struct channel;
struct err;

bool fd_is_pipe(int fd);
/*
 * Until somebody has read what the channel's pipe holds, so that a save is not
 * called done while its end may still be lost.  -EPIPE: nobody will, with *err
 * set; the same for a cancel and the end of the channel's patience.
 */
int pipe_wait_read(struct channel *c, struct err *err);

#endif
