/*
 * wake.h - waking a thread that waits in poll()
 *
 * A wake is an eventfd: set any number of times, it is readable until cleared.
 * An epoll descriptor over two of them lets one place of poll()'s list stand
 * for both, as where a channel has room for one "stop" descriptor and there
 * are two reasons to stop.
 */
#ifndef MINIVMM_BASE_WAKE_H
#define MINIVMM_BASE_WAKE_H

#include <stdbool.h>

/* An eventfd, owned, not set; -1 with errno set. */
int wake_open(void);
void wake_set(int fd);   /* any thread */
void wake_clear(int fd); /* one that is not set is fine */
/* Also of an epoll descriptor; -1: no. */
bool wake_is_set(int fd);
/* An epoll descriptor (owned), readable when one of the two (borrowed) is; -1 with errno set. */
int wake_either(int a, int b);

#endif
