/* fd-again.h - the file behind a descriptor, open once more */
#ifndef MINIVMM_BASE_FD_AGAIN_H
#define MINIVMM_BASE_FD_AGAIN_H

struct stat;

/*
 * With open(2)'s flags, of which the access is that of 'from' and O_CREAT, O_EXCL, O_TRUNC mean
 * nothing; 'st' is the file's.  An open file of its own where that is possible, else a duplicate.
 * Owned, or -errno.
 */
int fd_open_again(int from, int flags, const struct stat *st);

#endif
