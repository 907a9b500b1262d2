/*
 * runtime-entry.h - a small file that says that this program runs, for 'minivmm-ctl list'
 *
 * It stands in $XDG_RUNTIME_DIR/minivmm where that is set, else in /run/minivmm, and its name is
 * the process's number.  It is whole from the first instant (written under a name with a dot,
 * locked, renamed), and locked with flock() for as long as the process lives, however it ends: one
 * that can be locked is stale.
 *
 * Who may see it: the file is its owner's (0600).  A folder in $XDG_RUNTIME_DIR is made with 0700;
 * /run/minivmm is made by root, with 0755, so that it has entries of root's, and of others when
 * root has given them the folder.  What cannot be written is left: no entry is no error.
 */
#ifndef MINIVMM_RUNTIME_ENTRY_H
#define MINIVMM_RUNTIME_ENTRY_H

#include <limits.h>
#include <stddef.h>

#define RUNTIME_ENTRY_BYTES 65536 /* at most */
#define RUNTIME_PATH_BYTES  1024

struct runtime_entry {
	int fd; /* owned; -1: there is none */
	char path[RUNTIME_PATH_BYTES];
};

/* The folder of this process's entry: 0, or -ENAMETOOLONG. */
int runtime_folder(char out[RUNTIME_PATH_BYTES]);
/* Write it: n bytes of text.  0 or -errno, and then there is none; the program goes on.  Main
 * thread. */
int runtime_entry_add(struct runtime_entry *e, const void *text, size_t n);
/* Removes it; nothing where there is none. */
void runtime_entry_remove(struct runtime_entry *e);

#endif
