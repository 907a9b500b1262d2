/* yank.c - cutting connections, out of band if need be (qmp-surface 1.4, 2.1) */
#include <errno.h>

#include "qmp/command.h"
#include "vmm/base/error.h"
#include "vmm/machine.h"
#include "vmm/yank.h"

#define MAX_ID    256
#define MAX_SHOWN 1024 /* more than can be configured */

struct instance {
	int kind;
	const char *node_name, *id;
};

static const char *const kind_names[] = {"block-node", "chardev", "migration", NULL};
static const struct qmp_type kind_type = QMP_ENUM_TYPE("YankInstanceType", kind_names);
static const struct qmp_member node_members[] = {
    QMP_REQ(struct instance, node_name, "node-name"),
    {0},
};
static const struct qmp_member chardev_members[] = {
    QMP_REQ(struct instance, id, "id"),
    {0},
};
static const struct qmp_type node_type =
    QMP_OBJECT_TYPE(struct instance, "YankInstanceBlockNode", node_members);
static const struct qmp_type chardev_type =
    QMP_OBJECT_TYPE(struct instance, "YankInstanceChardev", chardev_members);
static const struct qmp_type *const instance_variants[] = {
    [YANK_BLOCK_NODE] = &node_type,
    [YANK_CHARDEV] = &chardev_type,
    [YANK_MIGRATION] = NULL,
};
static const struct qmp_member instance_members[] = {
    QMP_REQ_T(struct instance, kind, "type", &kind_type),
    {0},
};
static const struct qmp_type instance_type = {
    .kind = QMP_KIND_OBJECT,
    .name = "YankInstance",
    .size = sizeof(struct instance),
    .members = instance_members,
    .tag = "type",
    .variants = instance_variants,
};
static const struct qmp_type instance_list = QMP_ARRAY_TYPE(&instance_type);

struct yank_args {
	struct qmp_array instances;
};

static const struct qmp_member yank_members[] = {
    QMP_REQ_T(struct yank_args, instances, "instances", &instance_list),
    {0},
};
static const struct qmp_type yank_type =
    QMP_OBJECT_TYPE(struct yank_args, "q_obj_yank-arg", yank_members);

static bool cut(struct machine *m, const struct instance *in, bool dry)
{
	const char *id = in->node_name ? in->node_name : in->id ? in->id : "";

	return yank_cut(&m->yanks, (enum yank_kind)in->kind, id, dry);
}

/* All or nothing. */
static int yank(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	const struct qmp_array *list = &((const struct yank_args *)arg)->instances;
	const struct instance *in = list->v;

	(void)ret;
	for (size_t i = 0; i < list->n; i++) {
		if (cut(call->m, &in[i], true))
			continue;
		call->error_class = "DeviceNotFound";
		return err_set(err, ENODEV, "Instance not found");
	}
	for (size_t i = 0; i < list->n; i++)
		(void)cut(call->m, &in[i], false);
	return 0;
}

static int query_yank(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	struct instance *v = qmp_alloc(call->pool, MAX_SHOWN, sizeof(*v));
	char id[MAX_ID];
	enum yank_kind kind;
	size_t n = 0;

	(void)arg;
	(void)err;
	for (; n < MAX_SHOWN && yank_at(&call->m->yanks, n, &kind, id, sizeof(id)); n++) {
		v[n].kind = (int)kind;
		if (kind == YANK_CHARDEV)
			v[n].id = qmp_printf(call->pool, "%s", id);
		if (kind == YANK_BLOCK_NODE)
			v[n].node_name = qmp_printf(call->pool, "%s", id);
	}
	*(struct qmp_array *)ret = (struct qmp_array){v, n};
	return 0;
}

const struct qmp_command qmp_yank_commands[] = {
    {"yank",   &yank_type, NULL, yank, QMP_OOB},
    {"query-yank",    NULL, &instance_list, query_yank, QMP_OOB},
    {0},
};
