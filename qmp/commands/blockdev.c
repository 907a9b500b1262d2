/* blockdev.c - nodes that come, go and change their size (qmp-surface 5.3) */
#include <errno.h>
#include <string.h>

#include "devices/microvm.h"
#include "migration/migration.h"
#include "qmp/command.h"
#include "qmp/json.h"
#include "vmm/base/buf.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"

/* ---- blockdev-add ---- */

struct add_args {
	const char *name;
	int driver;
};

static const char *const drivers[] = {"file", "raw", "qcow2", NULL};
static const struct qmp_type driver_type = QMP_ENUM_TYPE("BlockdevDriver", drivers);
/* What else a node takes is in the tables of -blockdev. */
static const struct qmp_member add_members[] = {
    QMP_REQ_T(struct add_args, driver, "driver", &driver_type),
    QMP_SET(struct add_args, name, "node-name"),
    {0},
};
static const struct qmp_type add_type = {
    .kind = QMP_KIND_OBJECT,
    .name = "BlockdevOptions",
    .size = sizeof(struct add_args),
    .members = add_members,
    .open = true,
};

static int blockdev_add(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	CLEANUP(buf_free) struct buf text = {0};
	struct json_writer w = json_writer(&text, false);

	(void)arg;
	(void)ret;
	jw_value(&w, call->arguments);
	buf_u8(&text, 0);
	return block_nodes_add(&call->be->blocks, call->m, (const char *)text.data, err);
}

/* ---- blockdev-del ---- */

struct del_args {
	const char *name;
};

static const struct qmp_member del_members[] = {
    QMP_REQ(struct del_args, name, "node-name"),
    {0},
};
static const struct qmp_type del_type =
    QMP_OBJECT_TYPE(struct del_args, "q_obj_blockdev-del-arg", del_members);

static int blockdev_del(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	const struct del_args *a = arg;

	(void)ret;
	return block_nodes_del(&call->be->blocks, call->m, a->name, err);
}

/* ---- block_resize ---- */

struct resize_args {
	const char *device, *name;
	int64_t bytes;
};

static const struct qmp_member resize_members[] = {
    QMP_SET(struct resize_args, device, "device"),
    QMP_SET(struct resize_args, name, "node-name"),
    QMP_REQ(struct resize_args, bytes, "size"),
    {0},
};
static const struct qmp_type resize_type =
    QMP_OBJECT_TYPE(struct resize_args, "q_obj_block_resize-arg", resize_members);

/* 'device' is the id of a -drive. */
static struct block_node *resize_node(const struct block_nodes *bs, const struct resize_args *a,
				      struct err *err)
{
	for (size_t i = 0; i < bs->n; i++) {
		struct block_node *n = bs->v[i];

		if (a->device ? *a->device && !strcmp(n->drive_id, a->device)
			      : a->name && *a->name && !strcmp(n->name, a->name))
			return n;
	}
	(void)err_set(err, ENOENT, "Cannot find device='%.96s' nor node-name='%.96s'",
		      a->device ? a->device : "", a->name ? a->name : "");
	return NULL;
}

static int block_resize(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	const struct resize_args *a = arg;
	struct block_node *n = resize_node(&call->be->blocks, a, err);

	(void)ret;
	if (!n)
		return -ENOENT;
	if (a->bytes < 0)
		return err_set(err, EINVAL, "Parameter 'size' expects a >0 size");
	if (n->jobs)
		return err_set(err, EBUSY,
			       "Node '%s' is busy: a job works on it, or the "
			       "guest's memory still comes from it",
			       n->name);
	if (migration_busy(call->mg)) /* the other end has been told the size */
		return err_set(err, EBUSY, "Node '%s' is busy: the guest is being moved", n->name);
	return block_node_resize(n, call->m, (uint64_t)a->bytes, err);
}

const struct qmp_command qmp_blockdev_commands[] = {
    {"blockdev-add", &add_type, NULL, blockdev_add, QMP_WAITS},
    {"blockdev-del",          &del_type, NULL, blockdev_del, QMP_WAITS},
    {"block_resize",     &resize_type, NULL, block_resize, QMP_WAITS},
    {0},
};
