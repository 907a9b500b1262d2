/* human.c - human-monitor-command: a line of the human monitor, its text as the answer (qmp-surface
 * 5.4) */
#include <errno.h>

#include "qmp/command.h"
#include "qmp/hmp.h"
#include "vmm/base/buf.h"
#include "vmm/base/error.h"
#include "vmm/machine.h"

struct human_args {
	const char *line;
	bool has_cpu;
	int64_t cpu;
};

static const struct qmp_member human_members[] = {
    QMP_REQ(struct human_args, line, "command-line"),
    QMP_OPT(struct human_args, cpu, "cpu-index"),
    {0},
};
static const struct qmp_type human_type =
    QMP_OBJECT_TYPE(struct human_args, "q_obj_human-monitor-command-arg", human_members);

/* No command here is about one vCPU; the number is checked nevertheless. */
static int human(struct qmp_call *call, const void *arg, void *ret, struct err *err)
{
	const struct human_args *a = arg;
	struct buf text = {0};

	if (a->has_cpu && (a->cpu < 0 || a->cpu >= (int64_t)call->m->n_vcpus))
		return err_set(err, EINVAL, "Parameter 'cpu-index' expects a CPU number");
	hmp_run(call, a->line, &text);
	*(const char **)ret =
	    qmp_printf(call->pool, "%.*s", (int)text.len, text.len ? (const char *)text.data : "");
	buf_free(&text);
	return 0;
}

const struct qmp_command qmp_human_commands[] = {
    {"human-monitor-command", &human_type, &qmp_str, human, QMP_BY_LINE | QMP_NODES | QMP_GUEST},
    {0	      },
};
