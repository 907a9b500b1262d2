/* pipe.h - what a pipe's writer has to know of its reader */
#ifndef MINIVMM_MIGRATION_CHANNEL_PIPE_H
#define MINIVMM_MIGRATION_CHANNEL_PIPE_H

#include <stdbool.h>

struct channel;
struct err;

bool fd_is_pipe(int fd);
/* Bytes in the pipe that no reader has taken; 0 for no descriptor. */
int pipe_unread(int fd);
/*
 * Wait until the reader has taken what the channel's pipe holds, so that a save is not
 * called done while its end may still be lost.  -EPIPE with *err set: there is no
 * reader any more; the same for a cancel and the end of the channel's patience.
 */
int pipe_wait_read(struct channel *c, struct err *err);

#endif
