#include "qmp/command.h"

#include <string.h>

#include "qmp/hmp.h"
#include "qmp/json.h"
#include "vmm/base/units.h"

static const struct qmp_command *const tables[] = {
    /* clang-format off */
    qmp_misc_commands,
    qmp_machine_commands,
    qmp_facts_commands,
    qmp_memory_commands,
    qmp_migration_commands,
    qmp_query_migrate_commands,
    qmp_block_commands,
    qmp_net_commands,
    qmp_options_commands,
    qmp_dirty_commands,
    qmp_yank_commands,
    qmp_job_commands,
    qmp_balloon_commands,
    qmp_snapshot_commands,
    qmp_blockdev_commands,
    qmp_human_commands,
    qmp_recover_commands,
    qmp_fdset_commands,
    qmp_object_commands,
    qmp_colo_commands,
    qmp_xen_commands,
    qmp_qom_commands,
    qmp_qom_type_commands,
    qmp_cpu_model_commands,
    qmp_action_commands,
    qmp_stats_commands,
    /* clang-format on */
};

const struct qmp_command *qmp_command_at(size_t i)
{
	for (size_t t = 0; t < ARRAY_LEN(tables); t++)
		for (const struct qmp_command *c = tables[t]; c->name; c++)
			if (i-- == 0)
				return c;
	return NULL;
}

const struct qmp_command *qmp_command_find(const char *name)
{
	for (size_t t = 0; t < ARRAY_LEN(tables); t++)
		for (const struct qmp_command *c = tables[t]; c->name; c++)
			if (!strcmp(c->name, name))
				return c;
	return NULL;
}

const struct qmp_command *qmp_request_command(const struct json_object *request)
{
	struct json_object *name;

	if (json_kind(request) != JSON_OBJECT || !json_get(request, "execute", &name) ||
	    json_kind(name) != JSON_STRING)
		return NULL;
	return qmp_command_find(json_str(name));
}

bool qmp_request_oob(const struct json_object *request)
{
	struct json_object *name;

	return json_kind(request) == JSON_OBJECT && json_get(request, "exec-oob", &name);
}

bool qmp_request_waits(const struct qmp_command *c, const struct json_object *request)
{
	struct json_object *arguments, *line;

	if (!(c->flags & QMP_BY_LINE))
		return c->flags & QMP_WAITS;
	return json_get(request, "arguments", &arguments) && json_kind(arguments) == JSON_OBJECT &&
	       json_get(arguments, "command-line", &line) && json_kind(line) == JSON_STRING &&
	       hmp_waits(json_str(line));
}
