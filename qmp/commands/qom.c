/* qom.c - qom-list, qom-get, qom-set, qom-list-get: the tree of qmp/qom.h */
#include "qmp/qom.h"

#include <errno.h>
#include <string.h>

#include "qmp/command.h"
#include "vmm/base/error.h"

struct path_args {
	const char *path, *property;
	struct qmp_any value;
};

static const struct qmp_member list_args_members[] = {
    QMP_REQ(struct path_args, path, "path"),
    {0},
};
static const struct qmp_type list_args =
    QMP_OBJECT_TYPE(struct path_args, "q_obj_qom-list-arg", list_args_members);

/* ObjectPropertyInfo; qom-list tells neither of the last two, as in QEMU. */
static const struct qmp_member info_members[] = {
    QMP_REQ(struct qom_property, name, "name"),
    QMP_REQ(struct qom_property, type, "type"),
    QMP_SET(struct qom_property, help, "description"),
    QMP_SET(struct qom_property, otherwise, "default-value"),
    {0},
};
static const struct qmp_type info_type =
    QMP_OBJECT_TYPE(struct qom_property, "ObjectPropertyInfo", info_members);
const struct qmp_type qmp_qom_property_list = QMP_ARRAY_TYPE(&info_type);

static int find_and_list(struct qmp_call *call, const char *path, struct qom_list *list,
			 struct err *err)
{
	struct qom_node node;
	int ret = qom_find(call, path, &node, err);

	*list = qom_list(call->pool);
	if (ret == 0)
		qom_properties(call, &node, list);
	return ret;
}

static int list_node(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	const struct path_args *a = arg;
	struct qom_list list;
	int r = find_and_list(call, a->path, &list, err);

	if (r < 0)
		return r;
	for (size_t i = 0; i < list.n; i++)
		list.v[i].help = NULL;
	*(struct qmp_array *)ret = (struct qmp_array){list.v, list.n};
	return 0;
}

/* ---- qom-get, qom-set ---- */

static const struct qmp_member get_args_members[] = {
    QMP_REQ(struct path_args, path, "path"),
    QMP_REQ(struct path_args, property, "property"),
    {0},
};
static const struct qmp_type get_args =
    QMP_OBJECT_TYPE(struct path_args, "q_obj_qom-get-arg", get_args_members);

static int get_property(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	const struct path_args *a = arg;
	struct qom_node node;
	struct qom_list list;
	int r = find_and_list(call, a->path, &list, err);

	if (r < 0)
		return r;
	for (size_t i = 0; i < list.n; i++)
		if (!strcmp(list.v[i].name, a->property) && list.v[i].value.type) {
			*(struct qmp_any *)ret = list.v[i].value;
			return 0;
		}
	r = qom_find(call, a->path, &node, err);
	return r < 0 ? r
		     : err_set(err, EINVAL, "Property '%s.%.200s' not found", qom_type(call, &node),
			       a->property);
}

static const struct qmp_member set_args_members[] = {
    QMP_REQ(struct path_args, path, "path"),
    QMP_REQ(struct path_args, property, "property"),
    QMP_REQ(struct path_args, value, "value"),
    {0},
};
static const struct qmp_type set_args =
    QMP_OBJECT_TYPE(struct path_args, "q_obj_qom-set-arg", set_args_members);

static int set_property(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	const struct path_args *a = arg;
	struct qom_node node;
	int r = qom_find(call, a->path, &node, err);

	(void)ret;
	return r < 0 ? r : qom_set(call, &node, a->property, &a->value, err);
}

/* ---- qom-list-get ---- */

struct paths_args {
	struct qmp_array paths;
};

static const struct qmp_member paths_members[] = {
    QMP_REQ_T(struct paths_args, paths, "paths", &qmp_str_array),
    {0},
};
static const struct qmp_type paths_args =
    QMP_OBJECT_TYPE(struct paths_args, "q_obj_qom-list-get-arg", paths_members);

struct values {
	struct qmp_array properties;
};

static const struct qmp_member value_members[] = {
    QMP_REQ(struct qom_property, name, "name"),
    QMP_REQ(struct qom_property, type, "type"),
    QMP_SET(struct qom_property, value, "value"),
    {0},
};
static const struct qmp_type value_type =
    QMP_OBJECT_TYPE(struct qom_property, "ObjectPropertyValue", value_members);
static const struct qmp_type value_list = QMP_ARRAY_TYPE(&value_type);
static const struct qmp_member values_members[] = {
    QMP_REQ_T(struct values, properties, "properties", &value_list),
    {0},
};
static const struct qmp_type values_type =
    QMP_OBJECT_TYPE(struct values, "ObjectPropertiesValues", values_members);
static const struct qmp_type values_list = QMP_ARRAY_TYPE(&values_type);

static int list_get(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	const struct qmp_array *paths = &((const struct paths_args *)arg)->paths;
	struct values *v = qmp_alloc(call->pool, paths->n, sizeof(*v));

	for (size_t i = 0; i < paths->n; i++) {
		struct qom_list list;
		int r = find_and_list(call, ((const char *const *)paths->v)[i], &list, err);

		if (r < 0)
			return r;
		v[i].properties = (struct qmp_array){list.v, list.n};
	}
	*(struct qmp_array *)ret = (struct qmp_array){v, paths->n};
	return 0;
}

const struct qmp_command qmp_qom_commands[] = {
    {"qom-list",              &list_args, &qmp_qom_property_list, list_node, 0},
    {"qom-get", &get_args, &qmp_any, get_property, 0},
    {"qom-set",		      &set_args, NULL, set_property, 0},
    {"qom-list-get",               &paths_args, &values_list, list_get, 0},
    {0	      },
};
