#include "migration/stream/globalstate.h"

#include <errno.h>
#include <string.h>

#include "vmm/base/error.h"
#include "vmm/machine.h"
#include "vmm/vmstate.h"

static int pre_save(void *dev, struct err *err)
{
	struct globalstate *g = dev;
	const char *name = runstate_name(g->m->before_stop);

	(void)err;
	memset(g->name, 0, sizeof(g->name));
	g->size = (uint32_t)strlen(name) + 1;
	memcpy(g->name, name, g->size);
	return 0;
}

static int post_load(void *dev, uint32_t version, struct err *err)
{
	struct globalstate *g = dev;
	int state;

	(void)version;
	if (g->size > sizeof(g->name) || !memchr(g->name, 0, sizeof(g->name)))
		return err_set(err, EINVAL, "globalstate: the run state's name does not end");
	state = runstate_parse((const char *)g->name);
	if (state < 0)
		return err_set(err, EINVAL, "globalstate: unknown run state '%.*s'",
			       (int)strcspn((const char *)g->name, "\n\r\033"),
			       (const char *)g->name);
	if (state == RS_INMIGRATE || state == RS_FINISH_MIGRATE ||
	    !runstate_legal(RS_INMIGRATE, (enum runstate)state))
		return err_set(err, EINVAL, "globalstate: run state '%s' cannot be taken over",
			       runstate_name((enum runstate)state));
	g->received = true;
	g->state = (enum runstate)state;
	return 0;
}

static const struct vms_field fields[] = {
    VMS_U32(struct globalstate, size, "size"),
    VMS_BUFFER(struct globalstate, name, "runstate"),
    VMS_LAST,
};

static const struct vms_desc globalstate_vmstate = {
    .name = "globalstate",
    .version = 1,
    .min_version = 1,
    .fields = fields,
    .pre_save = pre_save,
    .post_load = post_load,
};

void globalstate_init(struct globalstate *g, struct machine *m)
{
	*g = (struct globalstate){.m = m};
	vms_register(&m->vmstate, VMS_RANK_GLOBALSTATE, "globalstate", 0, -1, &globalstate_vmstate,
		     g);
}
