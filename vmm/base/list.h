/*
 * list.h - doubly linked list whose links live inside the members
 *
 *     struct list devices;                 list_init(&devices);
 *     struct device { struct list link; }; list_add_tail(&devices, &d->link);
 *     list_for_each(d, &devices, struct device, link) ...
 *
 * list_for_each must not remove the current member; list_for_each_safe may.
 */
#ifndef MINIVMM_BASE_LIST_H
#define MINIVMM_BASE_LIST_H

#include <stdbool.h>

#include "vmm/base/units.h"

struct list {
	struct list *prev, *next;
};

#define LIST_INIT(head)                                                                            \
	{                                                                                          \
		&(head), &(head)                                                                   \
	}

static inline void list_init(struct list *head)
{
	head->prev = head->next = head;
}

static inline bool list_empty(const struct list *head)
{
	return head->next == head;
}

static inline void list_add_tail(struct list *head, struct list *link)
{
	link->prev = head->prev;
	link->next = head;
	head->prev->next = link;
	head->prev = link;
}

static inline void list_del(struct list *link)
{
	link->prev->next = link->next;
	link->next->prev = link->prev;
	link->prev = link->next = link;
}

#define list_for_each(it, head, T, member)                                                         \
	for (T *it = container_of((head)->next, T, member); &it->member != (head);                 \
	     it = container_of(it->member.next, T, member))

#define list_for_each_safe(it, head, T, member)                                                    \
	for (T *it = container_of((head)->next, T, member),                                        \
	       *it##_next = container_of(it->member.next, T, member);                              \
	     &it->member != (head);                                                                \
	     it = it##_next, it##_next = container_of(it->member.next, T, member))

#endif
