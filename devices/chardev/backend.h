/* backend.h - what the chardev back ends share; only they, chardev.c and chardevs.c include it */
#ifndef MINIVMM_DEVICES_CHARDEV_BACKEND_H
#define MINIVMM_DEVICES_CHARDEV_BACKEND_H

#include "devices/chardev/chardev.h"

#define CHARDEV_CHUNK 4096 /* bytes handed to a front end at once, at most */

extern const struct chardev_ops chardev_null_ops, chardev_file_ops, chardev_stdio_ops,
    chardev_socket_ops, chardev_pty_ops;

/* How many bytes the front end takes now, at most CHARDEV_CHUNK; 0 without one. */
size_t chardev_room(const struct chardev *c);
/* Hand n <= chardev_room() bytes to the front end. */
void chardev_deliver(struct chardev *c, const uint8_t *p, size_t n);
/* Hand a descriptor on (taken); closed when the front end does not want any. */
void chardev_deliver_fd(struct chardev *c, int fd);
void chardev_tell_writable(struct chardev *c);
/* A peer has come or gone: sets c->connected, tells the front end. */
void chardev_set_connected(struct chardev *c, bool connected);
/* Replace the name that query-chardev shows. */
void chardev_set_filename(struct chardev *c, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/*
 * Open a file to write, always at its end, also when other programs write to it or
 * shorten it; empty at first unless 'append'.  Does not wait, neither here nor in write(2): a
 * named pipe without a reader keeps what fits.  Returns owned (path_close()), or
 * -errno.
 */
int chardev_open_file(const char *path, bool append, struct err *err);
/* write(2): bytes taken, 0 when the descriptor would block, or -errno. */
ssize_t chardev_write_fd(int fd, const uint8_t *p, size_t n);
/* Can the event loop watch it?  (Not a regular file, nor /dev/null.) */
bool chardev_fd_watchable(int fd);

#endif
