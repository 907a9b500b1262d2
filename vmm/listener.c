#include "vmm/listener.h"

#include <stdlib.h>

#include "vmm/base/alloc.h"
#include "vmm/base/listen.h"
#include "vmm/loop.h"

struct listener {
	const struct listen_set *set; /* borrowed */
	void (*accepted)(void *opaque, int fd);
	void *opaque;
	struct loop_fd *watch[SOCKADDR_LIST_MAX];
};

static void listener_ready(void *opaque, int events)
{
	struct listener *ls = opaque;
	int fd = listen_accept(ls->set);

	(void)events;
	if (fd >= 0) /* else the client has gone again: the next one will do */
		ls->accepted(ls->opaque, fd);
}

struct listener *listener_new(struct loop *l, const struct listen_set *set,
			      void (*accepted)(void *opaque, int fd), void *opaque)
{
	struct listener *ls = NEW(struct listener);

	ls->set = set;
	ls->accepted = accepted;
	ls->opaque = opaque;
	for (int i = 0; i < set->n; i++)
		ls->watch[i] = loop_fd_add(l, set->fd[i], LOOP_READABLE, listener_ready, ls);
	return ls;
}

void listener_switch(struct listener *ls, bool on)
{
	for (int i = 0; i < ls->set->n; i++)
		loop_fd_events(ls->watch[i], on ? LOOP_READABLE : 0);
}

void listener_free(struct listener *ls)
{
	if (!ls)
		return;
	for (int i = 0; i < ls->set->n; i++)
		loop_fd_del(ls->watch[i]);
	free(ls);
}
