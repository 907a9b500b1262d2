/* vmstate-registry.c - which tables a stream consists of, in which order */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/alloc.h"
#include "vmm/vmstate.h"

void vms_registry_init(struct vms_registry *r)
{
	list_init(&r->entries);
	r->next_id = 0;
}

void vms_registry_fini(struct vms_registry *r)
{
	list_for_each_safe (e, &r->entries, struct vms_entry, link) {
		list_del(&e->link);
		free(e);
	}
}

void vms_register(struct vms_registry *r, enum vms_rank rank, const char *idstr, uint32_t instance,
		  int32_t alias, const struct vms_desc *desc, void *dev)
{
	struct vms_entry *e = NEW(struct vms_entry);
	struct list *before = &r->entries;

	assert(strlen(idstr) < sizeof(e->idstr));
	(void)snprintf(e->idstr, sizeof(e->idstr), "%s", idstr);
	e->rank = rank;
	e->instance = instance;
	e->alias = alias;
	e->section_id = r->next_id++;
	e->desc = desc;
	e->dev = dev;
	list_for_each (other, &r->entries, struct vms_entry, link) {
		if (other->rank > rank) {
			before = &other->link;
			break;
		}
	}
	list_add_tail(before, &e->link); /* in front of 'before' */
}

struct vms_entry *vms_find(const struct vms_registry *r, const char *idstr, uint32_t instance)
{
	list_for_each (e, &r->entries, struct vms_entry, link)
		if (!strcmp(e->idstr, idstr) &&
		    (e->instance == instance || (e->alias >= 0 && (uint32_t)e->alias == instance)))
			return e;
	return NULL;
}
