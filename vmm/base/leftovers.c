/*
 * leftovers.c - the list of files that a fault handler removes
 *
 * The list is at file scope because a signal handler has no argument, and of fixed
 * size because it may not allocate.  An entry is published by its flag: a handler on
 * another thread sees a whole one or none.  The inode number tells a file that
 * another program has put in the place of ours.
 */
#include "vmm/base/leftovers.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm/base/units.h"

#define PATH_BYTES 512

static struct leftover {
	bool used; /* atomic; the others are constant while it is true */
	dev_t dev;
	ino_t ino;
	char path[PATH_BYTES];
} list[64];
static pthread_mutex_t mutex =
    PTHREAD_MUTEX_INITIALIZER; /* writers of 'list'; no other is taken under it */

void leftover_add(const char *path)
{
	struct stat st;

	if (strlen(path) >= PATH_BYTES || lstat(path, &st) < 0)
		return;
	pthread_mutex_lock(&mutex);
	for (size_t i = 0; i < ARRAY_LEN(list); i++) {
		struct leftover *l = &list[i];

		if (l->used)
			continue;
		memcpy(l->path, path, strlen(path) + 1);
		l->dev = st.st_dev;
		l->ino = st.st_ino;
		__atomic_store_n(&l->used, true, __ATOMIC_RELEASE);
		break;
	}
	pthread_mutex_unlock(&mutex);
}

void leftover_forget(const char *path)
{
	pthread_mutex_lock(&mutex);
	for (size_t i = 0; i < ARRAY_LEN(list); i++)
		if (list[i].used && !strcmp(list[i].path, path))
			__atomic_store_n(&list[i].used, false, __ATOMIC_RELEASE);
	pthread_mutex_unlock(&mutex);
}

void leftovers_remove(void)
{
	for (size_t i = 0; i < ARRAY_LEN(list); i++) {
		const struct leftover *l = &list[i];
		struct stat st;

		if (__atomic_load_n(&l->used, __ATOMIC_ACQUIRE) && lstat(l->path, &st) == 0 &&
		    st.st_dev == l->dev && st.st_ino == l->ino)
			(void)unlink(l->path);
	}
}
