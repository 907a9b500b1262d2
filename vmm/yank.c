/*
 * yank.c - the registry of connections that QMP may shut down
 *
 * The registry borrows the descriptors: an owner replaces or removes its
 * descriptor here, under 'mutex', before it closes it, so that shutdown() never
 * reaches a number that has been used again.
 */
#include "vmm/yank.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

void yanks_init(struct yanks *ys)
{
	pthread_mutex_init(&ys->mutex, NULL);
	list_init(&ys->list);
}

void yanks_fini(struct yanks *ys)
{
	pthread_mutex_destroy(&ys->mutex);
}

void yank_add(struct yanks *ys, struct yank *y, enum yank_kind kind, const char *id, int fd)
{
	y->kind = kind;
	y->id = id;
	y->fd = fd;
	pthread_mutex_lock(&ys->mutex);
	list_add_tail(&ys->list, &y->link);
	pthread_mutex_unlock(&ys->mutex);
}

void yank_del(struct yanks *ys, struct yank *y)
{
	pthread_mutex_lock(&ys->mutex);
	if (y->link.next) {
		list_del(&y->link);
		y->link.next = NULL;
	}
	pthread_mutex_unlock(&ys->mutex);
}

void yank_set_fd(struct yanks *ys, struct yank *y, int fd)
{
	pthread_mutex_lock(&ys->mutex);
	y->fd = fd;
	pthread_mutex_unlock(&ys->mutex);
}

bool yank_cut(struct yanks *ys, enum yank_kind kind, const char *id, bool dry)
{
	bool found = false;

	pthread_mutex_lock(&ys->mutex);
	list_for_each (y, &ys->list, struct yank, link) {
		if (y->kind != kind || strcmp(y->id, id) != 0)
			continue;
		found = true;
		if (!dry && y->fd >= 0)
			(void)shutdown(y->fd, SHUT_RDWR);
	}
	pthread_mutex_unlock(&ys->mutex);
	return found;
}

bool yank_at(struct yanks *ys, size_t i, enum yank_kind *kind, char *id, size_t n)
{
	bool found = false;

	pthread_mutex_lock(&ys->mutex);
	list_for_each (y, &ys->list, struct yank, link) {
		if (i-- > 0)
			continue;
		*kind = y->kind;
		(void)snprintf(id, n, "%s", y->id);
		found = true;
		break;
	}
	pthread_mutex_unlock(&ys->mutex);
	return found;
}
